"""One run on several processes, started by torchrun: rank 0 leads, the others follow.

The loop, the text, the run folder and the signals are on rank 0 alone. Its learner, the `Leader`,
sends each command to the others, and all of them do it: rank r of R has the lanes from B r // R
to B (r + 1) // R of the B of every step, a replica of the weights, and sums its gradients with
the others' in one flat vector whose layout never changes. So the order of data does not depend
on R, and a run goes on to the same bits wherever it was stopped.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import NoReturn

import msgspec
import numpy as np
import torch

from charloom.config import Dtype, NetworkConfig, TrainConfig
from charloom.data.tokenizer import Ids
from charloom.distributed import place
from charloom.errors import CharloomError
from charloom.models.torchnet.devices import pick_device
from charloom.models.torchnet.learner import Share, TorchLearner
from charloom.models.torchnet.team import Team
from charloom.models.weights import Array
from charloom.signals import STOPPING

Build = Callable[["Create", Share], TorchLearner]

COMPARED = 100  # updates between two comparisons of the replicas
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes, to sum the bits of numbers
FAILED = 1  # exit status of a follower that an error ends


class Create(msgspec.Struct, tag=True):
    """Make a fresh learner in the place of the last."""

    model: NetworkConfig
    train: TrainConfig
    vocabulary_size: int
    dtype: Dtype
    seed: int | None
    characters: list[int] | None = None  # how many each id stands for, of tokens


class Lanes(msgspec.Struct):
    """Ids (lanes, T) of a rank: inputs, then targets."""

    dtype: str
    shape: tuple[int, int]
    inputs: bytes
    targets: bytes

    @classmethod
    def of(cls, inputs: Ids, targets: Ids) -> "Lanes":
        """Pack ids of one integer type."""
        targets = targets.astype(inputs.dtype, copy=False)
        shape = (inputs.shape[0], inputs.shape[1])
        return cls(inputs.dtype.str, shape, inputs.tobytes(), targets.tobytes())

    def ids(self) -> tuple[Ids, Ids]:
        """Unpack them."""
        both = [np.frombuffer(part, self.dtype) for part in (self.inputs, self.targets)]
        return both[0].reshape(self.shape), both[1].reshape(self.shape)


class Update(msgspec.Struct, tag=True):
    """Take a step."""

    lanes: Lanes
    rate: float


class Loss(msgspec.Struct, tag=True):
    """Compute a loss."""

    lanes: Lanes


class Reset(msgspec.Struct, tag=True):
    """Forget the carried state."""


class Arrays(msgspec.Struct, tag=True):
    """Give what there is to save."""


class Load(msgspec.Struct, tag=True):
    """Take arrays of these names, dtypes and shapes, which follow."""

    headers: list[tuple[str, str, tuple[int, ...]]]


class Stop(msgspec.Struct, tag=True):
    """End with this status."""

    status: int


Command = Create | Update | Loss | Reset | Arrays | Load | Stop


class Replica:
    """A rank's own learner, held to those of the others."""

    def __init__(self, team: Team, build: Build, create: Create) -> None:
        place, B = team.place, create.train.batch
        if place.ranks > B:
            raise CharloomError(
                f"batch is {B}, but there are {place.ranks} processes, and each needs a lane: "
                f"give --batch {place.ranks} or more, or start fewer"
            )
        self._team, self._updates = team, 0
        rows = lanes_of(place.rank, place.ranks, B)
        share = Share(rows.start, rows.stop - rows.start, team.sum)
        self.learner = build(create, share)

    def update(self, inputs: Ids, targets: Ids, rate: float) -> float:
        """Take a step on the rank's lanes (count, T); now and then, compare."""
        loss = self.learner.update(inputs, targets, rate)
        self._updates += 1
        if (self._updates - 1) % COMPARED == 0:
            self.compare()
        return loss

    def compare(self) -> None:
        """Raise CharloomError, on every rank, unless all have the very same weights."""
        parameters = [layout.parameter.detach() for layout in self.learner.layout.values()]
        sums = [p.view(INTEGERS[p.element_size()]).sum(dtype=torch.int64) for p in parameters]
        if not self._team.agrees(torch.stack(sums)):
            raise CharloomError(
                "the replicas of the weights on the processes of this run differ, as they do where "
                "memory is faulty or the processes have different versions of PyTorch: mend that, "
                "then resume"
            )


class Leader:
    """The `Learner` protocol on rank 0: what it is told, every rank does. One at a time."""

    def __init__(self, team: Team, build: Build, create: Create) -> None:
        self._team, self._train = team, create.train
        self._replica = Replica(team, build, create)  # raises before the others have heard of it
        self._learner = self._replica.learner
        self._before: list[Command] = []  # what goes with the next command
        with _unbroken(team):
            self._tell(create)

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), as `Learner.update`."""
        with _unbroken(self._team):
            own = self._scatter(inputs, targets, lambda lanes: Update(lanes, float(learning_rate)))
            return self._replica.update(*own, learning_rate)

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T), as `Learner.loss`."""
        with _unbroken(self._team):
            return self._learner.loss(*self._scatter(inputs, targets, Loss))

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before it was clipped; None where unknown."""
        return self._learner.gradient_norm

    def reset(self) -> None:
        """Forget the carried state."""
        with _unbroken(self._team):
            self._before.append(Reset())
            self._learner.reset()

    def arrays(self) -> dict[str, Array]:
        """Return all there is to save, as `Learner.arrays`: the carried state is of all lanes."""
        with _unbroken(self._team):
            self._tell(Arrays())
            self._replica.compare()
            return self._learner.arrays()

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave, on every rank, as `Learner.load`."""
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        headers = [(name, array.dtype.str, array.shape) for name, array in packed.items()]
        with _unbroken(self._team):
            self._tell(Load(headers))
            for array in packed.values():
                self._team.share(array)
            self._learner.load(packed)

    def _tell(self, command: Command) -> None:
        self._send(dict.fromkeys(range(1, self._team.place.ranks), command))

    def _scatter(
        self, inputs: Ids, targets: Ids, command: Callable[[Lanes], Command]
    ) -> tuple[Ids, Ids]:
        """Send every rank its lanes of (B, T); returns one's own."""
        ranks, B = self._team.place.ranks, self._train.batch
        own, *others = (lanes_of(rank, ranks, B) for rank in range(ranks))
        lanes = (Lanes.of(inputs[rows], targets[rows]) for rows in others)
        self._send({rank: command(part) for rank, part in enumerate(lanes, 1)})
        return inputs[own], targets[own]

    def _send(self, commands: dict[int, Command]) -> None:
        for rank, command in commands.items():
            self._team.send(rank, msgspec.msgpack.encode([*self._before, command]))
        self._before.clear()


def lanes_of(rank: int, ranks: int, batch: int) -> slice:
    """Return which of the B lanes of a step belong to a rank."""
    return slice(batch * rank // ranks, batch * (rank + 1) // ranks)


@contextmanager
def _unbroken(team: Team) -> Iterator[None]:
    """Put off what handlers of signals would raise: a command is given to all ranks, or to none.

    After an error that is none of ours, the others wait for this rank's part of a sum.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    handlers = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield
    except CharloomError:
        raise
    except Exception:
        team.broken = True
        raise
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
        for number in came:
            signal.raise_signal(number)


@cache
def team() -> Team:
    """Return the team of this process; the first call waits for all to come."""
    here = place()
    assert here is not None
    return Team(here, pick_device())


def lead(command: Callable[[], object]) -> NoReturn:
    """Run on rank 0 a command that may train; its exit status ends the others too."""
    status = 0
    try:
        together = team()
        command()
    except BaseException as error:
        status = _status(error)
    for number in STOPPING:  # it is stopping
        signal.signal(number, signal.SIG_IGN)
    if team.cache_info().currsize and not together.broken:
        for rank in range(1, together.place.ranks):
            with suppress(CharloomError):  # that rank has gone already
                together.send(rank, msgspec.msgpack.encode([Stop(status)]))
    _leave(status)


def follow(build: Build) -> NoReturn:
    """Do as rank 0 says until it says stop, and end with the status that it gives.

    Signals are left to the watchdog, which passes them on to rank 0.
    """
    try:
        together = team()
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        status = _follow(together, build)
    except BaseException as error:
        status = _status(error)
    _leave(status)


def _status(error: BaseException) -> int:
    """Say what has ended this process; returns its exit status."""
    match error:
        case SystemExit(code=int(code)):
            return code
        case SystemExit(code=None):
            return 0
        case CharloomError():
            here = place()
            print(f"charloom: rank {here.rank if here else 0}: {error}", file=sys.stderr)
            return error.status
        case _:
            traceback.print_exception(error)
            return FAILED


def _leave(status: int) -> NoReturn:
    """End without the interpreter's own end, which threads within PyTorch do not bear."""
    if team.cache_info().currsize:
        team().part()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(status)


def _follow(team: Team, build: Build) -> int:
    replica: Replica | None = None
    while True:
        for command in msgspec.msgpack.decode(team.receive(0), type=list[Command]):
            if isinstance(command, Stop):
                return command.status
            if isinstance(command, Create):
                replica = Replica(team, build, command)
            else:
                assert replica is not None
                _obey(team, replica, command)


def _obey(team: Team, replica: Replica, command: Command) -> None:
    learner = replica.learner
    match command:
        case Update(lanes, rate):
            replica.update(*lanes.ids(), rate)
        case Loss(lanes):
            learner.loss(*lanes.ids())
        case Reset():
            learner.reset()
        case Arrays():
            replica.compare()
            learner.arrays()
        case Load(headers):
            arrays = {name: np.empty(shape, dtype) for name, dtype, shape in headers}
            for array in arrays.values():
                team.share(array)
            with suppress(CharloomError):  # rank 0 says it, and goes on or ends
                learner.load(arrays)
