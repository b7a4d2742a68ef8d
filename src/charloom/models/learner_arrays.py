"""What every learner takes: batches of ids, and arrays that some learner saved."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import EnsembleConfig, NetworkConfig, TrainConfig
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.models.optimizers import SLOTS
from charloom.models.weights import (
    Array,
    check_shapes,
    check_weights,
    in_each,
    state_shapes,
    weight_shapes,
)


def state_array_shapes(
    model: NetworkConfig, train: TrainConfig, vocabulary_size: int
) -> dict[str, tuple[int, ...]]:
    """Name and shape of each array that a learner saves beside its weights.

    These are ``optimizer.SLOT.WEIGHT``, shaped like the weight; ``optimizer.updates`` (1,), the
    updates made; ``optimizer.scale`` (3,) under fp16; ``state.layerN.h`` (B, H), what is carried
    from step to step; and ``rng.seed`` (1,), which with the updates determines every dropout mask.
    Of an ensemble, each of its networks has all of these.
    """
    if isinstance(model, EnsembleConfig):
        return in_each(model, state_array_shapes(model.network, train, vocabulary_size))
    weights = weight_shapes(model, vocabulary_size).items()
    slots = SLOTS[train.optimizer]
    shapes = {f"optimizer.{slot}.{name}": shape for slot in slots for name, shape in weights}
    shapes["optimizer.updates"] = (1,)
    if train.precision == "fp16":
        shapes["optimizer.scale"] = (3,)
    carried = state_shapes(model, train.batch)
    return shapes | {f"state.{name}": s for name, s in carried.items()} | {"rng.seed": (1,)}


class Characters:
    """How many characters targets stand for, by which their loss is divided.

    `lengths` (V,) are those of each id; None is one each.
    """

    def __init__(self, lengths: NDArray[np.integer] | None) -> None:
        one_each = lengths is None or bool((lengths == 1).all())
        self.lengths = None if one_each else lengths

    def of(self, targets: Ids) -> int:
        """Return how many (B, T) stand for; 1 if none begins in any of them."""
        return targets.size if self.lengths is None else max(1, int(self.lengths[targets].sum()))


def check_arrays(
    arrays: Mapping[str, Array], model: NetworkConfig, train: TrainConfig, vocabulary_size: int
) -> None:
    """Raise CharloomError unless a learner can load these: weights alone, or all that is saved."""
    names = weight_shapes(model, vocabulary_size)
    check_weights({n: a for n, a in arrays.items() if n in names}, model, vocabulary_size)
    if rest := {name: a for name, a in arrays.items() if name not in names}:
        check_shapes(rest, state_array_shapes(model, train, vocabulary_size), "training state")


def check_batch(inputs: Ids, targets: Ids, batch: int, vocabulary_size: int) -> None:
    """Raise CharloomError unless both are (B, T), not empty, of ids in [0, V)."""
    check_batch_shape(inputs, targets, batch)
    check_ids(inputs, vocabulary_size)
    check_ids(targets, vocabulary_size)


def check_batch_shape(inputs: Ids, targets: Ids, batch: int) -> None:
    """Raise CharloomError unless both are (B, T), not empty."""
    if inputs.ndim != 2 or len(inputs) != batch or not inputs.size or inputs.shape != targets.shape:
        raise CharloomError(
            f"inputs have shape {inputs.shape} and targets {targets.shape}, "
            f"but both must be (B, T) with B = {batch}, the batch size of the settings",
            "bad-array",
            batch=batch,
        )


def check_ids(ids: Ids, vocabulary_size: int) -> None:
    """Raise CharloomError if an id is not in [0, V)."""
    if ids.size and (ids.min() < 0 or ids.max() >= vocabulary_size):
        raise CharloomError(
            f"an id is not between 0 and {vocabulary_size - 1}: encode with this vocabulary",
            "bad-array",
            vocabulary_size=vocabulary_size,
        )
