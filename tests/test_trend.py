import math

import pytest

from charloom.training.trend import Evaluation, history, outlook, turned


def seen(*held_out: float) -> list[Evaluation]:
    return [Evaluation(i, i / 2, nats, nats) for i, nats in enumerate(held_out, 1)]


def test_history_is_read_from_the_lines_of_metrics() -> None:
    lines = [
        {"step": 1, "seconds": 3.0, "loss": 4.0},
        {"step": 2, "seconds": 6.0, "loss": 2.0, "validation": 2.5},
        {"step": 3, "seconds": 9.0, "loss": 1.0, "validation": None},
    ]
    assert history(lines) == [Evaluation(2, 0.1, 2.5, 3.0), Evaluation(3, 0.15, math.inf, 1.0)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], False),
        ([3.0, 2.0, 1.5, 1.4, 1.3], False),
        ([2.0, 1.5, 1.54, 1.56, 1.58], False),  # three are not enough
        ([2.0, 1.5, 1.54, 1.56, 1.58, 1.6], True),
        ([2.0, 1.5, 1.51, 1.54, 1.56, 1.58], False),  # one of the last four is not clearly above
        ([2.0, 1.5, 1.54, 1.56, 1.58, 1.6, 1.45], False),  # a new best
        ([1.5, math.inf, math.inf, math.inf, math.inf], True),
        ([math.inf] * 9, False),
    ],
)
def test_losses_have_turned_where_the_last_four_are_clearly_above_the_best(
    losses: list[float], expected: bool
) -> None:
    assert turned(seen(*losses)) is expected


def test_when_it_rose_is_told_in_seconds_where_minutes_say_nothing() -> None:
    short = [Evaluation(i, i / 60, nats, nats) for i, nats in enumerate([2.0, 1.5, 1.7, 1.8], 1)]
    assert "has risen since second 2:" in str(outlook(short, 0.1))
    assert "has risen since minute 1.0:" in str(outlook(seen(2.0, 1.5, 1.7, 1.8), 3))


def test_what_still_falls_is_given_a_longer_time() -> None:
    falling = seen(3.0, 2.5, 2.2, 2.0, 1.9, 1.8)
    assert outlook(falling, 3) == "Still improving: give it more time, --minutes 10."
    assert "--minutes 1." in str(outlook(falling, 0.3))
    assert "--minutes 2000." in str(outlook(falling, 1000))


def test_what_has_risen_is_said_with_the_minute_of_the_best() -> None:
    said = outlook(seen(3.0, 2.0, 1.5, 1.6, 1.7, 1.8), 3)
    assert said is not None
    assert said.startswith("Held-out loss has risen since minute 1.5: the text is small")


@pytest.mark.parametrize(("training", "cure"), [(1.0, "more of such text"), (1.4, "a wider model")])
def test_what_hardly_moves_has_levelled_off(training: float, cure: str) -> None:
    level = [look._replace(training=training) for look in seen(3.0, 1.5, 1.45, 1.44, 1.435, 1.434)]
    said = outlook(level, 3)
    assert said == (f"Held-out loss has levelled off: more time would change little, {cure} might.")


def test_half_of_a_run_is_half_of_its_updates_whatever_the_clock_says() -> None:
    falling = seen(3.0, 2.5, 2.2, 2.0, 1.9, 1.899)
    late = [look._replace(minutes=9 + look.minutes / 100) for look in falling]
    assert outlook(late, 3) == outlook(falling, 3)


def test_of_too_few_looks_nothing_is_said() -> None:
    assert outlook(seen(3.0, 2.0, 1.0), 3) is None
    assert outlook([], 3) is None
    assert outlook(seen(*[math.inf] * 5), 3) is None
