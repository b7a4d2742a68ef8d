"""The text of a run as ids: checked to be the same text, and split into its parts."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

import msgspec
from msgspec import structs

from charloom.config import FileName, NgramConfig, RunConfig
from charloom.data.likeness import judge
from charloom.data.parts import Excerpts, File, InMemory, Part, shown
from charloom.data.reading import EARLY, Reading
from charloom.data.sources import is_read_once, is_special
from charloom.data.split import Split, arrange, split_text
from charloom.data.text import Layout, States, Text, file_states, read_text
from charloom.data.token_file import (
    Checksums,
    alone,
    alphabet_sha256,
    map_text,
    open_ids,
    read_checksums,
    write_checksums,
    write_ids,
)
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.data.vocabulary import describe
from charloom.errors import CharloomError, Code
from charloom.files import damaged, plain_size
from charloom.formatting import count, listed
from charloom.progress import Tell, say_nothing


class Corpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a run learns from; `sources` can be read again from any working directory.

    The text is in the order in which it is learned, and None is a layout that it had already. Of an
    imported run without its text, there are no sources and no characters.
    """

    name: str
    sources: tuple[FileName, ...]
    characters: Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
    sha256: str
    layout: Layout | None = None

    @classmethod
    def of(cls, text: Text, sources: Sequence[str]) -> Self:
        """Return what a run keeps of a text that was read from `sources`; raises CharloomError."""
        names = tuple(
            source if is_special(source) else str(Path(source).absolute()) for source in sources
        )
        for name in names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                message = (
                    f"{name!r} holds bytes that are not UTF-8, and a run that learns from it could "
                    "not name it: rename it, or pipe it in"
                )
                raise CharloomError(message, "unsupported", path=name)
        return cls(text.name, names, text.characters, text.sha256, text.layout)


NO_TEXT = Corpus("no text", (), 0, "")


def fewest_characters(config: RunConfig) -> int:
    """Return how many characters the training part must have: enough for one step."""
    if isinstance(config.model, NgramConfig):
        return 1
    return config.train.batch * (config.train.length + 2)


def split_of(corpus: Corpus, config: RunConfig) -> Split:
    """Return where the text of a run is split into training, validation and test part."""
    minimum = fewest_characters(config)
    return split_text(corpus.characters, config.data, minimum, corpus.layout)


class Dataset:
    """The text of a run as ids (N,), in a file of its folder that is mapped into memory.

    After `open`, `train`, `validation` and `test` are the ids of its parts, read-only; one that
    it does not have is None. `notes` are sentences for the user. `changed` is the one of them that
    says that its sources hold another text by now, which is not read: empty if they do not;
    `unwritten` the one that says that its ids are in a temporary file.
    """

    train: Ids
    validation: Ids | None
    test: Ids | None
    notes: tuple[str, ...]
    changed: str
    unwritten: str

    def __init__(
        self, folder: Path, config: RunConfig, vocabulary: Tokenizer, corpus: Corpus
    ) -> None:
        self._folder, self._vocabulary, self._corpus = folder, vocabulary, corpus
        self._data = config.data
        self._split = split_of(corpus, config)
        later_parts = self._split.validation, self._split.test
        self._cuts = tuple(part.start for part in later_parts if part is not None)
        self._text: Text | None = None
        self._opened, self.changed, self.unwritten = False, "", ""

    def begin(self, text: Text, tell: Tell) -> None:
        """Take the text of a new run; write its ids now if the text cannot be read again later."""
        if self._is_read_once():
            self._write_ids(text, None, tell)
        else:
            self._text = text

    def read(self, tell: Tell = say_nothing) -> Text:
        """Read the text again; raises CharloomError unless it is the one the run began with."""
        self._check_has_text()
        if self._text is not None:  # read a moment ago
            text, self._text = self._text, None
            return text
        if self._is_read_once():
            ids, _ = self._find(tell)
            if ids is None:
                raise self._lost(f"{self._folder / 'ids.npy'} is missing", "not-found")
            return Text.from_string(self._vocabulary.utf8(ids).decode(), self._corpus.name)
        try:
            text = self._read_again(tell)
        except CharloomError as error:
            message = (
                f"the text of {self._folder} cannot be read again: {error} "
                f"({self._folder / 'corpus.json'} says where it is looked for)"
            )
            raise CharloomError(message, error.code, **error.facts) from None
        if text.sha256 == self._corpus.sha256:
            return text
        message = (
            f"{self._difference(text)}; put that text back, restore {self._folder / 'ids.npy'} "
            f"from a copy, or begin a new run: charloom train TEXT --from {self._folder}"
        )
        facts = {"characters": text.characters, "learned": self._corpus.characters}
        raise CharloomError(message, "changed-text", path=listed(self._sources), **facts)

    def _read_again(self, tell: Tell) -> Text:
        """Read what the sources hold by now, in the order in which the run learned its text."""
        reading = self._reading
        try:
            text = arrange(read_text(self._sources, tell, reading), self._data, tell)
        except CharloomError:
            early = self._read_early(reading, tell)
            if early is None:
                raise
            return early
        is_converted = not all(isinstance(_whole(part), File | InMemory) for part in text.parts)
        may_differ = is_converted or any(Path(name).is_dir() for name in self._sources)
        if text.sha256 != self._corpus.sha256 and may_differ:
            return self._read_early(reading, tell) or text
        return text

    def _read_early(self, reading: Reading, tell: Tell) -> Text | None:
        """Read the text as earlier versions did; None if that is not what was learned, either."""
        for era in EARLY:
            with suppress(CharloomError):
                text = read_text(self._sources, tell, reading._replace(era=era))
                if era != "sorted":
                    text = arrange(text, self._data, tell)
                if text.sha256 == self._corpus.sha256:
                    return text
        return None

    def _difference(self, text: Text) -> str:
        """Say how a text differs from the one that was learned."""
        then, now = self._corpus.characters, text.characters
        change = f"{count(now, 'character')}, not {then:,}"
        if now == then:
            change = f"the same number of characters ({now:,}), but others"
        return (
            f"{listed([*map(shown, self._sources)])} is not the text that was learned: it has "
            f"{change} (SHA-256 {text.sha256[:8]}, not {self._corpus.sha256[:8]})"
        )

    def open(self, tell: Tell = say_nothing) -> Self:
        """Map the ids into memory, checked against the text; the first call writes them.

        Where they cannot be written, they are in a temporary file. If there are some, they are what
        was learned, even if the text has changed since: `changed` says so. Raises CharloomError if
        there are none and the text has changed, or if another process is writing them.
        """
        if self._opened:
            return self
        self._check_has_text()
        ids, notes = self._find(tell)
        if ids is None:
            with alone(self._folder):  # another process may have written them in between
                ids, notes = self._find(tell)
                if ids is None:
                    ids, notes = self._write(notes, tell)
        self.train, self.validation, self.test = self._parts(ids)
        self.notes = notes + self._split.notes
        self._opened = True
        return self

    def _check_has_text(self) -> None:
        if not self._corpus.characters:
            message = (
                f"{self._folder} was imported without the text that it learned: name a FILE, or "
                "import it once more with --text FILE"
            )
            raise CharloomError(message, "no-text", path=str(self._folder))

    def _parts(self, ids: Ids) -> tuple[Ids, Ids | None, Ids | None]:
        begins = [0, *self._vocabulary.find(ids, self._cuts), len(ids)]
        train, *rest = (ids[start:end] for start, end in pairwise(begins))
        validation = rest.pop(0) if self._split.validation else None
        return train, validation, rest.pop(0) if self._split.test else None

    def _judged(self, ids: Ids, checksums: Checksums) -> Checksums:
        """Add whether what is held out is like the rest, or in it, with a note if so."""
        train, *held_out = self._parts(ids)
        part = next((ids for ids in held_out if ids is not None), None)
        if part is None:
            return checksums
        verdict = judge(train, part, len(self._vocabulary), self._data, self._corpus.layout)
        notes = (*checksums.notes, *verdict.notes)
        return structs.replace(
            checksums, notes=notes, unlike=verdict.unlike, repeated=verdict.repeated
        )

    def _write_ids(self, text: Text, files: States | None, tell: Tell) -> Ids:
        place = self._folder, text, self._vocabulary, files, tell
        return write_ids(*place, self._cuts, self._judged)

    def _find(self, tell: Tell) -> tuple[Ids | None, tuple[str, ...]]:
        """Open the ids; None if they must be written first, with a note if they were damaged."""
        try:
            found = open_ids(self._folder, self._vocabulary, self._corpus.sha256, tell)
        except CharloomError as error:
            path = self._folder / "ids.npy"
            if self._is_read_once():
                raise self._lost(str(error), error.code) from None
            if path.is_dir() and not path.is_symlink():  # nothing is written over a folder
                raise
            return None, (f"{path} was damaged, and is written anew from the text",)
        if found is None:
            return None, ()
        ids, checksums = found
        return ids, self._compare(ids, checksums, tell)

    def _write(self, notes: tuple[str, ...], tell: Tell) -> tuple[Ids, tuple[str, ...]]:
        try:
            text = self.read(tell)
        except CharloomError as error:
            what = "damaged" if notes else "missing"
            message = f"{self._folder / 'ids.npy'} is {what}, and {error}"
            raise CharloomError(message, error.code, **error.facts) from None
        if unknown := self._vocabulary.unknown(text.alphabet):
            problem = f"the text has {listed([*map(describe, unknown)])}"
            raise damaged(self._folder / "vocabulary.json", problem)
        try:
            ids = self._write_ids(text, text.files, tell)
            told = read_checksums(self._folder).notes
        except CharloomError as error:
            if error.code != "unwritable":
                raise
            ids, told = map_text(text, self._vocabulary, tell, self._cuts), text.notes
            self.unwritten = (
                f"{self._folder} cannot be written: its ids are in a temporary file, and are made "
                "anew each time"
            )
            notes += (self.unwritten,)
        return ids, told + notes

    def _compare(self, ids: Ids, old: Checksums, tell: Tell) -> tuple[str, ...]:
        """Check whether the text's files have changed, and if so, whether the text has.

        The ids are what was learned in any case.
        """
        new = structs.replace(old, files=None, vocabulary=alphabet_sha256(self._vocabulary))
        if not self._is_read_once() and old.files is not None:
            try:
                new = structs.replace(new, files=file_states(self._sources, self._reading))
                if old.files != new.files or not old.vocabulary:
                    text = self._read_again(tell)
                    if text.sha256 == self._corpus.sha256:
                        new = structs.replace(new, changed="")
                        if not old.vocabulary:  # of an early version, which kept fewer notes
                            new = self._judged(ids, structs.replace(new, notes=text.notes))
                    else:
                        changed = f"{self._difference(text)}; the run goes on with what it learned"
                        new = structs.replace(new, changed=changed)
            except CharloomError as error:
                gone = f"the text is gone ({error}), but its ids are in {self._folder}"
                return (*old.notes, gone)
        if new != old:
            with suppress(OSError):  # a read-only folder: the files will be compared again
                write_checksums(self._folder, new)
        self.changed = new.changed
        return (*new.notes, new.changed) if new.changed else new.notes

    @property
    def _reading(self) -> Reading:
        reading = Reading.of(self._data)
        is_copy = self._sources != self._corpus.sources
        return reading._replace(era="plain") if is_copy else reading

    @property
    def _sources(self) -> tuple[str, ...]:
        """Where to read the text; early runs kept a copy of a text that can be read only once."""
        copy = self._folder / "corpus.txt"
        if not copy.exists():
            return self._corpus.sources
        plain_size(copy)  # a link would lead out of the run
        return (str(copy),)

    def _is_read_once(self) -> bool:
        """Whether the text cannot be read again: piped in, of a site, or in a folder of the run."""
        run = self._folder.resolve()
        return any(
            is_read_once(source) or run.is_relative_to(Path(source).resolve())
            for source in self._sources
        )

    def _lost(self, problem: str, code: Code) -> CharloomError:
        message = (
            f"{problem}; the text of {self._folder} cannot be read a second time, so restore "
            "the file from a copy, or train anew"
        )
        return CharloomError(message, code, path=str(self._folder / "ids.npy"))


def _whole(part: Part) -> Part:
    """Return the part that excerpts are of."""
    return part.part if isinstance(part, Excerpts) else part
