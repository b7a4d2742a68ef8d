"""final.json: how well the best model of a run predicts its own text, measured when it ended."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from charloom.evaluation import Score
from charloom.files import encode_json, read_json, replace_file
from charloom.runs.meta import Count

Nats = Annotated[float, msgspec.Meta(ge=0)]
Some = Annotated[int, msgspec.Meta(ge=1, lt=10**18)]


@dataclass(frozen=True)
class Counted:
    """The best of n-gram models, which only count, on the very characters that a run's is for.

    It has this `order`, and counted the last `learned` characters of the training text: all of
    them, if `whole` is None, else of so many.
    """

    order: int
    score: Score
    learned: int
    whole: int | None = None


@dataclass(frozen=True)
class Final:
    """What is known when a run has ended, after `step` updates.

    `score` is that of its best checkpoint, of step `best`, on the validation part, as `charloom
    evaluate` has it; or on the training text, if nothing was `held_out`. Of a long text it is on a
    part. `counted` is None for an n-gram model, and if nothing was held out or time was short.
    """

    step: int
    best: int
    held_out: bool
    score: Score
    counted: Counted | None = None


class _Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nats: Nats | None  # None if it is infinite: JSON has no such number
    characters: Some
    whole: Some | None = None
    margin: Nats | None = None

    def score(self) -> Score:
        nats = math.inf if self.nats is None else self.nats
        return Score(nats, self.characters, self.whole, self.margin)


class _Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    order: Some
    score: _Score
    learned: Some
    whole: Some | None = None


class _Final(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    step: Count
    best: Count
    held_out: bool
    score: _Score
    counted: _Counted | None = None


def write(path: Path, final: Final) -> None:
    """Put it in place of what is there, whole. Raises OSError."""
    replace_file(path, encode_json(final))


def read(path: Path) -> Final:
    """Return what `write` wrote; raises CharloomError if it is missing or damaged."""
    found, counted = read_json(path, _Final), None
    if (told := found.counted) is not None:
        counted = Counted(told.order, told.score.score(), told.learned, told.whole)
    return Final(found.step, found.best, found.held_out, found.score.score(), counted)
