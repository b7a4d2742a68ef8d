import math

import pytest

from charloom.runs.metrics import Line
from charloom.training.trend import Evaluation, history, outlook, trend, turned


def seen(*validation: float) -> list[Evaluation]:
    return [Evaluation(i, i / 2, nats, nats) for i, nats in enumerate(validation, 1)]


def test_history_is_read_from_the_lines_of_metrics() -> None:
    lines = [
        Line(step=1, seconds=3.0, loss=4.0),
        Line(step=2, seconds=6.0, loss=2.0, validation=2.5),
        Line(step=3, seconds=9.0, loss=1.0, validation=None),
    ]
    assert history(lines) == [Evaluation(2, 0.1, 2.5, 3.0), Evaluation(3, 0.15, math.inf, 1.0)]
    (bare,) = history([Line(step=1), Line(step=2, validation=2.5)])  # no loss, no time
    assert bare[:3] == (2, 0.0, 2.5)
    assert math.isnan(bare.training)


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


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 2.5, 2.2, 2.0, 1.9, 1.8), "improving"),
        ((3.0, 2.0, 1.5, 1.6, 1.7, 1.8), "risen"),
        ((3.0, 1.5, 1.45, 1.44, 1.435, 1.434), "level"),
        ((3.0, 2.0, 1.0), None),
        ((), None),
        ([math.inf] * 5, None),
    ],
)
def test_the_trend_of_the_validation_loss(losses: tuple[float, ...], expected: str | None) -> None:
    assert trend(seen(*losses)) == expected
    assert (outlook(seen(*losses), 3) is None) is (expected is None)


def test_what_has_risen_is_said_with_the_time_of_the_best() -> None:
    short = [Evaluation(i, i / 60, nats, nats) for i, nats in enumerate([2.0, 1.5, 1.7, 1.8], 1)]
    assert "second 2:" in str(outlook(short, 0.1))
    assert "minute 1.5:" in str(outlook(seen(3.0, 2.0, 1.5, 1.6, 1.7, 1.8), 3))


def test_what_still_improves_is_given_a_longer_time() -> None:
    improving = seen(3.0, 2.5, 2.2, 2.0, 1.9, 1.8)
    for minutes, more in ((3, 10), (0.3, 1), (1000, 2000)):
        assert f"--minutes {more}." in str(outlook(improving, minutes))


def test_what_is_level_needs_more_text_if_the_model_overfits() -> None:
    level = seen(3.0, 1.5, 1.45, 1.44, 1.435, 1.434)
    overfits = [one._replace(training=1.0) for one in level]
    fits = [one._replace(training=1.4) for one in level]
    assert "text" in str(outlook(overfits, 3))
    assert "model" in str(outlook(fits, 3))
    assert outlook(overfits, 3) != outlook(fits, 3)


def test_half_of_a_run_is_half_of_its_updates_whatever_the_clock_says() -> None:
    falling = seen(3.0, 2.5, 2.2, 2.0, 1.9, 1.899)
    late = [one._replace(minutes=9 + one.minutes / 100) for one in falling]
    assert outlook(late, 3) == outlook(falling, 3)
