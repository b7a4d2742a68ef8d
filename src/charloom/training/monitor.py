"""What is measured and shown during training; nothing of the learner changes."""

from time import perf_counter

from msgspec import UNSET

from charloom.config import NgramConfig, RunConfig, replace
from charloom.data.dataset import Dataset
from charloom.data.tokenizer import Tokenizer
from charloom.evaluation import Score, evaluate, evaluate_part
from charloom.generation.sampling import generate
from charloom.models.engines import create_model, pick_engine
from charloom.models.protocols import LanguageModel, Learner, LendsModel
from charloom.runs.metrics import Line, Setback
from charloom.runs.run import Run
from charloom.training import mixture
from charloom.training.cadence import counted_at_end, intervals, is_due, scored_at_end
from charloom.training.events import Sampled
from charloom.training.scoring import SAMPLE_TIMES, TELLING
from charloom.training.state import TrainState
from charloom.training.time_budget import End
from charloom.training.writer import RunWriter

ROOM = 1.2  # times what scoring at the end should take is kept for it
SCORING_SHARE = 0.4  # of the time that learning from as many characters takes; if it is not known
COUNTING_PACE = 400_000  # characters of n-grams a second
MIXING_PACE = 700_000  # characters of n-grams of one order
TELLING_PACE = 200_000  # characters a second on which the orders of n-grams are compared


class Monitor:
    """Evaluates and samples the model of a run; `every` says after how many steps what is due.

    `validation` is what is scored, or a part of it; None if nothing is.
    `end` is what scoring the best model at the end will cost, and `pace` how many ids a second
    that is, once it is known.
    """

    def __init__(self, run: Run, parts: Dataset, state: TrainState) -> None:
        config, validation = run.config, parts.validation
        size = 0 if validation is None else len(validation)
        self.every, scored = intervals(config.train, config.watch, state.total, size)
        if not size:
            self.every = self.every._replace(evaluate=0)
        self.validation = validation if self.every.evaluate else None
        if config.extended:  # so that losses can be compared
            scored = config.extended[-1].scored
        self._most = scored  # ids of it
        self.pace: float | None = None
        self._run, self._state = run, state
        model, engine = config.model, config.engine
        assert not isinstance(model, NgramConfig)
        self._scores_alike = pick_engine(engine, model, config.train) == pick_engine("auto", model)
        self.end = self._end(parts)

    def _end(self, parts: Dataset) -> End:
        train, held_out, seconds = self._run.config.train, parts.validation, 0.0
        if held_out is not None:
            counted = min(len(parts.train), counted_at_end(train))
            seconds = counted / COUNTING_PACE + min(TELLING, len(held_out)) / TELLING_PACE
        ids, times = parts.train if held_out is None else held_out, ROOM
        if train.mixture:  # n-grams are counted twice, and the network is scored alone, too
            learned = mixture.counted(train, len(parts.train))
            seconds += 2 * learned / MIXING_PACE
            times = 2 * ROOM
        scored = scored_at_end(train, self._state.total, len(ids))
        if self.validation is None:
            updates = SCORING_SHARE * scored / (train.batch * train.length)
            return End(0.0, SAMPLE_TIMES, updates, seconds)
        return End(times * scored / self._most, SAMPLE_TIMES, 0.0, seconds)

    @property
    def least(self) -> dict[str, float]:
        """Return how many updates an evaluation and a sample cost, as if they were learned."""
        train, watch = self._run.config.train, self._run.config.watch
        read = {"evaluate": self._most, "sample": watch.sample_length}
        return {pause: count / (train.batch * train.length) for pause, count in read.items()}

    @property
    def notes(self) -> list[str]:
        """Return sentences on what is not scored."""
        validation, most = self.validation, self._most
        if validation is None or most >= len(validation):
            return []
        count = self._run.vocabulary.count
        part, whole = count(validation[:most]), count(validation)
        which = f"{part:,} of {whole:,} characters, spread evenly"
        if not self._state.spread:
            which = f"the first {part:,} of {whole:,} characters"
        return [
            f"during training, the validation loss is that of {which}; at the end, the best "
            "checkpoint is scored on all of it, or on as much as there is time for"
        ]

    @property
    def evaluates(self) -> bool:
        """Whether the validation loss is due at this step."""
        state = self._state
        return self.validation is not None and is_due(state.step, state.total, self.every.evaluate)

    @property
    def samples(self) -> bool:
        """Whether a sample is due at this step."""
        watch, state = self._run.config.watch, self._state
        below = watch.sample_below * state.first_loss
        if state.losses.sampled is not None:
            below = min(below, state.losses.sampled)
        low = not watch.sample_at_best or state.losses.smooth < below
        return low and is_due(state.step, state.total, self.every.sample)

    def evaluate(self) -> Score:
        """Score the validation text, or a part of it."""
        ids, most = self.validation, self._most
        assert ids is not None
        began, model = perf_counter(), self._model()
        if most >= len(ids):
            score = evaluate(model, ids)
        elif self._state.spread:
            score = evaluate_part(model, ids, most)
        else:
            whole = self._run.vocabulary.count(ids)
            score = replace(evaluate(model, ids[:most]), whole=whole)
        if self._scores_alike:
            self.pace = most / max(perf_counter() - began, 1e-9)
        return score

    def sample(self) -> str:
        """Generate a sample, with a seed of its own at each step."""
        watch = self._run.config.watch
        seed = None if watch.sample.seed is None else watch.sample.seed + self._state.step
        config = replace(watch.sample, seed=seed)
        return "".join(generate(self._model(), config, length=watch.sample_length))

    def keep(self, text: str, writer: RunWriter) -> Sampled:
        """Write a sample into the run; if the loss is low enough, into generated.txt, too."""
        state, watch = self._state, self._run.config.watch
        smooth = state.losses.smooth
        if watch.sample_at_best:
            state.losses.sampled = smooth
        low = smooth / state.first_loss < (watch.write_below or 0.0)
        writer.write_sample(state.step, text, smooth if low else None)
        return Sampled(state.step, text)

    def log(self, seconds: float, score: Score | None, writer: RunWriter) -> None:
        """Add a line of metrics after so many seconds of training: losses since the line before."""
        state, losses = self._state, self._state.losses
        since = state.step - losses.count  # the step of the line before
        line = Line(
            step=state.step,
            characters=state.characters,
            seconds=seconds,
            loss=losses.sum / losses.count if losses.count else None,
            smooth=losses.smooth,
            rate=state.schedule.rate(state.step - 1),
            gradient_norm=state.gradient_norm,
            validation=score.nats if score else UNSET,
            setbacks=tuple(
                Setback(back.at, back.to, back.loss) for back in state.rollbacks if back.to >= since
            ),
        )
        writer.log(line)
        losses.sum, losses.count = 0.0, 0

    def _model(self) -> LanguageModel:
        return model_of(self._state.learner, self._run.config, self._run.vocabulary)


def model_of(learner: Learner, config: RunConfig, vocabulary: Tokenizer) -> LanguageModel:
    """Return the model that a learner trains, as it is now; valid until the next update."""
    if isinstance(learner, LendsModel):
        return learner.model(vocabulary)
    engine = pick_engine(config.engine, config.model, config.train)  # a GPU trains and reads
    return create_model(config.model, learner.arrays(), vocabulary, engine, config.dtype)
