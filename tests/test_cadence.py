import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig, WatchConfig
from charloom.training.cadence import (
    EVAL_SHARE,
    FEWEST_CHARACTERS,
    FEWEST_EVALS,
    Intervals,
    counted_at_end,
    intervals,
    is_due,
    next_due,
    scored_at_end,
    total_steps,
)
from expect import refused


def timed(minutes: float) -> TrainConfig:
    return TrainConfig(minutes=minutes, batch=10, length=100)


def test_what_is_asked_for_is_done_and_the_rest_is_a_share_of_the_run() -> None:
    every, scored = intervals(TrainConfig(), WatchConfig(sample_every=7), 1000, 123)
    assert (every.evaluate, every.sample, every.save, every.log, scored) == (50, 7, 50, 2, 123)


@given(
    minutes=st.floats(0.05, 600),
    total=st.integers(1, 10**7),
    validation=st.integers(0, 10**7),
)
def test_with_minutes_the_looks_on_the_way_cost_a_twentieth_of_the_characters(
    minutes: float, total: int, validation: int
) -> None:
    every, scored = intervals(timed(minutes), WatchConfig(), total, validation)
    evals = -(-total // every.evaluate)
    assert scored <= validation
    assert evals <= 20
    read = EVAL_SHARE * total * 1000
    assert scored <= FEWEST_CHARACTERS or evals * scored <= read + 1e-6


@pytest.mark.parametrize(
    ("minutes", "total", "validation", "evals", "scored"),
    [
        (3, 18_000, 5_000, 20, 5_000),
        (0.1, 600, 5_000, FEWEST_EVALS, 5_000),
        (0.5, 3_000, 5_000, 10, 5_000),
        (3, 18_000, 2_000_000, 18, 50_000),
        (3, 1_800, 2_000_000, FEWEST_EVALS, 22_500),
        (0.1, 6, 2_000_000, 3, FEWEST_CHARACTERS),
    ],
)
def test_evaluations_become_fewer_and_then_shorter(
    minutes: float, total: int, validation: int, evals: int, scored: int
) -> None:
    every, found = intervals(timed(minutes), WatchConfig(), total, validation)
    assert (-(-total // every.evaluate), found) == (evals, scored)
    assert every.save == every.evaluate


def test_evaluations_that_were_asked_for_are_kept_and_become_shorter() -> None:
    watch = WatchConfig(evaluate_every=10)
    every, scored = intervals(timed(3), watch, 10_000, 2_000_000)
    assert (every.evaluate, every.save) == (10, 500)
    assert scored == FEWEST_CHARACTERS
    assert intervals(timed(3), WatchConfig(evaluate_every=0), 100, 99)[0].evaluate == 0


@pytest.mark.parametrize(
    ("total", "validation", "scored"),
    [
        (10, 40_000, 40_000),
        (10, 10**6, 50_000),
        (2**15, 10**6, 10**6),
        (2**12, 10**6, 2**12 * 32 * 64 // 20),
        (10**6, 10**8, 2 * 10**6),
    ],
)
def test_without_minutes_no_more_is_scored_than_is_learned_from(
    total: int, validation: int, scored: int
) -> None:
    assert intervals(TrainConfig(), WatchConfig(), total, validation)[1] == scored


def test_a_run_must_have_an_end() -> None:
    with refused("bad-setting", field="iterations"):
        total_steps(TrainConfig(minutes=3), 10)


def test_the_next_step_with_something_due_is_the_first_multiple_or_the_end() -> None:
    every = Intervals(evaluate=5, sample=7, save=0, log=50)
    steps = [0]
    while steps[-1] < 24:
        steps.append(next_due(steps[-1], 24, every))
    assert steps == [0, 5, 7, 10, 14, 15, 20, 21, 24]
    assert [step for step in steps if is_due(step, 24, every.evaluate)] == [0, 5, 10, 15, 20, 24]
    assert not any(is_due(step, 24, every.save) for step in steps)


@pytest.mark.parametrize(
    ("config", "total", "size", "scored"),
    [
        (TrainConfig(), 1, 40_000, 40_000),
        (TrainConfig(), 1, 10**6, 50_000),
        (TrainConfig(), 100, 10**6, 100 * 32 * 64),
        (TrainConfig(), 10**6, 10**6, 10**6),
        (TrainConfig(), 10**6, 10**8, 2 * 10**6),
        (timed(3), 18_000, 10**6, 10**6),
        (timed(3), 1_000, 10**6, 150_000),
        (timed(3), 1, 10**6, 2_000),
        (timed(600), 10**7, 10**8, 2 * 10**6),
    ],
)
def test_at_the_end_all_is_scored_or_about_what_was_learned_from(
    config: TrainConfig, total: int, size: int, scored: int
) -> None:
    assert scored_at_end(config, total, size) == scored


@pytest.mark.parametrize(
    ("config", "counted"),
    [
        (TrainConfig(), 1_000_000),
        (timed(0.1), 120_000),
        (timed(0.5), 600_000),
        (timed(60), 1_000_000),
        (timed(1e-9), 1),
    ],
)
def test_what_is_counted_at_the_end_takes_little_of_the_time(
    config: TrainConfig, counted: int
) -> None:
    assert counted_at_end(config) == counted
