"""What each of several processes looks out for while it computes, in two threads of its own.

All of them tell torchrun's store every half second that they are there. Rank 0 looks after the
others, and they after rank 0. Whoever finds a rank silent for too long says so and leaves, and
then torchrun ends or restarts them all. A process that no longer reaches the store leaves, too.

A signal that ends a run may come to any rank; only rank 0 can save. So the others pass it on
through the store, and stay until they are told to stop.
"""

import math
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NoReturn

from torch.distributed.distributed_c10d import PrefixStore, Store

from charloom.distributed import Place
from charloom.signals import STOPPING

PULSE = 0.5  # seconds between two signs of life
SILENCE = 120.0  # seconds without one, after which a rank counts as lost
ASLEEP = 10.0  # seconds without a pulse of its own, after which others are not blamed


def say(place: Place, what: str) -> None:
    """Write a line to standard error, past what the main thread may be writing."""
    with suppress(OSError):
        os.write(2, f"charloom: rank {place.rank}: {what}\n".encode())


def leave(place: Place, why: str) -> NoReturn:
    """End this process at once, whatever its main thread waits for."""
    say(place, why)
    os._exit(1)


def silence() -> float:
    """Return SILENCE, or the fewer seconds that tests ask for in CHARLOOM_SILENCE."""
    return float(os.environ.get("CHARLOOM_SILENCE", SILENCE))


class Watchdog:
    """Looks after the other ranks, the store and the signals of this process."""

    def __init__(self, place: Place, store: Store) -> None:
        """Take a connection to the store that nobody else uses: waiting on it takes its time.

        Called in the main thread: from here on every signal that Python handles is heard of.
        """
        self._place, self._store = place, store
        self._parent, self._host = os.getppid(), socket.gethostname()
        self._silence = silence()
        self._asked = False  # to stop, by a signal that has come to this very process
        self._heard, heard = socket.socketpair()
        for end in (self._heard, heard):
            end.setblocking(False)
        self._hears = heard  # kept from being closed
        signal.set_wakeup_fd(heard.fileno(), warn_on_full_buffer=False)
        self._reached = self._looked = math.inf
        threading.Thread(target=self._mind, args=(self._look_up, PULSE), daemon=True).start()

    def begin(self, group: str) -> None:
        """Give signs of life as one of `group`, and look for those of the others."""
        self._store = PrefixStore(f"charloom/{group}", self._store)
        others = range(1, self._place.ranks) if self._place.rank == 0 else [0]
        self._seen = {rank: (b"", monotonic()) for rank in others}
        self._pulses, self._reached = 0, monotonic()
        self._beat()
        threading.Thread(target=self._mind, args=(self._pulse, 0), daemon=True).start()

    def _mind(self, look: Callable[[], None], seconds: float) -> None:
        wait = threading.Event().wait
        while True:
            try:
                look()
            except RuntimeError:
                leave(self._place, "the store of torchrun has gone")
            wait(seconds)

    def _look_up(self) -> None:
        now = monotonic()
        if now - self._looked > ASLEEP:  # it has been stopped, and goes on
            self._reached = now
        self._looked = now
        if now - self._reached > self._silence:
            leave(self._place, f"the store of torchrun has been silent for {self._silence:g} s")

    def _pulse(self) -> None:
        self._beat()
        self._look_around()
        self._reached = monotonic()
        self._listen()

    def _beat(self) -> None:
        self._pulses += 1
        sign = f"{self._pulses} {os.getpid()} {self._host}"
        self._store.set(f"rank{self._place.rank}", sign)

    def _look_around(self) -> None:
        signs = [self._read(f"rank{rank}") for rank in self._seen]
        now = monotonic()
        asleep = now - self._reached > ASLEEP  # all of them may have been, as in a laptop
        for (rank, (sign, since)), new in zip([*self._seen.items()], signs, strict=True):
            if new != sign or asleep:
                self._seen[rank] = (new, now)
            elif sign and now - since > self._silence:
                if self._place.rank in (0, 1):  # one of them is enough to say so
                    say(self._place, f"rank {rank} has been silent for {self._silence:g} s")
                self._end(sign)
                os._exit(1)

    def _read(self, key: str) -> bytes:
        """Return what stands there, without waiting until something does."""
        return self._store.get(key) if self._store.check([key]) else b""

    def _end(self, sign: bytes) -> None:
        """Kill a silent child of the same parent: torchrun would wait for it half a minute."""
        _, pid, host = sign.decode().split(" ", 2)
        with suppress(OSError):
            status = Path("/proc", pid, "stat").read_text()
            parent = int(status.rpartition(")")[2].split()[1])
            if host == self._host and parent == self._parent:
                os.kill(int(pid), signal.SIGKILL)

    def _listen(self) -> None:
        """Wait for signals until the next pulse, and pass on what comes."""
        select.select([self._heard], [], [], PULSE)
        with suppress(BlockingIOError):
            for number in self._heard.recv(4096):
                if number in STOPPING and not self._asked:
                    self._asked = True
                    if self._place.rank != 0:
                        self._store.set("signal", str(number))
        if self._place.rank == 0 and not self._asked and (passed := self._read("signal")):
            self._asked = True
            signal.pthread_kill(threading.main_thread().ident or 0, int(passed))
