"""How many updates fit into the time that a run has. It is told the time, and has no clock."""

import math
from collections import deque

from charloom.training.cadence import Intervals

SLACK = 0.01  # of the whole time: a projected end that is no further off is left alone
ASSUMED = {"evaluate": 0.04, "sample": 0.01, "save": 0.02}  # shares of it, for all such looks
RECENT = 5.0  # seconds of updates that the pace of late is taken over
MARKS = 1200  # that are remembered: five minutes, at four a second
NEWEST = 3  # looks whose median is what the next is taken to cost: the first has compiled


class Pace:
    """How fast updates go, from marks (updates made, seconds spent in them)."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque(maxlen=MARKS)
        self._busy = 0.0

    def mark(self, step: int, seconds: float) -> None:
        """Take note that the updates up to `step` took so many seconds."""
        self._busy += seconds
        self._marks.append((step, self._busy))

    def per_second(self, window: float = RECENT) -> float:
        """Updates a second in the last `window` seconds of them; 0 where that cannot be told."""
        if len(self._marks) < 2:
            return 0.0
        last, now = self._marks[-1]
        marks = (mark for mark in self._marks if mark[1] >= now - window)  # the first has compiled
        first, then = next(marks)
        if first == last:
            first, then = self._marks[-2]
        return (last - first) / (now - then) if now > then else 0.0


class Deadline:
    """The end of a run that has `seconds`, as far as its pace and the cost of looks tell it.

    A look is an evaluation, a sample or a save. What one costs is kept in updates that could have
    been made instead: on a machine that is slowed down it takes longer just as they do.
    """

    def __init__(self, seconds: float, every: Intervals, total: int) -> None:
        """Take what is looked at every how many of the `total` updates that are planned."""
        self.seconds = seconds
        self._every = {look: every._asdict()[look] for look in ASSUMED}
        self._costs = {
            look: deque([share * total / math.ceil(total / max(1, self._every[look]))], NEWEST)
            for look, share in ASSUMED.items()
        }

    def note(self, look: str, seconds: float, pace: float) -> None:
        """Take note of what a look of that name has cost, while updates went at `pace` a second."""
        if pace:
            self._costs[look].append(seconds * pace)

    def total(self, step: int, total: int, elapsed: float, known: Pace) -> int:
        """Return at which step to end, after `step` updates and before what is due there.

        `elapsed` seconds of the time are spent. What is left is foreseen from a past half as
        long: so a burst of other work does not count for much while there is time. It is `total`
        again where the run would then end within a hundredth of its time.
        """
        left = self.seconds - elapsed
        pace = known.per_second(max(RECENT, left / 2))
        if not pace:
            return total if left > 0 else step
        if abs(self._needed(step, total) / pace - left) <= SLACK * self.seconds:
            return total
        least, most = step, step + max(0, math.ceil(left * pace))
        while least < most:  # the last step that is reached in time
            middle = (least + most + 1) // 2
            if self._needed(step, middle) <= left * pace:
                least = middle
            else:
                most = middle - 1
        return least

    def _needed(self, step: int, total: int) -> float:
        """Updates that could be made from `step` until all that is due at `total` is done."""
        needed = float(total - step)
        for look, every in self._every.items():
            if every:
                costs = sorted(self._costs[look])
                times = math.ceil(total / every) - (step - 1) // every
                needed += times * costs[(len(costs) - 1) // 2]
        return needed
