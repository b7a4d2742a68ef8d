"""A text as ids in a file: made once, proved to be the text, and mapped into memory.

`ids.npy` is a plain NumPy array (N,) of the smallest of uint8, uint16 and int32 that holds V - 1:
`np.load("ids.npy", mmap_mode="r")` opens it. `ids.json` holds what it is checked by, a `Sums`.
While it is made it has another name, and `.ids.mark` says how far it has come: after a kill the
work goes on from there.

Tokens, of which a text has fewer than characters, are those of each of its parts by itself, after
the token that begins a text. So parts are cut where those of any other run are.
"""

import fcntl
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from charloom.data.sources import changed
from charloom.data.text import START, Place, Text
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import UnknownCharacterError
from charloom.errors import CharloomError
from charloom.files import plain_size, read_json, replace_file, sync_folder
from charloom.progress import Meter, Tell, say_nothing

HEADER = 128  # bytes before the ids, however many there are
CHUNK = 1 << 20  # bytes read back at once
MARK = 1 << 26  # ids between two marks
LARGEST_SUMS = 2**26  # bytes of ids.json: it names all the files of a folder

Ids = NDArray[np.integer[Any]]
Files = tuple[tuple[str, int, int], ...]


class Sums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `ids.npy` is checked by: its SHA-256, and the text's files as they were then.

    `vocabulary` is the SHA-256 of the characters that the ids stand for, as JSON. `files` holds
    path, size and time of change (ns); None where the text cannot be read again.
    """

    sha256: str
    files: Files | None
    notes: tuple[str, ...]
    vocabulary: str = ""


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far `ids.npy` has come: so many ids, that reach to that place of that text."""

    text: str
    files: Files
    written: int
    place: Place


class Form(NamedTuple):
    """What `ids.npy` must be: N ids of a vocabulary, whose text has that SHA-256."""

    vocabulary: Tokenizer
    characters: int
    sha256: str
    cuts: tuple[int, ...] = ()  # characters before each part but the first
    tokens: int | None = None  # how many there are, where ids are not characters

    @property
    def length(self) -> int:
        """How many ids N there are."""
        return self.characters if self.tokens is None else self.tokens

    def filling(self, size: int) -> "Form":
        """Return the form of a file of so many bytes, which say how many tokens there are."""
        if self.vocabulary.unit == "characters":
            return self
        return self._replace(tokens=max(0, size - HEADER) // self.dtype.itemsize)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every id."""
        V = len(self.vocabulary)
        return np.dtype("|u1" if V <= 2**8 else "<u2" if V <= 2**16 else "<i4")

    @property
    def alphabet(self) -> str:
        """The SHA-256 of the vocabulary."""
        return hashlib.sha256(self.vocabulary.to_json().encode()).hexdigest()

    @property
    def header(self) -> bytes:
        """All that comes before the ids: version 1.0 of NumPy's format."""
        fields = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, "
        fields += f"'shape': ({self.length},), }}"
        padding = -(len(fields) + 11) % 64
        fields += " " * padding + "\n"
        return b"\x93NUMPY\x01\x00" + len(fields).to_bytes(2, "little") + fields.encode()

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return HEADER + self.length * self.dtype.itemsize


class Opened(NamedTuple):
    """Ids (N,) that lie in a file of that SHA-256; None for sums that are lost or wrong."""

    ids: Ids
    sha256: str
    sums: Sums | None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from making the ids of the same run; raises CharloomError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CharloomError(
                f"another process is reading the text of {folder}: wait for it or stop it"
            ) from None
        except OSError as error:
            raise CharloomError(f"{folder} cannot be locked ({error.strerror})") from None
        yield
    finally:
        os.close(descriptor)


def open_ids(folder: Path, form: Form, tell: Tell = say_nothing) -> Opened | None:
    """Check and map `ids.npy`; None where there is none. Raises CharloomError for a damaged one."""
    path = folder / "ids.npy"
    if not path.exists() and not path.is_symlink():
        return None
    form = form.filling(plain_size(path))
    if plain_size(path) != form.size:
        raise CharloomError(f"{path} is damaged: it must have {form.size:,} bytes")
    sums: Sums | None
    try:
        sums = read_json(folder / "ids.json", Sums, LARGEST_SUMS)
    except CharloomError:
        sums = None
    try:
        with _open(path, os.O_RDONLY) as file:
            return _check(file, path, form, sums, tell)
    except OSError as error:
        raise CharloomError(f"{path} cannot be read ({error.strerror})") from None


def _check(file: BinaryIO, path: Path, form: Form, sums: Sums | None, tell: Tell) -> Opened:
    size = os.fstat(file.fileno()).st_size
    if size != form.size or file.read(len(form.header)) != form.header:
        raise CharloomError(f"{path} is damaged: its header is not that of these ids")
    known = sums is not None and sums.vocabulary == form.alphabet
    if known and sums and _sha256(file, form, tell) == sums.sha256:
        return Opened(_map(file, form), sums.sha256, sums)
    digest, found = _prove(file, form, tell)
    if found != form.sha256:
        raise CharloomError(
            f"{path} is damaged, or vocabulary.json is: it is not the text of corpus.json"
        )
    return Opened(_map(file, form), digest, None)


def write_ids(
    folder: Path, form: Form, text: Text, files: Files | None, tell: Tell = say_nothing
) -> Ids:
    """Make `ids.npy` and `ids.json` from a text, or finish what was begun; return the ids (N,).

    It is read back before it gets its name: the ids must decode to that very text. Raises
    CharloomError, and then leaves the old one.
    """
    new, mark = folder / ".ids.npy.new", folder / ".ids.mark"
    try:
        digest, ids = _make(new, mark, form, text, tell)
        write_sums(folder, Sums(digest, files, text.notes, form.alphabet))
        new.replace(folder / "ids.npy")
        sync_folder(folder)
        mark.unlink(missing_ok=True)
    except (OSError, CharloomError) as error:
        for path in (new, mark):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, CharloomError):
            raise
        raise CharloomError(
            f"cannot write {folder / 'ids.npy'}, {form.size:,} bytes ({error.strerror}): mend "
            "that, and try again"
        ) from error
    return ids


def _make(new: Path, mark: Path, form: Form, text: Text, tell: Tell) -> tuple[str, Ids]:
    """Go on with what was begun, and where that does not become the text, begin anew."""
    begun = _begun(new, mark, form, text)
    for begin in (begun, None):
        with _open(new, os.O_RDWR | os.O_CREAT) as file:
            try:
                form = _write(file, form, text, begin, mark, tell)
                os.fsync(file.fileno())
                digest, found = _prove(file, form, tell)
                if found == form.sha256:
                    return digest, _map(file, form)
            except CharloomError:
                if begin is None:
                    raise
        if begin is None:
            break
    raise changed(text.name)


def write_sums(folder: Path, sums: Sums) -> None:
    """Write `ids.json`."""
    document = msgspec.json.format(msgspec.json.encode(sums), indent=2)
    replace_file(folder / "ids.json", document + b"\n")


def map_text(text: Text, vocabulary: Tokenizer, tell: Tell = say_nothing) -> Ids:
    """Encode a text into a file without a name; raises UnknownCharacterError and CharloomError."""
    form = Form(vocabulary, text.characters, text.sha256)
    try:
        with tempfile.TemporaryFile() as file:
            return _map(file, _write(file, form, text, None, None, tell))
    except OSError as error:
        raise CharloomError(
            f"cannot write {form.size:,} bytes in {tempfile.gettempdir()} ({error.strerror}): "
            "free some, or name another folder in TMPDIR"
        ) from error


def _begun(new: Path, mark: Path, form: Form, text: Text) -> _Mark | None:
    """What an earlier try left that can be gone on with."""
    try:
        found = read_json(mark, _Mark, LARGEST_SUMS)
        size = plain_size(new)
    except CharloomError:
        new.unlink(missing_ok=True)
        return None
    there = HEADER + found.written * form.dtype.itemsize
    part, offset, _ = found.place
    fits = (
        (found.text, found.files) == (form.sha256, text.files)
        and 0 <= found.written <= form.characters
        and 0 <= part < len(text.parts)
        and 0 < offset <= text.parts[part].size
        and there <= size
    )
    return found if fits else None


def _write(
    file: BinaryIO, form: Form, text: Text, begin: _Mark | None, mark: Path | None, tell: Tell
) -> Form:
    """Write header and ids, from where `begin` says; marks the way where `mark` is a path."""
    meter = Meter(tell, "encoding the text", form.size)
    written, start = (begin.written, begin.place) if begin else (0, START)
    file.seek(HEADER + written * form.dtype.itemsize)
    file.truncate()
    marked = written
    for piece, place in _pieces(text, form, start):
        try:
            ids = form.vocabulary.whole(piece)
        except UnknownCharacterError as error:
            raise UnknownCharacterError(error.character, written + error.position) from None
        file.write(ids.astype(form.dtype).data)
        written += len(piece)
        meter.move(file.tell())
        if mark is not None and written - marked >= MARK and place is not None:
            file.flush()
            os.fsync(file.fileno())
            document = _Mark(form.sha256, text.files, written, place)
            replace_file(mark, msgspec.json.encode(document))
            marked = written
    if written != form.characters:
        raise changed(text.name)
    form = form.filling(file.tell())
    file.seek(0)
    file.write(form.header)
    file.flush()
    return form


def _pieces(text: Text, form: Form, start: Place) -> Iterator[tuple[str, Place | None]]:
    """The text from `start` on with the place behind each piece; for tokens, whole parts of it."""
    if form.vocabulary.unit == "characters":
        yield from text.walk(start)
        return
    content = text.content
    for begin, end in pairwise((0, *form.cuts, len(content))):
        yield content[begin:end], None


def _sha256(file: BinaryIO, form: Form, tell: Tell) -> str:
    """SHA-256 of the whole file."""
    digest, meter = hashlib.sha256(form.header), Meter(tell, "checking the ids", form.size)
    for chunk in _chunks(file, form):
        digest.update(chunk)
        meter.move(file.tell())
    return digest.hexdigest()


def _prove(file: BinaryIO, form: Form, tell: Tell) -> tuple[str, str | None]:
    """SHA-256 of the whole file, and of the text that its ids decode to, None if to none."""
    digest, text = hashlib.sha256(form.header), hashlib.sha256()
    meter = Meter(tell, "checking the ids", form.size)
    for chunk in _chunks(file, form):
        digest.update(chunk)
        try:
            text.update(form.vocabulary.utf8(np.frombuffer(chunk, form.dtype)))
        except IndexError:
            return digest.hexdigest(), None
        meter.move(file.tell())
    return digest.hexdigest(), text.hexdigest()


def _chunks(file: BinaryIO, form: Form) -> Iterator[bytes]:
    file.seek(len(form.header))
    left = form.size - len(form.header)
    while left and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _map(file: BinaryIO, form: Form) -> Ids:
    pages = mmap.mmap(file.fileno(), form.size, access=mmap.ACCESS_READ)
    return np.frombuffer(pages, form.dtype, form.length, HEADER)


@contextmanager
def _open(path: Path, flags: int) -> Iterator[BinaryIO]:
    """Open the file itself, never what it is a link to."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    with open(descriptor, "rb" if flags == os.O_RDONLY else "r+b") as file:  # noqa: PTH123
        yield file
