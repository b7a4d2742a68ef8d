"""Which files of a folder are left out by patterns: those of a user, and those of git."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from charloom.errors import CharloomError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class Chosen:
    """The files that a user wants of a folder or archive, by patterns as in .gitignore."""

    def __init__(self, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
        self._include, self._exclude = _asked(include, "include"), _asked(exclude, "exclude")

    def why_not(self, path: PurePath) -> str:
        """Say why a file is left out; "" if it is not. `path` is that within the folder."""
        if self._exclude is not None and self._exclude.match_file(path.as_posix()):
            return "excluded"
        if self._include is not None and not self._include.match_file(path.as_posix()):
            return "not included"
        return ""


class Ignored:
    """What git ignores below a folder of a work tree, by its .gitignore files; git is not asked.

    If the folder itself is ignored, somebody has named it all the same: then nothing above counts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._rules_of = cache(_rules_of)
        above = [self._folder, *self._folder.parents]
        self._top = next(filter(_is_work_tree, above), None)
        if self._top is not None:
            between = above[: above.index(self._top)]
            if any(self._ignores(path, is_folder=True) for path in between):
                self._top = self._folder

    def ignores(self, path: PurePath, is_folder: bool) -> bool:
        """Whether git ignores what is there; `path` is that within the folder."""
        return self._top is not None and self._ignores(self._folder / path, is_folder)

    def _ignores(self, path: Path, is_folder: bool) -> bool:
        """Ask the rules of each folder above, from the nearest on: the first that knows decides."""
        assert self._top is not None
        for parent in path.parents:
            if (rules := self._rules_of(parent)) is not None:
                name = path.relative_to(parent).as_posix() + "/" * is_folder
                if (found := rules.check_file(name).include) is not None:
                    return found
            if parent == self._top:
                break
        return False


def _is_work_tree(path: Path) -> bool:
    try:
        return (path / ".git").exists()
    except OSError:  # it may not be looked into
        return False


def _rules_of(folder: Path) -> "GitIgnoreSpec | None":
    """Return the rules in a folder, the last of which counts; None if there are none."""
    lines = list[str]()
    for path in (folder / ".git" / "info" / "exclude", folder / ".gitignore"):
        try:
            lines += path.read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            continue
    return _spec([line for line in lines if _is_valid(line)])


def _asked(patterns: tuple[str, ...], field: str) -> "GitIgnoreSpec | None":
    for pattern in patterns:
        if not _is_valid(pattern):
            message = f"{field} is {pattern!r}, which is no pattern such as '*.md' or drafts/"
            raise CharloomError(message, "bad-setting", field=field)
    return _spec(patterns)


def _spec(lines: Sequence[str]) -> "GitIgnoreSpec | None":
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    spec = GitIgnoreSpec.from_lines(lines)
    return spec if any(pattern.include is not None for pattern in spec.patterns) else None


def _is_valid(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
