"""When a run ends, and every how many updates it is looked at: pure functions of the settings."""

import math
from typing import NamedTuple

from charloom.config import TrainConfig, WatchConfig
from charloom.errors import CharloomError


def total_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return where a run ends; raises CharloomError where nothing says so."""
    ends = [config.iterations] if config.iterations is not None else []
    if config.epochs is not None:
        ends.append(math.ceil(config.epochs * steps_per_epoch))
    if not ends:
        raise CharloomError("the run has no end: give --iterations or --epochs")
    return min(ends)


class Intervals(NamedTuple):
    """Every how many updates what is done; 0 is never."""

    evaluate: int
    sample: int
    save: int
    log: int


def intervals(watch: WatchConfig, total: int) -> Intervals:
    """Return the intervals asked for, and for those left open a share of the run."""

    def interval(asked: int | None, times: int) -> int:
        return math.ceil(total / times) if asked is None else asked

    return Intervals(
        evaluate=interval(watch.evaluate_every, 20),
        sample=interval(watch.sample_every, 100 if watch.sample_at_best else 8),
        save=interval(watch.checkpoint_every, 20),
        log=interval(None, 500),
    )
