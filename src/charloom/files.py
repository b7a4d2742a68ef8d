"""Plain files, written through to the disk, and read without trusting what they are."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from charloom.errors import CharloomError

LARGEST_JSON = 2**26  # bytes: it may name half a million files, or hold a vocabulary of tokens

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


def read_json(path: Path, kind: type[T]) -> T:
    """Decode a plain JSON file strictly as `kind`; raises CharloomError that names the fault."""
    content = read_bytes(path, LARGEST_JSON)
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError, OverflowError) as error:
        raise damaged(path, one_line(error)) from None


def fits(size: int) -> bool:
    """Return whether JSON of so many bytes can be read: what is written must be read again."""
    return size <= LARGEST_JSON


def one_line(error: Exception) -> str:
    """Return what an error says, fit to be printed: it may quote a hostile file."""
    text = " ".join(str(error).split())
    shown = "".join(character if character.isprintable() else "?" for character in text[:200])
    return shown + "..." * (len(text) > 200)


def read_bytes(path: Path, largest: int) -> bytes:
    """Read a plain file of at most `largest` bytes; raises CharloomError."""
    if plain_size(path) > largest:
        raise damaged(path, f"larger than {largest:,} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def damaged(path: Path, reason: str, cure: str = "restore it from a copy") -> CharloomError:
    """Return the error for a file that is not what was saved."""
    return CharloomError(f"{path} is damaged ({reason}): {cure}", "damaged", path=str(path))


def unreadable(path: Path, error: OSError) -> CharloomError:
    """Return the error for a file or folder that the system does not let one read."""
    return CharloomError(f"{path} cannot be read: {error.strerror}", "unreadable", path=str(path))


def unwritable(path: Path, error: OSError, cure: str = "solve that") -> CharloomError:
    """Return the error for a file or folder that cannot be written."""
    problem = f"cannot write {path} ({error.strerror or error}): {cure}"
    return CharloomError(problem, "unwritable", path=str(path))


def refuse_link(folder: Path) -> None:
    """Raise CharloomError for a link in place of a folder: it leads out of the run."""
    if folder.is_symlink():
        problem = f"{folder} is a link: put the folder itself in its place"
        raise CharloomError(problem, "damaged", path=str(folder))


def write_file(path: Path, blocks: Iterable[Block]) -> tuple[int, str]:
    """Write a new file through to the disk, block by block; returns its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in place of `path`: readers see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_file(temporary, [content])
    temporary.replace(path)
    sync_folder(path.parent)


def write_output(path: Path, content: bytes) -> None:
    """Write what a user asked for, whole or not at all; raises CharloomError if it cannot."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise unwritable(path, error, "name another file") from None


def sync_folder(folder: Path) -> None:
    """Write the names in a folder through to the disk: a rename is not durable before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
