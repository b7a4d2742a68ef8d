"""How this process was started: by torchrun, as one of several, or alone."""

import os
import threading
from contextlib import suppress
from typing import NamedTuple

POLL_SECONDS = 0.5  # between two checks that the parent is still there
_PARENT = os.getppid()  # as early as can be: it may die while PyTorch is loaded


class Place(NamedTuple):
    """A process among those that train one run together: `rank` of `ranks`.

    `local` is its number on its own machine, `host` and `port` are where all of them meet.
    """

    rank: int
    ranks: int
    local: int
    host: str
    port: int


def place() -> Place | None:
    """Return what torchrun put into the environment; None if torchrun did not start this.

    All of its variables must be there: WORLD_SIZE alone may be left over from elsewhere.
    """
    try:
        rank, ranks, local, port = (
            int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT")
        )
        host = os.environ["MASTER_ADDR"]
    except (KeyError, ValueError):
        return None
    return Place(rank, ranks, local, host, port) if 0 <= rank < ranks else None


def end_with_parent(rank: int) -> None:
    """End this process within a second of its parent's end, even if its main thread waits.

    So a torchrun that is killed leaves no process behind.
    """

    def watch() -> None:
        wait = threading.Event().wait
        while os.getppid() == _PARENT:
            wait(POLL_SECONDS)
        say(rank, "the process that started it has gone")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def say(rank: int, what: object) -> None:
    """Write a line to standard error at once, even while another thread is writing to it."""
    with suppress(OSError):
        os.write(2, f"charloom: rank {rank}: {what}\n".encode())
