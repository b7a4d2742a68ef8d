"""What every engine's models and learners offer: structural protocols, from which nothing inherits.

Shapes: B batch, T time, V vocabulary. Losses are mean nats per character.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from charloom.data.tokenizer import Ids, Tokenizer
from charloom.models.weights import Array

State = Any


@runtime_checkable
class LanguageModel(Protocol):
    """What the sampler, evaluation and studies predict the next character with.

    A state belongs to the model that made it and is never changed in place, so that a
    caller can return to an earlier one.
    """

    @property
    def vocabulary(self) -> Tokenizer:
        """The characters or tokens that ids stand for."""

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` texts read side by side (B)."""

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""


@runtime_checkable
class LooksBack(Protocol):
    """A model that knows how far back it looks, if it is not as far as the text goes.

    When a window of `context` ids is full it goes on with a new one, so what it predicts from
    depends on where the first began; None if that does not matter, as with a recurrent network.
    """

    @property
    def context(self) -> int | None:
        """C: how many ids a prediction is made from, at most."""


@runtime_checkable
class Learner(Protocol):
    """What the training loop drives: a model with its gradients and its optimizer."""

    def update(self, inputs: Ids, targets: Ids, learning_rate: float) -> float:
        """Update the weights once on inputs and targets (B, T); carry the state to the next call.

        Returns the loss before the update, with dropout, in mean nats per character; NaN if the
        loss is finite but its gradient is not. If it returns NaN or infinity, weights, optimizer
        slots and the count of updates are as before; the carried state may not be.
        Raises CharloomError if the shapes are not (B, T) or an id is not in [0, V).
        """

    def loss(self, inputs: Ids, targets: Ids) -> float:
        """Return the loss of (B, T) from the carried state, without dropout; nothing changes."""

    def reset(self) -> None:
        """Forget the carried state."""

    def arrays(self) -> dict[str, Array]:
        """Return all arrays that a checkpoint saves: read-only, valid until the next update.

        Weights have their names; the training state is under ``optimizer.``, ``state.`` and
        ``rng.`` (`learner_arrays.state_array_shapes`).
        """

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Load weights alone, or all that `arrays` gave, cast to this learner's dtype.

        With weights alone all else becomes that of a fresh learner: slots and carried state
        zero, no updates made. Raises CharloomError, having changed nothing, if a name is
        missing or unknown, a shape does not fit, or a weight is not finite.
        """


@runtime_checkable
class LendsModel(Protocol):
    """A learner whose current model can be used without copying its weights."""

    def model(self, vocabulary: Tokenizer) -> LanguageModel:
        """Return the model as it is now, without a copy of its weights.

        Valid until the next update; using it does not change the learner.
        """


@runtime_checkable
class ReportsGradientNorm(Protocol):
    """A learner that knows the norm of its last gradient."""

    @property
    def gradient_norm(self) -> float | None:
        """The norm of the last update's gradient before clipping; None if it was not computed."""


@runtime_checkable
class DependsOnThreads(Protocol):
    """A learner whose last bits depend on how many threads compute them."""

    threads: int | None  # None: they do not depend on it here
