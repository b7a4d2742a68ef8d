"""The files of a folder that are part of a text, in the order in which people have them."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from charloom.data.learned import kind_of
from charloom.data.parts import File, shown
from charloom.data.patterns import Chosen, Ignored
from charloom.data.reading import Reading
from charloom.data.tally import Tally

_OF_MAIL = ("cur", "new", "tmp")  # what each folder of a Maildir has, .Sent too


def natural(path: PurePath) -> tuple[list[list[str | int]], tuple[str, ...]]:
    """Return what sorts paths as people do: by the numbers in their names, not the digits."""
    split = [re.split("([0-9]+)", name) for name in path.parts]
    numbers = [[int(s) if n % 2 else s for n, s in enumerate(name)] for name in split]
    return numbers, path.parts


def is_hidden(path: PurePath) -> bool:
    """Whether a path in a folder or archive is one that its owner does not see."""
    return any(name.startswith(".") or name == "__MACOSX" for name in path.parts)


def files_below(folder: Path, tally: Tally, reading: Reading) -> list[File]:
    """Return all files below `folder` that are to be read, in the order of their paths.

    Left out are hidden ones, those that git ignores, those of runs and models, which hold what was
    learned, not what to learn from, and those that `reading` does not want.
    """
    found = list(_walk(folder, tally, reading))
    chosen = Chosen(reading.include, reading.exclude)
    parts: list[File] = []
    for path in sorted(found, key=natural if reading.era != "sorted" else lambda path: path.parts):
        name = path.relative_to(folder)
        if why := chosen.why_not(name):
            tally.skip(why, str(name))
            continue
        try:
            status = path.stat()
        except OSError:
            tally.skip("cannot be read", str(name))
            continue
        if stat.S_ISREG(status.st_mode):
            label = shown(str(name))
            parts.append(File(path, label, status.st_size, status.st_mtime_ns, reading))
        else:
            tally.skip("a pipe, a socket or a device", str(name))
    return parts


def _walk(folder: Path, tally: Tally, reading: Reading) -> Iterator[Path]:
    """Yield the files below a folder that might be read."""

    def skip(path: Path, why: str, is_folder: bool = True) -> None:
        tally.skip(why, str(path.relative_to(folder)), is_folder)

    def skip_unreadable(error: OSError) -> None:
        skip(Path(error.filename), "cannot be read")

    ignored = Ignored(folder) if reading.era == "now" else None
    for parent, folders, files in os.walk(folder, onerror=skip_unreadable):
        if kind := kind_of([*folders, *files]):
            skip(Path(parent), kind)
            folders.clear()
            continue
        for name in [*folders]:
            path = Path(parent, name)
            if name.startswith(".") and not all((path / one).is_dir() for one in _OF_MAIL):
                folders.remove(name)
            elif path.is_symlink():
                skip(path, "a link to a folder")
            elif ignored is not None and ignored.ignores(path.relative_to(folder), True):
                folders.remove(name)
                skip(path, "ignored by git")
        for path in (Path(parent, name) for name in files if not name.startswith(".")):
            if ignored is not None and ignored.ignores(path.relative_to(folder), False):
                skip(path, "ignored by git", False)
            else:
                yield path
