"""How this process was started: by torchrun, as one of several, or plainly."""

import os
import threading
from contextlib import suppress
from typing import NamedTuple

LOOK = 0.5  # seconds between two looks for the parent
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
    """Return what torchrun has said in the environment; None where it has not.

    A variable alone, as WORLD_SIZE may be left over from elsewhere, says nothing.
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
    """End this process within a second of its parent's end, whatever its main thread waits for.

    So nothing stays behind of what a killed torchrun has started.
    """
    threading.Thread(target=_look_for_parent, args=(rank,), daemon=True).start()


def _look_for_parent(rank: int) -> None:
    wait = threading.Event().wait
    while os.getppid() == _PARENT:
        wait(LOOK)
    with suppress(OSError):  # past what the main thread may be writing
        os.write(2, f"charloom: rank {rank}: the process that started it has gone\n".encode())
    os._exit(1)
