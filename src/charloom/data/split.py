"""Which part of a text is held out: its end, or documents or lines that are put behind the rest.

A text is learned in the order training, validation, test, so that each part is one slice of it.
What is drawn is drawn by a seed and by what it says, not by its place or name: copies of a
document stay together, and a text that has grown holds out much the same as before.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from charloom.config import DataConfig
from charloom.data.boundary import BOUNDARY, MARK
from charloom.data.parts import Excerpts, Part
from charloom.data.rare import Replaced, without_rare
from charloom.data.spool import Kept
from charloom.data.text import Layout, Text
from charloom.formatting import count, percent
from charloom.progress import Tell, say_nothing

# Of documents in one file, the surest first.
SEPARATORS = {MARK: MARK, "\n---\n": "---", "\n***\n": "***", "\n%\n": "%", "\n\n": "blank lines"}
HEAD = 2**20  # characters in which a text shows that it has MARK
PART_CHARACTERS = 16  # at least, in a validation or test part: a loss over fewer says nothing
FEWEST_DRAWN = 5  # documents or lines: fewer would not stand for the others
TOLERANCE = 0.25  # of the share that is asked for, by which what is drawn may be off
MOST_PIECES = 2**18  # of a longer text, lines and short documents are drawn several at a time
SHORT = 64  # characters; what is shorter may be there twice and be no copy
REPORTED_COPIES = 0.2  # of what is held out, from which on it is told that training has the same
TRAIN, VALIDATION, TEST = range(3)


@dataclass(frozen=True)
class Split:
    """The slices of characters of a text's parts; None for a part that it does not have."""

    train: slice
    validation: slice | None
    test: slice | None
    notes: tuple[str, ...]


def split_text(
    characters: int, config: DataConfig, minimum: int, layout: Layout | None = None
) -> Split:
    """Split a text of that many characters: training, then validation, then test at its end.

    A part of fewer than 16 characters is left out; so is test, then validation, if training
    would keep fewer than `minimum` characters. A note says so, and training gets them (or
    validation, if `layout` says that the text has been put in order).
    """
    shares = {"validation": config.validation, "test": config.test}
    sizes = {part: int(characters * share) for part, share in shares.items()}
    if layout is not None:
        sizes = {"validation": layout.validation, "test": layout.test}
    notes: list[str] = []

    def leave_out(part: str) -> None:
        if layout is not None and part == "test":
            sizes["validation"] += sizes["test"]
        sizes[part] = 0

    for part, share in shares.items():
        if share and sizes[part] < PART_CHARACTERS:
            enough = PART_CHARACTERS / max(1, characters)
            cure = f"more text, or --{part} {enough + 0.005:.2f}" if enough < 0.4 else "more text"
            notes.append(
                f"no {part} text: {100 * share:g}% of {characters:,} characters is "
                f"{sizes[part]:,}, and a loss over fewer than {PART_CHARACTERS} says nothing; "
                f"give {cure}"
            )
            leave_out(part)
    for part in ("test", "validation"):
        left = characters - sum(sizes.values())
        if sizes[part] and left < minimum:
            notes.append(
                f"no {part} text: it would leave {left:,} of {characters:,} characters for "
                f"training, and a step needs {minimum:,}; give more text, or a smaller batch or "
                "length"
            )
            leave_out(part)
    train, tail = characters - sum(sizes.values()), characters - sizes["test"]
    return Split(
        slice(0, train),
        slice(train, tail) if sizes["validation"] else None,
        slice(tail, characters) if sizes["test"] else None,
        tuple(notes),
    )


def usual_split(text: Text) -> Literal["tail", "documents"]:
    """Return how a text is split if nobody says: by documents, if it is plain that it has some."""
    if text.has_boundaries or len(text.parts) > 1:
        return "documents"
    read, end = 0, ""
    for piece in text.pieces():
        if MARK in end + piece:
            return "documents"
        read, end = read + len(piece), piece[1 - len(MARK) :]
        if read >= HEAD:
            break
    return "tail"


def held_out_words(config: DataConfig, layout: Layout | None) -> str:
    """Return in a few words what is held out of a text."""
    if layout is None:
        why = "" if config.split == "tail" else f", since no {config.split} make up that share"
        return f"the end of the text{why}"
    if layout.drawn is None:
        return f"the end of each of {layout.whole:,} {layout.kind}"
    between = f" between {layout.separator}" if layout.separator else ""
    return f"{layout.drawn:,} of {layout.whole:,} {layout.kind}{between}, drawn at random"


def arrange(text: Text, config: DataConfig, tell: Tell = say_nothing) -> Text:
    """Put what `config` holds out behind the rest of a text, if that is not its end already.

    Characters that are too rare for it are replaced before.

    Whole documents, or lines, are drawn up to about the share. If they would be fewer than five,
    or too different in length for that share, the end of each document is held out; if these are
    too short for it, the end of the text is. Raises CharloomError if the text has changed.
    """
    if text.layout is None:
        text = without_rare(text, config.min_count, tell)
    if config.split == "tail" or text.layout is not None or not config.validation + config.test:
        return text
    tell("looking for the documents of the text")
    separators, several = [""], None
    if config.split == "lines":
        separators = ["\n"]
    elif text.has_boundaries:
        separators = [BOUNDARY]
    elif len(text.parts) == 1:
        separators = [*SEPARATORS]
    for separator in separators:
        pieces = _find(text, separator, config.split_seed)
        drawn = _draw(pieces, config)
        if drawn is not None:
            layout = Layout(0, 0, config.split, pieces.count(), pieces.count(drawn != TRAIN))
            layout = structs.replace(layout, separator=SEPARATORS.get(separator))
            return _in_order(text, layout, pieces, _drawn_ranges(pieces, drawn), drawn, tell)
        if several is None and config.split == "documents" and len(pieces.parts) > 1:
            several = pieces
    pieces = several or _find(text, "", config.split_seed)
    ranges = _end_ranges(text, pieces, config)
    held_out = sum(int((part.stops - part.starts).sum()) for part in ranges[VALIDATION:])
    wanted = (config.validation + config.test) * text.characters
    if len(pieces.parts) < 2 or held_out < wanted / 2:
        return text
    return _in_order(text, Layout(0, 0, "documents", pieces.count()), pieces, ranges, None, tell)


class _Pieces(NamedTuple):
    """The documents or lines of a text, in its order; all are (n,).

    Each is in a part of the text, at characters `starts` to `stops` of it, and is `counts`
    documents or lines. `said` is a hash of what it says, and `keys` are what it is drawn by.
    """

    parts: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    counts: NDArray[np.int64]
    said: NDArray[np.uint64]
    keys: NDArray[np.uint64]

    def count(self, chosen: NDArray[np.bool_] | slice = slice(None)) -> int:
        """Return how many documents or lines are chosen."""
        return int(self.counts[chosen].sum())


class _Ranges(NamedTuple):
    """Characters `starts` to `stops` of a part each, ascending; all are (n,)."""

    parts: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def _find(text: Text, separator: str, seed: int) -> _Pieces:
    """Find the pieces of a text that end with a separator; without one, they are its parts."""
    least = -(-text.characters // MOST_PIECES)
    columns, hashes = [array("q") for _ in range(4)], [array("Q") for _ in range(2)]
    for number, part in enumerate(text.parts):
        start = 0
        for length, several, said in _units(part, separator, least, seed):
            row = number, start, start + length, several
            key = said if length >= SHORT else _hash(said, len(columns[0]))
            for column, value in zip([*columns, *hashes], [*row, said, key], strict=True):
                column.append(value)
            start += length
    numbers, starts, stops, counts = (np.frombuffer(column, np.int64) for column in columns)
    contents, keys = (np.frombuffer(column, np.uint64) for column in hashes)
    return _Pieces(numbers, starts, stops, counts, contents, keys)


def _units(part: Part, separator: str, least: int, seed: int) -> Iterator[tuple[int, int, int]]:
    """Yield the length of each piece of a part, how many documents or lines it is, and a hash.

    A piece ends with a separator and has `least` characters, unless it is the last.
    """

    def fresh() -> "blake2b":
        return blake2b(digest_size=8, key=seed.to_bytes(8))

    length, count, said, rest = 0, 0, fresh(), ""
    for read, _ in part.pieces(Counter()):
        text, begin = rest + read, 0
        while separator:
            found = text.find(separator, max(begin, begin + least - length - len(separator)))
            if found < 0:
                break
            end = found + len(separator)
            said.update(text[begin:end].encode())
            count += text.count(separator, begin, end)
            yield length + end - begin, count, int.from_bytes(said.digest())
            begin, length, count, said = end, 0, 0, fresh()
        end = max(begin, len(text) - len(separator) + 1) if separator else len(text)
        said.update(text[begin:end].encode())
        count += text.count(separator, begin, end) if separator else 0
        length, rest = length + end - begin, text[end:]  # which may begin a separator
    said.update(rest.encode())
    if length + len(rest):
        whole = part.part if isinstance(part, Replaced) else part
        count += whole.documents if isinstance(whole, Kept) and not separator else 1
        yield length + len(rest), count, int.from_bytes(said.digest())


def _hash(said: int, place: int) -> int:
    numbers = said.to_bytes(8) + place.to_bytes(8)
    return int.from_bytes(blake2b(numbers, digest_size=8).digest())


def _draw(pieces: _Pieces, config: DataConfig) -> NDArray[np.int64] | None:
    """Return the part (n,) that each piece is drawn for; None if none stand for the others."""
    if not len(pieces.parts):
        return None
    keys, which = np.unique(pieces.keys, return_inverse=True)
    lengths = np.bincount(which, pieces.stops - pieces.starts, len(keys))
    ends = np.append(0.0, np.cumsum(lengths))
    parts, first = np.full(len(keys), TRAIN), 0
    for part, share in ((VALIDATION, config.validation), (TEST, config.test)):
        if share:
            wanted = share * ends[-1]
            sizes = ends[first:] - ends[first]
            last = first + int(np.abs(sizes - wanted).argmin())  # keys are a random order
            parts[first:last] = part
            if abs(ends[last] - ends[first] - wanted) > TOLERANCE * wanted:
                return None
            if (parts[which] == part).sum() < FEWEST_DRAWN:
                return None
            first = last
    return parts[which] if first < len(keys) else None


def _drawn_ranges(pieces: _Pieces, drawn: NDArray[np.int64]) -> list[_Ranges]:
    """Return the ranges of each part of the text, pieces that follow one another as one."""
    found = []
    for part in (TRAIN, VALIDATION, TEST):
        columns = (column[drawn == part] for column in (pieces.parts, pieces.starts, pieces.stops))
        numbers, starts, stops = columns
        begins = np.ones(len(numbers), np.bool_)
        begins[1:] = (numbers[1:] != numbers[:-1]) | (starts[1:] != stops[:-1])
        found.append(_Ranges(numbers[begins], starts[begins], stops[np.roll(begins, -1)]))
    return found


def _end_ranges(text: Text, pieces: _Pieces, config: DataConfig) -> list[_Ranges]:
    """Return the ranges of each part of the text: beginnings of documents, then their ends."""
    lengths = pieces.stops - pieces.starts
    held_out = [config.validation + config.test, config.test]
    cuts = np.stack([pieces.stops - (share * lengths).astype(np.int64) for share in held_out], 1)
    for number, part in enumerate(text.parts):
        here = slice(*np.searchsorted(pieces.parts, (number, number + 1)))
        cuts[here] = _line_starts(part, cuts[here], pieces.stops[here])
    ends = pieces.stops - text.has_boundaries
    bounds = np.column_stack([pieces.starts, np.minimum(cuts, ends[:, None]), ends])
    found = []
    for column in (TRAIN, VALIDATION, TEST):
        starts, stops = bounds[:, column : column + 1], bounds[:, column + 1 : column + 2]
        if column == TRAIN:  # it has the boundaries, or else it would not know how texts begin
            starts, stops = np.column_stack([starts, ends]), np.column_stack([stops, pieces.stops])
        some, numbers = starts < stops, np.broadcast_to(pieces.parts[:, None], starts.shape)
        found.append(_Ranges(numbers[some], starts[some], stops[some]))
    return found


def _line_starts(
    part: Part, cuts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Move `cuts` (n, 2) to where the next line starts, past half of what follows at most."""
    ends = np.concatenate([cuts[:, 1:], stops[:, None]], 1)
    wanted, limits = cuts.ravel().tolist(), ((cuts + ends) // 2).ravel().tolist()
    begin = at = 0
    for piece, _ in part.pieces(Counter()):
        while at < len(wanted) and wanted[at] <= begin + len(piece):
            found = piece.find("\n", max(0, wanted[at] - 1 - begin))
            if found < 0:
                break  # it may be in the next piece
            if begin + found < limits[at]:
                wanted[at] = begin + found + 1
            at += 1
        begin += len(piece)
    return np.array(wanted, np.int64).reshape(cuts.shape)


def _in_order(
    text: Text,
    layout: Layout,
    pieces: _Pieces,
    ranges: Sequence[_Ranges],
    drawn: NDArray[np.int64] | None,
    tell: Tell,
) -> Text:
    """Return the text as these ranges, with a note if some of it is held out and trained on."""
    groups = [_parts_of(text, pieces, part) for part in ranges]
    layout = structs.replace(layout, known=_known(pieces, drawn))
    arranged, ends = text.arranged(groups, tuple(_copies(text, layout, pieces)), tell)
    validation, test = (end - begin for begin, end in pairwise(ends))
    return replace(arranged, layout=structs.replace(layout, validation=validation, test=test))


def _parts_of(text: Text, pieces: _Pieces, ranges: _Ranges) -> list[Part]:
    """Return what is in these ranges as parts of a text; a part of it that is whole stays that."""
    found: list[Part] = []
    for number in np.unique(ranges.parts).tolist():
        here = slice(*np.searchsorted(ranges.parts, (number, number + 1)))
        starts, stops = (column[here] for column in ranges[1:])
        whole = text.parts[number]
        end = pieces.stops[np.searchsorted(pieces.parts, number, "right") - 1]
        is_whole = starts[0] == 0 and stops[0] == end
        found.append(whole if is_whole else Excerpts(whole, starts, stops))
    return found


def _known(pieces: _Pieces, drawn: NDArray[np.int64] | None) -> float:
    """Return the share of drawn pieces that training has, too; 0 if it is not worth telling."""
    if drawn is None:
        return 0.0
    held, lengths = drawn != TRAIN, pieces.stops - pieces.starts
    known = held & np.isin(pieces.said, pieces.said[~held])
    share = float(lengths[known].sum() / lengths[held].sum())
    return share if share >= REPORTED_COPIES else 0.0


def _copies(text: Text, layout: Layout, pieces: _Pieces) -> Iterator[str]:
    """Yield a sentence on copies of documents, and on what is held out although it is learned."""
    lengths = pieces.stops - pieces.starts
    _, first, which = np.unique(pieces.said, return_index=True, return_inverse=True)
    original = first[which]
    copies = np.flatnonzero((original < np.arange(len(which))) & (lengths >= SHORT))
    if len(copies) and layout.kind == "documents":
        told = f"{count(len(copies), 'document')} of {layout.whole:,}, copies of others,"
        if len(pieces.parts) == len(text.parts):  # they have names
            labels = (text.parts[n].label for n in (copies[0], original[copies[0]]))
            told = "{} is a copy of {}".format(*labels)
            more = f", and {len(copies) - 1:,} more are copies" if len(copies) > 1 else ""
            told += f"{more}: copies"
        yield f"{told} are on the same side of the split"
    if layout.known:
        yield (
            f"{percent(layout.known, 0)} of what is held out are {layout.kind} that training has, "
            "too: the loss on them measures memory; take out those that are there twice"
        )
