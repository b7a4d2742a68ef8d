"""Ids to inputs and targets: B streams walked side by side, T characters a step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.errors import CharloomError

Ids = NDArray[np.integer[Any]]


class Lanes:
    """A text cut into B contiguous streams of S = N // B characters, read T at a time.

    Lane b starts at character b * S. One lane is exactly the walk of min-char-rnn
    (Karpathy 2015). `position` is where in each lane the next step begins; `epoch` counts
    the times that the walk has gone back to the start.
    """

    def __init__(self, ids: Ids, batch: int, length: int) -> None:
        """Take ids (N,) of any integer type; raises CharloomError as `check_fits` does."""
        check_fits(len(ids), batch, length)
        self._stream = len(ids) // batch
        self._lanes = np.asarray(ids)[: batch * self._stream].reshape(batch, self._stream)
        self._length = length
        self.position = 0
        self.epoch = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps from one return to the start to the next."""
        return (self._stream - 2) // self._length

    def next(self) -> tuple[Ids, Ids, bool]:
        """Return inputs (B, T), targets (B, T) and whether the carried state must be reset.

        Targets are inputs one character on. Both are views of the text: not to be written to.
        """
        if self.position + self._length + 1 >= self._stream:
            self.position = 0
            self.epoch += 1
        start, end = self.position, self.position + self._length
        self.position = end
        return self._lanes[:, start:end], self._lanes[:, start + 1 : end + 1], start == 0

    def cursor(self) -> dict[str, int]:
        """Return the place in the walk, for `seek`."""
        return {"position": self.position, "epoch": self.epoch}

    def seek(self, cursor: Mapping[str, int]) -> None:
        """Go to a place that `cursor` gave; raises CharloomError where it is outside the text."""
        position, epoch = cursor.get("position", -1), cursor.get("epoch", -1)
        if not (0 <= position <= self._stream and epoch >= 0):
            raise CharloomError(
                f"cannot go on from {dict(cursor)!r}: the text has {self._stream:,} characters a "
                "lane; give the text and the batch that the run began with"
            )
        self.position, self.epoch = position, epoch


def check_fits(characters: int, batch: int, length: int) -> None:
    """Raise CharloomError where so many characters are too few for one step.

    Each lane needs T + 2 characters: min-char-rnn's `p + T + 1 >= N` leaves the last one out.
    """
    needed = batch * (length + 2)
    if characters >= needed:
        return
    most = {"batch": characters // (length + 2), "length": characters // batch - 2}
    cures = [f"lower {name} to at most {value:,}" for name, value in most.items() if value > 0]
    if not cures and characters >= 3:
        cures = ["lower both batch and length"]
    raise CharloomError(
        f"the training text has {characters:,} characters, but a step of batch {batch:,} x length "
        f"{length:,} needs {needed:,}: {' or '.join([*cures, 'give more text'])}"
    )
