"""Files of any kind become units of a text: plain text that is read as it is, or documents.

What a file is, its contents say. Archives and compressed files are opened, one in another too.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast

from charloom.config import DETECT
from charloom.data.boundary import BOUNDARY
from charloom.data.encodings import detect
from charloom.data.folders import is_hidden, natural
from charloom.data.mojibake import mended_pieces
from charloom.data.normalization import normalized_pieces
from charloom.data.packed import packing_of
from charloom.data.parts import Bytes, Download, File, InMemory, Member, Packed, Piped, shown
from charloom.data.patterns import Chosen
from charloom.data.readers import HEAD_BYTES, Bundle, Document, Guess, Head, Job, Kind
from charloom.data.readers.kinds import recognise, recognise_bundle
from charloom.data.readers.members import MEMBER_BYTES, Archive, Folder, Tar, Zip
from charloom.data.sources import Found
from charloom.data.utf8 import CHUNK, REPLACED, normalized, refuse_own
from charloom.data.web.site import within_site
from charloom.errors import CharloomError
from charloom.files import unwritable
from charloom.formatting import in_a_line

DEPTH = 3  # archives and compressed files that are in one another, at most
IN_MEMORY = 2**24  # bytes of what is unpacked to be read in any order, above which it is on disk
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_TAR, _TAR_AT = b"ustar", 257
_SURROGATE = re.compile("[\ud800-\udfff]")
_PROGRAMS_OWN = {"[Content_Types].xml", "META-INF/MANIFEST.MF", "mimetype"}


class Plain(NamedTuple):
    """Plain text. What is `within` a folder or archive is skipped if it cannot be read."""

    part: Bytes | InMemory
    within: bool
    guess: Guess | None = None

    @property
    def label(self) -> str:
        """The name of the file."""
        return self.part.label


class Converted(NamedTuple):
    """A file, archive or folder whose reader finds documents in it.

    `position` says how many bytes of a file have been read by now.
    """

    label: str
    within: bool
    kind: Kind | Bundle
    read: Callable[[Job], Iterator[Document]]
    position: Callable[[], int] = lambda: 0

    def documents(self, job: Job) -> Iterator[tuple[str, Document]]:
        """Yield the documents, with a label for each. Raises CharloomError, also if there is none.

        What no text can have is taken out of them.
        """
        number = 0
        try:
            for document in self.read(job):
                document = _clean(document, job)
                if not document.text:
                    continue
                number += 1
                if job.options.labels:
                    document = _labelled(document)
                yield f"{document.name or number} in {self.label}", document
        except CharloomError as error:  # it may have names and words from within the file
            error.args = (in_a_line(str(error)),)
            raise
        except MemoryError:
            raise
        except Exception as error:  # of a library that met a file that its authors had not
            reason, kind = in_a_line(str(error)), type(error).__name__
            what = f"{kind}: {reason}" if reason else kind
            message = f"{self.label} cannot be read as {self.kind.name} ({what}): give it as text"
            raise CharloomError(message, "damaged", why="damaged", path=self.label) from error
        if not number:
            message = f"{self.label}, read as {self.kind.name}, has no text in it"
            raise CharloomError(message, "no-text", why="without text", path=self.label)


class Refused(NamedTuple):
    """A file in an archive or folder that cannot be read."""

    label: str
    error: CharloomError
    within: bool = True


Unit = Plain | Converted | Refused


def units(found: Found) -> Iterator[Unit]:
    """Yield what is in a source; each must be read before the next one is asked for.

    Raises CharloomError if it is a single file and cannot be read.
    """
    if found.site is not None:
        for page in found.site.pages():
            label = within_site(page.url, found.site.url)
            yield from _units(Download(label, page.content, found.reading), True)
        return
    if found.folder is None:
        (part,) = found.parts
        if isinstance(part, InMemory):
            yield Plain(part, False)
        else:
            yield from _units(part, False)
        return
    root, files = Path(found.folder), [p for p in found.parts if isinstance(p, File)]
    bundles = _bundles(root, files) if files and files[0].reading.recognises else {}
    read = set[Path]()
    for file in files:
        bundle = next((b for b in file.path.parents if b in bundles), None)
        if bundle is None:
            yield from _units(file, True)
        elif bundle not in read:
            read.add(bundle)
            yield bundles[bundle]


def _units(file: Bytes, within: bool, depth: int = 0) -> Iterator[Unit]:
    try:
        yield from _opened(file, within, depth)
    except CharloomError as error:
        if not within:
            raise
        yield Refused(file.label, error)


def _opened(file: Bytes, within: bool, depth: int) -> Iterator[Unit]:
    if file.reading.era != "now" or file.reading.raw:
        yield Plain(file, within)
        return
    with file.opened() as opened:
        start = opened.read(HEAD_BYTES)
    if packing := packing_of(start):
        _check_depth(file, depth)
        yield from _units(Packed(file, packing), within, depth + 1)
    elif start.startswith(_ZIP) or start[_TAR_AT:].startswith(_TAR):
        _check_depth(file, depth)
        with _in_any_order(file) as opened:
            archive = Zip if start.startswith(_ZIP) else Tar
            members = archive(opened, file.label)
            yield from _in_archive(file, members, start, within, depth)
    elif file.reading.recognises and (kind := recognise(Head(file.name, start))):
        refuse_own(start, file.label)
        yield _one(file, within, kind)
    elif file.reading.encoding == DETECT:
        with file.opened() as opened:
            reading, guess = detect(opened, file.label)
        yield Plain(file.read_as(reading.encoding), within, guess)
    else:
        yield Plain(file, within)


def _one(file: Bytes, within: bool, kind: Kind) -> Converted:
    """Return a file that is no archive as what its kind says."""
    position: Callable[[], int] = lambda: 0  # noqa: E731

    def read(job: Job) -> Iterator[Document]:
        nonlocal position
        open_file = _in_any_order(file) if kind.in_any_order else file.opened()
        with open_file as opened:
            position = partial(file.position, opened)
            yield from kind.read(opened, job)

    return Converted(file.label, within, kind, read, lambda: position())


def _in_archive(
    file: Bytes, members: Archive, start: bytes, within: bool, depth: int
) -> Iterator[Unit]:
    """Yield what is in an archive that is open."""
    names = members.names()
    if kind := recognise_bundle(Head(file.name, start, names)):
        yield Converted(file.label, within, kind, partial(kind.read, members))
    elif _PROGRAMS_OWN.intersection(names):
        message = f"{file.label} is a file of a program, not text: save it as text, or as HTML"
        raise CharloomError(message, "not-text", why="not text", path=file.label)
    else:
        if all(is_hidden(PurePosixPath(name)) for name in names):
            what = "only hidden files, which are left out" if names else "no files in it"
            message = f"{file.label} is an archive with {what}: give one with text in it"
            raise CharloomError(message, "no-text", why="empty", path=file.label)
        yield from _members(file, members, depth)


def _members(file: Bytes, members: Archive, depth: int) -> Iterator[Unit]:
    """Yield the files in an archive as those of a folder."""
    chosen = Chosen(file.reading.include, file.reading.exclude)
    paths = {name: PurePosixPath(name) for name in members.names()}
    for name, path in sorted(paths.items(), key=lambda item: natural(item[1])):
        part = Member(members, name, file.reading)
        if is_hidden(path):
            continue
        if why := chosen.why_not(path):
            yield Refused(part.label, CharloomError(f"{part.label} is {why}", "no-text", why=why))
        else:
            yield from _units(part, True, depth + 1)


@contextmanager
def _in_any_order(file: Bytes) -> Iterator[BinaryIO]:
    """Open a file to be read back and forth: what is packed is unpacked before."""
    with file.opened() as opened:
        if isinstance(file, File | Piped):
            yield opened
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as copy:
            size = 0
            while piece := opened.read(CHUNK):
                size += len(piece)
                if size > MEMBER_BYTES:
                    message = f"{file.label} unpacks to more than {MEMBER_BYTES:,} bytes: unpack it"
                    raise CharloomError(message, "unsupported", why="too large", path=file.label)
                try:
                    copy.write(piece)
                except OSError as error:
                    raise unwritable(Path(tempfile.gettempdir()), error) from None
            copy.seek(0)
            yield cast("BinaryIO", copy)


def _bundles(folder: Path, files: list[File]) -> dict[Path, Converted]:
    """Return the folders, below one or itself, that are exports of a known kind."""
    below: dict[Path, list[File]] = {}
    for file in files:
        for parent in file.path.parents:
            below.setdefault(parent, []).append(file)
            if parent == folder:
                break
    found: dict[Path, Converted] = {}
    for path in sorted(below, key=lambda path: len(path.parts)):
        if found.keys().isdisjoint(path.parents):
            names = tuple(file.path.relative_to(path).as_posix() for file in below[path])
            if kind := recognise_bundle(Head(path.resolve().name, members=names)):
                within = path != folder
                found[path] = _folder(path, within, kind, names, below[path])
    return found


def _folder(
    path: Path, within: bool, kind: Bundle, names: tuple[str, ...], files: list[File]
) -> Converted:
    def read(job: Job) -> Iterator[Document]:
        yield from kind.read(Folder(path, names), job)
        for file in files:
            with file.opened():
                pass  # which sees that it has not changed

    return Converted(shown(str(path)), within, kind, read)


def _clean(document: Document, job: Job) -> Document:
    """Return a document with LF line ends and without what is in no text."""
    text = document.text
    if "\r" in text or text.startswith("\ufeff"):
        text = normalized(text)
    if BOUNDARY in text:
        job.report.mended["NUL characters"] += text.count(BOUNDARY)
        text = text.replace(BOUNDARY, "")
    if not _is_utf8(text):
        text, mended = _SURROGATE.subn(REPLACED, text)
        job.report.mended["lone surrogates"] += mended
    options, changes = job.options, job.report.changes
    pieces: Iterable[str] = [text]
    if options.fix_mojibake:
        pieces = mended_pieces(pieces, changes)
    text = "".join(normalized_pieces(pieces, options.normalize, changes))
    return document if text is document.text else document._replace(text=text)


def _labelled(document: Document) -> Document:
    """Return a document whose text begins with what is known about it."""
    by = ", ".join(filter(None, (document.author, document.date)))
    known = "\n".join(filter(None, (document.title, by)))
    return document._replace(text=f"{known}\n\n{document.text}") if known else document


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_depth(file: Bytes, depth: int) -> None:
    if depth >= DEPTH:
        message = f"{file.label} is an archive in archives, {DEPTH} deep: unpack the outer ones"
        raise CharloomError(message, "unsupported", why="nested too deep", path=file.label)
