"""One update of training over any network of PyTorch's."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from charloom.config import TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.files import one_line
from charloom.models.learner_arrays import check_arrays, check_batch
from charloom.models.torchnet.devices import autocast, compiled, on_own_threads, send
from charloom.models.torchnet.language_model import Model, as_model
from charloom.models.torchnet.network import Dropout, Masks, Network, State
from charloom.models.torchnet.optimizers import Gradients, Optimizer
from charloom.models.torchnet.scaling import LossScale
from charloom.models.weights import Array, state_shapes


def parts(rows: int, count: int) -> list[slice]:
    """Cut so many rows into parts that differ by one at most; raises CharloomError."""
    if count > rows:
        raise CharloomError(
            f"--accumulate {count:,} asks for more parts than there are sequences, {rows:,}: "
            "lower it, or raise --batch",
            field="accumulate",
            needed=count,
            found=rows,
        )
    cuts = [rows * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in pairwise(cuts)]


class TorchLearner:
    """The `Learner` protocol over a `Network`, which it takes with its weights.

    `seed`, by default `train.seed`, draws the dropout masks. On a GPU `update` returns a tensor
    that is still being computed, and nothing waits for it; which masks come next follows from a
    count kept here, that of all calls since `load`. Only after a step that was refused does
    this differ from the updates made, until `arrays` is asked for.

    `threads` is how many compute on a CPU, at first as many as PyTorch has then; after each call
    PyTorch has as many as before it.

    `rows` are those of a step's B that this process computes, all if that is None: only they are
    given to it. `reduce` sums a flat vector over all processes, in place; None if there is only
    one. `update`, `loss` and `arrays` must be called by all processes alike.
    """

    def __init__(
        self,
        network: Network,
        train: TrainConfig,
        dtype: str = "float32",
        seed: int | None = None,
        rows: slice | None = None,
        reduce: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.network, self.train, self.dtype = network, train, dtype
        self.seed = train.seed if seed is None else seed
        self.rows, self.reduce = rows or slice(0, train.batch), reduce
        self.count = self.rows.stop - self.rows.start
        self.parts = parts(self.count, train.accumulate)
        self.state_shapes = state_shapes(network.config, train.batch)
        self.device = network.device()
        self.lazy = self.device.type != "cpu"
        self.threads = None if self.lazy else torch.get_num_threads()
        self.layout = network.layout()
        self.gradients = Gradients(self.layout)
        self.optimizer = Optimizer(train, self.layout)
        self.scale = LossScale(self.device) if train.precision == "fp16" else None
        self.forward: Callable[..., tuple[Tensor, State]]
        self.forward = compiled(network) if train.compile else network
        self.updates = 0  # decides on the masks
        self.state: State
        self.reset()

    @on_own_threads
    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), and carry the state on; see `Learner`."""
        ids, goals = self._send(inputs, targets)
        self.gradients.flat.zero_()
        states = [self._add_gradients(ids, goals, rows) for rows in self.parts]
        self.state = tuple(torch.cat(arrays) for arrays in zip(*states, strict=True))
        if self.reduce:
            self.reduce(self.gradients.flat)
        told = self._move(float(learning_rate))
        loss: float | Any = told if self.lazy else float(told)
        self.updates += self.lazy or math.isfinite(loss)
        return loss

    def _add_gradients(self, ids: Tensor, targets: Tensor, rows: slice) -> State:
        """Forward and backward over some rows of (B, T); return their state after."""
        scale = 1.0 if self.train.reduction == "sum" else 1 / (self.train.batch * ids.shape[1])
        state = tuple(array[rows] for array in self.state)
        with autocast(self.device, self.train), self._dropping(rows) as masks:
            logits, state = self._call(ids[rows], state, masks)
        nats = self._nats(logits, targets[rows])
        scaled = nats * scale if self.scale is None else nats * scale * self.scale.scale
        torch.autograd.backward(scaled)
        self.gradients.sums[0] += nats.detach()
        self.gradients.sums[1] += self._characters(targets[rows])
        return tuple(array.detach().to(self.gradients.flat.dtype) for array in state)

    def _call(self, ids: Tensor, state: State, masks: Masks) -> tuple[Tensor, State]:
        """Call the network, which torch.compile may fail to compile in many ways of its own."""
        try:
            return self.forward(ids, state, masks)
        except Exception as error:
            if not self.train.compile or isinstance(error, CharloomError):
                raise
            raise CharloomError(
                f"--compile failed ({one_line(error)}): leave it out",
                "unsupported",
                field="compile",
            ) from None

    @torch.no_grad()
    def _move(self, learning_rate: float) -> Tensor:
        """Move the weights by the gradients that are there, and return the loss to tell."""
        loss = self.gradients.sums[0] / self.gradients.sums[1].clamp(min=1)
        sound = loss.isfinite()
        if self.scale is not None:
            self.gradients.vector /= self.scale.scale
        moved = self.optimizer.step(self.gradients, learning_rate, sound)
        broken = sound & ~moved
        if self.scale is not None:
            broken &= ~self.scale.update(sound, moved)
        return torch.where(broken, math.nan, loss)

    @torch.no_grad()
    @on_own_threads
    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T) from the carried state, without dropout; nothing changes."""
        ids, goals = self._send(inputs, targets)
        sums = self.gradients.sums.new_zeros(2)
        for rows in self.parts:
            with autocast(self.device, self.train):
                logits, _ = self.network(ids[rows], tuple(array[rows] for array in self.state))
            sums[0] += self._nats(logits, goals[rows])
            sums[1] += self._characters(goals[rows])
        if self.reduce:
            self.reduce(sums)
        return float(sums[0] / sums[1].clamp(min=1))

    def model(self, vocabulary: Tokenizer) -> Model:
        """Return the model as it is now, which shares the weights, as `LendsModel.model`."""
        return as_model(self.network, vocabulary, self.threads)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before it was clipped; None if unknown."""
        return None if self.optimizer.norm is None else float(self.optimizer.norm)

    def reset(self) -> None:
        """Forget the carried state."""
        self.state = self.network.start(self.count)

    def arrays(self) -> dict[str, Array]:
        """Return copies, named as in `learner_arrays.state_array_shapes`; the state of all rows."""
        arrays = {name: layout.read(layout.parameter) for name, layout in self.layout.items()}
        for slot, named in self.optimizer.slots.items():
            arrays |= {f"optimizer.{slot}.{n}": self.layout[n].read(t) for n, t in named.items()}
        self.updates = int(self.optimizer.moves)
        if self.scale is not None:
            arrays["optimizer.scale"] = np.array(self.scale.values.cpu().numpy())
            self.updates += int(arrays["optimizer.scale"][2])
        arrays["optimizer.updates"] = np.array([self.updates], np.int64)
        for name, array in zip(self.state_shapes, self._whole_state(), strict=True):
            arrays[f"state.{name}"] = np.array(array.cpu().numpy())
        arrays["rng.seed"] = np.array([self.seed], np.int64)
        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave; see `Learner`."""
        check_arrays(arrays, self.network.config, self.train, self.network.vocabulary_size)
        self.network.put(arrays)
        self.optimizer = Optimizer(self.train, self.layout)
        self.scale = self.scale and LossScale(self.device)
        self.updates = 0
        self.reset()
        if len(arrays) > len(self.layout):
            self._load_rest(arrays)

    def _load_rest(self, arrays: Mapping[str, Array]) -> None:
        for slot, named in self.optimizer.slots.items():
            for name, tensor in named.items():
                self.layout[name].write(tensor, arrays[f"optimizer.{slot}.{name}"])
        self.updates = int(arrays["optimizer.updates"][0])
        self.optimizer.moves.fill_(self.updates)
        if self.scale is not None:
            self.scale.values = send(arrays["optimizer.scale"].astype(np.float32), self.device)
            self.optimizer.moves -= int(arrays["optimizer.scale"][2])
        self.seed = int(arrays["rng.seed"][0])
        state = (
            arrays[f"state.{name}"][self.rows].astype(self.dtype) for name in self.state_shapes
        )
        self.state = tuple(send(array, self.device) for array in state)

    def _whole_state(self) -> State:
        """Return the carried state of all rows: each process adds its own to zeros."""
        if self.reduce is None:
            return self.state
        whole = tuple(array.new_zeros(self.train.batch, *array.shape[1:]) for array in self.state)
        for array, own in zip(whole, self.state, strict=True):
            array[self.rows] = own
            self.reduce(array.view(-1))
        return whole

    def _dropping(self, rows: slice) -> AbstractContextManager[Masks]:
        """Enter to get the masks of the next update, for some of this process's rows."""
        if not self.train.dropout:
            return nullcontext(())
        rows = slice(self.rows.start + rows.start, self.rows.start + rows.stop)
        rate, batch = self.train.dropout, self.train.batch
        return self.network.dropping(Dropout(rate, self.seed, self.updates, batch, rows))

    def _nats(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Sum of -log p(target) over logits (B, T, V)."""
        if not logits.is_contiguous():  # as the recurrent ones: time is their first axis
            logits, targets = logits.transpose(0, 1), targets.t()
        logits = logits.flatten(0, 1).to(self.gradients.flat.dtype)
        return F.cross_entropy(logits, targets.flatten(), reduction="sum")

    def _characters(self, targets: Tensor) -> Tensor | int:
        """How many characters targets (B, T) stand for."""
        characters = self.network.characters
        return targets.numel() if characters is None else characters[targets].sum()

    def _send(self, inputs: Ids, targets: Ids) -> tuple[Tensor, Tensor]:
        """Check ids (B, T) while they are in the host's memory, and send them."""
        check_batch(inputs, targets, self.count, self.network.vocabulary_size)
        ids, goals = send(np.stack([inputs, targets]).astype(np.int64), self.device)
        return ids, goals
