"""Ids to inputs and targets: streams walked side by side, or windows drawn anywhere."""

from collections.abc import Mapping

import numpy as np

from charloom.config import TrainConfig
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError

_KEY = 2**63 - 1  # beside the seed, in the key of all windows: no dropout mask has it


class Streams:
    """A text cut into B contiguous streams of S = N // B characters, read T at a time.

    Stream b starts at character b * S. One stream is exactly the walk of min-char-rnn (Karpathy
    2015). `position` is where in each stream the next step begins; `epoch` counts the returns to
    the start.
    """

    def __init__(self, ids: Ids, batch: int, length: int) -> None:
        """Take ids (N,) of any integer type; raises CharloomError as `check_fits` does."""
        check_fits(len(ids), batch, length)
        self._stream = len(ids) // batch
        self._ids = np.asarray(ids)[: batch * self._stream].reshape(batch, self._stream)
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
        return self._ids[:, start:end], self._ids[:, start + 1 : end + 1], start == 0

    def cursor(self) -> dict[str, int]:
        """Return the place in the walk, for `seek`."""
        return {"position": self.position, "epoch": self.epoch}

    def seek(self, cursor: Mapping[str, int]) -> None:
        """Go to a place that `cursor` gave; raises CharloomError if it is outside the text."""
        position, epoch = cursor.get("position", -1), cursor.get("epoch", -1)
        if not (0 <= position <= self._stream and epoch >= 0):
            message = (
                f"cannot go on from {dict(cursor)!r}: each of the {len(self._ids):,} sequences of "
                f"a batch is cut from {self._stream:,} characters; give the text and the batch "
                "size that the run began with"
            )
            raise CharloomError(message, "damaged", cursor=dict(cursor))
        self.position, self.epoch = position, epoch


class Windows:
    """B windows of T characters a step, each beginning anywhere in the text (nanoGPT).

    Where they begin is a pure function of the seed and the number of the step. An epoch is as
    many characters as the text has; `position` counts the steps so far.

    Early runs drew the windows of a step with the key of its first dropout mask, so that one told
    the other. Such a run goes on like that: its cursor says "position", any other says "drawn".
    """

    def __init__(self, ids: Ids, batch: int, length: int, seed: int) -> None:
        """Take ids (N,) of any integer type; raises CharloomError as `check_fits` does."""
        check_fits(len(ids), batch, length)
        self._ids, self._batch, self._length, self._seed = ids, batch, length, seed
        self._offsets = np.arange(length + 1)
        self._counts = "drawn"
        self.position = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps that read as many characters as the text has."""
        return max(1, len(self._ids) // (self._batch * self._length))

    @property
    def epoch(self) -> int:
        """How often as many characters have been read as the text has."""
        return self.position // self.steps_per_epoch

    def next(self) -> tuple[Ids, Ids, bool]:
        """Return inputs (B, T), targets (B, T) and True: no state is carried between windows."""
        if self._counts == "drawn":
            philox = np.random.Philox(key=(self._seed, _KEY), counter=(0, 0, 0, self.position))
        else:
            philox = np.random.Philox(key=(self._seed, self.position))
        starts = np.random.Generator(philox).integers(0, len(self._ids) - self._length, self._batch)
        windows = self._ids[starts[:, None] + self._offsets]
        self.position += 1
        return windows[:, :-1], windows[:, 1:], True

    def cursor(self) -> dict[str, int]:
        """Return the place in the walk, for `seek`."""
        return {self._counts: self.position}

    def seek(self, cursor: Mapping[str, int]) -> None:
        """Go to a place that `cursor` gave; raises CharloomError if it is none."""
        counts = "position" if "position" in cursor else "drawn"
        position = cursor.get(counts, -1)
        if position < 0:
            problem = f"cannot go on from {dict(cursor)!r}: it names no step"
            raise CharloomError(problem, "damaged", cursor=dict(cursor))
        self._counts, self.position = counts, position


Batches = Streams | Windows


def open_batches(ids: Ids, config: TrainConfig) -> Batches:
    """Return the batches of ids (N,) that the settings ask for; raises CharloomError."""
    if config.batches == "windows":
        return Windows(ids, config.batch, config.length, config.seed)
    return Streams(ids, config.batch, config.length)


def check_fits(count: int, batch: int, length: int, unit: str = "characters") -> None:
    """Raise CharloomError if so many characters, or other units, are too few for one step.

    Each sequence needs T + 2: min-char-rnn's `p + T + 1 >= N` leaves the last one out.
    """
    needed = batch * (length + 2)
    if count >= needed:
        return
    fits = {"batch": count // (length + 2), "length": max(0, count // batch - 2)}
    cures = [f"lower {name} to at most {value:,}" for name, value in fits.items() if value > 0]
    if not cures and count >= 3:
        cures = ["lower both batch and length"]
    message = (
        f"the training text has {count:,} {unit}, but a step with batch {batch:,} and length "
        f"{length:,} needs {needed:,}: {' or '.join([*cures, 'give more text'])}"
    )
    raise CharloomError(message, "no-text", found=count, needed=needed, **fits)
