"""Whether a network has broken: a loss that is no number, or that has leapt."""

import math
from collections import deque
from typing import Any

from charloom.models.engines import Learner

LEAP = 1.5  # nats: the likelihood of a character has fallen to a fifth and less
ENOUGH = 2048  # characters that tell how well a network reads
FEWEST = 512  # ... and in a step, for its loss alone to tell something


class Divergence(Exception):  # noqa: N818 -- it is caught within training, and never an error
    """A network has broken at `step`; `loss` is what showed it, in nats per character."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step, self.loss = step, loss


class Guard:
    """Tells a network that has broken from a text that has become hard.

    A loss that is NaN or infinite needs no proof. One that leaps proves nothing: the text may
    have come to another language. So the network reads again what it read just before: only if
    that, too, costs 1.5 nats per character more than it did has the network broken; if not, the
    text has changed, and what it costs now is taken for granted. Steps of fewer than 512
    characters (those of min-char-rnn have 25) are not judged by leaps: so little text, learned
    at such rates, makes a sound network forget another language within some steps.
    """

    def __init__(self, learner: Learner, characters: int) -> None:
        """Take the learner and the number of characters in a step, B x T."""
        self._learner = learner
        self._most = -(-ENOUGH // characters) if characters >= FEWEST else 0
        self._known: deque[tuple[float, Any, Any]] = deque()  # the newest steps, with their losses
        self._limit = math.inf

    def suspects(self, loss: float, inputs: Any, targets: Any) -> bool:
        """Take note of a step (B, T) and its loss; whether that must be looked into."""
        if not loss <= self._limit or loss == math.inf:
            return True
        if self._most:
            self._known.append((loss, inputs, targets))
            if len(self._known) > self._most:
                self._known.popleft()
                self._limit = sum(known[0] for known in self._known) / self._most + LEAP
        return False

    def check(self, step: int, loss: float = 0.0) -> None:
        """Raise Divergence if the network has broken. Nothing changes in it."""
        if not math.isfinite(loss):
            raise Divergence(step, loss)
        if self._limit == math.inf:
            return
        again = [float(self._learner.loss(*known)) for _, *known in self._known]
        if not sum(again) / len(again) <= self._limit:
            raise Divergence(step, sum(again) / len(again))
        if loss > self._limit:
            self._known.clear()
            self._limit = math.inf
