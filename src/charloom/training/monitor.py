"""What is looked at on the way: held-out loss, samples, a line of metrics. Nothing is changed."""

import msgspec

from charloom.config import NgramConfig, replace
from charloom.data.tokenizer import Ids
from charloom.evaluation import Score, evaluate
from charloom.generation.sampling import generate
from charloom.models.engines import LanguageModel, create_model, pick_engine
from charloom.runs.meta import Rollback
from charloom.runs.run import Run
from charloom.training.cadence import intervals
from charloom.training.events import Sampled
from charloom.training.state import TrainState
from charloom.training.writer import RunWriter


class Monitor:
    """Looks at the network of a run as its settings say; `every` says when.

    `notes` are sentences on what is not looked at. `untold` are rollbacks that are still to
    stand in metrics.jsonl.
    """

    def __init__(self, run: Run, held_out: Ids | None, now: TrainState, writer: RunWriter) -> None:
        config, size = run.config, 0 if held_out is None else len(held_out)
        self.every, scored = intervals(config.train, config.watch, now.total, size)
        self.held_out = None if held_out is None or not self.every.evaluate else held_out[:scored]
        self.notes: list[str] = []
        self.untold: list[Rollback] = []
        if held_out is not None and self.held_out is not None and scored < size:
            part, whole = map(run.vocabulary.count, (self.held_out, held_out))
            how = f"on the way the first {part:,} of {whole:,} held-out characters are scored"
            self.notes.append(f"{how}; `charloom evaluate` scores all")
        self._run, self._now, self._writer = run, now, writer

    def next(self) -> int:
        """Return the step after which something is due."""
        now = self._now
        return min(now.total, *((now.step // every + 1) * every for every in self.every if every))

    def is_due(self, every: int) -> bool:
        """Whether what is done so often is due at this step."""
        return every > 0 and (self._now.step % every == 0 or self._now.step == self._now.total)

    def scores(self) -> bool:
        """Whether held-out text is to be scored at this step."""
        return self.held_out is not None and self.is_due(self.every.evaluate)

    def score(self) -> Score:
        """Score the held-out text."""
        assert self.held_out is not None
        return evaluate(self._model(), self.held_out)

    def samples(self) -> bool:
        """Whether the network is to write something at this step."""
        watch, losses = self._run.config.watch, self._now.losses
        below = watch.sample_below * self._now.first_loss
        if losses.sampled is not None:
            below = min(below, losses.sampled)
        low = not watch.sample_at_best or losses.smooth < below
        return low and self.is_due(self.every.sample)

    def sample(self) -> str:
        """Let the network write."""
        watch = self._run.config.watch
        seed = None if watch.sample.seed is None else watch.sample.seed + self._now.step
        config = replace(watch.sample, seed=seed)
        return "".join(generate(self._model(), config, length=watch.sample_length))

    def keep_sample(self, text: str) -> Sampled:
        """Keep what `sample` gave."""
        now, watch = self._now, self._run.config.watch
        if watch.sample_at_best:
            now.losses.sampled = now.losses.smooth
        self._writer.write_sample(now.step, text)
        share = now.losses.smooth / now.first_loss
        if watch.write_below is not None and share < watch.write_below:
            self._writer.append_generated(now.step, now.losses.smooth, text)
        return Sampled(now.step, text)

    def log(self, seconds: float, score: Score | None) -> None:
        """Add a line of metrics, after so many seconds of training."""
        now, train = self._now, self._run.config.train
        record = {
            "step": now.step,
            "characters": round(now.step * train.batch * train.length * now.per_id),
            "seconds": seconds,
            "loss": now.losses.sum / now.losses.count,
            "smooth": now.losses.smooth,
            "rate": now.schedule.rate(now.step - 1),
        }
        norm = now.gradient_norm
        record |= {} if norm is None else {"gradient_norm": norm}
        record |= {"validation": score.nats} if score else {}
        record |= {"setbacks": msgspec.to_builtins(self.untold)} if self.untold else {}
        self._writer.log(record)
        now.losses.sum, now.losses.count, self.untold = 0.0, 0, []

    def _model(self) -> LanguageModel:
        config, model = self._run.config, self._run.config.model
        assert not isinstance(model, NgramConfig)
        engine = pick_engine(config.engine, model, config.train)  # a GPU that trains also reads
        arrays = self._now.learner.arrays()
        return create_model(model, arrays, self._run.vocabulary, engine, config.dtype)
