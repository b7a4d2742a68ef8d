"""How a run begins: a text and what is given become settings and a run, for the time there is.

Speeds are measured here: some updates, on the text itself, of the models that might be chosen
(recipe.py says which).
"""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from charloom.config import DataConfig, NgramConfig, PretrainedConfig, RunConfig, replace
from charloom.data.batches import check_fits, open_batches
from charloom.data.dataset import Corpus, fewest_characters
from charloom.data.split import arrange, split_text, usual_split
from charloom.data.text import Text, read_text
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.data.vocabulary import Vocabulary, describe
from charloom.errors import CharloomError
from charloom.evaluation import evaluate
from charloom.formatting import listed
from charloom.generation.sampling import generate
from charloom.models.engines import Learner, create_learner, load_torchnet
from charloom.models.weights import parameter_count
from charloom.progress import Tell, say_nothing
from charloom.runs.run import Run, check_free
from charloom.training.monitor import model_of
from charloom.training.recipe import Choice, Reasons, Size, choose, shown_epochs, speed
from charloom.training.scoring import Counts
from charloom.training.settings import SHAPE, configure, default_folders

EPOCHS_IF_OPEN = 10  # of a run that nothing ends, within these bounds
FEWEST_READ, MOST_READ = 4_000_000, 100_000_000  # characters
EVALUATING_SHARE = 0.07  # of the time, planned for evaluations, samples and checkpoints
MEASURING_SHARE = 0.08  # of the time, at most
TIMING_SECONDS = 0.25  # for one model, at most: two updates at least
MODELS_TIMED = 3  # at most
STEPS_OF_TEXT = 16  # of the first characters of the text, to measure with
COMPILING_SECONDS = 2.0  # of a first update, above which it has been compiling


class Plan(NamedTuple):
    """Settings that say when the run ends, and (what, why) in a line each.

    Minutes count from `began`, a reading of perf_counter.
    """

    config: RunConfig
    reasons: Reasons
    began: float


class Prepared(NamedTuple):
    """A run that is ready to train: `train(run, began=began)`, with the reasons of its plan."""

    run: Run
    reasons: Reasons
    began: float


def prepare(
    sources: Sequence[str],
    given: Mapping[str, Any],
    out: str | Path | None = None,
    *,
    text: Text | None = None,
    tell: Tell = say_nothing,
    began: float | None = None,
) -> Prepared:
    """Begin a run on a text with what is `given` (see `configure`), the rest chosen for it.

    `out` is a new folder, by default runs/TEXT-MODEL; `text` is that of the sources, if it has
    been read already. Minutes count from `began`, a reading of perf_counter; None is now. Raises
    CharloomError, and then makes no folder.
    """
    began = perf_counter() if began is None else began
    config = configure(sources, given)
    if out is not None:
        check_free(Path(out))
    if text is None:
        tell("reading the text")
        text = read_text(sources, tell)
    if "split" not in given:
        config = replace(config, data=_usual(config, text))
    text = arrange(text, config.data, tell)
    kept = None if config.preset else {*given, *(SHAPE if config.start else ())}
    config, reasons, began = plan(config, kept, text, began, tell)
    run = _create(config, text, out, tell)
    run.dataset(tell)
    return Prepared(run, reasons, began)


def _create(config: RunConfig, text: Text, out: str | Path | None, tell: Tell) -> Run:
    """Create a run in `out`, or in the first folder that neither a run nor a process has."""
    vocabulary = _vocabulary(config, text)
    if out is not None:
        return Run.create(out, config, vocabulary, text, tell)
    for folder in default_folders(config):
        try:
            return Run.create(folder, config, vocabulary, text, tell)
        except CharloomError as error:
            if error.code not in ("taken", "busy"):
                raise
    raise AssertionError("there is no last name")


def new_run(
    path: str | Path, config: RunConfig, text: Text | None = None, tell: Tell = say_nothing
) -> Run:
    """Begin a run folder with these settings, for the text that they name.

    Only the number of iterations is chosen, if there is none. Raises CharloomError, and then
    makes no folder.
    """
    text = read_text(config.data.sources, tell) if text is None else text
    text = arrange(text, config.data, tell)
    if config.train.iterations is None:
        config = plan(config, None, text, perf_counter(), tell).config
    vocabulary = _vocabulary(config, text)
    _check_fits(config, text, vocabulary)
    return Run.create(path, config, vocabulary, text, tell)


def plan(
    config: RunConfig,
    given: Collection[str] | None,
    text: Text,
    began: float,
    tell: Tell = say_nothing,
) -> Plan:
    """Resolve "auto": choose what is not `given` for this text, and when the run ends.

    `given` are names of settings; None takes the settings as they are. A run with minutes gets
    the iterations that fit into them, counted from `began`, a reading of perf_counter: the speed
    of this machine is measured. If half of the time is over before the first update, because
    something had to be compiled, that half is left all the same. Otherwise nothing is measured:
    the same text and settings give the same plan. A run that nothing ends reads its text ten
    times, but 4 million characters at least and 100 million at most. Raises CharloomError.
    """
    if isinstance(config.model, NgramConfig):
        return Plan(config, (), began)
    vocabulary = _vocabulary(config, text)
    if given is None:
        _check_fits(config, text, vocabulary)
    fewest = 3 if given is not None else fewest_characters(config)
    N = split_text(text.characters, config.data, fewest, text.layout).train.stop
    planner = _Planner(config, given, text, vocabulary, N)
    train = config.train
    if train.minutes is not None:
        found = planner.measured(60 * train.minutes, began, tell)
    elif train.iterations is None and train.epochs is None:
        characters = min(max(EPOCHS_IF_OPEN * N, FEWEST_READ), MOST_READ)
        steps = math.ceil(characters / (train.batch * train.length * planner.per_id))
        found = Plan(replace(config, train=replace(train, iterations=steps)), (), began)
    else:
        choice = planner.choose(None)
        found = Plan(choice.config, choice.reasons, began)
    _check_fits(found.config, text, vocabulary)
    return found


def _usual(config: RunConfig, text: Text) -> DataConfig:
    """Choose the split: that of the run to begin with, if it learned from the same sources."""
    data = config.data
    if config.start is not None:
        start = Run.open(config.start)
        if start.corpus.sources == Corpus.of(text, data.sources).sources:
            return replace(
                data, split=start.config.data.split, split_seed=start.config.data.split_seed
            )
    return replace(data, split=usual_split(text))


def _check_fits(config: RunConfig, text: Text, vocabulary: Tokenizer) -> None:
    """Raise CharloomError if the training text is too short for one step."""
    if not isinstance(config.model, NgramConfig):
        train = config.train
        minimum = fewest_characters(config)
        N = split_text(text.characters, config.data, minimum, text.layout).train.stop
        ids, _ = _ids(config, text, vocabulary, N)
        check_fits(ids, train.batch, train.length, vocabulary.unit)


def _vocabulary(config: RunConfig, text: Text) -> Tokenizer:
    """The characters of the text and of the weights that it begins with, or the tokens of these."""
    vocabulary: Tokenizer
    if config.start is not None:
        start, vocabulary = config.start, Run.open(config.start).vocabulary
    elif isinstance(config.model, PretrainedConfig):
        start = config.model.source
        vocabulary = load_torchnet().read_tokens(start)
    else:
        return Vocabulary.from_alphabet(text.alphabet, text.characters)
    if vocabulary.unit == "characters":
        return Vocabulary(tuple(sorted({*vocabulary.characters, *text.alphabet})))
    if unknown := vocabulary.unknown(text.alphabet):
        message = (
            f"{start} does not know {listed([*map(describe, unknown)])}: take them out, or "
            "train without --from"
        )
        raise CharloomError(message, "unknown-character", path=start)
    return vocabulary


def _beginning(config: RunConfig, text: Text, vocabulary: Tokenizer, characters: int) -> Ids:
    """The first ids of the training text, which has so many characters: enough for some steps."""
    enough = STEPS_OF_TEXT * fewest_characters(config)
    return vocabulary.encode(text.head(min(characters, enough)))


def _ids(
    config: RunConfig, text: Text, vocabulary: Tokenizer, characters: int
) -> tuple[int, float]:
    """How many ids the training text has, or else enough, and how many characters one is."""
    if vocabulary.unit == "characters":
        return characters, 1.0
    ids = _beginning(config, text, vocabulary, characters)
    return len(ids), vocabulary.count(ids) / max(1, len(ids))


class _Planner:
    """Measured speeds, and what is chosen by them."""

    def __init__(
        self,
        config: RunConfig,
        given: Collection[str] | None,
        text: Text,
        vocabulary: Tokenizer,
        characters: int,
    ) -> None:
        self.config, self.given, self.text = config, given, text
        self.vocabulary = vocabulary
        _, self.per_id = _ids(config, text, vocabulary, characters)
        self.size = Size(characters, len(vocabulary))
        self.speeds: dict[int, float] = {}  # parameters of a model -> characters a second

    def choose(self, seconds: float | None) -> Choice:
        if self.given is None:
            return Choice(self.config, 0.0, ())
        return choose(self.config, self.given, self.size, seconds, self.speeds)

    def measured(self, budget: float, began: float, tell: Tell) -> Plan:
        """Time the model that would be chosen, until it has been timed."""
        tell("measuring the speed of this machine; the first time takes some seconds")
        start, asked, compiled = perf_counter(), began, 0.0

        def left() -> float:
            return max(0.0, (budget - (perf_counter() - began)) * (1 - EVALUATING_SHARE))

        for _ in range(MODELS_TIMED):
            choice = self.choose(left())
            late = perf_counter() - start > MEASURING_SHARE * budget
            if late or self._parameters(choice) in self.speeds:
                break
            self.speeds[self._parameters(choice)], first = self._time(choice.config, budget)
            start, compiled = start + first, max(compiled, first)
            began = max(began, perf_counter() - budget / 2)
        choice = self.choose(left())
        pace = speed(self._parameters(choice), self.speeds)
        train = choice.config.train
        most = math.inf if train.epochs is None else train.epochs * self.size.characters
        read = min(left() * pace, most)
        iterations = max(1, int(read / (train.batch * train.length * self.per_id)))
        config = replace(choice.config, train=replace(train, iterations=iterations))
        reasons = self._reasons(choice, pace, read, compiled, late=began - asked)
        return Plan(config, tuple(reasons), began)

    def _parameters(self, choice: Choice) -> int:
        assert not isinstance(choice.config.model, NgramConfig)
        return parameter_count(choice.config.model, len(self.vocabulary))

    def _time(self, config: RunConfig, budget: float) -> tuple[float, float]:
        """Return characters a second, and the seconds by which the first update took longer."""
        model, train = config.model, config.train
        assert not isinstance(model, NgramConfig)
        learner = create_learner(model, train, len(self.vocabulary), config.engine, config.dtype)
        ids = _beginning(config, self.text, self.vocabulary, self.size.characters)
        batches = open_batches(ids, train)

        def update() -> float:
            began = perf_counter()
            inputs, targets, fresh = batches.next()
            if fresh:
                learner.reset()
            float(learner.update(inputs, targets, 0.0))
            return perf_counter() - began

        first = update()
        if not self.speeds:
            first += self._start(config, learner, ids[:9])
        timed = [update(), update()]
        while sum(timed) < min(TIMING_SECONDS, MEASURING_SHARE * budget / MODELS_TIMED):
            timed.append(update())
        mean = sum(timed) / len(timed)
        return train.batch * train.length * self.per_id / mean, max(0.0, first - mean)

    def _start(self, config: RunConfig, learner: Learner, ids: Ids) -> float:
        """Evaluate, sample and count once, so that all is compiled; returns seconds."""
        began = perf_counter()
        model = model_of(learner, config, self.vocabulary)
        evaluate(model, ids)
        if config.data.validation:
            Counts.of(ids, ids, self.vocabulary, len(ids))
        deque(generate(model, config.watch.sample, length=1))
        return perf_counter() - began

    def _reasons(
        self, choice: Choice, pace: float, read: float, compiled: float, late: float
    ) -> Iterator[tuple[str, str]]:
        minutes, epochs = self.config.train.minutes, read / self.size.characters
        shown = f"{minutes:g} minute{'' if minutes == 1 else 's'}, {float(f'{pace:.2g}'):,.0f}"
        end = shown_epochs(epochs)
        if choice.config.train.epochs == epochs:
            end += f" take {read / pace:.0f} s; in more, a model would memorise the text"
        yield "time", f"{shown} characters/s here: {end}"
        yield from choice.reasons
        if compiled > COMPILING_SECONDS:
            end = f"; to leave half the time, the run ends {late:.0f} s later" if late else ""
            yield "note", f"compiling took {compiled:.0f} s, the first time only{end}"
