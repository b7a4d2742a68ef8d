"""The one text that runs are compared on, and which of them had learned it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import PretrainedConfig
from charloom.data.dataset import Split, fewest_characters, split_text
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.runs.run import Run

Part = Literal["validation", "test"]
SAID = 0.01  # share of a text that was learned, from which on it is said
KNOWN = 0.2  # ... from which on a loss says more of memory than of foresight: human texts repeat
# some formulas (7% of the end of the Constitution stands in what comes before)
CHUNK = 2**20  # ids that are decoded at once
WINDOW = 64  # characters in a row that two texts of different authors hardly share; a power of 2
MOST = 2**16  # windows of a text that are looked for: of a longer one, every so many
_BASE = 0x9E3779B97F4A7C15  # odd

Hashes = NDArray[np.uint64]


class HeldOut(NamedTuple):
    """A text to score; `part` says which part of the runs' own it is, None for another text."""

    content: str
    name: str
    part: Part | None


@dataclass
class Learned:
    """A training text as ids (N,), and the `names` of the runs that learned it.

    `seen` is the share of the text to score that stands in it.
    """

    vocabulary: Tokenizer
    ids: Ids
    names: list[str]
    seen: float = 0.0

    def end(self, count: int) -> str:
        """Return what the last `count` ids stand for."""
        return decode(self.vocabulary, self.ids[-count:])

    def pieces(self) -> Iterator[str]:
        """Yield all of it, a piece at a time."""
        for start in range(0, len(self.ids), CHUNK):
            yield decode(self.vocabulary, self.ids[start : start + CHUNK])


def decode(vocabulary: Tokenizer, ids: Ids) -> str:
    """Return the text of ids (N,); of a character that a token cuts in two, a sign for that."""
    return vocabulary.utf8(ids).decode(errors="replace")


def own_text(runs: Sequence[Run]) -> HeldOut:
    """Return the text that all runs held out; raises CharloomError where it is not one.

    That is the test part where there is one, which decided nothing about them, and else the
    validation part, which decided which of their checkpoints is the best.
    """
    if not runs:
        raise CharloomError("a pretrained model has no text of its own: give one with --text FILE")
    first = runs[0]
    for run in runs[1:]:
        if difference := _difference(first, run):
            raise CharloomError(f"{difference}; give a text for all of them with --text FILE")
    split = _split(first)
    if split.validation is None and split.test is None:
        raise CharloomError(f"{first.path} held no text out of training: give --text FILE")
    parts = first.dataset()
    part: Part = "validation" if split.test is None else "test"
    ids = parts.validation if split.test is None else parts.test
    assert ids is not None
    return HeldOut(decode(first.vocabulary, ids), first.corpus.name, part)


def learned(runs: Sequence[Run | Path], text: str) -> tuple[list[Learned], list[str]]:
    """Return what runs, and those that they began with, were trained on, and how much is `text`.

    Those of the first run come first. Also returns sentences on what cannot be known.
    """
    found: dict[tuple[str, int], Learned] = {}
    notes: list[str] = []
    for run in runs:
        name = str(run.path if isinstance(run, Run) else run)
        try:
            for one in _lineage(run):
                key = one.corpus.sha256, _split(one).train.stop
                if key not in found:
                    found[key] = Learned(one.vocabulary, one.dataset().train, [])
                if name not in found[key].names:  # it may go on with the text of the one before
                    found[key].names.append(name)
        except CharloomError as error:
            notes.append(f"not all that {name} learned can be read again: {error}")
        if not isinstance(run, Run) or isinstance(run.config.model, PretrainedConfig):
            notes.append(f"what {name} had read before it came here is not known")
    for text_learned in found.values():
        text_learned.seen = overlap(text, text_learned.pieces())
    return [*found.values()], notes


def warning(text: Learned, runs: int) -> str:
    """Say that the text to score was learned, of so many `runs`; empty where it was not."""
    if text.seen < SAID:
        return ""
    much = "all" if text.seen > 0.9995 else f"{100 * text.seen:.0f}%"
    who = "these runs" if 1 < runs == len(text.names) else " and ".join(text.names)
    so = "so much of it may be remembered, not foreseen"
    if text.seen >= KNOWN:
        so = "figures marked * say how well it is remembered, not how well it is foreseen"
    return f"{much} of this text stands word for word in what {who} learned: {so}"


def _lineage(run: Run | Path) -> Iterator[Run]:
    """The run, the one whose weights it began with, and so on."""
    if isinstance(run, Run):
        yield run
        if run.config.start is not None:
            yield from _lineage(Run.open(run.config.start))


def _split(run: Run) -> Split:
    return split_text(run.corpus.characters, run.config.data, fewest_characters(run.config))


def _places(split: Split) -> tuple[slice | None, ...]:
    return split.train, split.validation, split.test


def _difference(one: Run, other: Run) -> str:
    """Say how the held-out texts of two runs differ; empty where they are the same."""
    both = one, other
    if one.corpus.sha256 != other.corpus.sha256:
        texts = (
            f"{run.path} learned {run.corpus.name} ({run.corpus.characters:,} characters, SHA-256 "
            f"{run.corpus.sha256[:8]})"
            for run in both
        )
        return f"these runs held out different texts: {', '.join(texts)}"
    splits = _split(one), _split(other)
    if _places(splits[0]) == _places(splits[1]):
        return ""
    cuts = (
        f"{run.path} learned the first {split.train.stop:,} characters"
        for run, split in zip(both, splits, strict=True)
    )
    return f"these runs held out different parts of {one.corpus.name}: {', '.join(cuts)}"


def overlap(text: str, source: Iterable[str]) -> float:
    """Return the share of the passages of `text` that stand in `source`, from 0 to 1.

    A passage is 64 characters in a row, or less where the text is shorter. `source` comes a piece
    at a time, and what reaches from one to the next counts. Passages are found by a hash of 64
    bits (Karp & Rabin 1987).
    """
    window = WINDOW
    while window > len(text):
        window //= 2
    if not window:
        return 0.0
    hashes = _hashes(text, window)
    wanted, times = np.unique(hashes[:: -(-len(hashes) // MOST)], return_counts=True)
    found = np.zeros(len(wanted), np.bool_)
    end = ""
    for piece in source:
        end += piece
        if len(end) >= window:
            here = _hashes(end, window)
            places = np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)
            found[places[wanted[places] == here]] = True
            end = end[len(here) :]
    return float(times[found].sum() / times.sum())


def _hashes(text: str, window: int) -> Hashes:
    """Text (N,) -> (N - window + 1,), modulo 2^64; a window is put together from two halves.

    h(ab) = h(a) BASE^|b| + h(b)
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    hashes = codes.astype(np.uint64) + np.uint64(1)
    length, factor = 1, _BASE
    while length < window:
        hashes = hashes[:-length] * np.uint64(factor) + hashes[length:]
        length, factor = 2 * length, factor * factor % 2**64
    return hashes
