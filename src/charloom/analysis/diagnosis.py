"""A run's metrics -> findings on how it learned, in plain language, and what to do next."""

from collections.abc import Iterator
from itertools import pairwise

from charloom.runs.run import Run
from charloom.training.advice import Finding, advise
from charloom.training.facts import Facts, facts_of
from charloom.training.trend import RISEN, best_evaluation

UNSTABLE_SHARE = 0.2  # of evaluations up to the best one with a higher loss than the one before
MIN_RISES = 2  # of an unstable loss


def diagnose(run: Run) -> tuple[Finding, ...]:
    """Return findings on a run: first what it has come to, as training says at its end.

    Raises CharloomError if its files are damaged.
    """
    facts = facts_of(run)
    return advise(facts), *_rises(facts)


def _rises(facts: Facts) -> Iterator[Finding]:
    """Count rises of the loss before the best one, as from too high a learning rate."""
    if not facts.seen or facts.setbacks:  # which say the same
        return
    before_best = facts.seen[: facts.seen.index(best_evaluation(facts.seen)) + 1]
    pairs = list(pairwise(before_best))
    rises = [after for before, after in pairs if after.validation > RISEN * before.validation]
    if len(rises) >= max(MIN_RISES, UNSTABLE_SHARE * len(pairs)):
        yield Finding(
            "swings",
            "advice",
            "Unstable loss",
            f"Before its best, the validation loss rose in {len(rises)} of {len(pairs)} "
            f"evaluations, last at step {rises[-1].step:,}: the learning rate is too high.",
            f"Train again with a lower one: --learning-rate {facts.rate / 2:.2g}.",
        )
