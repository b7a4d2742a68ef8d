"""How many updates fit into the time that a run has. It is told the time, and has no clock."""

import math
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from functools import partial
from statistics import median_low
from types import MappingProxyType
from typing import NamedTuple

from charloom.training.cadence import Intervals

SLACK_SHARE = 0.01  # of the time given last: a projected end that is no further off is left alone
ASSUMED_SHARES = {"evaluate": 0.04, "sample": 0.01, "save": 0.02}  # of it, for all such pauses
RECENT_SECONDS = 5.0  # of updates, for the current pace
MOST_MARKS = 1200  # that are remembered: five minutes, at four a second
NEWEST_PAUSES = 3  # whose median is what the next is expected to cost: the first has compiled


class Pace:
    """How fast updates go, from marks (updates made, seconds spent in them)."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque(maxlen=MOST_MARKS)
        self._busy = 0.0

    def mark(self, step: int, seconds: float) -> None:
        """Take note that the updates up to `step` took so many seconds."""
        self._busy += seconds
        self._marks.append((step, self._busy))

    def per_second(self, window: float = RECENT_SECONDS) -> float:
        """Updates a second in the last `window` seconds of them; 0 if that is unknown."""
        if len(self._marks) < 2:
            return 0.0
        last, now = self._marks[-1]
        marks = (mark for mark in self._marks if mark[1] >= now - window)  # the first has compiled
        first, then = next(marks)
        if first == last:
            first, then = self._marks[-2]
        return (last - first) / (now - then) if now > then else 0.0


class End(NamedTuple):
    """What comes after the last update, as so many of each together."""

    evaluations: float
    samples: float
    updates: float
    seconds: float


NOTHING = End(0.0, 0.0, 0.0, 0.0)


class TimeBudget:
    """Where a run that has `seconds` will end, as far as its pace and its pauses tell.

    A pause is an evaluation, a sample or a save. Its cost is kept in updates that could have
    been made instead: if the machine is slowed down, it takes longer just as they do.
    """

    def __init__(
        self,
        seconds: float,
        every: Intervals,
        total: int,
        end: End = NOTHING,
        granted: float = math.inf,
        least: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Take the intervals of pauses in the `total` updates that are planned, and the end.

        Of the time, `granted` seconds are those that it was given last, if that is not all. A
        pause is taken to cost `least` updates, by name, or a share if that is more, until one
        has been made.
        """
        self.seconds, self._end = seconds, end
        self._slack = SLACK_SHARE * min(seconds, granted)
        self._every = {pause: every._asdict()[pause] for pause in ASSUMED_SHARES}
        self._costs = {}
        for pause, share in ASSUMED_SHARES.items():
            times = math.ceil(total / max(1, self._every[pause]))
            cost = max(share * total / times, least.get(pause, 0.0))
            self._costs[pause] = deque([cost], NEWEST_PAUSES)

    def note(self, pause: str, seconds: float, pace: float) -> None:
        """Take note of how long a pause took, while updates went at `pace` a second."""
        if pace:
            self._costs[pause].append(seconds * pace)

    def total(self, step: int, total: int, elapsed: float, known: Pace) -> int:
        """Return at which step to end, after `step` updates and before what is due there.

        `elapsed` seconds are spent. The pace of what is left is that of a past half as long, so
        that a burst of other work counts for little while there is time. It is `total` again if
        the run would then end within a hundredth of its time.
        """
        if math.isinf(self.seconds):
            return total
        left = self.seconds - elapsed - self._end.seconds
        pace = known.per_second(max(RECENT_SECONDS, left / 2))
        if not pace:
            return total if left > 0 else step
        if abs(self._needed(step, total) / pace - left) <= self._slack:
            return total
        most = min(sys.maxsize, max(0, math.ceil(left * pace)))
        ends = range(step + 1, step + 1 + most)
        return step + bisect_right(ends, left * pace, key=partial(self._needed, step))

    def _needed(self, step: int, total: int) -> float:
        """Updates that could be made from `step` until all that is due at `total` is done."""
        needed = total - step + self._end.updates
        more = {"evaluate": self._end.evaluations, "sample": self._end.samples}
        for pause, every in self._every.items():
            if every:
                times = math.ceil(total / every) - (step - 1) // every + more.get(pause, 0.0)
                needed += times * median_low(self._costs[pause])
        return needed
