"""How this process was started: by torchrun, as one of several, or plainly."""

import os
from typing import NamedTuple


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
