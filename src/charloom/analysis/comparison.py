"""One yardstick: runs of any kind, and baselines, on the same held-out text."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import fspath
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from charloom.analysis.baselines import UNIFORM, baselines
from charloom.analysis.contamination import (
    CONTAMINATED_SHARE,
    TrainingText,
    training_texts,
    warning,
)
from charloom.analysis.inputs import HeldOut, Part, decode, shared_held_out
from charloom.config import NgramConfig, SampleConfig
from charloom.data.boundary import readable
from charloom.data.rare import as_learned
from charloom.data.text import Text
from charloom.data.token_file import map_text
from charloom.data.tokenizer import Ids
from charloom.data.unknown import check_known
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import Score, evaluate
from charloom.formatting import LN2, nats_and_bits
from charloom.generation.sampling import generate
from charloom.models.protocols import LanguageModel
from charloom.progress import Tell, say_nothing
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training import adaptation

BASELINE_IDS = 10_000_000  # of the training text at most that baselines are fitted to
SAMPLING_SECONDS = 0.5  # of each run, to measure its speed
SPEED_TRIALS = 5  # of which the median is taken
ENDLESS = 10**9  # characters
LEVEL = 0.0005  # nats: a smaller difference is not seen at three places


@runtime_checkable
class CountsParameters(Protocol):
    """A model that knows how many parameters it has: n-grams, pretrained models."""

    @property
    def parameter_count(self) -> int:
        """How many numbers the model has."""


@dataclass(frozen=True)
class Entry:
    """A run or a baseline, and how well it predicts the text: mean `nats` per character.

    `seconds` is how long it was trained, `speed` how many characters a second it generates on
    this machine; None is unknown. `seen` is the share of the text that is in its training text.
    `learns` says that it goes on learning while it reads: such a loss and a static one, of weights
    and counts that stay as the training text left them, are not compared.
    """

    name: str
    kind: Literal["run", "baseline"]
    model: str
    nats: float
    parameters: int | None = None
    seconds: float | None = None
    speed: float | None = None
    seen: float = 0.0
    network: bool = False
    learns: bool = False

    @property
    def bits(self) -> float:
        """Mean bits per character."""
        return Score(self.nats, 1).bits

    @property
    def perplexity(self) -> float:
        """exp(nats)."""
        return Score(self.nats, 1).perplexity

    @property
    def is_fair(self) -> bool:
        """Whether hardly any of this text is in its training text, as far as can be known."""
        return self.seen < CONTAMINATED_SHARE


class Unread(NamedTuple):
    """A run that cannot score the text, and why."""

    name: str
    model: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """Entries from the lowest loss up, on a text of so many `characters`.

    `text` is its name; `part` says which part of the runs' own text it is, None for another text.
    `notes` are sentences on how the text was read, and on how to read the figures.
    """

    text: str
    part: Part | None
    characters: int
    entries: tuple[Entry, ...]
    unread: tuple[Unread, ...]
    notes: tuple[str, ...]

    @property
    def static(self) -> tuple[Entry, ...]:
        """Those whose weights and counts stay as the training text left them."""
        return tuple(entry for entry in self.entries if not entry.learns)

    @property
    def learning(self) -> tuple[Entry, ...]:
        """Those that go on learning while they read."""
        return tuple(entry for entry in self.entries if entry.learns)


def compare(
    runs: Sequence[Run | Path],
    text: Text | None = None,
    tell: Tell = say_nothing,
    sampling_seconds: float = SAMPLING_SECONDS,
    names: Sequence[str] | None = None,
    *,
    adapt: bool = False,
) -> Comparison:
    """Score runs, and folders with pretrained models, and baselines on one text.

    Without `text` that is what the runs held out, which must be the same (see
    `shared_held_out`). A run that cannot read the text is in `unread`. Baselines are fitted to
    the training text of the first run; if it is longer than 10 million characters, to its end.
    Each run generates for `sampling_seconds`, 0 for not at all. `names` are what the runs are
    called in entries and sentences, by default their paths. With `adapt`, recurrent networks are
    scored once more, while they learn, and beside them stands zpaq, if it is installed; both take
    long. Raises CharloomError if there is no one text for all, or no run can read it.
    """
    if not runs:
        message = "no run to compare: name one or more of those in `charloom runs`"
        raise CharloomError(message, field="runs")
    own = [run for run in runs if isinstance(run, Run)]
    held = shared_held_out(own) if text is None else HeldOut(text.content, text.name, None)
    told = () if text is None else text.notes
    tell("looking for the text in the training text")
    called = dict(zip(runs, names or map(fspath, runs), strict=True))
    texts, notes = training_texts(called, held.content)
    entries, unread, rare = _score(called, held, texts, tell, sampling_seconds, adapt)
    beside, more = _baselines(own, held, texts, tell, adapt)
    seen = (warning(text, len(runs)) for text in texts)
    return Comparison(
        text=held.name,
        part=held.part,
        characters=len(held.content),
        entries=tuple(sorted(entries + beside, key=lambda entry: entry.nats)),
        unread=tuple(unread),
        notes=(*told, *rare, *filter(None, seen), *notes, *more),
    )


def verdict(comparison: Comparison) -> str:
    """Say which run is best and by how much, what is first, and whether a network beats counting.

    Then, if runs have gone on learning while they read, which of these is the best.
    """
    learned = [entry for entry in comparison.learning if entry.kind == "run"]
    said = [_static_verdict(comparison)]
    if learned and learned[0].is_fair:
        said += _beside_learning(learned[0], comparison.learning)
    return " ".join(said)


def _static_verdict(comparison: Comparison) -> str:
    entries = comparison.static
    part = f"the {comparison.part} part" if comparison.part else "this text"
    runs = [entry for entry in entries if entry.kind == "run"]
    best, first, loss = runs[0], entries[0], _loss(runs[0].nats)
    above = [] if first is best else [_above(first, best)]
    if not best.is_fair:
        seen = f"{best.name} has {loss} on {part}, but it was trained on this very text"
        return " ".join([f"{seen}: compare on another one.", *above])
    said = [f"{best.name} predicts {part} with {loss}."]
    if len(runs) > 1:
        said[0] = f"{best.name} is the best of {len(runs)} runs on {part}: {loss}."
        said.append(_beside(runs[1].name, _gap(runs[1], best), "the next best"))
    return " ".join([*said, *above, *_beside_counting(entries, runs)])


def _beside_learning(best: Entry, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the loss of the best run that learns while it reads, and the best baseline's."""
    yield f"Learning while it reads, {best.name} has {_loss(best.nats)}."
    other = next((entry for entry in entries if entry.kind == "baseline"), None)
    if other is not None and (gap := _gap(best, other)) >= LEVEL:
        yield f"{other.name} has {_difference(gap)} less."
    elif other is not None:
        yield _beside(other.name, -gap, "the best of the others")


def _above(entry: Entry, best: Entry) -> str:
    """Return that a baseline is first, and how far the best run is behind it."""
    how = "to which all characters are alike" if entry.name == UNIFORM else "which only counts"
    gap = _gap(best, entry)
    if gap < LEVEL:
        return f"{entry.name}, {how}, is level with {best.name}."
    return (
        f"First is {entry.name}, {how}: {_loss(entry.nats)}, {_difference(gap)} below {best.name}."
    )


def _beside_counting(entries: Sequence[Entry], runs: Sequence[Entry]) -> Iterator[str]:
    """Yield whether the best run, if it is a network, beats counting; or that none does."""
    best, first = runs[0], entries[0]
    others = (e for e in entries if e.kind == "baseline" and e.name != UNIFORM)
    plain = next(others, None)
    it = "The best run" if len(runs) > 1 else "The run"
    if not best.network:
        if any(run.network for run in runs):
            yield f"{it} counts, and no network here beats it."
    elif plain is not None and (gap := _gap(best, plain)) >= LEVEL:
        than = f": {plain.name} has {_loss(plain.nats)}, {_difference(gap)} less"
        yield f"{it} does not beat counting{'' if plain is first else than}."
    elif plain is not None and gap > -LEVEL:
        if plain is not first:
            yield f"{it} does not beat counting: {plain.name} is level with it."
    elif plain is not None and any(not e.network and e.nats <= plain.nats for e in runs[1:2]):
        yield f"{it} beats counting."  # which is the next best
    elif plain is not None:
        yield f"{it} beats counting: {_beside(plain.name, -gap)}"


def _gap(entry: Entry, other: Entry) -> float:
    """Return how many nats more an entry has; two infinite losses are the same."""
    return 0.0 if entry.nats == other.nats else entry.nats - other.nats


def _loss(nats: float) -> str:
    return "an infinite loss" if math.isinf(nats) else nats_and_bits(nats)


def _beside(name: str, gap: float, what: str = "") -> str:
    """Return how a loss that is higher by `gap` nats stands to the lowest one."""
    name = f"{name}, {what}," if what else name
    if math.isinf(gap):
        return f"{name} gives one of its characters probability 0."
    return f"{name} has {_difference(gap)} more." if gap >= LEVEL else f"{name} is level with it."


def _difference(nats: float) -> str:
    return "infinitely" if math.isinf(nats) else f"{nats:.3f} nats ({nats / LN2:.3f} bits)"


def sampling_speed(model: LanguageModel, seconds: float = SAMPLING_SECONDS) -> float | None:
    """Return characters a second that a model generates here: the median of five trials.

    None if the model generates nothing.
    """
    for _ in generate(model, SampleConfig(seed=0), length=2):
        pass  # compiles what has to be compiled
    speeds = (_speed(model, seed, seconds / SPEED_TRIALS) for seed in range(SPEED_TRIALS))
    return median(speeds) or None


def _speed(model: LanguageModel, seed: int, seconds: float) -> float:
    began, written = perf_counter(), 0
    for piece in generate(model, SampleConfig(seed=seed), length=ENDLESS):
        written += len(piece)
        if perf_counter() - began > seconds:
            break
    return written / (perf_counter() - began)


def _score(
    called: Mapping[Run | Path, str],
    held: HeldOut,
    texts: Sequence[TrainingText],
    tell: Tell,
    sampling_seconds: float,
    adapt: bool,
) -> tuple[list[Entry], list[Unread], list[str]]:
    entries: list[Entry] = []
    notes: list[str] = []
    unread: list[Unread] = []
    errors: list[CharloomError] = []
    for run, name in called.items():
        kind = _kind(run)
        tell(f"scoring {name}")
        try:
            lines = run.metrics() if isinstance(run, Run) else []
            model = open_model(run)
            ids, rare = _ids(run, held, model)
            notes += [f"{name}: {note}" for note in rare]
            static = Entry(
                name=name,
                kind="run",
                model=kind,
                nats=evaluate(model, ids).nats,
                parameters=_parameters(run, model),
                seconds=lines[-1].seconds if lines else None,
                speed=sampling_speed(model, sampling_seconds) if sampling_seconds else None,
                seen=max((text.overlap for text in texts if name in text.names), default=0.0),
                network=not (isinstance(run, Run) and isinstance(run.config.model, NgramConfig)),
            )
            entries.append(static)
            if adapt and isinstance(run, Run) and adaptation.network_of(run):
                found = adaptation.evaluate(run, ids, tell)
                entries.append(replace(static, nats=found.score.nats, speed=None, learns=True))
        except CharloomError as error:
            unread.append(Unread(name, kind, str(error)))
            errors.append(error)
    if not entries:
        message = f"no run can score {held.name}: {unread[0].name}: {unread[0].why}"
        raise CharloomError(message, errors[0].code, **errors[0].facts)
    return entries, unread, notes


def _ids(run: Run | Path, held: HeldOut, model: LanguageModel) -> tuple[Ids, tuple[str, ...]]:
    """Return the text for a model to score, and notes on characters too rare to be learned.

    What a run held out is as it was cut into tokens then.
    """
    if isinstance(run, Run) and held.part is not None:
        parts = run.parts()
        ids = parts.validation if held.part == "validation" else parts.test
        assert ids is not None
        return ids, ()
    text = Text.from_string(readable(held.content, model.vocabulary), held.name)
    if isinstance(run, Run):
        text = as_learned(text, model.vocabulary, run.config.data.min_count)
    check_known(text, model.vocabulary, held.name)
    return map_text(text, model.vocabulary), text.notes


def _baselines(
    runs: Sequence[Run], held: HeldOut, texts: Sequence[TrainingText], tell: Tell, adapt: bool
) -> tuple[list[Entry], list[str]]:
    """Return baselines fitted to the first training text, and notes on them."""
    notes, train, seen = [], "", 0.0
    alphabet = {*held.content}.union(*(run.vocabulary.characters for run in runs))
    if texts:
        source = texts[0]
        train, seen = decode(source.tokenizer, source.ids[-BASELINE_IDS:]), source.overlap
        alphabet |= {*train}
        if len(source.ids) > BASELINE_IDS:
            notes.append(
                f"baselines are fitted to the last {len(train):,} characters of the training text"
            )
        if len(texts) > 1:
            notes.append(f"baselines are fitted to the training text of {source.names[0]}")
    else:
        notes.append("without a training text the only baseline is the uniform one")
    vocabulary = Vocabulary.from_alphabet(alphabet, len(held.content))
    rows = [
        Entry(row.name, "baseline", "", row.nats, row.parameters, seen=seen, learns=row.learns)
        for row in baselines(train, held.content, vocabulary, tell, slow=adapt)
    ]
    return rows, notes


def _kind(run: Run | Path) -> str:
    """Return its model's kind and size."""
    if not isinstance(run, Run):
        return str(json.loads((run / "config.json").read_bytes())["model_type"])
    return run.kind


def _parameters(run: Run | Path, model: LanguageModel) -> int | None:
    if isinstance(model, CountsParameters):
        return model.parameter_count
    return run.parameters if isinstance(run, Run) else None
