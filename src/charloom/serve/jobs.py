"""What a request becomes: texts to be written, and the pieces that come of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from charloom.config import SampleConfig
from charloom.data.tokenizer import Ids
from charloom.generation.copy_limit import CopyLimit
from charloom.models.lanes import Rules
from charloom.models.protocols import LanguageModel

SEEN_BYTES = 100  # of a log-probability, as Python has it and as JSON


class Seen(NamedTuple):
    """An id of a text, its log-probability, and the likeliest ids with theirs, best first."""

    id: int
    log_prob: float | None  # None for the first of a prompt, which nothing predicts
    likeliest: list[tuple[int, float]]


class Piece(NamedTuple):
    """What is new of text `number` of a job; `ended` is why it has ended, "stop" or "length"."""

    number: int
    text: str
    seen: list[Seen]
    ended: str | None

    @property
    def size(self) -> int:
        """About how many bytes it takes until its client takes it."""
        return len(self.text) + sum(SEEN_BYTES * (2 + len(one.likeliest)) for one in self.seen)


class Failed(NamedTuple):
    """A job has come to nothing."""

    why: str


@dataclass(frozen=True)
class Prompt:
    """A text to go on from, as the model reads it: ids (N,), at least one."""

    text: str
    ids: Ids
    length: int  # of ids that are the text's own: 0 for an empty one, though it is read as one


@dataclass(eq=False)
class Job:
    """Texts to be written: `count` for each prompt, which are numbered prompt by prompt.

    `log_probs` is how many of the likeliest are told at each place; None if nothing is. With
    `echo`, the prompt is told first. `deliver` is called with what is new.
    """

    model: LanguageModel
    prompts: list[Prompt]
    count: int
    tokens: int
    settings: SampleConfig
    rules: Rules
    end: int | None
    log_probs: int | None
    echo: bool
    deliver: Callable[[list[Piece | Failed]], None]
    limit: CopyLimit | None = None
    cancelled: bool = False
    waiting: int = 0  # bytes that were delivered and not taken, about
    left: int = field(init=False)  # texts that have not ended
    written: int = 0  # ids of texts that have ended
    began: float = 0.0  # when the first was begun, by the monotonic clock

    def __post_init__(self) -> None:
        self.left = self.lanes

    @property
    def lanes(self) -> int:
        """How many texts there are."""
        return len(self.prompts) * self.count
