"""Plain files, written through to the disk, and read without trusting what they are."""

import os
import stat
from pathlib import Path
from typing import TypeVar

import msgspec

from charloom.errors import CharloomError

_JSON_BYTES = 2**20  # at most

T = TypeVar("T")


def plain_size(path: Path) -> int:
    """Return the size of a plain file in bytes; raises CharloomError for anything else.

    Links, pipes and devices are refused before they are opened: they lead out of the folder,
    or wait for ever.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise CharloomError(
            f"{path} is missing: restore it from a copy", "not-found", path=str(path)
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        problem = f"{path} is a link, a folder or a device, not a plain file: remove it"
        raise CharloomError(problem, "damaged", path=str(path))
    return status.st_size


def read_json(path: Path, kind: type[T], largest: int = _JSON_BYTES) -> T:
    """Decode a plain JSON file strictly as `kind`; raises CharloomError that names the fault."""
    content = read_bytes(path, largest)
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError, OverflowError) as error:
        problem = f"{path} is damaged ({one_line(error)}): restore it from a copy"
        raise CharloomError(problem, "damaged", path=str(path)) from None


def one_line(error: Exception) -> str:
    """Return what an error says, fit to be printed: it may quote what a hostile file holds."""
    text = " ".join(str(error).split())
    shown = "".join(character if character.isprintable() else "?" for character in text[:200])
    return shown + "..." * (len(text) > 200)


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a plain file of at most `largest` bytes; raises CharloomError."""
    if plain_size(path) > largest:
        problem = f"{path} is damaged: it is larger than {largest:,} bytes"
        raise CharloomError(problem, "damaged", path=str(path))
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> CharloomError:
    problem = f"{path} cannot be read: {error.strerror}"
    return CharloomError(problem, "unreadable", path=str(path))


def write_file(path: Path, content: bytes) -> None:
    """Write a new file through to the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in place of `path`: whoever reads it sees the old or the new."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_file(temporary, content)
    temporary.replace(path)
    sync_folder(path.parent)


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a user asked for, whole or not at all; raises CharloomError."""
    try:
        replace_file(path, content)
    except OSError as error:
        problem = f"cannot write {path} ({error.strerror}): name another file"
        raise CharloomError(problem, "unwritable", path=str(path)) from None


def sync_folder(folder: Path) -> None:
    """Write the names in a folder through to the disk: a rename is not durable before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
