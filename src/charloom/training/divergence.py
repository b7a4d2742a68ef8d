"""Whether training has diverged: a loss that is NaN or infinite, or that has jumped."""

import math
from collections import deque
from typing import Any

from charloom.models.protocols import Learner

JUMP_NATS = 1.5  # the likelihood of a character has fallen to a fifth and less
ENOUGH_CHARACTERS = 2048  # tell how well a model predicts
FEWEST_CHARACTERS = 512  # in a step, for its loss alone to tell something


class Divergence(Exception):  # noqa: N818 -- it is caught within training, and never an error
    """Training has diverged at `step`; `loss` is what showed it, in nats per character."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, loss


class Detector:
    """Tells a model that has diverged from a text that has become hard.

    A loss that is NaN or infinite needs no proof. One that jumps proves nothing: the text may
    have changed to another language. So the loss of the steps just before is computed again: only
    if that, too, is 1.5 nats per character more than it was has the model diverged; if not, the
    text has changed, and losses are compared with those that follow. Steps of fewer than 512
    characters (those of min-char-rnn have 25) are not judged by jumps: so little text, learned
    at such rates, makes a good model forget another language within some steps.
    """

    def __init__(self, learner: Learner, characters: int) -> None:
        """Take the learner and the number of characters in a step, B x T."""
        self._learner = learner
        self._most = -(-ENOUGH_CHARACTERS // characters) if characters >= FEWEST_CHARACTERS else 0
        self._known: deque[tuple[float, Any, Any]] = deque()  # the newest steps, with their losses
        self._limit = math.inf

    def see(self, step: int, loss: float, inputs: Any, targets: Any) -> None:
        """Take note of a step (B, T) and its loss; raises Divergence if training has diverged."""
        if not math.isfinite(loss):
            raise Divergence(step, loss)
        if loss > self._limit:
            self.check(step)
            self._known.clear()
            self._limit = math.inf
        elif self._most:
            self._known.append((loss, inputs, targets))
            if len(self._known) > self._most:
                self._known.popleft()
                self._limit = sum(known[0] for known in self._known) / self._most + JUMP_NATS

    def check(self, step: int) -> None:
        """Raise Divergence if the steps before have a higher loss now. Nothing changes."""
        if self._limit < math.inf:
            again = [float(self._learner.loss(*known)) for _, *known in self._known]
            if not sum(again) / len(again) <= self._limit:
                raise Divergence(step, sum(again) / len(again))
