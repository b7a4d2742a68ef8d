"""Where a run stood when a checkpoint was made: the contents of its meta.json."""

from typing import Annotated

import msgspec

from charloom.config import RunConfig

Count = Annotated[int, msgspec.Meta(ge=0, lt=10**18)]
Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{0,99}\Z")]  # it is shown in a terminal


class Best(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest loss so far, in nats per character, and the step it was seen at."""

    step: Count
    loss: float | None  # None where it is infinite: JSON has no such number


class Losses(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is remembered of the losses of a run's updates, in nats per character.

    `smooth` is min-char-rnn's; `sum` is over the `count` updates since the last line of metrics;
    `sampled` is `smooth` at the last sample that was drawn for its being the lowest;
    `gradient_norm` is that of the last update, where it is known.
    """

    smooth: float
    sum: float = 0.0
    count: Count = 0
    sampled: float | None = None
    gradient_norm: float | None = None


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A return from step `at`, where the network broke, to the checkpoint of step `to`.

    `loss` is what showed it, as text: JSON has no NaN. From `to` on the learning rate is half.
    """

    at: Count
    to: Count
    loss: Word


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a run stood: all that the next update and the next line of metrics follow from.

    `seconds` were spent in training, by the `versions` of what computes. `cursor` and `schedule`
    are those of Streams and Schedule; an n-gram model has neither, nor losses. `due` says that what
    is looked at after this step is still to be looked at. `config` is that of the run.
    """

    step: Count
    seconds: float
    best: Best | None
    versions: dict[str, Word]
    cursor: dict[str, Count] = {}
    schedule: dict[str, float] = {}
    losses: Losses | None = None
    due: bool = False
    rollbacks: list[Rollback] = msgspec.field(default_factory=list, name="setbacks")
    config: RunConfig | None = None  # in checkpoints from before there was none
