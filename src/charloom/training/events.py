"""What happens in a training run, as training yields it.

Losses are mean nats per character. `step` counts the updates made.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charloom.data.dataset import Dataset
from charloom.evaluation import Score
from charloom.runs.final import Final
from charloom.runs.meta import Best
from charloom.runs.run import Run
from charloom.training.advice import Finding


@dataclass(frozen=True)
class Started:
    """The first event: the run, its text, and in `notes` sentences on both.

    `engine` is the one in use ("counts" for an n-gram model). `step` is 0, or where the run is
    resumed; `total` is where it ends, with minutes as far as that can be told.
    """

    run: Run
    engine: str
    parameters: int
    parts: Dataset
    step: int
    total: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """A few times a second. `loss` is the mean since the last one, `smooth` min-char-rnn's.

    `epoch` counts epochs, `characters` those learned from so far; `speed` is such characters a
    second of late; `seconds` of training are over and `left` are to come, None while unknown.
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
    """The validation loss; `best` if it is the lowest so far."""

    step: int
    score: Score
    best: bool


@dataclass(frozen=True)
class Sampled:
    """What the model generated, which is also in samples/."""

    step: int
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk; `best` if it is that of the lowest loss so far."""

    step: int
    path: Path
    best: bool


@dataclass(frozen=True)
class Scoring:
    """Training is over: the best checkpoint is being scored, which may take some seconds."""

    step: int


@dataclass(frozen=True)
class Warned:
    """Something went wrong, and training goes on; `text` says in a sentence what, and how."""

    step: int
    text: str


@dataclass(frozen=True)
class Finished:
    """The last event. `signal` is the one that interrupted the run, by its number.

    The `reason` is "turned" if the validation loss rose so clearly that the rest of the minutes
    was not used; `advice` is what the run has come to, and what to do next. `final` is how the run
    ended, None if it was interrupted. `validation` is the last score of training, None if there was
    none in this session; it may be of a part of the text. `training` is the mean training loss over
    the last thousand steps or so; None for an n-gram model. `sample` is what the best checkpoint
    wrote at the suggested temperature, None if there is none.
    """

    reason: Literal["done", "turned", "interrupted"]
    signal: int | None
    step: int
    total: int
    training: float | None
    validation: Score | None
    best: Best | None
    path: Path
    seconds: float
    advice: Finding | None = None
    final: Final | None = None
    sample: str | None = None


Event = Started | Progress | Evaluated | Sampled | Saved | Scoring | Warned | Finished
