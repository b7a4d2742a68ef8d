"""Whether a network has broken: a loss that is no number, or worse than guessing."""

import math
from collections import deque
from typing import Any

from charloom.model import Learner

ABOVE = 0.5  # nats above ln V, the loss of guessing: what a network that works does not come to
FAMILIAR = 0.9  # share of ln V below which a step was read well enough to be asked about again
ENOUGH = 2048  # characters that tell
PAUSE = 20  # high losses after one that was asked about in vain, before the next is


class Divergence(Exception):  # noqa: N818 -- it is caught within training, and never an error
    """A network has broken at `step`; `loss` is what showed it, in nats per character."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, loss


class Guard:
    """Tells a network that has broken from a text that has become hard.

    A loss above ln V + 0.5 alone proves nothing: the text may have come to another language. So
    the network is asked again about the newest steps that it once read well (below 0.9 ln V);
    only where it now takes those, too, for worse than guesswork has it broken. A loss that is
    NaN or infinite needs no such proof.
    """

    def __init__(self, learner: Learner, vocabulary_size: int, characters: int) -> None:
        """Take the learner and the number of characters in a step, B x T."""
        guessing = math.log(vocabulary_size)
        self._learner = learner
        self._familiar = FAMILIAR * guessing
        self._limit = guessing + ABOVE
        self._known: deque[tuple[Any, Any]] = deque(maxlen=max(1, -(-ENOUGH // characters)))
        self._pause = 0

    def suspects(self, loss: float, inputs: Any, targets: Any) -> bool:
        """Take note of a step (B, T) and its loss; whether that must be checked."""
        if loss < self._familiar:
            self._known.append((inputs, targets))
            return False
        if self._pause:
            self._pause -= 1
            return not math.isfinite(loss)
        return not loss <= self._limit

    def check(self, step: int, loss: float = 0.0) -> None:
        """Raise Divergence if the network has broken. Nothing changes in it."""
        if not math.isfinite(loss):
            raise Divergence(step, loss)
        if len(self._known) < (self._known.maxlen or 1):
            return
        again = [float(self._learner.loss(*known)) for known in self._known]
        if not sum(again) / len(again) <= self._limit:
            raise Divergence(step, sum(again) / len(again))
        self._pause = PAUSE
