"""A machine that is played: its clock, its pace and the cost of its pauses are numbers."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from charloom.config import TrainConfig
from charloom.training.cadence import Intervals
from charloom.training.schedules import Schedule
from charloom.training.time_budget import ASSUMED_SHARES, End, Pace, TimeBudget

TICK = 0.25


class Played:
    """A run of so many seconds as the loop makes it, on a machine whose pace is `at(time)`."""

    def __init__(
        self,
        seconds: float,
        planned: int,
        at: Callable[[float], float],
        costs: dict[str, float],
        pauses: int = 20,
    ) -> None:
        every = Intervals(*(-(-planned // n) for n in (pauses, 8, pauses, 500)))
        budget, pace = TimeBudget(seconds, every, planned), Pace()
        schedule = Schedule(
            TrainConfig(learning_rate=1.0, schedule="cosine", warmup=10), planned, 100
        )
        self.time, self.step, self.total, self.ends = 0.0, 0, planned, [planned]
        self.pauses, self.rates = 0, [schedule.rate(0)]
        while self.step < self.total:
            self._tick(every, at, pace)
            total = budget.total(self.step, self.total, self.time, pace)
            if total != self.total:
                schedule.replan(self.step, total)
                self.total = total
                self.ends.append(total)
            for pause, cost in costs.items():
                if self.step % every._asdict()[pause] == 0 or self.step == self.total:
                    spent = cost / at(self.time)
                    self.time += spent
                    self.pauses += pause == "evaluate"
                    budget.note(pause, spent, pace.per_second())
            self.rates.append(schedule.rate(self.step))

    def _tick(self, every: Intervals, at: Callable[[float], float], pace: Pace) -> None:
        began = self.time
        due = min((self.step // n + 1) * n for n in every)
        while True:
            self.time += 1 / at(self.time)
            self.step += 1
            if self.step >= min(due, self.total) or self.time > began + TICK:
                break
        pace.mark(self.step, self.time - began)


COSTS = {"evaluate": 30.0, "sample": 10.0, "save": 10.0}  # in updates


@pytest.mark.parametrize(
    ("planned", "at"),
    [
        (16_000, lambda _: 100.0),
        (16_000, lambda time: 100.0 if time < 90 else 33.0),
        (16_000, lambda time: 100.0 if time < 150 else 33.0),
        (16_000, lambda time: 100.0 if time < 90 else 250.0),
        (16_000, lambda time: 100.0 * (1.3 if int(time * 3) % 2 else 0.7)),
        (40_000, lambda _: 100.0),
        (4_000, lambda _: 100.0),
    ],
    ids=["as planned", "slowed", "slowed late", "faster", "uneven", "much slower", "much faster"],
)
def test_the_time_is_kept_and_the_rate_comes_to_its_end(
    planned: int, at: Callable[[float], float]
) -> None:
    run = Played(180, planned, at, COSTS)
    assert run.time == pytest.approx(180, rel=0.015)
    assert run.rates[-1] < 0.001
    jumps = [abs(b - a) for a, b in pairwise(run.rates[10:])]
    assert max(jumps) < 0.03


def test_a_steady_machine_is_hardly_planned_anew() -> None:
    assert len(Played(180, 17_000, lambda _: 100.0, COSTS).ends) < 12


def test_a_first_look_that_compiles_is_not_taken_for_the_cost_of_all() -> None:
    cost = {"evaluate": 30.0}
    compiling = Played(180, 16_000, lambda time: 100.0 if not 8 < time < 9 else 2.0, cost)
    assert compiling.time == pytest.approx(180, rel=0.015)
    assert min(compiling.ends) > 14_000


def test_looks_slow_down_with_the_machine_and_there_is_time_left_for_the_last() -> None:
    heavy = {"evaluate": 400.0}  # 4 s, then 12
    run = Played(60, 5_000, lambda time: 100.0 if time < 25 else 33.0, heavy, pauses=4)
    assert run.time == pytest.approx(60, rel=0.03)


def going(pace: float) -> Pace:
    made = Pace()
    for step in (0, 1) if pace else ():
        made.mark(step, 1 / pace)
    return made


def test_what_is_looked_at_is_charged_once_for_each_time_it_is_due() -> None:
    every = Intervals(evaluate=10, sample=0, save=0, log=1)
    budget = TimeBudget(100.0, every, 100)
    for _ in range(3):
        budget.note("evaluate", 2.0, 1.0)
    # From step 40, where one is due: 12 updates, and 2 pauses of 2 (at 40, at the end).
    assert budget.total(40, 100, 100 - 12 - 4, going(1)) == 50 + 2 - 2
    assert budget.total(41, 100, 100 - 9 - 2, going(1)) == 50


def test_where_the_time_is_over_the_run_ends_here() -> None:
    every = Intervals(5, 5, 5, 5)
    for pace in (0.0, 10.0):
        assert TimeBudget(10.0, every, 100).total(7, 100, 11.0, going(pace)) == 7
    assert TimeBudget(10.0, every, 100).total(7, 100, 9.0, going(0)) == 100  # nothing is known


def test_before_the_first_look_it_is_taken_to_cost_its_share() -> None:
    every = Intervals(10, 10, 10, 10)
    share = sum(ASSUMED_SHARES.values())
    total = TimeBudget(1000.0, every, 1000).total(1, 10, 1.0, going(1))
    assert total == pytest.approx(1000 * (1 - share), rel=0.01)


def test_an_evaluation_that_costs_more_than_steps_is_foreseen() -> None:
    every, end = Intervals(evaluate=3, sample=0, save=0, log=1), End(1.0, 0.0, 0.0, 0.0)
    assert TimeBudget(20.0, every, 10, end).total(2, 10, 2.0, going(1)) > 10
    budget = TimeBudget(20.0, every, 10, end, least={"evaluate": 4.0})
    # 18 s: 4 updates, 4 of them at step 3, 6 and the end.
    assert budget.total(2, 10, 2.0, going(1)) == 6
    for _ in range(3):
        budget.note("evaluate", 1.0, 1.0)
    assert budget.total(2, 10, 2.0, going(1)) > 10


def test_pace_is_that_of_late_and_not_of_the_first_mark() -> None:
    pace = Pace()
    assert pace.per_second() == 0
    pace.mark(1, 10.0)
    assert pace.per_second() == 0
    pace.mark(11, 1.0)
    assert pace.per_second() == pace.per_second(0.1) == 10
    for step in range(1, 100):
        pace.mark(11 + 2 * step, 1.0)
    assert pace.per_second() == pytest.approx(2)
    assert pace.per_second(100) == pytest.approx(2.08, abs=0.01)


def test_a_burst_of_other_work_early_on_does_not_move_the_end_far() -> None:
    run = Played(180, 16_000, lambda time: 100.0 if not 40 < time < 46 else 30.0, COSTS)
    assert run.time == pytest.approx(180, rel=0.015)
    assert min(run.ends) > 13_000


def test_what_comes_after_the_last_update_has_its_time() -> None:
    every = Intervals(evaluate=10, sample=50, save=0, log=1)
    budget = TimeBudget(100.0, every, 100, End(evaluations=3, samples=2, updates=5, seconds=7))
    for _ in range(3):
        budget.note("evaluate", 2.0, 1.0)
        budget.note("sample", 4.0, 1.0)
    # 9 updates, and an evaluation of 2 and a sample of 4 at the end, as above; then what is there.
    end = 3 * 2 + 2 * 4 + 5 + 7
    assert budget.total(41, 100, 100 - 9 - 2 - 4 - end, going(1)) == 50
