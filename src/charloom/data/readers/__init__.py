"""Files of other kinds in, documents out: a package a family of formats, a module a format.

A module shows its `KINDS`, tried in order, and else only what others share. What a reader leaves
out or mends it counts in its `Report`: nothing is changed without a word.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from charloom.config import Normalize
from charloom.data.readers.members import Members

HEAD_BYTES = 2**16  # that a kind is recognised by


class Document(NamedTuple):
    """A post, chapter, chat or row: its text with LF line ends, and what is known about it.

    `name` is that within its source, `date` is ISO 8601 as far as it is known; all but `text` may
    be empty. Readers yield no document without text.
    """

    text: str
    name: str = ""
    title: str = ""
    author: str = ""
    date: str = ""


class Head(NamedTuple):
    """What a file is recognised by: its first bytes, and its name, which is only a hint.

    `members` are the names in it, if it is a ZIP or TAR archive or a folder, and `name` is then
    the archive's.
    """

    name: str
    start: bytes = b""
    members: tuple[str, ...] = ()


class Options(NamedTuple):
    """What a user may ask of readers.

    `columns` are those with the text of a table, by name; `front_matter` keeps that of Markdown;
    `pages` reads the pages of a blog, too. With `labels` title, author and date come before each
    text, which whoever calls the reader sees to, as to the last two. An `encoding` other than UTF-8
    is that of files that do not name theirs.
    """

    columns: tuple[str, ...] = ()
    front_matter: bool = False
    pages: bool = False
    labels: bool = False
    encoding: str = "utf-8"
    normalize: Normalize = "none"
    fix_mojibake: bool = False


class Guess(NamedTuple):
    """The encoding that a file was read in, since it `looks` so; a second one is as likely."""

    label: str
    looks: str
    encodings: tuple[str, ...]


@dataclass
class Report:
    """What was done to the files of one kind.

    `left_out` and `mended` count by a plural noun: "drafts", "comments"; "control characters".
    `changes` are those of characters, as in plain text. Each of `notes` is a sentence, and of
    `guesses` an encoding.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    guesses: list[Guess] = field(default_factory=list)


class Job(NamedTuple):
    """What a reader is told: the name of its file for messages, what is asked, where to report."""

    label: str
    options: Options
    report: Report


class Kind(NamedTuple):
    """A kind of file that is no archive: `name` with its article, "an EPUB book".

    `read` yields documents in the order in which a person would read them, oldest first if they
    are dated, from a file at its start that can seek. It raises CharloomError ("damaged" if the
    file is broken, "not-text" if there is no text of that kind in it), with the fact `why` in two
    words, and nothing else, whatever is in the file. Its libraries are in the `extra` of charloom
    and are imported when it reads, within `needs_extra`. `noun` is what its documents are, in the
    plural: "chapters". `in_any_order` says that it reads back and forth, not from the start on.
    """

    name: str
    matches: Callable[[Head], bool]
    read: Callable[[BinaryIO, Job], Iterator[Document]]
    extra: str = ""
    noun: str = "documents"
    in_any_order: bool = False


class Bundle(NamedTuple):
    """A kind of archive or folder whose members belong together: see `Kind`."""

    name: str
    matches: Callable[[Head], bool]
    read: Callable[[Members, Job], Iterator[Document]]
    extra: str = ""
    noun: str = "documents"
