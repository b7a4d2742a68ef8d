"""The processes that train one run together, and how they talk.

Commands go from rank 0 to each of the others over gloo, gradients are summed over nccl on GPUs
and over gloo elsewhere. They find one another through the store that torchrun keeps, and there
make up a name for their group: after a restart torchrun may keep the store, with what the dead
have written there (PyTorch 2.13's own rendezvous then connects to processes that are gone).
"""

import fcntl
import os
import socket
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from charloom.distributed import Place
from charloom.errors import CharloomError
from charloom.models.torchnet.watchdog import Watchdog, silence

GATHERING = 600.0  # seconds until all have come, at most
SLACK = 30.0  # seconds that a sum may take longer: the watchdog can say which rank is silent
PARTING = 5.0  # seconds until all have left, at most
SIOCGIFADDR = 0x8915  # of Linux: the address of a network interface
A_YEAR = timedelta(days=365)  # rank 0 may read and evaluate for long: the watchdog looks after it


class Team:
    """One process among the others; `place` says which."""

    def __init__(self, place: Place, device: torch.device) -> None:
        """Meet the others; raises CharloomError where they do not come, or go again."""
        self.place, self.broken = place, False
        meet = _gather if place.rank == 0 else _come
        with self._talking():
            store = _connect(place)
            watchdog = Watchdog(place, _connect(place, hosts=False))
            group = meet(store, place, watchdog.begin)
            self._store = PrefixStore(f"charloom/{group}/groups", store)
            _pick_interface(place)
            dist.init_process_group(
                "gloo",
                store=self._store,
                rank=place.rank,
                world_size=place.ranks,
                timeout=A_YEAR,
            )
            backend = "nccl" if device.type == "cuda" else "gloo"
            limit = timedelta(seconds=silence() + SLACK)
            self._summing = dist.new_group(backend=backend, timeout=limit)

    def send(self, rank: int, message: bytes) -> None:
        """Send bytes to another rank."""
        with self._talking():
            dist.send(torch.tensor([len(message)]), rank)
            dist.send(_bytes(bytearray(message)), rank)

    def receive(self, rank: int) -> bytes:
        """Wait for what another rank sends."""
        size = torch.empty(1, dtype=torch.int64)
        with self._talking():
            dist.recv(size, rank)
            message = bytearray(int(size))
            dist.recv(_bytes(message), rank)
        return bytes(message)

    def share(self, array: np.ndarray[Any, Any]) -> None:
        """Make a C-ordered array what it is on rank 0, on every rank."""
        if array.size:
            with self._talking():
                dist.broadcast(torch.from_numpy(array.reshape(-1).view(np.uint8)), 0)

    def sum(self, flat: Tensor) -> None:
        """Put the sum over all ranks into a flat tensor, in place."""
        with self._talking():
            dist.all_reduce(flat, group=self._summing)

    def agrees(self, numbers: Tensor) -> bool:
        """Whether int64 numbers (n,) are the same on every rank."""
        both = torch.cat((numbers, ~numbers))
        with self._talking():
            dist.all_reduce(both, dist.ReduceOp.MAX, group=self._summing)
        most, least = both.chunk(2)
        return bool((most == ~least).all())

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.broken = True
            line = str(error).partition("\n")[0].partition(". ")[0]
            raise CharloomError(
                f"another process of this run has gone, or does not answer ({line}): start them "
                "all again, and they go on from the last checkpoint"
            ) from None

    def part(self) -> None:
        """Say that this process is about to end; rank 0 waits a while for all to say so."""
        with suppress(CharloomError), self._talking():
            self._store.set(f"parted{self.place.rank}", "")
            others = [f"parted{rank}" for rank in range(1, self.place.ranks)]
            deadline = monotonic() + PARTING
            while self.place.rank == 0 and not self.broken and monotonic() < deadline:
                if not others or self._store.check(others):
                    break
                sleep(0.01)


def _bytes(buffer: bytearray) -> Tensor:
    return torch.frombuffer(buffer, dtype=torch.uint8) if buffer else torch.empty(0)


def _connect(place: Place, hosts: bool = True) -> TCPStore:
    """Connect to the store: torchrun's, or where that keeps none, the one of rank 0."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        place.host,
        place.port,
        is_master=hosts and place.rank == 0 and not kept,
        wait_for_workers=False,
        multi_tenant=True,
    )


def _gather(store: Store, place: Place, begin: Callable[[str], None]) -> str:
    """Name a group, and wait until every other rank that lives has heard of it."""
    group, missing = uuid.uuid4().hex, dict.fromkeys(range(1, place.ranks), "")
    begin(group)
    deadline = monotonic() + GATHERING
    while missing:
        for rank, known in [*missing.items()]:
            name = _read(store, f"charloom/name{rank}")
            if name and store.check([f"charloom/{group}/{name}"]):
                del missing[rank]
            elif name != known:
                store.set(f"charloom/group/{name}", group)
                missing[rank] = name
        if monotonic() > deadline:
            raise CharloomError(f"rank {next(iter(missing))} has not come for {GATHERING:g} s")
        sleep(0.02)
    return group


def _come(store: Store, place: Place, begin: Callable[[str], None]) -> str:
    """Make this very process known to the rank 0 that lives, and return the group it names."""
    name = uuid.uuid4().hex
    store.set(f"charloom/name{place.rank}", name)
    deadline = monotonic() + GATHERING
    while not (group := _read(store, f"charloom/group/{name}")):
        if monotonic() > deadline:
            raise CharloomError(f"rank 0 has not come for {GATHERING:g} s")
        sleep(0.02)
    begin(group)
    store.set(f"charloom/{group}/{name}", "heard")
    return group


def _read(store: Store, key: str) -> str:
    return str(store.get(key).decode()) if store.check([key]) else ""


def _pick_interface(place: Place) -> None:
    """Let gloo use the network that leads to the store, whatever the host's name stands for."""
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((place.host, place.port))
        address = socket.inet_aton(way.getsockname()[0])
        if address[0] == 127:
            return
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                asked = fcntl.ioctl(way, SIOCGIFADDR, struct.pack("256s", name.encode()))
                if asked[20:24] == address:
                    os.environ["GLOO_SOCKET_IFNAME"] = name
