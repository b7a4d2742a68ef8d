"""What a training run tells as it goes, and the signals that ask it to stop.

Losses are mean nats per character. `step` counts the updates made.
"""

import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from charloom.checkpoint import Best
from charloom.evaluation import Score
from charloom.run import Parts, Run


@dataclass(frozen=True)
class Started:
    """The first event: the run and its text, and in `notes` what is worth saying about them.

    `engine` is the one in use ("counts" for an n-gram model). `step` is 0, or where the run goes
    on from, and `total` where it ends: with minutes, as far as that can be told.
    """

    run: Run
    engine: str
    parameters: int
    parts: Parts
    step: int
    total: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """A few times a second. `loss` is the mean since the last one, `smooth` min-char-rnn's.

    `epoch` counts passes through the text, `characters` those read in updates so far; `speed` is
    such characters a second of late; `seconds` of training are over and `left` are to come, None
    while that cannot be told.
    """

    step: int
    total: int
    epoch: float
    characters: int
    loss: float
    smooth: float
    rate: float
    speed: float
    seconds: float
    left: float | None


@dataclass(frozen=True)
class Evaluated:
    """The loss on held-out text; `best` where it is the lowest so far."""

    step: int
    score: Score
    best: bool


@dataclass(frozen=True)
class Sampled:
    """What the model wrote, which is also in samples/."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on the disk; `best` where it is that of the lowest loss so far."""

    step: int
    path: Path
    best: bool


@dataclass(frozen=True)
class Finished:
    """The last event. `signal` is the one that interrupted the run, by its number.

    The `reason` is "turned" where held-out loss rose so clearly that the rest of the minutes was
    not used; `outlook` says in a sentence what a run with minutes has come to. `validation` is
    the last held-out score, None where there was none since the start; `smooth` is None for an
    n-gram model.
    """

    reason: Literal["done", "turned", "interrupted"]
    signal: int | None
    step: int
    total: int
    smooth: float | None
    validation: Score | None
    best: Best | None
    path: Path
    seconds: float
    outlook: str | None = None


Event = Started | Progress | Evaluated | Sampled | Saved | Finished


class StopSignals:
    """While entered, SIGINT, SIGTERM and SIGHUP are gathered in `caught` and do nothing else.

    Only a SIGINT that follows another signal raises KeyboardInterrupt. What was ignored stays
    so (nohup). Python gives signals to the main thread alone: in another, nothing is done.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> list[int]:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._handlers[number] = signal.signal(number, self._catch)
        return self.caught

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught.append(number)
