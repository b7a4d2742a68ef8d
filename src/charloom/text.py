"""Files, folders, standard input and known texts -> one text, and its split.

Nothing is changed without a word: what was removed, turned or skipped stands in `Text.notes`.
"""

import hashlib
import io
import os
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from charloom.config import DataConfig
from charloom.corpora import corpora, load_corpus
from charloom.errors import CharloomError

_FEWEST = 16  # characters of a held-out part: a loss over fewer says nothing

_STDIN = "standard input"

_MARKS = {  # byte-order marks; UTF-32's little-endian one begins with UTF-16's, so it comes first
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_PACKED = {
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"PK\x03\x04": ("a ZIP archive (DOCX, ODT and EPUB are such too)", "save it as plain text"),
    b"%PDF-": ("a PDF", "turn it into text, for instance with pdftotext"),
}


@dataclass(frozen=True)
class Text:
    """A text as it is learned, with where it came from.

    `name` is short, for display; `sha256` is that of the UTF-8 bytes of `content`, in
    hexadecimal; each of `notes` says one thing that was done on the way, in a plain sentence.
    """

    content: str
    name: str
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """The parts of a text, in order; a part that is not held out is None."""

    train: slice
    validation: slice | None
    test: slice | None
    notes: tuple[str, ...]


def read_text(sources: Sequence[str]) -> Text:
    """Read and join `sources`: files, folders, ``-`` for standard input, ``corpus:NAME``.

    Files are strict UTF-8. A byte-order mark is removed, CRLF and lone CR become LF. Of a
    folder, all files that are UTF-8 text are read, in the order of their paths and with those
    of its folders; names that begin with a dot are left out, links to folders not followed.
    Where a text does not end its last line, a newline comes between it and the next.
    Raises CharloomError.
    """
    if not sources:
        raise CharloomError("no text: name a file, a folder, - for standard input, or corpus:NAME")
    if sources.count("-") > 1:
        raise CharloomError("standard input can be read once: name - only once")
    tally = _Tally()
    pieces = [piece for source in sources for piece in _read_source(source, tally)]
    content = _join(pieces)
    name = _name(sources[0])
    if len(sources) > 1:
        name += f" and {len(sources) - 1} more"
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Text(content, name, digest, tuple(tally.notes()))


def split_text(characters: int, config: DataConfig, minimum: int) -> Split:
    """Cut a text of that many characters: training, then validation, then test at its end.

    A part of fewer than 16 characters is left out, and test, then validation, where training
    would keep fewer than `minimum`; a note says so, and training has their characters.
    """
    notes: list[str] = []
    sizes: dict[str, int] = {}
    for part in ("validation", "test"):
        share = getattr(config, part)
        sizes[part] = int(characters * share)
        if share and sizes[part] < _FEWEST:
            notes.append(
                f"no {part} text: {100 * share:g}% of {characters:,} characters is "
                f"{sizes[part]:,}, and fewer than {_FEWEST} tell nothing"
            )
            sizes[part] = 0
    for part in ("test", "validation"):
        left = characters - sum(sizes.values())
        if sizes[part] and left < minimum:
            notes.append(
                f"no {part} text: it would leave {left:,} of {characters:,} characters for "
                f"training, and a step needs {minimum:,}"
            )
            sizes[part] = 0
    train = characters - sum(sizes.values())
    tail = characters - sizes["test"]
    return Split(
        slice(0, train),
        slice(train, tail) if sizes["validation"] else None,
        slice(tail, characters) if sizes["test"] else None,
        tuple(notes),
    )


@dataclass
class _Tally:
    """What was done to the files, to be told in notes."""

    folders: list[str] = field(default_factory=list)
    marks: int = 0
    crlf: int = 0
    cr: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, why: str, name: str) -> None:
        self.skipped.setdefault(why, []).append(_shown(name))

    def skips(self) -> list[str]:
        return [
            f"skipped {_count(len(names), 'file')} ({why}): {_list(names)}"
            for why, names in self.skipped.items()
        ]

    def notes(self) -> list[str]:
        notes = [*self.folders]
        if self.marks == 1:
            notes.append("removed a byte-order mark")
        elif self.marks:
            notes.append(f"removed the byte-order marks of {self.marks:,} files")
        for count, kind in ((self.crlf, "CRLF"), (self.cr, "lone CR")):
            if count:
                notes.append(f"turned {_count(count, f'{kind} line end')} into LF")
        return [*notes, *self.skips()]


class _NotTextError(CharloomError):
    """A file that is no text. In a folder it is skipped, as one of `why`."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


def _read_source(source: str, tally: _Tally) -> list[str]:
    if source == "-":
        return [_decode(_read_stdin(), "-", tally)]
    if source.startswith("corpus:"):
        return [load_corpus(source.removeprefix("corpus:"))]
    if not source:
        raise CharloomError("the name of a text is empty: name a file, a folder, or -")
    path = Path(source)
    try:
        mode = path.stat().st_mode
        data = path.read_bytes() if stat.S_ISREG(mode) else b""
    except (OSError, ValueError, MemoryError) as error:
        raise CharloomError(_why_unreadable(path, error)) from None
    if stat.S_ISDIR(mode):
        return _read_folder(path, tally)
    if not stat.S_ISREG(mode):
        raise CharloomError(
            f"{_shown(source)} is a pipe, a socket or a device, not a file: to read what a program "
            "writes, pipe it in and name - as the text"
        )
    return [_decode(data, source, tally)]


def _read_folder(folder: Path, tally: _Tally) -> list[str]:
    pieces: list[str] = []
    for path in _files(folder, tally):
        name = str(path.relative_to(folder))
        try:
            if stat.S_ISREG(path.stat().st_mode):
                pieces.append(_decode(path.read_bytes(), name, tally))
            else:
                tally.skip("a pipe, a socket or a device", name)
        except _NotTextError as error:
            tally.skip(error.why, name)
        except OSError:
            tally.skip("cannot be read", name)
    shown = _shown(str(folder))
    if not pieces:
        found = "".join(f", {note}" for note in tally.skips())
        raise CharloomError(f"no text in the folder {shown}{found}: name one with UTF-8 text files")
    tally.folders.append(f"read {_count(len(pieces), 'file')} of the folder {shown}")
    return pieces


def _files(folder: Path, tally: _Tally) -> list[Path]:
    """All files below `folder` that are not hidden, in the order of their paths."""

    def unreadable(error: OSError) -> None:
        tally.skip("cannot be read", str(Path(error.filename).relative_to(folder)))

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if Path(parent, name).is_symlink():
                tally.skip("a link to a folder", str(Path(parent, name).relative_to(folder)))
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.parts)


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise CharloomError("standard input is closed: pipe a text in, or name a file")
    stream = sys.stdin.buffer
    try:
        device = stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:
        device = False  # a stand-in without a descriptor
    if device:  # a terminal that nobody types at would be waited for, /dev/zero never ends
        raise CharloomError(
            "standard input is a terminal or a device: pipe a text in (charloom train - < FILE), "
            "or name a file"
        )
    try:
        return stream.read()
    except OSError as error:
        raise CharloomError(
            f"standard input cannot be read ({error.strerror}): pipe a text in, or name a file"
        ) from None


def _decode(data: bytes, source: str, tally: _Tally) -> str:
    """Strict UTF-8 -> text without byte-order mark, with LF line ends; raises _NotTextError."""
    label = _STDIN if source == "-" else _shown(source)
    if problem := _unlike_text(data, label):
        raise problem
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _NotTextError(_where_undecodable(data, error, label), "not UTF-8") from None
    if text.startswith("\ufeff"):
        tally.marks += 1
        text = text[1:]
    if not text:
        raise _NotTextError(f"{label} is empty: give a file with text in it", "empty")
    crlf = text.count("\r\n")
    text = text.replace("\r\n", "\n")
    tally.crlf += crlf
    tally.cr += text.count("\r")
    return text.replace("\r", "\n")


def _unlike_text(data: bytes, label: str) -> _NotTextError | None:
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return _NotTextError(
                f"{label} looks like {encoding}, but text is read as UTF-8: "
                f"{_convert(encoding, label)}",
                "not UTF-8",
            )
    for start, (kind, cure) in _PACKED.items():
        if data.startswith(start):
            return _NotTextError(f"{label} is {kind}, not text: {cure}", "not text")
    if (offset := data.find(0)) >= 0:
        return _NotTextError(
            f"{label} is not text: byte 0x00 at offset {offset:,}; give a plain text file",
            "not text",
        )
    return None


def _where_undecodable(data: bytes, error: UnicodeDecodeError, label: str) -> str:
    before = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    line = before.count(b"\n") + 1
    return (
        f"{label} is not UTF-8: byte 0x{data[error.start]:02X} at offset {error.start:,}, in line "
        f"{line:,} ({error.reason}); {_convert('WINDOWS-1252', label)}, or what else it is in"
    )


def _convert(encoding: str, label: str) -> str:
    name = "-" if label == _STDIN else shlex.quote(label)
    return f"convert it with: iconv -f {encoding} -t UTF-8 {name} > NEW"


def _why_unreadable(path: Path, error: Exception) -> str:
    shown = _shown(str(path))
    if isinstance(error, PermissionError):
        return f"{shown} may not be read: check its permissions, and those of its folders"
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = _shown(str(path.readlink()))
        return f"{shown} is a link to {target}, which is not there: mend the link or name the file"
    if isinstance(error, FileNotFoundError):
        known = any(str(path) == corpus.name for corpus in corpora())
        cure = f"did you mean corpus:{path}?" if known else "check the name"
        return f"there is no file or folder {shown}: {cure}"
    if isinstance(error, MemoryError):
        return f"{shown} is larger than the memory that is free: give a part of it"
    reason = getattr(error, "strerror", None) or error
    return f"{shown} cannot be read ({reason}): check the name, or give another file"


def _join(pieces: list[str]) -> str:
    ended = [piece if piece.endswith("\n") else piece + "\n" for piece in pieces[:-1]]
    return "".join([*ended, pieces[-1]])


def _name(source: str) -> str:
    if source == "-":
        return _STDIN
    if source.startswith("corpus:"):
        return source.removeprefix("corpus:")
    return _shown(Path(source).name or Path(source).resolve().name or source)


def _shown(name: str) -> str:
    """A file's name as one printable line: a name may hold newlines and bytes that are no text."""
    return name if name.isprintable() else repr(name)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _list(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
