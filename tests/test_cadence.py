import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig, WatchConfig
from charloom.errors import CharloomError
from charloom.training.cadence import FEWEST, LEAST, SHARE, intervals, total_steps


def timed(minutes: float) -> TrainConfig:
    return TrainConfig(minutes=minutes, batch=10, length=100)


def test_what_is_asked_for_is_done_and_the_rest_is_a_share_of_the_run() -> None:
    every, scored = intervals(TrainConfig(), WatchConfig(sample_every=7), 1000, 123)
    assert (every.evaluate, every.sample, every.save, every.log, scored) == (50, 7, 50, 2, 123)


@given(
    minutes=st.floats(0.05, 600),
    total=st.integers(1, 10**7),
    held_out=st.integers(0, 10**7),
)
def test_with_minutes_the_looks_on_the_way_cost_a_twentieth_of_the_characters(
    minutes: float, total: int, held_out: int
) -> None:
    every, scored = intervals(timed(minutes), WatchConfig(), total, held_out)
    looks = -(-total // every.evaluate)
    assert scored <= held_out
    assert looks <= 20
    read = SHARE * total * 1000
    assert scored <= LEAST or looks * scored <= read + 1e-6


@pytest.mark.parametrize(
    ("minutes", "total", "held_out", "looks", "scored"),
    [
        (3, 18_000, 5_000, 20, 5_000),
        (0.1, 600, 5_000, FEWEST, 5_000),
        (0.5, 3_000, 5_000, 10, 5_000),
        (3, 18_000, 2_000_000, 18, 50_000),
        (3, 1_800, 2_000_000, FEWEST, 22_500),
        (0.1, 6, 2_000_000, 3, LEAST),
    ],
)
def test_looks_become_fewer_and_then_shorter(
    minutes: float, total: int, held_out: int, looks: int, scored: int
) -> None:
    every, found = intervals(timed(minutes), WatchConfig(), total, held_out)
    assert (-(-total // every.evaluate), found) == (looks, scored)
    assert every.save == every.evaluate


def test_looks_that_were_asked_for_are_kept_and_become_shorter() -> None:
    watch = WatchConfig(evaluate_every=10)
    every, scored = intervals(timed(3), watch, 10_000, 2_000_000)
    assert (every.evaluate, every.save) == (10, 500)
    assert scored == LEAST
    assert intervals(timed(3), WatchConfig(evaluate_every=0), 100, 99)[0].evaluate == 0


@pytest.mark.parametrize(
    ("total", "held_out", "scored"),
    [
        (10, 40_000, 40_000),
        (10, 10**6, 50_000),
        (2**15, 10**6, 10**6),
        (2**12, 10**6, 2**12 * 32 * 64 // 20),
        (10**6, 10**8, 2 * 10**6),
    ],
)
def test_without_minutes_no_more_is_scored_than_is_learned_from(
    total: int, held_out: int, scored: int
) -> None:
    assert intervals(TrainConfig(), WatchConfig(), total, held_out)[1] == scored


def test_a_run_must_have_an_end() -> None:
    with pytest.raises(CharloomError, match="no end"):
        total_steps(TrainConfig(minutes=3), 10)
