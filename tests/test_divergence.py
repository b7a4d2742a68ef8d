import math

import pytest

from charloom.training.divergence import ENOUGH, FEWEST, LEAP, Divergence, Guard


class Reader:
    """A learner that now takes each step for so many nats."""

    def __init__(self, nats=2.0):
        self.nats, self.asked = nats, []

    def loss(self, inputs, targets):
        self.asked.append((inputs, targets))
        return self.nats


def guard_of(reader, characters=1024, losses=(2.0, 2.2, 1.8)):
    """A guard that knows as many steps as it asks about again: two of 1,024 characters."""
    guard = Guard(reader, characters)
    for number, loss in enumerate(losses):
        assert not guard.suspects(loss, number, -number)
    return guard


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("known", [0, 3])
def test_what_is_no_number_needs_no_proof(bad, known):
    guard = guard_of(Reader(), losses=[2.0] * known)
    if bad != -math.inf:
        assert guard.suspects(bad, 9, 9)
    with pytest.raises(Divergence) as caught:
        guard.check(17, bad)
    assert caught.value.step == 17
    assert repr(caught.value.loss) == repr(bad)


def test_a_leap_is_a_break_where_what_was_just_read_costs_more_too():
    reader = Reader()
    guard = guard_of(reader)
    assert not guard.suspects(2.0 + LEAP - 0.01, 3, -3)
    guard = guard_of(reader)
    assert guard.suspects(2.0 + LEAP + 0.01, 3, -3)
    reader.nats = 2.0 + LEAP + 0.02
    with pytest.raises(Divergence) as caught:
        guard.check(4, 9.0)
    assert caught.value.loss == reader.nats
    assert reader.asked == [(1, -1), (2, -2)]


def test_a_text_that_has_become_hard_is_taken_for_granted():
    reader = Reader()
    guard = guard_of(reader)
    assert guard.suspects(6.0, 3, -3)
    guard.check(4, 6.0)
    for loss in (6.0, 5.5, 5.8):
        assert not guard.suspects(loss, 9, 9)
    assert guard.suspects(5.65 + LEAP + 0.01, 9, 9)


def test_before_a_save_it_is_asked_without_a_loss():
    reader = Reader()
    guard = guard_of(reader)
    guard.check(3)
    assert guard.suspects(6.0, 3, -3)  # it is still known what was usual
    reader.nats = 9.0
    with pytest.raises(Divergence):
        guard.check(3)


def test_little_text_is_not_judged_by_leaps():
    reader = Reader(99.0)
    guard = guard_of(reader, FEWEST - 1, [2.0] * ENOUGH)
    assert not guard.suspects(50.0, 3, -3)
    guard.check(4, 50.0)
    assert reader.asked == []
