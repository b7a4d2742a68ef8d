"""When a run ends, and what is due after which step: pure functions of the settings."""

import math
import sys
from typing import NamedTuple

from charloom.config import TrainConfig, WatchConfig
from charloom.errors import CharloomError

EVALS_PER_RUN, FEWEST_EVALS = 20, 4  # usually, and in a very short time
SAMPLES_PER_RUN, LINES_PER_RUN = 8, 500  # lines of metrics.jsonl
SECONDS_BETWEEN_EVALS = 3  # at least, in a run with minutes
EVAL_SHARE = 0.05  # of the characters that a run with minutes learns from, scored in all
ENOUGH_CHARACTERS = 50_000  # of validation text: more tell little more
FEWEST_CHARACTERS = 2_000  # ... fewer tell too little
MOST_CHARACTERS = 2_000_000  # ... in an evaluation of a run without minutes, and at the end
FINAL_SHARE = 0.15  # of the characters that a run with minutes learns from, scored at its end
COUNTED_CHARACTERS = 1_000_000  # of training text, in n-grams at the end: about 100 MiB
COUNTED_IN_A_SECOND = 20_000  # ... in a short run: a thirtieth of what would be possible


def most_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return how many updates the epochs make; without epochs, more than there is time for."""
    if config.epochs is None:
        return sys.maxsize
    return math.ceil(min(config.epochs * steps_per_epoch, sys.maxsize))


def total_steps(config: TrainConfig, steps_per_epoch: int) -> int:
    """Return where a run ends; raises CharloomError if nothing says so."""
    if config.iterations is None and config.epochs is None:
        message = "the run has no end: give iterations or epochs"
        raise CharloomError(message, "bad-setting", field="iterations")
    return min(config.iterations or sys.maxsize, most_steps(config, steps_per_epoch))


class Intervals(NamedTuple):
    """After every how many steps something is due, and at the end of the run; 0 is never."""

    evaluate: int
    sample: int
    save: int
    log: int


def next_due(step: int, total: int, every: Intervals) -> int:
    """Return the first step after `step` after which something is due."""
    return min(total, *((step // interval + 1) * interval for interval in every if interval))


def is_due(step: int, total: int, interval: int) -> bool:
    """Whether what is due every `interval` steps is due after this one."""
    return interval > 0 and (step % interval == 0 or step == total)


def intervals(
    config: TrainConfig, watch: WatchConfig, total: int, validation: int = 0
) -> tuple[Intervals, int]:
    """Return the intervals asked for, or a share of `total` steps, and how much is evaluated.

    That is all of the `validation` characters, or a first part of them: two million at most, and
    beyond 50,000 no more, in all evaluations, than are learned from. A run with minutes evaluates
    a twentieth of the characters that it learns from, or fewer: it evaluates less often, and if
    that is not enough, on a first part alone.
    """
    asked, times = watch.evaluate_every, EVALS_PER_RUN
    evals = times if not asked else math.ceil(total / asked)
    learned = total * config.batch * config.length
    scored = min(validation, MOST_CHARACTERS, max(ENOUGH_CHARACTERS, learned // evals))
    if config.minutes is not None and validation > 0 and asked != 0:
        read = EVAL_SHARE * total * config.batch * config.length
        if asked is None:
            in_time = 60 * config.minutes / SECONDS_BETWEEN_EVALS
            most = int(min(in_time, read / min(validation, ENOUGH_CHARACTERS)))
            times = evals = max(FEWEST_EVALS, min(EVALS_PER_RUN, most))
        scored = min(validation, max(FEWEST_CHARACTERS, int(read / evals)))

    def interval(asked: int | None, times: int) -> int:
        return math.ceil(total / times) if asked is None else asked

    samples = 100 if watch.sample_at_best else min(SAMPLES_PER_RUN, times)
    every = Intervals(
        evaluate=interval(asked, times),
        sample=interval(watch.sample_every, samples),
        save=interval(watch.checkpoint_every, times),
        log=interval(None, LINES_PER_RUN),
    )
    return every, scored


def scored_at_end(config: TrainConfig, total: int, size: int) -> int:
    """Return how many of `size` characters are scored when a run of `total` steps has ended.

    That is all, but two million at most, and beyond 50,000 no more than were learned from; of a
    run with minutes, which has to end in time, a seventh of those.
    """
    learned = total * config.batch * config.length
    if config.minutes is not None:
        return min(size, MOST_CHARACTERS, max(FEWEST_CHARACTERS, int(FINAL_SHARE * learned)))
    return min(size, MOST_CHARACTERS, max(ENOUGH_CHARACTERS, learned))


def counted_at_end(config: TrainConfig) -> int:
    """Return how many characters of training text n-grams are counted in when a run has ended."""
    seconds = math.inf if config.minutes is None else 60 * config.minutes
    return int(min(COUNTED_CHARACTERS, max(1, COUNTED_IN_A_SECOND * seconds)))
