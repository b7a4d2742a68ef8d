"""When a run ends, and every how many updates it is looked at: pure functions of the settings."""

import math
import sys
from typing import NamedTuple

from charloom.config import TrainConfig, WatchConfig
from charloom.errors import CharloomError

TIMES, FEWEST = 20, 4  # looks at held-out text in a run: usually, and where there is little time
SAMPLES, LINES = 8, 500  # that are drawn, and written to metrics.jsonl, in a run
PAUSE = 3  # seconds between two looks, at least
SHARE = 0.05  # of the characters learned from: so many held-out ones are read in all the looks
ENOUGH = 50_000  # held-out characters after which a look tells little more
LEAST = 2_000  # ... and below which it tells too little
MOST = 2_000_000  # ... that a look reads where no minutes say how long it may take


def most_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return how many updates the epochs make; without epochs, more than there is time for."""
    return sys.maxsize if config.epochs is None else math.ceil(config.epochs * steps_per_epoch)


def total_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return where a run ends; raises CharloomError where nothing says so."""
    if config.iterations is None and config.epochs is None:
        raise CharloomError("the run has no end: give --iterations or --epochs")
    most = most_steps(config, steps_per_epoch)
    return most if config.iterations is None else min(config.iterations, most)


class Intervals(NamedTuple):
    """Every how many updates what is done; 0 is never."""

    evaluate: int
    sample: int
    save: int
    log: int


def intervals(
    config: TrainConfig, watch: WatchConfig, total: int, held_out: int = 0
) -> tuple[Intervals, int]:
    """Return the intervals asked for, or a share of `total` updates, and how much is scored.

    That is all of the `held_out` characters, or a first part of them: two million at most, and
    where that is more than 50,000, in all the looks no more than are learned from. A run with
    minutes reads for it a twentieth of the characters that it learns from, or fewer: it looks
    less often, and where that is not enough, into a first part alone.
    """
    asked, times = watch.evaluate_every, TIMES
    looks = times if not asked else math.ceil(total / asked)
    learned = total * config.batch * config.length
    scored = min(held_out, MOST, max(ENOUGH, learned // looks))
    if config.minutes is not None and held_out > 0 and asked != 0:
        read = SHARE * total * config.batch * config.length
        if asked is None:
            most = int(min(60 * config.minutes / PAUSE, read / min(held_out, ENOUGH)))
            times = max(FEWEST, min(TIMES, most))
        looks = times if asked is None else math.ceil(total / asked)
        scored = min(held_out, max(LEAST, int(read / looks)))

    def interval(asked: int | None, times: int) -> int:
        return math.ceil(total / times) if asked is None else asked

    every = Intervals(
        evaluate=interval(asked, times),
        sample=interval(watch.sample_every, 100 if watch.sample_at_best else min(SAMPLES, times)),
        save=interval(watch.checkpoint_every, times),
        log=interval(None, LINES),
    )
    return every, scored
