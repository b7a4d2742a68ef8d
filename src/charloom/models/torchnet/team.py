"""The processes that train one run together, and how they talk.

torchrun starts them, and starts all of them again when one has died. They meet in its store.
Rank 0 tells the others what to do over gloo; gradients are summed over nccl on GPUs, else over
gloo. A thread of each takes part in a barrier every half second: PyTorch's monitored barrier
finds and names a rank that is stopped, or on the far side of a broken network.
"""

import itertools
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from charloom.distributed import Place, say
from charloom.errors import CharloomError

MEETING_SECONDS = 600.0  # until all have come, at most
SILENCE_SECONDS = 120.0  # without a sign of life, after which a rank counts as lost
SLACK_SECONDS = 30.0  # that a sum may take longer, so that the barrier names the silent rank first
PULSE_SECONDS = 0.5  # between two barriers
POLL_SECONDS = 0.02  # between two looks at the store
GRACE_SECONDS = 2.0  # for the main thread to say itself that another process has gone
A_YEAR = timedelta(days=365)  # rank 0 may read text and save for long: the barrier looks after it


class Team:
    """One process among the others; `place` says which, `broken` whether they are out of step."""

    def __init__(self, place: Place, device: torch.device) -> None:
        """Meet the others. Raises CharloomError if they do not come, or leave again."""
        self.place, self.broken = place, False
        # Tests ask for fewer seconds.
        limit = timedelta(seconds=float(os.environ.get("CHARLOOM_SILENCE", SILENCE_SECONDS)))
        with self._talking():
            store = _connect(place)
            self._store = PrefixStore(_agree(store, place), store)
            dist.init_process_group(
                "gloo",
                store=self._store,
                rank=place.rank,
                world_size=place.ranks,
                timeout=limit,
            )
            self._telling = dist.new_group(timeout=A_YEAR, backend="gloo")
            backend = "nccl" if device.type == "cuda" else "gloo"
            slack = timedelta(seconds=SLACK_SECONDS)
            self._summing = dist.new_group(timeout=limit + slack, backend=backend)
            here = socket.gethostname(), os.getppid()
            known = [(here, 0)] * place.ranks
            dist.all_gather_object(known, (here, os.getpid()), self._telling)
        self._siblings = [pid for where, pid in known if where == here and pid != os.getpid()]
        self._parting = threading.Event()
        self._monitoring = threading.Thread(target=self._monitor, args=(limit,), daemon=True)
        self._monitoring.start()

    def tell(self, what: Any = None) -> Any:
        """Return what rank 0 calls this with, on every rank."""
        message = [what]
        with self._talking():
            dist.broadcast_object_list(message, 0, self._telling)
        return message[0]

    def share(self, tensor: Tensor) -> None:
        """Make a tensor in the host's memory what it is on rank 0, in place, on every rank."""
        with self._talking():
            dist.broadcast(tensor, 0, self._telling)

    def sum(self, flat: Tensor) -> None:
        """Put the sum over all ranks into a flat tensor, in place."""
        with self._talking():
            dist.all_reduce(flat, group=self._summing)

    def agrees(self, numbers: Tensor) -> bool:
        """Whether int64 numbers (n,) are the same on every rank."""
        both = torch.cat((numbers, ~numbers))
        with self._talking():
            dist.all_reduce(both, dist.ReduceOp.MAX, self._summing)
        most, least = both.chunk(2)
        return bool((most == ~least).all())

    def pass_on(self, number: int) -> None:
        """Let a signal that came to this process come to rank 0, which alone can save."""
        with suppress(RuntimeError):
            self._store.set("signal", str(number))

    def part(self) -> None:
        """Wait until all are about to end, so that none takes another for lost."""
        self._parting.set()
        self._monitoring.join()
        with suppress(CharloomError), self._talking():
            dist.barrier(self._telling)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.broken = True
            line = str(error).partition("\n")[0].partition(". ")[0]
            raise CharloomError(
                f"another process of this run is gone or does not answer ({line}): start all of "
                "them again, and they continue from the last checkpoint",
                "process-lost",
            ) from None

    def _monitor(self, limit: timedelta) -> None:
        """Look after the other ranks while the main thread computes, and on rank 0 for signals.

        Rank 0 says before the last barrier which it is: nobody waits in one that follows.
        """
        leads, passed_on = self.place.rank == 0, False
        try:
            for number in itertools.count():
                if leads and self._parting.is_set():
                    self._store.set("last barrier", str(number))
                dist.monitored_barrier(timeout=limit, wait_all_ranks=True)
                if self._store.check(["last barrier"]) and (
                    int(self._store.get("last barrier")) == number
                ):
                    return
                if leads and not passed_on and self._store.check(["signal"]):
                    passed_on = True
                    os.kill(os.getpid(), int(self._store.get("signal")))
                self._parting.wait(PULSE_SECONDS)
        except RuntimeError as error:
            sleep(GRACE_SECONDS * (1 if self.place.rank == 0 else 2))  # rank 0 knows who is silent
            say(self.place.rank, str(error).partition("\n")[0])
            for pid in self._siblings:  # torchrun would wait half a minute for one that is stopped
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os._exit(1)


def _connect(place: Place) -> Store:
    """Connect to the store: torchrun's, or if that keeps none, the one of rank 0."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        place.host,
        place.port,
        is_master=place.rank == 0 and not kept,
        wait_for_workers=False,
        multi_tenant=True,
    )


def _agree(store: Store, place: Place) -> str:
    """Return a name that the processes of this very start have in common.

    torchrun may keep its store over a restart, with what the dead have put there, and PyTorch
    2.13's own rendezvous would then connect to them. So rank 0 makes up a name, and tells it to
    the newest process of every other rank until each has answered.
    """
    name = uuid.uuid4().hex
    others = range(1, place.ranks)

    def complete() -> bool:
        for key in (f"guest{rank}" for rank in others):
            if store.check([key]):
                store.set(store.get(key).decode(), name)
        return bool(store.check([f"{name}/{rank}" for rank in others]))

    if place.rank == 0:
        _poll(complete)
        return name
    store.set(f"guest{place.rank}", name)
    _poll(lambda: store.check([name]))
    group: str = store.get(name).decode()
    store.set(f"{group}/{place.rank}", "")
    return group


def _poll(done: Callable[[], bool]) -> None:
    """Wait in Python, so that signals are heard."""
    end = monotonic() + MEETING_SECONDS
    while not done():
        if monotonic() > end:
            raise RuntimeError(f"some are still missing after {MEETING_SECONDS:g} s")
        sleep(POLL_SECONDS)
