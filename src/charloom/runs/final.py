"""final.json: how well the best model of a run predicts its own text, measured when it ended."""

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec

from charloom.config import NgramConfig, Share
from charloom.evaluation import Nats, Score, Some
from charloom.files import damaged, encode_json, one_line, read_json, replace_file
from charloom.models.mixture.gate import KNOTS
from charloom.runs.meta import Count


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best of n-gram models, which only count, on the very characters that a run's is for.

    It has this `order`, and counted the last `learned` characters of the training text: all of
    them, if `whole` is None, else of so many.
    """

    order: Some
    score: Score
    learned: Some
    whole: Some | None = None


Row = Annotated[tuple[Share, ...], msgspec.Meta(min_length=KNOTS, max_length=KNOTS)]
Table = Annotated[tuple[Row, ...], msgspec.Meta(min_length=KNOTS, max_length=KNOTS)]


class Mixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the best network is mixed with an n-gram model, whose settings are `counts`.

    That counts the last `learned` ids of the training part, and `shares` (K, K) are the network's,
    by how sure both are (see models/mixture/gate.py). On text that was kept for it, each half by
    what the other half tells, that lowered the loss from `before` to `after`. `alone` is what the
    network has where the run's score is from.
    """

    counts: NgramConfig
    learned: Some
    shares: Table
    before: Nats
    after: Nats
    alone: Score


class Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known when a run has ended, after `step` updates.

    `score` is that of its best checkpoint, of step `best`, on the validation part, as `charloom
    evaluate` has it; or on the training text, if nothing was `held_out`. Of a long text it is on a
    part. `counted` is None for an n-gram model, and if nothing was held out or time was short. With
    `mixture`, the score and the sample are those of the mixture.
    """

    step: Count
    best: Count
    held_out: bool
    score: Score
    counted: Counted | None = None
    mixture: Mixed | None = None


def write(path: Path, final: Final) -> None:
    """Put it in place of what is there, whole. Raises OSError."""
    replace_file(path, encode_json(final))


def read(path: Path) -> Final:
    """Return what `write` wrote; raises CharloomError if it is missing or damaged."""
    document = read_json(path, dict[str, Any])
    for record in (document, document.get("counted")):
        match record:
            case {"score": {"nats": None} as score}:
                score["nats"] = math.inf  # which JSON does not have: it was written as null
    try:
        return msgspec.convert(document, Final)
    except msgspec.ValidationError as error:
        raise damaged(path, one_line(error)) from None
