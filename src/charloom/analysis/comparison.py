"""One yardstick: runs of any kind, and baselines, on the same held-out text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal, NamedTuple

from charloom.analysis.baselines import baselines
from charloom.analysis.contamination import (
    KNOWN,
    HeldOut,
    Learned,
    Part,
    learned,
    own_text,
    warning,
)
from charloom.config import NgramConfig, SampleConfig
from charloom.data.text import Text
from charloom.data.token_file import map_text
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import Score, evaluate
from charloom.formatting import model_name
from charloom.generation.sampling import generate
from charloom.models.engines import LanguageModel
from charloom.models.weights import parameter_count
from charloom.progress import Tell, say_nothing
from charloom.runs.open import open_model
from charloom.runs.run import Run

MOST = 10_000_000  # ids of the training text that baselines are made of
SAMPLING = 0.5  # seconds that each run is sampled for
TURNS = 5  # ... of which the median is taken
ENDLESS = 10**9  # characters


@dataclass(frozen=True)
class Entry:
    """A run or a baseline, and how well it foresees the text: mean `nats` per character.

    `seconds` is how long it was trained, `speed` how many characters a second it samples on this
    machine; None is unknown. `seen` is the share of the text that stands in what it learned.
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
        """Whether it has not learned from this text, as far as can be known, but for a formula."""
        return self.seen < KNOWN


class Unread(NamedTuple):
    """A run that cannot score the text, and why."""

    name: str
    model: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """Entries from the lowest loss up, on a text of so many `characters`.

    `text` is its name; `part` says which part of the runs' own text it is, None for another text.
    `notes` are sentences on what the figures must be read with.
    """

    text: str
    part: Part | None
    characters: int
    entries: tuple[Entry, ...]
    unread: tuple[Unread, ...]
    notes: tuple[str, ...]


def compare(
    runs: Sequence[Run | Path],
    text: Text | None = None,
    tell: Tell = say_nothing,
    sampling: float = SAMPLING,
) -> Comparison:
    """Score runs, and folders with pretrained models, and baselines on one text.

    Without `text` that is what the runs held out, which must be the same (see `own_text`). A run
    that cannot read the text stands in `unread`. Baselines count what the first run learned; of a
    text longer than 10 million characters, its end. Each run is sampled for `sampling` seconds,
    and 0 is not at all. Raises CharloomError where there is no one text for all, or no run can
    read it.
    """
    if not runs:
        raise CharloomError("no run to compare: name one or more of those in `charloom runs`")
    own = [run for run in runs if isinstance(run, Run)]
    held = own_text(own) if text is None else HeldOut(text.content, text.name, None)
    if len(held.content) < 2:
        raise CharloomError(f"{held.name} has {len(held.content)} character: give at least two")
    tell("looking for the text in what was learned")
    texts, notes = learned(runs, held.content)
    entries, unread = _score(runs, held, texts, tell, sampling)
    beside, more = _baselines(own, held, texts, tell)
    return Comparison(
        text=held.name,
        part=held.part,
        characters=len(held.content),
        entries=tuple(sorted(entries + beside, key=lambda entry: entry.nats)),
        unread=tuple(unread),
        notes=(*filter(None, (warning(text, len(runs)) for text in texts)), *notes, *more),
    )


def verdict(comparison: Comparison) -> str:
    """Say in a sentence or two which is best, and whether a network beats what needs none."""
    networks = [entry for entry in comparison.entries if entry.network]
    best, other = (
        next((e for e in comparison.entries if e.network is kind), None) for kind in (True, False)
    )
    if not networks or best is None or other is None:
        first = comparison.entries[0]
        return f"{first.name} foresees this text best: {first.bits:.3f} bits per character."
    gap = best.bits - other.bits
    if not best.is_fair:
        return (
            f"{best.name} has {best.bits:.3f} bits per character, but it has learned from this "
            "very text: another text would tell more."
        )
    if gap < 0:
        return (
            f"{best.name} foresees this text best: {best.bits:.3f} bits per character, "
            f"{-gap:.3f} fewer than {other.name}, the best without a network."
        )
    return (
        f"No network beats {other.name} here: {other.bits:.3f} bits per character, and "
        f"{best.name}, the best network, has {gap:.3f} more. More time or more text may change "
        "that."
    )


def sampling_speed(model: LanguageModel, seconds: float = SAMPLING) -> float | None:
    """Characters a second that the sampler writes on this machine: the median of five turns.

    None where the model writes nothing.
    """
    for _ in generate(model, SampleConfig(seed=0), length=2):
        pass  # what has to be compiled has been, then
    return median(_speed(model, turn, seconds / TURNS) for turn in range(TURNS)) or None


def _speed(model: LanguageModel, seed: int, seconds: float) -> float:
    began, written = perf_counter(), 0
    for piece in generate(model, SampleConfig(seed=seed), length=ENDLESS):
        written += len(piece)
        if perf_counter() - began > seconds:
            break
    return written / (perf_counter() - began)


def _score(
    runs: Sequence[Run | Path],
    held: HeldOut,
    texts: Sequence[Learned],
    tell: Tell,
    sampling: float,
) -> tuple[list[Entry], list[Unread]]:
    entries, unread = [], []
    for run in runs:
        name, model = _names(run)
        seen = max((text.seen for text in texts if name in text.names), default=0.0)
        tell(f"scoring {name}")
        try:
            entries.append(_entry(run, held, seen, sampling))
        except CharloomError as error:
            unread.append(Unread(name, model, str(error)))
    if not entries:
        raise CharloomError(f"no run can score {held.name}: {unread[0].name}: {unread[0].why}")
    return entries, unread


def _entry(run: Run | Path, held: HeldOut, seen: float, sampling: float) -> Entry:
    model = open_model(run)
    ids = map_text(Text.from_string(held.content, held.name), model.vocabulary)
    name, kind = _names(run)
    return Entry(
        name=name,
        kind="run",
        model=kind,
        nats=evaluate(model, ids).nats,
        parameters=_parameters(run, model),
        seconds=_seconds(run),
        speed=sampling_speed(model, sampling) if sampling else None,
        seen=seen,
        network=not (isinstance(run, Run) and isinstance(run.config.model, NgramConfig)),
    )


def _baselines(
    runs: Sequence[Run], held: HeldOut, texts: Sequence[Learned], tell: Tell
) -> tuple[list[Entry], list[str]]:
    """What needs no training, from the first text that was learned."""
    alphabet, notes, train, seen = {*held.content}, [], "", 0.0
    for run in runs:
        alphabet |= {*run.vocabulary.characters}
    if texts:
        source = texts[0]
        train, seen = source.end(MOST), source.seen
        alphabet |= {*train}
        if len(source.ids) > MOST:
            notes.append(f"baselines count the last {len(train):,} characters of what was learned")
        if len(texts) > 1:
            notes.append(f"baselines count what {source.names[0]} learned")
    else:
        notes.append("no training text is at hand: of the baselines there is only the uniform one")
    vocabulary = Vocabulary.from_alphabet(alphabet, len(held.content))
    rows = [
        Entry(row.name, "baseline", "", row.nats, row.parameters, seen=seen)
        for row in baselines(train, held.content, vocabulary, tell)
    ]
    return rows, notes


def _names(run: Run | Path) -> tuple[str, str]:
    """The run's folder, and its model's kind and size."""
    if not isinstance(run, Run):
        return str(run), str(json.loads((run / "config.json").read_bytes())["model_type"])
    return str(run.path), model_name(run.config.model)


def _parameters(run: Run | Path, model: LanguageModel) -> int | None:
    counted: int | None = getattr(model, "parameter_count", None)  # n-grams, pretrained models
    if counted is not None or not isinstance(run, Run):
        return counted
    assert not isinstance(run.config.model, NgramConfig)
    return parameter_count(run.config.model, len(run.vocabulary))


def _seconds(run: Run | Path) -> float | None:
    """How long it was trained, by its last line of metrics."""
    lines = run.metrics() if isinstance(run, Run) else []
    return lines[-1]["seconds"] if lines else None
