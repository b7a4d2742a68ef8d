"""The one exception for errors that a user can fix: its codes, facts and exit statuses."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Code = Literal[
    "bad-setting",  # a setting out of range, or one that does not go with another
    "missing-library",  # an extra of charloom is not installed
    "no-text",  # nothing to read, or too little of it
    "not-text",  # a file in another encoding, packed, or binary
    "changed-text",  # not the text that a run began with
    "unknown-character",  # one that the vocabulary does not have
    "not-found",  # no file, folder, run, checkpoint or known text of that name
    "unreadable",  # a file or folder that cannot be read
    "unwritable",  # a file or folder that cannot be written, or a full disk
    "taken",  # a folder that holds something already
    "busy",  # another process is using it
    "damaged",  # a file whose contents are not what was saved
    "newer-format",  # a file of a later version of charloom
    "other-settings",  # a checkpoint or run with other settings than asked for
    "unsupported",  # an engine, model or device that cannot do what is asked
    "bad-array",  # ids or arrays of a wrong shape, type or range
    "bad-model",  # a model that predicts NaN, or nothing at all
    "diverged",  # training that diverged after every rollback
    "process-lost",  # another process of the same run is gone or silent
]


class CharloomError(ValueError):
    """What went wrong with the user's input or machine, and what to do next.

    The message is one line that names the file, option or character at fault; the command line
    prints it alone and exits with `status`. Programs look at `code`, which stays when messages
    change, and at `facts`, the values that the message names ("field", "path", "position").
    """

    status = 2  # 3 if training diverged: with these settings the model does not learn

    def __init__(self, message: str, code: Code = "bad-setting", **facts: object) -> None:
        super().__init__(message)
        self.code = code
        self.facts = facts
        if code == "diverged":
            self.status = 3


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Raise CharloomError, if an import fails, that says which extra of charloom `what` needs."""
    try:
        yield
    except ImportError as error:
        library = error.name or "a library"
        cure = install(extra)
        message = f"{what} needs {library}, which is not installed: {cure}"
        why = f"without {library}: {cure}"
        raise CharloomError(message, "missing-library", library=library, why=why) from None


def install(extra: str) -> str:
    """Return the command that installs an extra for the Python that runs this.

    pip takes its libraries from the charloom that is installed, wherever that came from. Without
    one, it is told as in the README.
    """
    from importlib.metadata import PackageNotFoundError, distribution  # which takes a while

    python, found = Path(sys.executable), shutil.which("pip")
    pip = "pip" if found and Path(found).parent == python.parent else f"{python} -m pip"
    try:
        distribution("charloom")
    except PackageNotFoundError:
        return f"{pip} install '.[{extra}]' in the folder that charloom is in"
    return f"{pip} install 'charloom[{extra}]'"


def check_at_least(least: int, **settings: int) -> None:
    """Raise CharloomError that names the first of some settings that is less."""
    for field, value in settings.items():
        if value < least:
            message = f"{field.replace('_', '-')} is {value}, but it must be at least {least}"
            raise CharloomError(message, "bad-setting", field=field)
