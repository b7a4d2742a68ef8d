"""The files of a folder that are part of a text, in the order in which people have them."""

import os
import re
import stat
from pathlib import Path, PurePath

from charloom.data.learned import kind_of
from charloom.data.parts import File, shown
from charloom.data.reading import Reading
from charloom.data.tally import Tally


def natural(path: PurePath) -> tuple[list[list[str | int]], tuple[str, ...]]:
    """Return what sorts paths as people do: by the numbers in their names, not the digits."""
    split = [re.split("([0-9]+)", name) for name in path.parts]
    numbers = [[int(s) if n % 2 else s for n, s in enumerate(name)] for name in split]
    return numbers, path.parts


def is_hidden(path: PurePath) -> bool:
    """Whether a path in a folder or archive is one that its owner does not see."""
    return any(name.startswith(".") or name == "__MACOSX" for name in path.parts)


def files_below(folder: Path, tally: Tally, reading: Reading) -> list[File]:
    """Return all files below `folder` that are not hidden, in the order of their paths.

    Those of runs and models are left out: they hold what was learned, not what to learn from.
    """

    def skip(path: Path, why: str) -> None:
        tally.skip(why, str(path.relative_to(folder)))

    def skip_folder(error: OSError) -> None:
        skip(Path(error.filename), "cannot be read")

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=skip_folder):
        if kind := kind_of([*folders, *files]):
            skip(Path(parent), kind)
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():
                skip(path, "a link to a folder")
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    parts: list[File] = []
    for path in sorted(found, key=natural if reading.era != "sorted" else lambda path: path.parts):
        try:
            status = path.stat()
        except OSError:
            skip(path, "cannot be read")
            continue
        if stat.S_ISREG(status.st_mode):
            label = shown(str(path.relative_to(folder)))
            parts.append(File(path, label, status.st_size, status.st_mtime_ns, reading))
        else:
            skip(path, "a pipe, a socket or a device")
    return parts
