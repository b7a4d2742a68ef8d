"""A view of training: it follows the events and keeps the newest of each kind.

Training goes on even if the reader does not: a closed pipe, or a terminal that is stopped or gone.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Self, TextIO

from charloom.cli.reader import Reader
from charloom.training.events import Evaluated, Event, Finished, Progress, Sampled, Started

RECENT_REPORTS = 4  # reports of progress, about a second, that the training loss is averaged over


class View(ABC):
    """What the plain and the live view share."""

    def __init__(self, out: TextIO | None) -> None:
        self.reader = Reader(out)
        self.reasons: tuple[tuple[str, str], ...] = ()  # of chosen settings: (setting, why)
        self.started: Started | None = None
        self.progress: Progress | None = None
        self.evaluated: Evaluated | None = None
        self.best: Evaluated | None = None
        self.sampled: Sampled | None = None
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT_REPORTS)  # steps, mean loss

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the reader, except after a second Ctrl-C; say so if training did not begin."""
        if self.started is None and kind in (KeyboardInterrupt, SystemExit):
            self.reader.write("Stopped before training began.\n")
        if self.started is None or kind is not KeyboardInterrupt:
            self.reader.wait()

    @abstractmethod
    def status(self, text: str) -> None:
        """Say what is being done before the first event."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Show what is new with an event."""

    def follow(self, events: Iterator[Event]) -> int:
        """Show a run to its end; return the exit status."""
        for event in events:
            match event:
                case Started():
                    self.started = event
                case Progress():
                    before = self.progress or self.started
                    steps = event.step - (before.step if before else 0)
                    self._recent.append((steps, event.loss))
                    self.progress = event
                case Evaluated():
                    self.evaluated = event
                    self.best = event if event.best else self.best
                case Sampled():
                    self.sampled = event
            self.show(event)
            if isinstance(event, Finished):
                return 0 if event.signal is None else 128 + event.signal
        raise AssertionError("training ends with Finished")

    @property
    def minutes(self) -> float | None:
        """The time that the run may take, if that is what ends it."""
        return self.started.run.config.train.minutes if self.started else None

    def training_loss(self) -> tuple[float, int]:
        """Return the mean loss, in nats, of about the last second, and how many steps that was."""
        steps = sum(number for number, _ in self._recent)
        return sum(number * loss for number, loss in self._recent) / steps, steps
