"""Renaming and deleting run folders, of which nobody trains the run."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charloom.data.learned import OF_A_RUN
from charloom.errors import CharloomError
from charloom.files import unwritable

_NEEDED = {"config.json", "corpus.json", "vocabulary.json"}


def move(run: str | Path, new: str | Path) -> None:
    """Give a run another name or place; raises CharloomError if there is something already."""
    run, new = Path(run), Path(new)
    with _alone(run):
        if new.exists() or new.is_symlink():
            raise CharloomError(f"{new} exists: choose another name", "taken", path=str(new))
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            run.rename(new)
        except OSError as error:
            raise unwritable(new, error, "choose another name") from error


def delete(run: str | Path) -> None:
    """Delete a run, whole or damaged.

    Raises CharloomError if it is being trained, or if the folder holds a file that no run has.
    """
    run = Path(run)
    with _alone(run):
        names = sorted(path.name for path in run.iterdir())
        if strange := [name for name in names if name not in OF_A_RUN and not name.startswith(".")]:
            message = f"{run} holds {strange[0]} as well, which is not of a run: move that first"
            raise CharloomError(message, "taken", path=str(run), found=strange[0])
        try:
            shutil.rmtree(run)
        except OSError as error:
            raise unwritable(run, error) from error


def check_is_run(run: str | Path) -> None:
    """Raise CharloomError for what is no run folder, whole or damaged."""
    run = Path(run)
    if run.is_symlink() or not all((run / name).is_file() for name in _NEEDED):
        message = f"{run} is no run folder: `charloom runs` lists those below"
        raise CharloomError(message, "not-found", path=str(run))


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the lock that a trainer holds; raises CharloomError if it cannot be had."""
    check_is_run(run)
    try:
        file = (run / ".lock").open("ab")
    except OSError as error:
        raise unwritable(run, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{run} is being trained: stop that first, or wait for it"
            raise CharloomError(message, "busy", path=str(run)) from None
        yield
