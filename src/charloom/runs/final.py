"""final.json: how well the best model of a run predicts its own text, measured when it ended."""

import math
from pathlib import Path
from typing import Any

import msgspec

from charloom.evaluation import Score, Some
from charloom.files import damaged, encode_json, one_line, read_json, replace_file
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


class Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known when a run has ended, after `step` updates.

    `score` is that of its best checkpoint, of step `best`, on the validation part, as `charloom
    evaluate` has it; or on the training text, if nothing was `held_out`. Of a long text it is on a
    part. `counted` is None for an n-gram model, and if nothing was held out or time was short.
    """

    step: Count
    best: Count
    held_out: bool
    score: Score
    counted: Counted | None = None


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
