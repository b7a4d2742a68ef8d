"""The training state that is no array: the contents of a checkpoint's meta.json."""

from typing import Annotated

import msgspec

from charloom.config import RunConfig

Count = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{0,99}\Z")]  # it is shown in a terminal


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The step of the lowest loss so far, and that loss in nats per character."""

    step: Count
    loss: float | None  # None if it is infinite: JSON has no such number


class Losses(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Training losses in nats per character.

    `smooth` is min-char-rnn's; `sum` is over the `count` updates since the last line of metrics;
    `sampled` is `smooth` at the last sample that a new lowest loss was the reason for;
    `gradient_norm` is that of the last update, if it is known.
    """

    smooth: float
    sum: float = 0.0
    count: Count = 0
    sampled: float | None = None
    gradient_norm: float | None = None


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A return from step `at`, at which training diverged, to the checkpoint of step `to`.

    `loss` is what showed it, as text: JSON has no NaN. After `to` the learning rate is halved.
    """

    at: Count
    to: Count
    loss: Word


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What, beside arrays, the next update and the next line of metrics follow from.

    `seconds` is the training time so far; `versions` says what the last bits depend on, by name.
    `cursor` and `schedule` are those of Batches and Schedule; an n-gram model has neither, nor
    losses. `due` says that this step's evaluation is still to be made; `spread`, that of a long
    text it is of a part that is spread evenly: early runs scored the first part. `config` is that
    of the run.
    """

    step: Count
    seconds: float
    best: Best | None
    versions: dict[str, Word]
    cursor: dict[str, Count] = {}
    schedule: dict[str, float] = {}
    losses: Losses | None = None
    due: bool = False
    spread: bool = False
    rollbacks: list[Rollback] = msgspec.field(default_factory=list, name="setbacks")
    config: RunConfig | None = None  # early checkpoints have none
