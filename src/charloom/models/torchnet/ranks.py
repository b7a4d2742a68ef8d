"""One run on several processes, started by torchrun: rank 0 leads, the others follow.

The loop, the text, the run folder and the signals are on rank 0 alone. Its learner, the `Leader`,
tells every call to the others, and all of them make it: rank r of R computes rows B r // R to
B (r + 1) // R of the B of every step, on a replica of the weights, and sums its gradients with
the others' in one flat vector whose layout never changes. So the order of data does not depend
on R, and a run resumes to the same bits wherever it was stopped.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch

from charloom.config import TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.distributed import place, say
from charloom.errors import CharloomError
from charloom.models.torchnet.devices import pick_device
from charloom.models.torchnet.language_model import Model
from charloom.models.torchnet.learner import TorchLearner
from charloom.models.torchnet.team import Team
from charloom.models.weights import Array
from charloom.signals import STOPPING

UPDATES_PER_COMPARISON = 100  # of the replicas
FAILED = 1  # exit status of a process that an error of the program ends

R = TypeVar("R")
Build = Callable[..., TorchLearner]


class Replica:
    """A rank's own learner, held to those of the others. All call its methods at the same time."""

    learner: TorchLearner

    def __init__(self, team: Team) -> None:
        self._team = team

    def create(self, build: Build, train: TrainConfig, settings: Sequence[Any]) -> None:
        """Make a fresh learner. Raises CharloomError if there are more ranks than sequences."""
        (rank, ranks, *_), B = self._team.place, train.batch
        if ranks > B:
            raise CharloomError(
                f"batch is {B}, but there are {ranks} processes, and each needs a sequence: "
                f"give --batch {ranks} or more, or start fewer",
                field="batch",
                needed=ranks,
                found=B,
            )
        self._rows, self._updates = rows_of(rank, ranks, B), 0
        self.learner = build(train, *settings, rows=self._rows, reduce=self._team.sum)

    def update(self, inputs: Ids, targets: Ids, rate: float) -> float:
        """Take a step on this rank's rows of (B, T); now and then, compare the replicas."""
        loss = self.learner.update(inputs[self._rows], targets[self._rows], rate)
        self._updates += 1
        if (self._updates - 1) % UPDATES_PER_COMPARISON == 0:
            self._compare()
        return loss

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T)."""
        return self.learner.loss(inputs[self._rows], targets[self._rows])

    def reset(self) -> None:
        """Forget the carried state."""
        self.learner.reset()

    def arrays(self) -> dict[str, Array]:
        """Compare the replicas, and gather what there is to save."""
        self._compare()
        return self.learner.arrays()

    def load(self, headers: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Take arrays of these dtypes and shapes, which follow."""
        arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in headers.items()}
        self.share(arrays)
        self.learner.load(arrays)

    def compute_on(self, threads: int | None) -> None:
        """Compute on so many threads."""
        self.learner.threads = threads

    def share(self, arrays: Mapping[str, Array]) -> None:
        """Make C-ordered arrays what they are on rank 0."""
        for array in arrays.values():
            if array.size:
                self._team.share(torch.from_numpy(array.reshape(-1).view(np.uint8)))

    def stop(self, status: int) -> NoReturn:
        """End this process."""
        raise SystemExit(status)

    def _compare(self) -> None:
        """Raise CharloomError, on every rank, unless all have the very same weights."""
        weights = [layout.parameter.detach() for layout in self.learner.layout.values()]
        sums = [weight.view(torch.int32).sum(dtype=torch.int64) for weight in weights]
        if not self._team.agrees(torch.stack(sums)):
            raise CharloomError(
                "the processes of this run no longer have the same weights, as happens if memory "
                "is faulty or they run different versions of PyTorch: fix that, then resume",
                "damaged",
            )


class Leader:
    """The `Learner` protocol on rank 0: what it is asked, every rank does. One at a time."""

    def __init__(
        self, team: Team, build: Build, train: TrainConfig, settings: Sequence[Any]
    ) -> None:
        self._team, self._replica = team, Replica(team)
        self._replica.create(build, train, settings)  # raises before the others have heard of it
        with _in_step(team):
            team.tell((Replica.create, (build, train, settings)))

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), as `Learner.update`."""
        return self._all(Replica.update, inputs, targets, float(learning_rate))

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T), as `Learner.loss`."""
        return self._all(Replica.loss, inputs, targets)

    def reset(self) -> None:
        """Forget the carried state."""
        self._all(Replica.reset)

    def arrays(self) -> dict[str, Array]:
        """Return all there is to save, as `Learner.arrays`: the carried state is of all rows."""
        return self._all(Replica.arrays)

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave, on every rank, as `Learner.load`."""
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._replica.learner.load(packed)  # raises before the others have heard of it
        headers = {name: (array.dtype.str, array.shape) for name, array in packed.items()}
        with _in_step(self._team):
            self._team.tell((Replica.load, (headers,)))
            self._replica.share(packed)

    def model(self, vocabulary: Tokenizer) -> Model:
        """Return the model as it is now, as `LendsModel.model`: rank 0 reads alone."""
        return self._replica.learner.model(vocabulary)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before it was clipped; None if unknown."""
        return self._replica.learner.gradient_norm

    @property
    def threads(self) -> int | None:
        """How many threads of each process compute, as `DependsOnThreads.threads`."""
        return self._replica.learner.threads

    @threads.setter
    def threads(self, count: int | None) -> None:
        self._all(Replica.compute_on, count)

    def _all(self, method: Callable[..., R], *arguments: Any) -> R:
        with _in_step(self._team):
            self._team.tell((method, arguments))
            return method(self._replica, *arguments)


def rows_of(rank: int, ranks: int, batch: int) -> slice:
    """Return which of the B rows of a step belong to a rank."""
    return slice(batch * rank // ranks, batch * (rank + 1) // ranks)


@contextmanager
def _in_step(team: Team) -> Iterator[None]:
    """Put off what handlers of signals would raise: all ranks make a call, or none does.

    After an error the others wait for this rank's part of a sum, and can be told nothing more.
    """
    came: list[int] = []
    handlers = {n: signal.signal(n, lambda number, _: came.append(number)) for n in STOPPING}
    try:
        yield
    except BaseException:
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


def run_on_ranks(command: Callable[[], object], rank: int) -> NoReturn:
    """Run on rank 0 a command that may train, and help it on the others; ends the process.

    All end with the command's exit status, unless one of them is lost.
    """
    status, together = 0, None
    try:
        together = team()
        command() if rank == 0 else _follow(together)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException as error:
        if together:
            together.broken = True
        if isinstance(error, CharloomError):
            status = error.status
            say(rank, error)
        else:
            status = FAILED
            traceback.print_exc()
    for number in STOPPING:  # it is ending
        signal.signal(number, signal.SIG_IGN)
    if together and not together.broken:
        if rank == 0:
            with suppress(CharloomError):
                together.tell((Replica.stop, (status,)))
        together.part()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(status)  # threads within PyTorch do not bear the interpreter's own end


def _follow(team: Team) -> NoReturn:
    """Do as rank 0 says until it says stop; signals that end a run are passed on to it."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda caught, _: team.pass_on(caught))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    replica = Replica(team)
    while True:
        method, arguments = team.tell()
        method(replica, *arguments)
