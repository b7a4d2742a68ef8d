"""The files in an archive or folder, by name, within limits: an archive may unpack to anything."""

import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from charloom.errors import CharloomError
from charloom.formatting import count

MEMBER_BYTES = 2**30  # of one unpacked file
RATIO = 1000  # unpacked to packed bytes of a large file, above which it is a bomb
SMALL = 2**24  # bytes up to which no ratio is too much
MEMBERS = 1_000_000  # files in an archive


class Members(Protocol):
    """Files by name, in the order in which they are stored; nothing is written to disk."""

    label: str

    def names(self) -> tuple[str, ...]:
        """Return the names of the regular files, with / between folders."""

    def read(self, name: str) -> bytes:
        """Return a file; raises CharloomError if it is damaged, encrypted or too large."""


class Zip:
    """The files in a ZIP archive. Raises CharloomError if it is damaged."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self.label = label
        try:
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise broken(label, error) from None
        _check_count(len(infos), label)
        self._infos = {info.filename: info for info in infos if not info.is_dir()}

    def names(self) -> tuple[str, ...]:
        """Return the names of the files."""
        return tuple(self._infos)

    def read(self, name: str) -> bytes:
        """Return a file; raises CharloomError if it is damaged, encrypted or too large."""
        info = self._infos[name]
        label = f"{name} in {self.label}"
        if info.flag_bits & 1:
            message = f"{label} is encrypted: unpack it with its password, and give the files"
            raise CharloomError(message, "unreadable", why="encrypted", path=label)
        _check_size(info.file_size, info.compress_size, label)
        try:
            with self._archive.open(info) as file:
                return bounded(file, label, info.compress_size)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            raise broken(label, error) from None
        except (NotImplementedError, RuntimeError) as error:  # a method that Python does not have
            message = f"{label} cannot be unpacked here ({error}): unpack it, and give the files"
            raise CharloomError(message, "unreadable", why="cannot be read", path=label) from None


class Tar:
    """The regular files in a TAR archive, packed or not. Raises CharloomError if it is damaged."""

    def __init__(self, file: BinaryIO, label: str) -> None:
        self.label = label
        self._infos: dict[str, tarfile.TarInfo] = {}
        try:
            self._archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
            for number, info in enumerate(self._archive):
                _check_count(number, label)
                if info.isreg():
                    self._infos[info.name.removeprefix("./")] = info
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise broken(label, error) from None

    def names(self) -> tuple[str, ...]:
        """Return the names of the files."""
        return tuple(self._infos)

    def read(self, name: str) -> bytes:
        """Return a file; raises CharloomError if it is damaged or too large."""
        label = f"{name} in {self.label}"
        _check_size(self._infos[name].size, self._infos[name].size, label)
        try:
            file = self._archive.extractfile(self._infos[name])
            assert file is not None
            return bounded(file, label, self._infos[name].size)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise broken(label, error) from None


class Folder:
    """The files of a folder on disk that is an unpacked archive."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.label, self._path, self._names = str(path), path, names

    def names(self) -> tuple[str, ...]:
        """Return the names of the files."""
        return self._names

    def read(self, name: str) -> bytes:
        """Return a file; raises CharloomError if it cannot be read or is too large."""
        label = str(self._path / name)
        try:
            with (self._path / name).open("rb") as file:
                return bounded(file, label, MEMBER_BYTES)
        except OSError as error:
            message = f"{label} cannot be read ({error.strerror}): check its permissions"
            raise CharloomError(message, "unreadable", path=label) from None


def bounded(file: IO[bytes], label: str, packed: int) -> bytes:
    """Return what is in a file that unpacks as it is read; raises CharloomError if it is a bomb."""
    pieces, size = list[bytes](), 0
    while piece := file.read(2**20):
        pieces.append(piece)
        size += len(piece)
        _check_size(size, packed, label)
    return b"".join(pieces)


def broken(label: str, error: Exception) -> CharloomError:
    """Return the error for an archive that cannot be unpacked."""
    message = f"{label} is damaged ({error}): get another copy, or unpack it and give the files"
    return CharloomError(message, "damaged", why="damaged", path=label)


def _check_size(size: int, packed: int, label: str) -> None:
    if size > MEMBER_BYTES or size > max(SMALL, RATIO * packed):
        message = (
            f"{label} unpacks to more than {min(MEMBER_BYTES, max(SMALL, RATIO * packed)):,} "
            "bytes: unpack it yourself if it is what you think it is, and give the file"
        )
        raise CharloomError(message, "unsupported", why="too large", path=label, size=size)


def _check_count(number: int, label: str) -> None:
    if number > MEMBERS:
        message = f"{label} has more than {count(MEMBERS, 'file')}: unpack it and name a folder"
        raise CharloomError(message, "unsupported", why="too many files", path=label)
