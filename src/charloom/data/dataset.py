"""The text of a run: found again, checked to be the same, and as ids, cut into parts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import msgspec

from charloom.config import NgramConfig, RunConfig
from charloom.data.text import Text, file_states, read_text, split_text
from charloom.data.token_file import (
    Files,
    Form,
    Ids,
    Opened,
    Sums,
    alone,
    open_ids,
    write_ids,
    write_sums,
)
from charloom.data.tokenizer import Tokenizer
from charloom.errors import CharloomError
from charloom.files import plain_size, read_bytes
from charloom.progress import Tell, say_nothing

_LARGEST_TEXT = 2**40


class Corpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run learned from; `sources` can be read again from any working directory."""

    name: str
    sources: tuple[str, ...]
    characters: int
    sha256: str

    @classmethod
    def of(cls, text: Text, sources: Sequence[str]) -> Self:
        """Return what a run keeps of a text that was read from `sources`; raises CharloomError."""
        names = tuple(map(_absolute, sources))
        for name in names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise CharloomError(
                    f"{name!r} holds bytes that are not UTF-8, and a run that learns from it could "
                    "not name it: rename it, or pipe it in"
                )
        return cls(text.name, names, text.characters, text.sha256)


@dataclass(frozen=True)
class Parts:
    """The text of a run as ids (N,), cut as its config says; what is not held out is None.

    They lie in a file that is mapped into memory, and are not to be written to.
    """

    train: Ids
    validation: Ids | None
    test: Ids | None
    notes: tuple[str, ...]


class CorpusText:
    """The text of one run folder. What was read a moment ago is not read twice."""

    def __init__(
        self, path: Path, config: RunConfig, vocabulary: Tokenizer, corpus: Corpus
    ) -> None:
        self._path, self._corpus = path, corpus
        self._split = split_text(corpus.characters, config.data, fewest_characters(config))
        held_out = self._split.validation, self._split.test
        cuts = tuple(part.start for part in held_out if part is not None)
        self._form = Form(vocabulary, corpus.characters, corpus.sha256, cuts)
        self._copy = path / "corpus.txt"  # early runs kept the text so, where it was gone after
        self._text: Text | None = None
        self._ids: tuple[Ids, tuple[str, ...]] | None = None

    def begin(self, text: Text, tell: Tell) -> None:
        """Take the text that the run begins with; its ids are kept where it can be read once."""
        if self._is_read_once():
            write_ids(self._path, self._form, text, None, tell)
        else:
            self._text = text

    def read(self, tell: Tell = say_nothing) -> Text:
        """Read the text again; raises CharloomError unless it is the one the run began with."""
        if self._text is not None:
            text, self._text = self._text, None
            return text
        if self._is_read_once():
            opened, _ = self._look(tell)
            if opened is None:
                raise self._lost(f"{self._path / 'ids.npy'} is missing")
            content = self._form.vocabulary.decode(opened.ids)
            return Text.from_string(content, self._corpus.name)
        if self._copy.exists():
            document = read_bytes(self._copy, _LARGEST_TEXT)
            text = Text.from_string(document.decode(errors="replace"), self._corpus.name)
            return self._checked(text, str(self._copy))
        try:
            text = read_text(self._corpus.sources, tell)
        except CharloomError as error:
            raise CharloomError(
                f"the text of {self._path} cannot be read again: {error} "
                f"(where it is looked for stands in {self._path / 'corpus.json'})"
            ) from None
        return self._checked(text, ", ".join(self._corpus.sources))

    def prepare(self, tell: Tell) -> None:
        """Make or check the ids, for `parts` to find."""
        opened, notes = self._look(tell)
        if opened is not None:
            self._ids = opened.ids, self._compare(opened, tell)
            return
        with alone(self._path):  # another process may have made them in between
            opened, _ = self._look(tell)
            if opened is not None:
                self._ids = opened.ids, self._compare(opened, tell)
            else:
                text = self.read(tell)
                self._check_vocabulary(text)
                files = self._states() if self._copy.exists() else text.files
                ids = write_ids(self._path, self._form, text, files, tell)
                self._ids = ids, text.notes + notes

    def parts(self) -> Parts:
        """Return the ids, cut."""
        if self._ids is None:
            self.prepare(say_nothing)
        assert self._ids is not None
        (ids, notes), self._ids = self._ids, None
        split, begins = (
            self._split,
            [0, *self._form.vocabulary.find(ids, self._form.cuts), len(ids)],
        )
        parts = [ids[start:end] for start, end in pairwise(begins)]
        train, rest = parts[0], parts[1:]
        validation = rest.pop(0) if split.validation else None
        return Parts(train, validation, rest[0] if split.test else None, notes + split.notes)

    def _look(self, tell: Tell) -> tuple[Opened | None, tuple[str, ...]]:
        """Open the ids; None where they have to be made, with a note where they were damaged."""
        try:
            return open_ids(self._path, self._form, tell), ()
        except CharloomError as error:
            if self._is_read_once():
                raise self._lost(str(error)) from None
            return None, (f"{error}; made anew from the text",)

    def _compare(self, opened: Opened, tell: Tell) -> tuple[str, ...]:
        """Look whether the files are what they were, and if not, whether the text is."""
        sums, files, notes = opened.sums, None, opened.sums.notes if opened.sums else ()
        if not self._is_read_once() and (sums is None or sums.files is not None):
            try:
                files = self._states()
            except CharloomError as error:
                gone = f"the text is not there any more ({error}), but its ids in {self._path} are"
                return (*notes, gone)
            if sums is None or sums.files != files:
                notes = self.read(tell).notes
        new = Sums(opened.sha256, files, notes, self._form.alphabet)
        if new != sums:
            with suppress(OSError):  # a folder that is only read: it will be compared again
                write_sums(self._path, new)
        return notes

    def _states(self) -> Files:
        if self._copy.exists():
            plain_size(self._copy)
            return file_states([str(self._copy)])
        return file_states(self._corpus.sources)

    def _is_read_once(self) -> bool:
        """Standard input is gone, and a folder that the run lies in holds the run's files too."""
        run = self._path.resolve()
        return not self._copy.exists() and any(
            source == "-" or run.is_relative_to(Path(source).resolve())
            for source in self._corpus.sources
        )

    def _lost(self, problem: str) -> CharloomError:
        return CharloomError(
            f"{problem}, and the text of {self._path} cannot be read a second time: restore the "
            "file from a copy, or train anew"
        )

    def _check_vocabulary(self, text: Text) -> None:
        if unknown := self._form.vocabulary.unknown(text.alphabet):
            raise CharloomError(
                f"{self._path / 'vocabulary.json'} is not that of the text, which has {unknown}: "
                "restore it from a copy"
            )

    def _checked(self, text: Text, where: str) -> Text:
        """Return the text; raises CharloomError unless it is the one that the run learned."""
        if text.sha256 == self._corpus.sha256:
            return text
        then, now = self._corpus.characters, text.characters
        change = f"{now:,} characters, not {then:,}" if now != then else f"as many ({now:,}) others"
        raise CharloomError(
            f"{where} is not the text that {self._path} learned: it has {change} (SHA-256 "
            f"{text.sha256[:8]}, not {self._corpus.sha256[:8]}); put that text back, or train anew"
        )


def fewest_characters(config: RunConfig) -> int:
    """Return how many characters the training part must have: enough for one step."""
    if isinstance(config.model, NgramConfig):
        return 1
    return config.train.batch * (config.train.length + 2)


def _absolute(source: str) -> str:
    if source == "-" or source.startswith("corpus:"):
        return source
    return str(Path(source).absolute())
