"""The compiled engine's learner: batches in, losses out; one optimizer step for each batch.

A batch is cut into shards of 16 lanes. Threads compute the shards' gradients (programs that
network.py writes), which are added up before the optimizer step (`Moves` in optimizers.py).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import ModelConfig, TrainConfig
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.errors import CharloomError
from charloom.models.compiled.arrays import (
    Scratch,
    Shard,
    carried,
    flat_vector,
    named_views,
    new_packed,
    new_scratch,
    new_shard,
    parameter_views,
)
from charloom.models.compiled.bf16 import FULL, fastest_bf16
from charloom.models.compiled.language_model import CompiledModel
from charloom.models.compiled.network import add_gradient, backward, carry, loss_of
from charloom.models.compiled.optimizers import Moves
from charloom.models.compiled.products import aligned
from charloom.models.compiled.program import Program
from charloom.models.compiled.threads import available_threads, share_out
from charloom.models.dropout import dropout_masks
from charloom.models.learner_arrays import Characters, check_arrays, check_batch_shape, check_ids
from charloom.models.optimizers import SLOTS
from charloom.models.weights import Array, initial_weights

SHARD = 16  # lanes that one thread takes; fixed, so that no result depends on the machine


class _Worker(NamedTuple):
    """What one thread works on."""

    lanes: slice  # of the batch
    flat_gradient: Array  # (P,)
    shard: Shard
    scratch: Scratch
    scale: NDArray[np.float64]  # (1,) of the loss, before its gradient is taken
    loss: NDArray[np.float64]  # (1,) summed over all characters, in nats
    learn: Program  # fills `loss` and `flat_gradient`, and carries the state on
    measure: Program  # fills `loss`, without dropout


class CompiledLearner:
    """The `Learner` protocol in numba, float32 or float64, which also lends its model.

    With `train.precision` "bf16" the products of an update are (bf16.py): weights and all else are
    float32, and so is the model that it lends.

    Losses and weights do not depend on the number of threads: lanes are always cut into
    shards of 16, and the shards' gradients are added in order. `seed`, by default
    `train.seed`, draws the first weights and the dropout masks; `characters` (V,) is how many each
    id stands for. There are as many `threads` as are available, unless it is said.
    """

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        vocabulary_size: int,
        dtype: str = "float32",
        seed: int | None = None,
        characters: NDArray[np.integer] | None = None,
        threads: int | None = None,
    ) -> None:
        if train.precision == "bf16" and dtype != "float32":
            raise CharloomError(
                f"--precision bf16 works with float32, not with {dtype}: leave one of them out",
                field="precision",
            )
        self._characters = Characters(characters)
        self._model, self._train, self._V, self._dtype = model, train, vocabulary_size, dtype
        self._seed = train.seed if seed is None else seed
        self._updates = 0
        self._kind = fastest_bf16() if train.precision == "bf16" else FULL
        drawn = initial_weights(model, vocabulary_size, self._seed)
        self._flat = flat_vector(drawn, model, dtype)
        self._parameters = parameter_views(self._flat, model, vocabulary_size)
        slots = SLOTS[train.optimizer]
        self._slots = tuple(aligned(self._flat.shape, dtype) for _ in slots)
        self._norm = np.full(1, np.nan)
        self._row_width = model.embedding or self._parameters.Wx0.shape[1]
        p = self._parameters
        biases = p.b.size + p.bhn.size + p.head_b.size
        self._matrices = self._flat.size - biases
        self._length = train.length
        self._workers = self._new_workers()
        self._move = self._new_moves()
        self._threads = min(len(self._workers), threads or available_threads())

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Take one step on inputs and targets (B, T), and carry the state on; see `Learner`."""
        self._fill(inputs, targets)
        if self._train.dropout:
            self._draw_masks()
        loss = self._run_workers(inputs, targets, learns=True)
        first, *others = self._workers
        seen = first.scratch.seen
        for other in others:
            add_gradient(first.flat_gradient, other.flat_gradient, seen, other.scratch.seen)
        if not math.isfinite(loss):
            return loss
        if not self._move(learning_rate, self._updates + 1):
            return math.nan
        self._updates += 1
        return loss / self._characters.of(targets)

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T) from the carried state, without dropout; nothing changes."""
        self._fill(inputs, targets)
        loss = self._run_workers(inputs, targets, learns=False)
        return loss / self._characters.of(targets)

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before clipping; None if it was not computed."""
        return None if np.isnan(self._norm[0]) else float(self._norm[0])

    def model(self, vocabulary: Tokenizer) -> CompiledModel:
        """Return the model as it is now, which reads this learner's own weights."""
        return CompiledModel(self._model, self._flat, vocabulary, self._dtype)

    def reset(self) -> None:
        """Forget the carried state."""
        for worker in self._workers:
            for buffer in carried(worker.shard):
                buffer[:, 0] = 0

    def arrays(self) -> dict[str, Array]:
        """Return weights and training state, named as in `learner_arrays.state_array_shapes`."""
        arrays = named_views(self._flat, self._model, self._V)
        for slot, flat in zip(SLOTS[self._train.optimizer], self._slots, strict=False):
            views = named_views(flat, self._model, self._V)
            arrays |= {f"optimizer.{slot}.{name}": view for name, view in views.items()}
        arrays["optimizer.updates"] = np.array([self._updates], np.int64)
        for name, pieces in self._state_pieces().items():
            arrays[name] = np.concatenate(pieces)
        arrays["rng.seed"] = np.array([self._seed], np.int64)
        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take weights alone, or all that `arrays` gave; see `Learner`."""
        check_arrays(arrays, self._model, self._train, self._V)
        for slot in self._slots:
            slot[...] = 0
        self.reset()
        self._norm[0] = np.nan
        self._updates = int(arrays["optimizer.updates"][0]) if "optimizer.updates" in arrays else 0
        self._seed = int(arrays["rng.seed"][0]) if "rng.seed" in arrays else self._seed
        own, states = self.arrays(), self._state_pieces()
        for name, array in arrays.items():
            own[name][...] = array
            for worker, piece in zip(self._workers, states.get(name, []), strict=False):
                piece[...] = array[worker.lanes]

    def _new_workers(self) -> list[_Worker]:
        workers, B = [], self._train.batch
        for first in range(0, B, SHARD):
            lanes = slice(first, min(first + SHARD, B))
            size = (self._model, self._V, lanes.stop - first, self._length, self._dtype)
            flat = aligned(self._flat.shape, self._dtype)
            gradient = parameter_views(flat, self._model, self._V)
            shard = new_shard(*size, dropout=self._train.dropout > 0)
            packed, scratch = new_packed(*size, self._kind), new_scratch(*size, self._kind)
            scale, loss, p = np.ones(1), np.zeros(1), self._parameters
            learn = loss_of(p, packed, shard, scale, loss)
            backward(learn, p, gradient, shard, scratch)
            carry(learn, shard)
            kept = shard._replace(dropped=shard.dropped[:0])
            measure = loss_of(p, packed, kept, scale, loss)
            workers.append(_Worker(lanes, flat, shard, scratch, scale, loss, learn, measure))
        return workers

    def _new_moves(self) -> Moves:
        first = self._workers[0]
        vectors = (self._flat, first.flat_gradient, self._slots, first.scratch.seen)
        return Moves(self._train, *vectors, self._row_width, self._matrices, self._norm)

    def _fill(self, inputs: Ids, targets: Ids) -> None:
        """Copy (B, T) ids into the shards, time first; a new T means new buffers."""
        check_batch_shape(inputs, targets, self._train.batch)
        if self._length != inputs.shape[1]:
            self._length = inputs.shape[1]
            before, self._workers = self._workers, self._new_workers()
            self._move = self._new_moves()
            for old, new in zip(before, self._workers, strict=True):
                for x, y in zip(carried(old.shard), carried(new.shard), strict=True):
                    y[:, 0] = x[:, 0]
        for worker in self._workers:
            worker.shard.ids[...] = inputs[worker.lanes].T
            worker.shard.targets[...] = targets[worker.lanes].T

    def _draw_masks(self) -> None:
        L, shape = self._model.layers, (self._train.batch, self._model.hidden)
        rate, dtype = self._train.dropout, self._dtype
        masks = dropout_masks(self._seed, self._updates, L, shape, rate, dtype)
        for worker in self._workers:
            worker.shard.mask[...] = masks[:, worker.lanes]

    def _run_workers(self, inputs: Ids, targets: Ids, learns: bool) -> float:
        """Run every worker on what `_fill` copied; return the summed loss (nats) of all characters.

        If it `learns`, each worker also fills its gradient and carries its state on.
        """
        scale = 1 / inputs.size if self._train.reduction == "mean" else 1.0
        for worker in self._workers:
            worker.scale[0] = scale
        work = [worker.learn if learns else worker.measure for worker in self._workers]
        try:
            if len(work) == 1:
                work[0]()
            else:
                share_out(work, self._threads)
        except IndexError:
            for ids in (inputs, targets):
                check_ids(ids, self._V)
            raise
        return float(sum(worker.loss[0] for worker in self._workers))

    def _state_pieces(self) -> dict[str, list[Array]]:
        """Return the carried state by name: a view (B of the shard, H) for each shard."""
        return {
            f"state.layer{layer}.{name}": [carried(w.shard)[k][layer, 0] for w in self._workers]
            for layer in range(self._model.layers)
            for k, name in enumerate("hc" if self._model.cell == "lstm" else "h")
        }
