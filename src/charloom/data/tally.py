"""What was changed, left out and skipped while a text was read, in sentences for the user."""

import re
from collections import Counter
from dataclasses import dataclass, field

from charloom.data.mojibake import EXAMPLE
from charloom.data.readers import Bundle, Guess, Kind, Report
from charloom.data.utf8 import Changes
from charloom.formatting import count, in_a_line, listed


@dataclass
class _Read:
    """The files that were read as one kind, and how many documents they were."""

    labels: list[str] = field(default_factory=list)
    documents: int = 0
    report: Report = field(default_factory=Report)


@dataclass
class Tally:
    """What was done while a text was read.

    `gathered` are folders, archives and sites, each with the labels of what was read of it.
    """

    gathered: list[tuple[str, list[str]]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Counter)
    skipped: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    clues: dict[str, str] = field(default_factory=dict)
    kinds: dict[Kind | Bundle, _Read] = field(default_factory=dict)
    guesses: list[Guess] = field(default_factory=list)

    def skip(self, why: str, name: str, is_folder: bool = False) -> None:
        """Count a file or a whole folder that is left out."""
        noun = "folder" if is_folder else "file"
        self.skipped.setdefault((noun, why), []).append(in_a_line(name))

    def read(self, kind: Kind | Bundle, label: str, documents: int, report: Report) -> None:
        """Count a file that was read as a kind, and what was done to it."""
        read = self.kinds.setdefault(kind, _Read())
        read.labels.append(label)
        read.documents += documents
        read.report.left_out += report.left_out
        read.report.mended += report.mended
        read.report.notes += report.notes
        self.guesses += report.guesses
        self.changes += report.changes

    def left_out(self, report: Report) -> None:
        """Tell what was left out of a site, or could be read only in part."""
        self.folders += [*_changes(report), *report.notes]

    def skips(self) -> list[str]:
        """Return a sentence for each reason to skip files."""
        return [
            f"skipped {count(len(names), noun)} ({why}): {listed(names)}"
            + (f"; {self.clues[why]}" if why in self.clues else "")
            for (noun, why), names in self.skipped.items()
        ]

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each thing that was done."""
        notes, marks, kinds = list[str](), self.changes["marks"], {**self.kinds}
        for what, labels in self.gathered:
            order = labels if len(labels) < 5 else [*labels[:2], "...", labels[-1]]
            what = f"{what}: {', '.join(order)}"
            kind = next((kind for kind, read in kinds.items() if read.labels == labels), None)
            notes += [f"read {what}"] if kind is None else _told(kind, kinds.pop(kind), what)
        notes += self.folders
        for kind, read in kinds.items():
            notes += _told(kind, read, listed(read.labels))
        notes += _guessed(self.guesses)
        if marks:
            some = f"the byte-order marks of {marks:,} files"
            notes.append(f"removed {'a byte-order mark' if marks == 1 else some}")
        notes += [
            f"turned {count(self.changes[kind], f'{kind} line end')} into LF"
            for kind in ("CRLF", "lone CR")
            if self.changes[kind]
        ]
        if bad := self.changes["replaced"]:
            notes.append(f"read U+FFFD in {count(bad, 'place')} that could not be decoded")
        notes += [
            f"normalized to {form}: {count(self.changes[form], 'character')} changed"
            for form in ("NFC", "NFKC")
            if self.changes[form]
        ]
        if lines := self.changes["mojibake"]:
            example = next(key for key in self.changes if key.startswith(EXAMPLE))
            notes.append(f"mended mojibake in {count(lines, 'line')}, as {example[len(EXAMPLE) :]}")
        return (*map(in_a_line, notes), *self.skips())


def _guessed(guesses: list[Guess]) -> list[str]:
    """Return a sentence for each encoding that files were read in because they look so."""
    found: dict[tuple[str, ...], list[Guess]] = {}
    for guess in guesses:
        found.setdefault(guess.encodings, []).append(guess)
    notes = []
    for (encoding, *other), (first, *more) in found.items():
        note = f"{first.label} {first.looks}, and was read as {'the first' if other else 'that'}"
        if more:
            labels = listed([guess.label for guess in (first, *more)])
            note = f"read {labels} as {encoding}: {first.label} {first.looks}"
        notes.append(f"{note}; --encoding {other[0]} reads the other" if other else note)
    return notes


def _told(kind: Kind | Bundle, read: _Read, what: str) -> list[str]:
    each = ", each" if len(read.labels) > 1 else ""
    found = _counted(read.documents, kind.noun)
    notes = [f"read {what}{each} as {kind.name}: {found}"]
    return [*notes, *_changes(read.report), *read.report.notes]


def _changes(report: Report) -> list[str]:
    notes = []
    for verb, counts in (("left out", report.left_out), ("mended", report.mended)):
        if counts:
            told = ", ".join(_counted(n, noun) for noun, n in counts.most_common())
            notes.append(f"{verb} {told}")
    return notes


def _counted(number: int, plural: str) -> str:
    """Return a number and what it counts, of which the plural is given: "1 page without text".

    Its noun is the first word that ends as a plural does.
    """
    if number != 1:
        return f"{number:,} {plural}"
    one = re.sub(r"ies\b|(?<=x|h)es\b|(?<=ss)es\b|s\b", _singular, plural, count=1)
    return f"1 {one}"


def _singular(ending: re.Match[str]) -> str:
    return "y" if ending[0] == "ies" else ""
