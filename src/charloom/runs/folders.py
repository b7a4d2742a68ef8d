"""Run folders as folders: found, free to be made, held by one process, renamed and deleted."""

import errno
import fcntl
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charloom.data.learned import OF_A_RUN, kind_of, kind_of_folder
from charloom.errors import CharloomError
from charloom.files import open_plain, plain_size, unreadable, writing

LOCK = ".lock"  # held by the process whose number it has
_CREATED_FIRST = {"vocabulary.json", "corpus.json", ".config.json.new", "checkpoints", "samples"}
_CREATED_FIRST |= {"ids.npy", "ids.json", ".ids.npy.new", ".ids.json.new", ".ids.mark"}


def move(run: str | Path, new: str | Path) -> None:
    """Give a run another name or place; raises CharloomError if there is something already."""
    run, new = Path(run), Path(new)
    check_is_run(run)
    with hold(run):
        if new.exists() or new.is_symlink():
            raise CharloomError(f"{new} exists: choose another name", "taken", path=str(new))
        with writing(new, "choose another name"):
            new.parent.mkdir(parents=True, exist_ok=True)
            run.rename(new)


def delete(run: str | Path) -> None:
    """Delete a run, whole or damaged.

    Raises CharloomError if it is being trained, or if the folder holds a file that no run has.
    """
    run = Path(run)
    check_is_run(run)
    with hold(run):
        names = sorted(path.name for path in run.iterdir())
        if strange := [name for name in names if name not in OF_A_RUN and not name.startswith(".")]:
            message = f"{run} holds {strange[0]}, which does not belong to a run: move it first"
            raise CharloomError(message, "taken", path=str(run), found=strange[0])
        with writing(run):
            shutil.rmtree(run)


def discard(run: str | Path, trash: Path) -> Path:
    """Move a run into a folder from which `move` takes it back, and return where it is there.

    It keeps its name, with a number if that is taken. Raises CharloomError as `move` does.
    """
    name, number = Path(run).name, 1
    place = trash / name
    while place.exists() or place.is_symlink():
        number += 1
        place = trash / f"{name}-{number}"
    move(run, place)
    return place


def holder(run: str | Path) -> int | None:
    """Return the process that holds a run folder; None if none does, as far as can be told."""
    path = Path(run, LOCK)
    try:
        with open_plain(path) as file:
            process = int(file.read(20))
            os.kill(process, 0)  # raises if it is gone
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return process
    except (CharloomError, OSError, ValueError, OverflowError):
        return None
    return None


def check_is_run(run: str | Path) -> None:
    """Raise CharloomError for what is no run folder, whole or damaged."""
    run = Path(run)
    if run.is_symlink() or kind_of_folder(run) != "a run":
        raise no_run(run, f"{run} is not a run folder: `charloom runs` lists those below")


@contextmanager
def hold(run: Path) -> Iterator[None]:
    """Hold a run folder for one process; raises CharloomError if another has it.

    The kernel drops the lock with the process that holds it, however that ends.
    """
    path = run / LOCK
    if path.exists() or path.is_symlink():  # it may be a pipe or a device
        plain_size(path)
    with writing(path):
        file = path.open("ab+", buffering=0)
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


def list_runs(folder: str | Path) -> list[Path]:
    """Return the run folders in and below `folder`, complete or damaged, in the order of names."""
    if not Path(folder).is_dir():
        raise no_run(folder, f"there is no folder {folder}: check the name")
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "config.json" in files and kind_of([*files, *folders]) == "a run":
            found.append(Path(parent))
            folders.clear()
    return found


def names_in(folder: Path) -> list[str]:
    """Return the names in a run folder; raises CharloomError if there is none."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        message = f"there is no run folder {folder}: `charloom runs` lists those below"
        raise no_run(folder, message) from None
    except OSError as error:
        raise unreadable(folder, error) from None


def no_run(path: str | Path, message: str) -> CharloomError:
    """Return the error for what is no run folder."""
    return CharloomError(message, "not-found", path=str(path))


def check_free(path: Path) -> None:
    """Raise CharloomError unless a run can be created there: in a new folder, or an empty one."""
    what, cure = "", "choose another folder"
    with writing(path, cure):
        if path.is_dir():
            names = {*names_in(path)} - _CREATED_FIRST
            if "config.json" in names:
                what = "holds a run already"
                cure = f"charloom resume {shlex.quote(str(path))} goes on with it, or {cure}"
            elif names:
                what = "is not empty"
        elif path.exists() or path.is_symlink():
            what = "is not a folder"
        else:
            there = next(parent for parent in path.absolute().parents if parent.exists())
            if not there.is_dir():
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(there, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    if what:
        raise CharloomError(f"{path} {what}: {cure}", "taken", path=str(path))
