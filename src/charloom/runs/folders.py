"""Holding a run folder for one process, and renaming and deleting it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charloom.data.learned import OF_A_RUN, kind_of_folder
from charloom.errors import CharloomError
from charloom.files import plain_size, unwritable


def move(run: str | Path, new: str | Path) -> None:
    """Give a run another name or place; raises CharloomError if there is something already."""
    run, new = Path(run), Path(new)
    check_is_run(run)
    with hold(run):
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
    check_is_run(run)
    with hold(run):
        names = sorted(path.name for path in run.iterdir())
        if strange := [name for name in names if name not in OF_A_RUN and not name.startswith(".")]:
            message = (
                f"{run} holds {strange[0]} as well, which does not belong to a run: move it first"
            )
            raise CharloomError(message, "taken", path=str(run), found=strange[0])
        try:
            shutil.rmtree(run)
        except OSError as error:
            raise unwritable(run, error) from error


def check_is_run(run: str | Path) -> None:
    """Raise CharloomError for what is no run folder, whole or damaged."""
    run = Path(run)
    if run.is_symlink() or kind_of_folder(run) != "a run":
        message = f"{run} is not a run folder: `charloom runs` lists those below"
        raise CharloomError(message, "not-found", path=str(run))


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Hold a run folder for one process; raises CharloomError if another has it.

    The kernel drops the lock with the process that holds it, however that ends.
    """
    path = run / ".lock"
    if path.exists() or path.is_symlink():  # it may be a pipe or a device
        plain_size(path)
    try:
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            found = file.read(20).strip()
            holder = found.decode() if found.isdigit() else "unknown"
            message = f"{run} is being trained by process {holder}: wait for it or stop it"
            raise CharloomError(message, "busy", path=str(run), process=holder) from None
        with suppress(OSError):  # on a full disk: the lock is the kernel's
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield
