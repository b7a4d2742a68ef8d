import math

import pytest

from charloom.runs.metrics import Line
from charloom.training.trend import Evaluation, history, trend, turned


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
        ((3.0, 2.5, 2.0, 1.5, 1.4, 1.41), "level"),  # the best was left behind
        ((3.0, 2.0, 1.0), None),
        ((), None),
        ([math.inf] * 5, None),
    ],
)
def test_the_trend_of_the_validation_loss(losses: tuple[float, ...], expected: str | None) -> None:
    assert trend(seen(*losses)) == expected


def test_half_of_a_run_is_half_of_its_updates_whatever_the_clock_says() -> None:
    falling = seen(3.0, 2.5, 2.2, 2.0, 1.9, 1.899)
    late = [one._replace(minutes=9 + one.minutes / 100) for one in falling]
    assert trend(late) == trend(falling)
