"""Where a text comes from: files, folders, sites, standard input and known texts."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from charloom.data.folders import files_below
from charloom.data.known_texts import find_corpus
from charloom.data.learned import refuse_learned
from charloom.data.normalization import normal
from charloom.data.parts import File, InMemory, Piped, shown, unreadable
from charloom.data.raw_bytes import raw_text
from charloom.data.reading import UTF8, Reading
from charloom.data.tally import Tally
from charloom.data.web.fetching import check_scheme, is_address
from charloom.data.web.site import Site
from charloom.errors import CharloomError
from charloom.progress import Tell, say_nothing


class Found(NamedTuple):
    """A text that is given by a name, the files of a `folder`, which may be skipped, or a site."""

    parts: list[File] | list[Piped] | list[InMemory]
    folder: str | None = None
    site: Site | None = None
    reading: Reading = UTF8


def is_special(source: str) -> bool:
    """Whether a source is standard input, a known text or an address: no file and no folder."""
    return source == "-" or source.startswith("corpus:") or is_address(source)


def is_read_once(source: str) -> bool:
    """Whether a source may hold another text the next time, or none."""
    return source == "-" or is_address(source)


def find_all(
    sources: Sequence[str], tally: Tally, reading: Reading, tell: Tell = say_nothing
) -> list[Found]:
    """Find the files of some sources, as `find` does of one. Raises CharloomError."""
    if not sources:
        message = "no text: name a file, a folder, an address, - for standard input, or corpus:NAME"
        raise CharloomError(message, "no-text")
    if sources.count("-") > 1:
        raise CharloomError("standard input can be read once: name - only once", "bad-setting")
    return [find(source, tally, reading, tell) for source in sources]


def find(source: str, tally: Tally, reading: Reading = UTF8, tell: Tell = say_nothing) -> Found:
    """Find the files of a source; `tell` hears of what has to be downloaded.

    Of what is a file, nothing is read. Raises CharloomError.
    """
    if source == "-":
        return Found([Piped(reading)])
    if source.startswith("corpus:"):
        corpus = find_corpus(source.removeprefix("corpus:"), tell=tell)
        if isinstance(corpus, str):
            raw = raw_text(corpus.encode()) if reading.raw else None
            return Found([InMemory(raw or normal(corpus, reading.normalize, tally.changes))])
        as_it_is = Reading(normalize=reading.normalize, plain=True, raw=reading.raw)
        return Found([_file(corpus, source, corpus.stat(), as_it_is)])
    if not source:
        raise CharloomError("the name of a text is empty: name a file, a folder, or -", "no-text")
    if is_address(source):
        check_scheme(source)
        return Found([], None, Site(source, reading.allow_private, tell), reading)
    path = Path(source)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if reading.era == "now":
        refuse_learned(source)
    if stat.S_ISDIR(status.st_mode):
        return Found(files_below(path, tally, reading), source)
    if not stat.S_ISREG(status.st_mode):
        message = (
            f"{shown(source)} is a pipe, a socket or a device, not a file: to read what a program "
            "writes, pipe it in and name - as the text"
        )
        raise CharloomError(message, "unreadable", path=source)
    return Found([_file(path, shown(source), status, reading)])


def _file(path: Path, label: str, status: os.stat_result, reading: Reading) -> File:
    return File(path, label, status.st_size, status.st_mtime_ns, reading)
