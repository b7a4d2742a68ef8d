"""Texts that come and go side by side: how each lane draws, and what a model offers for them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.data.tokenizer import Ids
from charloom.models.protocols import State
from charloom.models.weights import Array


class Rules(NamedTuple):
    """How each of B lanes draws; what a lane has drawn changes its own rows of bias and seen.

    A lane that is `biased` draws by its log-probabilities + bias. Once it has drawn an id, the bias
    of that id is `presence` lower, and `frequency` lower for each time.
    """

    filters: NDArray[np.float64]  # (B, 4) temperature, top_k, top_p, min_p
    penalties: NDArray[np.float64]  # (B, 2) presence, frequency
    biased: NDArray[np.uint8]  # (B,)
    bias: NDArray[np.float64]  # (B, V), or (B, 0) if no lane is biased
    seen: NDArray[np.uint8]  # the same shape: 1 once an id was drawn

    @classmethod
    def of(
        cls,
        config: SampleConfig,
        V: int,
        presence: float = 0.0,
        frequency: float = 0.0,
        bias: NDArray[np.float64] | None = None,
    ) -> Self:
        """Return the rules of one lane; `bias` (V,) or None."""
        biased = bias is not None or bool(presence or frequency)
        width = V if biased else 0
        row = np.zeros((1, width)) if bias is None else np.array(bias, np.float64)[None]
        filters = [[config.temperature, min(config.top_k, V), config.top_p, config.min_p]]
        return cls(
            np.array(filters, np.float64),
            np.array([[presence, frequency]], np.float64),
            np.array([biased], np.uint8),
            row,
            np.zeros((1, width), np.uint8),
        )

    @classmethod
    def same(cls, config: SampleConfig, V: int, lanes: int) -> Self:
        """Return the rules of so many lanes that all draw alike."""
        return cls.of(config, V).pick(np.zeros(lanes, np.intp))

    @classmethod
    def join(cls, rules: Sequence[Self]) -> Self:
        """Return the rules of all lanes of these, in order."""
        width = max(one.bias.shape[1] for one in rules)
        parts = [one if one.bias.shape[1] == width else one._widened(width) for one in rules]
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def pick(self, lanes: slice | NDArray[np.intp]) -> Self:
        """Return the rules of these lanes: of a slice, views."""
        filters, penalties, biased, bias, seen = self
        own = filters[lanes], penalties[lanes], biased[lanes], bias[lanes], seen[lanes]
        return type(self)(*own)

    def _widened(self, width: int) -> Self:
        shape = len(self.biased), width
        return self._replace(bias=np.zeros(shape), seen=np.zeros(shape, np.uint8))


@runtime_checkable
class WritesLanes(Protocol):
    """What a model may offer beside LanguageModel: lanes that come and go.

    What a lane gives, by `write` or by `log_probs`, does not depend on the others, to the last bit,
    nor on how many there are.
    """

    def join(self, states: Sequence[State]) -> State:
        """Return one state with the lanes of all of these, in order."""

    def pick(self, state: State, lanes: NDArray[np.intp]) -> State:
        """Return a state with these lanes, which may be given more than once."""

    def write(
        self,
        ids: Ids,
        state: State,
        uniforms: NDArray[np.float64],
        rules: Rules,
        log_probs: Array | None = None,
    ) -> tuple[NDArray[np.int32], State]:
        """Do what `charloom.generation.lanes.write` does with this model, in one call.

        Raises CharloomError if predictions are not finite or an id is not in [0, V).
        """
