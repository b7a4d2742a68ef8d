"""Plain files, written through to the disk, and read without trusting what they are."""

import errno
import fcntl
import hashlib
import itertools
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from charloom.errors import CharloomError

LARGEST_JSON = 2**26  # bytes: it may name half a million files, or hold a vocabulary of tokens
LEFT_SECONDS = 60  # since when nobody has written to a file: a new one is not locked at once
_MOST_LINKS = 40  # one after another, as the system follows

Block = bytes | memoryview
T = TypeVar("T")


def plain_size(path: Path) -> int:
    """Return the size of a plain file in bytes; raises CharloomError for anything else.

    Links, pipes and devices are refused before they are opened: they lead out of the folder,
    or block for ever.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        message = f"{path} is missing: restore it from a copy"
        raise CharloomError(message, "not-found", path=str(path)) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        problem = f"{path} is a link, a folder or a device, not a plain file: remove it"
        raise CharloomError(problem, "damaged", path=str(path))
    return status.st_size


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file to be read; raises CharloomError for anything else, as `plain_size` does.

    What is read is one file, even if the path leads to another or to none by then.
    """
    plain_size(path)
    try:
        return open(path, "rb", opener=_open_unfollowed)
    except OSError as error:
        raise unreadable(path, error) from None


def _open_unfollowed(path: str, flags: int) -> int:
    """It may have changed since it was looked at: a link is not followed, nor a pipe waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def name_of(path: Path, file: BinaryIO) -> Path:
    """Return by what this process can open an open file again, even if it has lost its path."""
    name = Path("/dev/fd", str(file.fileno()))
    return name if name.exists() else path  # a system without /proc has none


def read_json(path: Path, kind: type[T]) -> T:
    """Decode a plain JSON file strictly as `kind`; raises CharloomError that names the fault."""
    return decode_json(path, read_bytes(path, LARGEST_JSON), kind)


def decode_json(path: Path, content: bytes, kind: type[T]) -> T:
    """Decode what was read from a file; raises as `read_json` does."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError, OverflowError) as error:
        raise damaged(path, one_line(error)) from None


def encode_json(document: object) -> bytes:
    """Return a document as JSON that a person can read; infinity becomes null."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def fits(size: int) -> bool:
    """Return whether JSON of so many bytes can be read: what is written must be read again."""
    return size <= LARGEST_JSON


def one_line(error: BaseException) -> str:
    """Return what an error says, fit to be printed: it may quote a hostile file."""
    text = " ".join(str(error).split())
    shown = "".join(character if character.isprintable() else "?" for character in text[:200])
    return shown + "..." * (len(text) > 200)


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a plain file of at most `largest` bytes; raises CharloomError."""
    with open_plain(path) as file:
        return read_open(path, file, largest)


def read_open(path: Path, file: BinaryIO, largest: int) -> bytes:
    """Read an open file of at most `largest` bytes from its beginning; raises CharloomError."""
    try:
        file.seek(0)
        content = file.read(largest + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > largest:
        raise damaged(path, f"larger than {largest:,} bytes")
    return content


def damaged(path: Path, reason: str, cure: str = "restore it from a copy") -> CharloomError:
    """Return the error for a file that is not what was saved."""
    return CharloomError(f"{path} is damaged ({reason}): {cure}", "damaged", path=str(path))


def unreadable(path: Path, error: OSError) -> CharloomError:
    """Return the error for a file or folder that the system does not let one read."""
    return CharloomError(f"{path} cannot be read: {error.strerror}", "unreadable", path=str(path))


def unwritable(path: Path, error: OSError, cure: str = "fix that") -> CharloomError:
    """Return the error for a file or folder that cannot be written."""
    problem = f"cannot write {path} ({error.strerror or error}): {cure}"
    return CharloomError(problem, "unwritable", path=str(path))


@contextmanager
def writing(path: Path, cure: str = "fix that") -> Iterator[None]:
    """Raise CharloomError for what the system does not let one write within."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error, cure) from error


def refuse_link(folder: Path) -> None:
    """Raise CharloomError for a link in place of a folder: it leads out of the run."""
    if folder.is_symlink():
        problem = f"{folder} is a link: replace it with the folder itself"
        raise CharloomError(problem, "damaged", path=str(folder))


def write_file(path: Path, blocks: Iterable[Block]) -> tuple[int, str]:
    """Write a new file through to the disk, block by block; returns its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        _lock(file)
        for block in blocks:
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _lock(file: BinaryIO) -> bool:
    """Say that a file is being written, while it is open; False if another process says so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks lock no file
        pass
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in place of `path`: readers see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_file(temporary, [content])
    temporary.replace(path)
    sync_folder(path.parent)


def check_output(path: Path) -> None:
    """Raise CharloomError if no file can be written there: before the work of making one."""
    problem, cure = "", "name another file"
    try:
        if _descriptor(path) is not None:
            return
        target = path.resolve()
        if path.is_dir():
            problem, cure = "it is a folder", "name a file in it"
        elif path.is_block_device():
            problem = "it is a disk"
        elif not target.parent.is_dir():
            problem, cure = f"there is no folder {target.parent}", "make it, or name another file"
        elif not all(os.access(p, os.W_OK) for p in _written(path)):
            problem = os.strerror(errno.EACCES)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        problem = getattr(error, "strerror", None) or str(error)
    if problem:
        message = f"cannot write {path} ({problem}): {cure}"
        raise CharloomError(message, "unwritable", path=str(path))


def write_output(path: Path, content: bytes | Iterable[bytes], free: bool = False) -> Path:
    """Write what a user asked for, and return where; raises CharloomError if it cannot.

    A file that exists is replaced, whole or not at all: that which a link leads to, with its
    permissions. A pipe or a device is written to. With `free`, nobody has chosen the name: if it
    is taken, name-2.ext, name-3.ext ... is written. What raises while it yields the content leaves
    no file.
    """
    blocks = [content] if isinstance(content, bytes) else content
    if not free:
        _write_output(path, blocks)
        return path
    path = _claimed(path)
    try:
        _write_output(path, blocks)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _write_output(path: Path, blocks: Iterable[bytes]) -> None:
    check_output(path)
    with writing(path, "name another file"):
        descriptor = _descriptor(path)
        if descriptor is not None:
            if sys.stdout is not None:
                sys.stdout.flush()
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.writelines(blocks)
        elif path.exists() and not path.is_file():
            with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:  # a pipe waits for a reader
                file.writelines(blocks)
        else:
            _replace_output(path.resolve(), blocks)


def _written(path: Path) -> Iterator[Path]:
    """Yield what must be writable: what is there, and the folder of a file to be replaced."""
    if path.exists():
        yield path
    if path.is_file() or not path.exists():
        yield path.resolve().parent


def is_stdout(path: Path) -> bool:
    """Whether what is written to a path goes to standard output: /dev/stdout."""
    return _descriptor(path) == 1


def _claimed(path: Path) -> Path:
    """Make an empty file that was not there, of the first name that is free."""
    others = (path.with_stem(f"{path.stem}-{n}") for n in itertools.count(2))
    for free in itertools.chain([path], others):
        try:
            free.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(free, error, "name another file") from None
        return free
    raise AssertionError("there is no last name")


def _replace_output(target: Path, blocks: Iterable[bytes]) -> None:
    """Put a whole file in the place of one, which several processes may do at once."""
    temporary = target.with_name(f".charloom-{os.getpid()}.new")
    _remove_left(target.parent)
    try:
        temporary.unlink(missing_ok=True)
        write_file(temporary, blocks)
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left(folder: Path) -> None:
    """Remove what processes that were killed had begun to write; it may be large."""
    for path in folder.glob(".charloom-*.new"):
        with suppress(OSError, CharloomError), open_plain(path) as file:
            if time.time() - path.stat().st_mtime > LEFT_SECONDS and _lock(file):
                path.unlink()


def _descriptor(path: Path) -> int | None:
    """Return which open file of this process a path like /dev/stdout or /dev/fd/3 stands for."""
    try:
        for _ in range(_MOST_LINKS):
            if path.parent.resolve() == Path(f"/proc/{os.getpid()}/fd"):
                return int(path.name)
            if not path.is_symlink():
                return None
            path = path.parent / path.readlink()
    except (OSError, RuntimeError, ValueError):
        pass
    return None


def sync_folder(folder: Path) -> None:
    """Write the names in a folder through to the disk: a rename is not durable before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
