"""A text as ids in a file: written once, proved to be the text, and mapped into memory.

`ids.npy` is a plain NumPy array (N,) of the smallest of uint8, uint16 and int32 that holds V - 1:
`np.load("ids.npy", mmap_mode="r")` opens it. `ids.json` holds its `Checksums`. While it is written
it has another name, and `.ids.mark` says how far it has come: after a kill the work goes on there.

Subwords are those of each part of a text by itself, after the token that begins a text. So the
parts are cut where those of any other run are.
"""

import errno
import fcntl
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from charloom.data.parts import changed
from charloom.data.text import START, Place, States, Text
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.data.vocabulary import UnknownCharacterError
from charloom.errors import CharloomError
from charloom.files import (
    damaged,
    encode_json,
    fits,
    plain_size,
    read_json,
    replace_file,
    sync_folder,
    unreadable,
    unwritable,
)
from charloom.progress import Meter, Tell, say_nothing

HEADER = 128  # bytes that NumPy writes before the ids of any array (N,)
CHUNK = 1 << 20  # bytes read back at once
MARK = 1 << 26  # ids between two marks


class Checksums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `ids.npy` is checked by: its SHA-256, and the text's files as they were then.

    `files` is None if the text cannot be read again. `vocabulary` is the SHA-256 of what
    `Tokenizer.to_json` gives, and empty if the ids had to prove themselves. `changed` says that
    those files hold another text, and how it differs; empty if they do not. `unlike` says that
    what is held out was found to be unlike the rest, `repeated` which share of it the training part
    has, too, if that is worth telling: see likeness.py.
    """

    sha256: str
    files: States | None
    notes: tuple[str, ...]
    vocabulary: str = ""
    changed: str = ""
    unlike: bool = False
    repeated: float = 0.0


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far `ids.npy` has come: so many ids, of so many characters, up to that place."""

    text: str
    files: States
    ids: int
    characters: int
    place: Place


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from creating the same run or writing its ids; raises CharloomError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process is writing into {folder}: wait for it or stop it"
            raise CharloomError(message, "busy", path=str(folder)) from None
        except OSError:  # some network disks lock no folder
            pass
        yield
    finally:
        os.close(descriptor)


def open_ids(
    folder: Path, vocabulary: Tokenizer, sha256: str, tell: Tell = say_nothing
) -> tuple[Ids, Checksums] | None:
    """Check and map the ids of the text of that SHA-256; None if there are none.

    If `ids.json` is lost or does not fit, they prove themselves by the text that they decode to,
    and what it said is unknown. Raises CharloomError if they are damaged.
    """
    path = folder / "ids.npy"
    if not path.exists() and not path.is_symlink():
        return None
    known = read_checksums(folder)
    dtype = _dtype(vocabulary)
    count, more = divmod(plain_size(path) - HEADER, dtype.itemsize)
    try:
        with path.open("rb") as file:
            if count > 0 and not more and file.read(HEADER) == _header(dtype, count):
                trusted = known.vocabulary == alphabet_sha256(vocabulary)
                if trusted and _digests(file, dtype, None, tell)[0] == known.sha256:
                    return _map(file, dtype, count), known
                digest, found = _digests(file, dtype, vocabulary, tell)
                if found == sha256:
                    return _map(file, dtype, count), Checksums(digest, (), ())
    except OSError as error:
        raise unreadable(path, error) from None
    raise damaged(path, "or vocabulary.json is: it does not hold the text of corpus.json")


def write_ids(
    folder: Path,
    text: Text,
    vocabulary: Tokenizer,
    files: States | None,
    tell: Tell = say_nothing,
    cuts: Sequence[int] = (),
    judge: Callable[[Ids, Checksums], Checksums] = lambda _, checksums: checksums,
) -> Ids:
    """Write `ids.npy` and `ids.json` of a text, or finish what was begun; return the ids (N,).

    They are read back before they get their name: they must decode to that very text. `cuts` are
    where its parts begin, but for the first; `judge` may add to what is kept beside the ids.
    Raises CharloomError, and then leaves the old ones.
    """
    new, mark = folder / ".ids.npy.new", folder / ".ids.mark"

    def write(begun: _Mark | None) -> tuple[Ids, str]:
        with new.open("r+b" if begun else "w+b") as file:
            ids = _encode(file, text, vocabulary, cuts, begun, mark, tell)
            os.fsync(file.fileno())
            digest, found = _digests(file, _dtype(vocabulary), vocabulary, tell)
        if found != text.sha256:
            raise changed(text.name)
        return ids, digest

    try:
        made = None
        if begun := _begun(new, mark, text, vocabulary):
            with suppress(CharloomError):  # what was begun may be damaged
                made = write(begun)
        ids, digest = made or write(None)
        checksums = Checksums(digest, files, text.notes, alphabet_sha256(vocabulary))
        write_checksums(folder, judge(ids, checksums))
        new.replace(folder / "ids.npy")
        sync_folder(folder)
        mark.unlink(missing_ok=True)
    except (OSError, CharloomError) as error:
        for path in (new, mark):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, CharloomError):
            raise
        raise unwritable(folder / "ids.npy", error, _cure(error, text, vocabulary)) from error
    return ids


def read_checksums(folder: Path) -> Checksums:
    """Read `ids.json`; what it said is unknown if it is lost or damaged."""
    try:
        return read_json(folder / "ids.json", Checksums)
    except CharloomError:
        return Checksums("", (), ())


def write_checksums(folder: Path, checksums: Checksums) -> None:
    """Write `ids.json`; of too many files without their states, so that they are not compared."""
    document = encode_json(checksums)
    if not fits(len(document)):
        document = encode_json(msgspec.structs.replace(checksums, files=None))
    replace_file(folder / "ids.json", document)


def map_text(
    text: Text,
    vocabulary: Tokenizer,
    tell: Tell = say_nothing,
    cuts: Sequence[int] = (),
    leave_out: Collection[str] = (),
) -> Ids:
    """Encode a text as `write_ids` does, but into a file without a name.

    The characters `leave_out` are left out. Raises UnknownCharacterError and CharloomError.
    """
    try:
        with tempfile.TemporaryFile() as file:
            ids = _encode(file, text, vocabulary, cuts, None, None, tell, leave_out)
            found = _digests(file, _dtype(vocabulary), vocabulary, say_nothing)[1]
            if found != text.sha256 and not leave_out:
                raise changed(text.name)
            return ids
    except OSError as error:
        cure = f"{_cure(error, text, vocabulary)}, or name another folder in TMPDIR"
        raise unwritable(Path(tempfile.gettempdir()), error, cure) from error


def alphabet_sha256(vocabulary: Tokenizer) -> str:
    """Return the SHA-256 of a vocabulary's document."""
    return hashlib.sha256(vocabulary.to_json().encode()).hexdigest()


def _dtype(vocabulary: Tokenizer) -> np.dtype[Any]:
    """Return the smallest type that holds every id."""
    V = len(vocabulary)
    return np.dtype("|u1" if V <= 2**8 else "<u2" if V <= 2**16 else "<i4")


def _size(text: Text, vocabulary: Tokenizer) -> int:
    """Return about how many bytes the ids of a text take, if each is a character."""
    return HEADER + text.characters * _dtype(vocabulary).itemsize


def _cure(error: OSError, text: Text, vocabulary: Tokenizer) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"free {_size(text, vocabulary):,} bytes"
    return "check the permissions of the folder, and what is in it"


def _begun(new: Path, mark: Path, text: Text, vocabulary: Tokenizer) -> _Mark | None:
    """Return how far an earlier try came that can be gone on with."""
    try:
        found = read_json(mark, _Mark)
        size = plain_size(new)
    except CharloomError:
        new.unlink(missing_ok=True)
        return None
    part, offset, _ = found.place
    fits = (
        (found.text, found.files) == (text.sha256, text.files)
        and 0 <= found.characters <= text.characters
        and 0 <= found.ids
        and 0 <= part < len(text.parts)
        and 0 < offset <= text.parts[part].size
        and HEADER + found.ids * _dtype(vocabulary).itemsize <= size
    )
    return found if fits else None


def _encode(
    file: BinaryIO,
    text: Text,
    vocabulary: Tokenizer,
    cuts: Sequence[int],
    begun: _Mark | None,
    mark: Path | None,
    tell: Tell,
    leave_out: Collection[str] = (),
) -> Ids:
    """Write ids and header, from where `begun` says, and map them; leaves marks at `mark`."""
    dropped = dict.fromkeys(map(ord, leave_out))
    dtype = _dtype(vocabulary)
    meter = Meter(tell, "encoding the text", _size(text, vocabulary))
    start = begun.place if begun else START
    read, written = (begun.characters, begun.ids) if begun else (0, 0)
    marked = written
    file.seek(HEADER + written * dtype.itemsize)
    file.truncate()
    for piece, place in _pieces(text, vocabulary, cuts, start):
        try:
            ids = vocabulary.whole(piece.translate(dropped) if dropped else piece)
        except UnknownCharacterError as error:
            raise UnknownCharacterError(error.character, read + error.position) from None
        file.write(ids.astype(dtype, copy=False).data)
        read, written = read + len(piece), written + len(ids)
        meter.move(file.tell())
        if mark is not None and written - marked >= MARK and place is not None:
            file.flush()
            os.fsync(file.fileno())
            document = _Mark(text.sha256, text.files, written, read, place)
            replace_file(mark, msgspec.json.encode(document))
            marked = written
    if read != text.characters:
        raise changed(text.name)
    count = (file.tell() - HEADER) // dtype.itemsize
    file.seek(0)
    file.write(_header(dtype, count))
    file.flush()
    return _map(file, dtype, count)


def _pieces(
    text: Text, vocabulary: Tokenizer, cuts: Sequence[int], start: Place
) -> Iterator[tuple[str, Place | None]]:
    """Yield the text from `start` on with the place behind each piece; for subwords, its parts."""
    if vocabulary.unit != "tokens":
        yield from text.walk(start)
        return
    content = text.content
    for begin, end in pairwise((0, *cuts, len(content))):
        yield content[begin:end], None


def _digests(
    file: BinaryIO, dtype: np.dtype[Any], vocabulary: Tokenizer | None, tell: Tell
) -> tuple[str, str]:
    """Return the SHA-256 of a file of ids, and of the text that they decode to.

    Without a vocabulary the second is none; if an id is not in it, both are empty.
    """
    digest, text = hashlib.sha256(), hashlib.sha256()
    meter = Meter(tell, "checking the ids", os.fstat(file.fileno()).st_size)
    file.seek(0)
    digest.update(file.read(HEADER))
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        if vocabulary is not None:
            try:
                text.update(vocabulary.utf8(np.frombuffer(chunk, dtype)))
            except IndexError:
                return "", ""
        meter.move(file.tell())
    return digest.hexdigest(), text.hexdigest()


def _header(dtype: np.dtype[Any], count: int) -> bytes:
    header = io.BytesIO()
    fields = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _map(file: BinaryIO, dtype: np.dtype[Any], count: int) -> Ids:
    return np.asarray(np.memmap(file, dtype, "r", HEADER, (count,)))
