"""The files in an archive or folder, by name, within limits: an archive may unpack to anything."""

import io
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from charloom.errors import CharloomError
from charloom.formatting import count, in_a_line

MEMBER_BYTES = 2**30  # of one unpacked file
RATIO = 1000  # unpacked to packed bytes of a large file, above which it is a bomb
SMALL = 2**24  # bytes up to which no ratio is too much
MEMBERS = 1_000_000  # files in an archive


class Members(ABC):
    """Files by name, in the order in which they are stored; nothing is written to disk."""

    def __init__(self, label: str, names: Iterable[str]) -> None:
        self.label, self._names = label, tuple(names)

    def names(self) -> tuple[str, ...]:
        """Return the names of the regular files, with / between folders."""
        return self._names

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Return a file that can seek; it, and reading it, raise as `read` does."""

    def read(self, name: str) -> bytes:
        """Return a file; raises CharloomError if it is damaged, encrypted or too large."""
        label = member(name, self.label)
        try:
            with self.open(name) as file:
                return bounded(file, label, MEMBER_BYTES)
        except OSError as error:
            raise _unreadable(label, error) from None


class Unpacked(io.RawIOBase):
    """A file that is unpacked as it is read; to go back in it, it is begun again.

    Raises CharloomError if it is damaged, or unpacks to more than `most` or 1,000 times the bytes
    that are `packed`.
    """

    def __init__(self, begin: Callable[[], IO[bytes]], label: str, packed: int, most: int) -> None:
        self._begin, self._label, self._packed, self._most = begin, label, packed, most
        self._place = 0
        with unpacking(label):
            self._file = begin()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place in the unpacked file."""
        return self._place

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Unpack so many bytes at most, and return how many those are; 0 at the end."""
        with unpacking(self._label):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        _check_size(self._place, self._packed, self._label, self._most)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place, or to the end if that is before it, by reading up to it."""
        if whence == io.SEEK_END:
            while self.read(2**20):
                pass
        target = max(0, offset + (0 if whence == io.SEEK_SET else self._place))
        if target < self._place:
            with unpacking(self._label):
                self._file.close()
                self._file, self._place = self._begin(), 0
        while self._place < target and self.read(min(2**20, target - self._place)):
            pass
        return self._place

    def close(self) -> None:
        """Close what it is unpacked from."""
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


class Zip(Members):
    """The files in a ZIP archive. Raises CharloomError if it is damaged, or a bomb."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        with unpacking(label):
            size = file.seek(0, io.SEEK_END)
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
        _check_count(len(infos), label)
        # Its files may overlap: then they are small, and all of them together are not.
        _check_size(sum(info.file_size for info in infos), size, label, RATIO * MEMBER_BYTES)
        self._infos = {info.filename: info for info in infos if info.filename[-1:] not in ("", "/")}
        super().__init__(label, self._infos)

    def size(self, name: str) -> int:
        """Return how many bytes a file has, as the archive says."""
        return self._infos[name].file_size

    def open(self, name: str) -> BinaryIO:
        """Return a file that can seek; it, and reading it, raise as `read` does."""
        info, label = self._infos[name], member(name, self.label)
        if info.flag_bits & 1:
            message = f"{label} is encrypted: unpack it with its password, and give the files"
            raise CharloomError(message, "unreadable", why="encrypted", path=label)
        packed, begin = info.compress_size, partial(self._archive.open, info)
        _check_size(info.file_size, packed, label, MEMBER_BYTES)
        return io.BufferedReader(Unpacked(begin, label, packed, MEMBER_BYTES))


class Tar(Members):
    """The regular files in a TAR archive that is not packed. Raises CharloomError if damaged."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self._infos: dict[str, tarfile.TarInfo] = {}
        with unpacking(label):
            self._archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
            for number, info in enumerate(self._archive):
                _check_count(number, label)
                if info.isreg():
                    self._infos[info.name.removeprefix("./")] = info
        super().__init__(label, self._infos)

    def size(self, name: str) -> int:
        """Return how many bytes a file has."""
        return self._infos[name].size

    def open(self, name: str) -> BinaryIO:
        """Return a file that can seek; it, and reading it, raise as `read` does."""
        info, label = self._infos[name], member(name, self.label)
        _check_size(info.size, info.size, label, MEMBER_BYTES)

        def begin() -> IO[bytes]:
            file = self._archive.extractfile(info)
            assert file is not None
            return file

        return io.BufferedReader(Unpacked(begin, label, info.size, MEMBER_BYTES))


Archive = Zip | Tar


class Folder(Members):
    """The files of a folder on disk that is an unpacked archive."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        super().__init__(in_a_line(str(path)), names)
        self._path = path

    def open(self, name: str) -> BinaryIO:
        """Return a file that can seek; raises as `read` does."""
        try:
            return (self._path / name).open("rb")
        except OSError as error:
            raise _unreadable(in_a_line(str(self._path / name)), error) from None


def member(name: str, archive: str) -> str:
    """Return how a file in an archive is called."""
    return f"{in_a_line(name)} in {archive}"


@contextmanager
def unpacking(label: str) -> Iterator[None]:
    """Raise CharloomError in place of whatever a library says of a damaged archive."""
    try:
        yield
    except (CharloomError, MemoryError):
        raise
    except RuntimeError as error:  # a method that Python does not have
        message = f"{label} cannot be unpacked here ({error}): unpack it, and give the files"
        raise CharloomError(message, "unreadable", why="cannot be read", path=label) from None
    except Exception as error:
        reason = in_a_line(str(error)) or type(error).__name__
        cure = "get another copy, or unpack it and give the files"
        message = f"{label} is damaged ({reason}): {cure}"
        raise CharloomError(message, "damaged", why="damaged", path=label) from None


def bounded(file: IO[bytes], label: str, packed: int) -> bytes:
    """Return all of a file that is unpacked as it is read; raises CharloomError if it is a bomb."""
    pieces, size = list[bytes](), 0
    while piece := file.read(2**20):
        pieces.append(piece)
        size += len(piece)
        _check_size(size, packed, label, MEMBER_BYTES)
    return b"".join(pieces)


def _unreadable(label: str, error: OSError) -> CharloomError:
    message = f"{label} cannot be read ({error.strerror}): check its permissions"
    return CharloomError(message, "unreadable", why="cannot be read", path=label)


def _check_size(size: int, packed: int, label: str, most: int) -> None:
    limit = min(most, max(SMALL, RATIO * packed))
    if size > limit:
        message = (
            f"{label} unpacks to more than {limit:,} bytes: unpack it yourself if it is what you "
            "think it is, and give the file"
        )
        raise CharloomError(message, "unsupported", why="too large", path=label, size=size)


def _check_count(number: int, label: str) -> None:
    if number > MEMBERS:
        message = f"{label} has more than {count(MEMBERS, 'file')}: unpack it and name a folder"
        raise CharloomError(message, "unsupported", why="too many files", path=label)
