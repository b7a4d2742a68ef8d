"""What the learner asks of a network, and what it hands it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from charloom.config import NetworkConfig
from charloom.errors import CharloomError
from charloom.models.weights import Array, state_shapes

State = tuple[Tensor, ...]  # in the order of weights.state_shapes, B on axis 0 of each
Masks = tuple[Any, ...]  # what `forward` drops out by; () for nothing


def _same(tensor: Tensor) -> Tensor:
    return tensor


class Layout(NamedTuple):
    """Where a weight of the contract is kept, and how to go there and back.

    What the optimizer remembers of a parameter has its shape, and the same two ways.
    """

    parameter: nn.Parameter
    to_contract: Callable[[Tensor], Tensor] = _same
    from_contract: Callable[[Tensor], Tensor] = _same

    def read(self, tensor: Tensor) -> Array:
        """Return a copy of such a tensor in the contract's layout."""
        return np.array(self.to_contract(tensor.detach()).cpu().numpy(), order="C")

    @torch.no_grad()
    def write(self, tensor: Tensor, array: Array) -> None:
        """Copy an array in the contract's layout into such a tensor."""
        tensor.copy_(self.from_contract(torch.from_numpy(np.ascontiguousarray(array))))


def check_length(length: int, context: int) -> None:
    """Raise CharloomError if a step of so many characters is longer than the context."""
    if length > context:
        raise CharloomError(
            f"length is {length:,}, but the context is {context:,}: lower --length",
            field="length",
            needed=context,
            found=length,
        )


class Dropout(NamedTuple):
    """What masks follow from, and from nothing else.

    They are those `rows` of the masks of all the step's `batch` rows; `update` counts from 0.
    """

    rate: float
    seed: int
    update: int
    batch: int
    rows: slice

    @property
    def torch_seed(self) -> int:
        """A seed for PyTorch's own generator, whose masks depend on which rows are read at once."""
        key = self.seed, self.update, self.rows.start
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


class Network(nn.Module, ABC):
    """A network over ids: B sequences, T time, V characters."""

    config: NetworkConfig
    vocabulary_size: int
    compiles = True  # whether torch.compile has anything to work on
    characters: Tensor | None = None  # (V,) int64: how many each id stands for; None is one each

    def start(self, lanes: int) -> State:
        """Return the state before anything is read, zeros; () if nothing is carried."""
        like, shapes = next(self.parameters()), state_shapes(self.config, lanes).values()
        return tuple(like.new_zeros(shape) for shape in shapes)

    @abstractmethod
    def forward(self, ids: Tensor, state: State, masks: Masks = ()) -> tuple[Tensor, State]:
        """Read ids (B, T) int64 after the state: logits (B, T, V), and the state after."""

    @abstractmethod
    def dropping(self, dropout: Dropout) -> AbstractContextManager[Masks]:
        """Enter to get what `forward` drops out by, the same for equal arguments."""

    @abstractmethod
    def layout(self) -> dict[str, Layout]:
        """Return, by its name in the contract, where each weight is."""

    def put(self, weights: Mapping[str, Array]) -> None:
        """Copy weights of the contract, which have been checked, into the parameters."""
        for name, layout in self.layout().items():
            layout.write(layout.parameter, weights[name])

    def device(self) -> torch.device:
        """Return where the parameters are."""
        return next(self.parameters()).device
