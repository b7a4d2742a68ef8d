"""How a run begins: a text and what is given become settings and a run, for the time there is.

What might be chosen (recipe.py says what) is timed first (speeds.py).
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, NamedTuple

from charloom.config import (
    DataConfig,
    EnsembleConfig,
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    replace,
)
from charloom.data.batches import check_fits
from charloom.data.dataset import Corpus, fewest_characters
from charloom.data.reading import Reading
from charloom.data.split import arrange, split_text, usual_split
from charloom.data.text import Text, read_text
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.models.engines import has_amx, has_torch, load_torchnet, pick_engine
from charloom.progress import Tell, say_nothing
from charloom.runs.folders import check_free
from charloom.runs.run import Run
from charloom.runs.start import first_vocabulary
from charloom.training.cadence import FEWEST_CHARACTERS
from charloom.training.recipe import (
    FEWEST_STEPS,
    MOST_NETWORKS,
    Choice,
    Reasons,
    Size,
    alone,
    choose,
    shown_epochs,
)
from charloom.training.settings import SHAPE, configure, default_folders
from charloom.training.speeds import SIZES, STRIDE, Speeds, fewest_rows, smaller
from charloom.training.suspects import suspects

EPOCHS_IF_OPEN = 10  # of a run that nothing ends, within these bounds
FEWEST_READ, MOST_READ = 4_000_000, 100_000_000  # characters
EVALUATING_SHARE = 0.07  # of the time, planned for evaluations, samples and checkpoints
MEASURING_SHARE = 0.08  # of the time, at most
MODELS_TIMED = 3  # at most
SCORED = 2  # times the least: at the last step, and the best model at the end
ROOM = 3  # times what a size that is named needs: machines have other work, too
STEPS_OF_TEXT = 16  # of the first characters of the text, to measure with
BF16_GAIN = 1.1  # times as fast bf16 must be, to be taken
LOOKS, LOOK_SECONDS = 20, 0.1
MODEL_SIZES = {"hidden", "width", "layers"}
STARTING_SECONDS = 2.0  # of compiling, above which that is said


class Plan(NamedTuple):
    """Settings that say when the run ends, and (what, why) in a line each.

    Minutes count from `began`, a reading of perf_counter. `pace` is how many characters a second
    are learned, if that was measured.
    """

    config: RunConfig
    reasons: Reasons
    began: float
    pace: float | None = None


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
    _check_engine(config)
    if out is not None:
        check_free(Path(out))
    is_new = text is None
    if text is None:
        tell("reading the text")
        or_raw = config.data.unit == "byte" and config.start is None
        text = read_text(sources, tell, _reading(config), or_raw)
    data = replace(config.data, boundaries=text.has_boundaries, raw=text.raw)
    config = replace(config, data=data)
    if "split" not in given:
        config = replace(config, data=_usual(config, text))
    found, text = text, arrange(text, config.data, tell)
    if is_new and not text.raw:
        told = suspects(found, text, config, tell)
        text = dataclasses.replace(text, notes=(*text.notes, *told))
    kept = None if config.preset else {*given, *(SHAPE if config.start else ())}
    if kept and "context" in given:  # the length that it is trained on
        kept |= {"length"}
    vocabulary = first_vocabulary(config, text, tell)
    config, reasons, began, _ = plan(config, kept, text, began, tell, vocabulary)
    run = _create(config, vocabulary, text, out, tell)
    _write_ids(run, tell)
    return Prepared(run, reasons, began)


def _reading(config: RunConfig) -> Reading:
    """Return how the text of a new run is read: with boundaries, unless it is a list of lines.

    Tokens of a pretrained model have a way of their own to end a text, and those of a run know the
    boundary or will never.
    """
    bounded = config.data.split != "lines" and not isinstance(config.model, PretrainedConfig)
    if config.start is not None and config.data.unit in ("bpe", "word"):
        bounded = bounded and Run.open(config.start).vocabulary.boundary is not None
    return Reading.of(config.data)._replace(boundaries=bounded)


def _check_engine(config: RunConfig) -> None:
    """Raise CharloomError if the engine cannot train the model, or is not installed."""
    if isinstance(config.model, NgramConfig):
        return
    if pick_engine(config.engine, config.model, config.train) == "torch" and not has_torch():
        load_torchnet()  # raises


def _create(
    config: RunConfig, vocabulary: Tokenizer, text: Text, out: str | Path | None, tell: Tell
) -> Run:
    """Create a run in `out`, or in the first folder that neither a run nor a process has."""
    if out is not None:
        return Run.create(out, config, vocabulary, text, tell)
    for folder in default_folders(config):
        try:
            return Run.create(folder, config, vocabulary, text, tell)
        except CharloomError as error:
            if error.code not in ("taken", "busy"):
                raise
    raise AssertionError("there is no last name")


def _write_ids(run: Run, tell: Tell) -> None:
    """Write the ids of a new run; wait while another process looks whether its folder is free."""
    for _ in range(LOOKS):
        try:
            run.dataset(tell)
            return
        except CharloomError as error:
            if error.code != "busy":
                raise
        sleep(LOOK_SECONDS)
    run.dataset(tell)


def plan(
    config: RunConfig,
    given: Collection[str] | None,
    text: Text,
    began: float,
    tell: Tell = say_nothing,
    vocabulary: Tokenizer | None = None,
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
    if vocabulary is None:
        vocabulary = first_vocabulary(config, text, tell)
    if given is None:
        _check_fits(config, text, vocabulary)
    fewest = 3 if given is not None else fewest_characters(config)
    split = split_text(text.characters, config.data, fewest, text.layout)
    held_out, N = split.validation or split.train, split.train.stop
    scored = min(FEWEST_CHARACTERS, held_out.stop - held_out.start)
    planner = Planner(config, given, text, vocabulary, N, scored)
    train = config.train
    if train.minutes is not None:
        found = planner.measured(60 * train.minutes, began, tell)
    elif train.iterations is None and train.epochs is None:
        characters = min(max(EPOCHS_IF_OPEN * N, FEWEST_READ), MOST_READ)
        steps = math.ceil(characters / (train.batch * train.length * planner.size.per_id))
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
    train, fewest = config.train, fewest_characters(config)
    N = split_text(text.characters, config.data, fewest, text.layout).train.stop
    ids, _ = _ids(config, text, vocabulary, N)
    ids -= int(train.mixture * ids)
    check_fits(ids, train.batch, train.length, vocabulary.unit)


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


class Planner:
    """Measured speeds, and what is chosen by them."""

    def __init__(
        self,
        config: RunConfig,
        given: Collection[str] | None,
        text: Text,
        vocabulary: Tokenizer,
        characters: int,
        scored: int,
    ) -> None:
        self.config, self.given, self.scored = config, given, scored
        ids, per_id = _ids(config, text, vocabulary, characters)
        unit, rows = vocabulary.unit.removesuffix("s"), fewest_rows(config.train)
        self.size = Size(characters, len(vocabulary), ids, rows, per_id, unit)
        beginning = _beginning(config, text, vocabulary, characters)
        self.speeds = Speeds(beginning, vocabulary, per_id)
        self.bf16_gain: float | None = None  # how many times as fast it is, if it is taken
        self._looked_for_precision = False

    def choose(self, seconds: float | None) -> Choice:
        """Choose what is not given, for so many seconds of updates or without such an end."""
        if self.given is None:
            return Choice(self.config, 0.0, ())
        config = self.config
        engine = pick_engine(config.engine, config.model, config.train)
        most = MOST_NETWORKS if engine == "compiled" else 1
        found = self.speeds
        given, gain = self.given, found.gain or 1.0
        return choose(config, given, self.size, seconds, found.measured, most, gain)

    def measured(self, budget: float, began: float, tell: Tell) -> Plan:
        """Time the model that would be chosen, until it has been timed.

        Of one whose updates take long, smaller ones are timed. Raises CharloomError if too few
        updates fit into `budget` seconds.
        """
        tell("starting the engine, which takes longer the first time")
        asked, starting = began, self.speeds.compile(self.choose(budget).config)
        tell("measuring the speed of this machine")
        start = perf_counter()
        began = max(began, start - budget / 2)

        def left() -> float:
            return max(0.0, (budget - (perf_counter() - began)) * (1 - EVALUATING_SHARE))

        for _ in range(MODELS_TIMED):
            each = MEASURING_SHARE * budget / MODELS_TIMED
            config = self.speeds.within(self.choose(left()).config, each / 2)
            late = perf_counter() - start > MEASURING_SHARE * budget
            if late or self.speeds.has(config):
                break
            slower = self.speeds.time(config, each)
            slower += self._take_faster_precision(config, each)
            start, starting = start + slower, starting + slower
            began = max(began, perf_counter() - budget / 2)
        choice = self.choose(left())
        if isinstance(choice.config.model, EnsembleConfig):
            self.speeds.time_together(choice.config, MEASURING_SHARE * budget / MODELS_TIMED)
        choice = self.choose(max(0.0, left() - self._scoring(choice.config)))
        self.check_time(choice.config, budget, left)
        pace, train = self.speeds.of(choice.config), choice.config.train
        most = math.inf if train.epochs is None else train.epochs * self.size.characters
        read = min(left() * pace, most)
        iterations = max(1, int(read / (train.batch * train.length * self.size.per_id)))
        config = replace(choice.config, train=replace(train, iterations=iterations))
        reasons = self._reasons(choice, pace, read, starting, late=began - asked)
        return Plan(config, tuple(reasons), began, pace)

    def _take_faster_precision(self, config: RunConfig, seconds: float) -> float:
        """Compute in bf16 from here on if that was left open and is faster, as `config` shows.

        Returns the seconds by which a first update was slower.
        """
        if self._looked_for_precision or not self._leaves_precision_open(config):
            return 0.0
        self._looked_for_precision = True
        full = self.speeds.of(config)
        slower = self.speeds.time(_in_bf16(config), seconds)
        if self.speeds.of(config) > BF16_GAIN * full:
            self.bf16_gain = self.speeds.of(config) / full
            self.config = _in_bf16(self.config)
        else:
            self.speeds.put_back(config, full)
        return slower

    def _leaves_precision_open(self, config: RunConfig) -> bool:
        """Whether the compiled engine may multiply in bf16, and nothing says if it should."""
        return (
            self.given is not None
            and "precision" not in self.given
            and isinstance(config.model, ModelConfig | EnsembleConfig)
            and config.train.precision == "full"
            and config.dtype == "float32"
            and pick_engine(config.engine, config.model, config.train) == "compiled"
            and has_amx()
        )

    def check_time(self, config: RunConfig, budget: float, left: Callable[[], float]) -> None:
        """Raise CharloomError if FEWEST_STEPS do not fit; it names a size with which they do.

        A model whose size was given must have been timed.
        """
        start, seconds, asked = perf_counter(), left(), not MODEL_SIZES.isdisjoint(self._sizes())
        while (
            asked
            and not self.speeds.has_model(config)
            and max(self._needs(config), STRIDE * (perf_counter() - start)) <= left()
        ):
            self.speeds.time(self.speeds.towards(config), seconds / STRIDE)
        if self._needs(config) <= left() and (not asked or self.speeds.has_model(config)):
            return
        step, spent = self.speeds.update_seconds(config), budget - left()
        fits = self._timed(config, left)
        minutes = (ROOM * self._needs(config) / (1 - EVALUATING_SHARE) + spent) / 60
        cures = [f"--minutes {_shown(minutes)}"]
        changed = {} if fits is None else self._changes(config, fits)
        if changed:
            cures.insert(0, " ".join(f"--{name} {value}" for name, value in changed.items()))
        message = (
            f"a step of this model takes about {_shown(step)} s here, and in the "
            f"{_shown(seconds)} s left of {budget:g} it would learn next to nothing: give "
            f"{' or '.join(cures)}"
        )
        raise CharloomError(message, "bad-setting", field="minutes", fits=changed)

    def _needs(self, config: RunConfig) -> float:
        """Return how many seconds FEWEST_STEPS take, and what is scored."""
        return FEWEST_STEPS * self.speeds.update_seconds(config) + self._scoring(config)

    def _scoring(self, config: RunConfig) -> float:
        """Return how many seconds it takes to score the least there is, as if it was learned."""
        return SCORED * self.scored / self.speeds.of(config)

    def _timed(self, config: RunConfig, left: Callable[[], float]) -> RunConfig | None:
        """Return smaller sizes that have been timed and fit well; None if none was found."""
        names, seconds = self._sizes(), left() / ROOM
        for _ in range(MODELS_TIMED):
            while self._needs(config) > seconds and (half := smaller(config, names)):
                config = half
            if not self.speeds.has(config):
                self.speeds.time(config, seconds)
            if self._needs(config) <= seconds:
                return config
        return None

    def _sizes(self) -> list[str]:
        """Return the sizes that the user can change: those that were given."""
        return [name for name in SIZES if self.given is None or name in self.given]

    def _changes(self, config: RunConfig, fits: RunConfig) -> dict[str, int]:
        """Return by name the sizes that are others in `fits`."""
        return {
            name: getattr(now, name)
            for then, now in (
                (alone(config.model)[0], alone(fits.model)[0]),
                (config.train, fits.train),
            )
            for name in self._sizes()
            if name in now.__struct_fields__ and getattr(now, name) != getattr(then, name)
        }

    def _reasons(
        self, choice: Choice, pace: float, read: float, starting: float, late: float
    ) -> Iterator[tuple[str, str]]:
        minutes, epochs = self.config.train.minutes, read / self.size.characters
        shown = f"{minutes:g} minute{'' if minutes == 1 else 's'}, {float(f'{pace:.2g}'):,.0f}"
        _, networks = alone(choice.config.model)
        end = shown_epochs(epochs) + (f" of {networks} networks" if networks > 1 else "")
        if choice.config.train.epochs == epochs:
            who = "they" if networks > 1 else "a model"
            end += f" take {read / pace:.0f} s; in more, {who} would memorise the text"
        yield "time", f"{shown} characters/s here: {end}"
        yield from choice.reasons
        if self.bf16_gain:
            yield (
                "speed",
                f"products in bf16, with which a step is {self.bf16_gain:.1f} times as fast here",
            )
        notes = []
        if starting > STARTING_SECONDS:
            notes.append(f"starting the engine took {starting:.0f} s, less the next time")
        if late >= 1:
            notes.append(f"the run ends {late:.0f} s later, so that half of its time is left")
        if notes:
            yield "note", "; ".join(notes)


def _in_bf16(config: RunConfig) -> RunConfig:
    return replace(config, train=replace(config.train, precision="bf16"))


def _shown(number: float) -> str:
    """Return a number to two digits."""
    return f"{float(f'{number:.2g}'):g}"
