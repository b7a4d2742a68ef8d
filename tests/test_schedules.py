import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig
from charloom.training.schedules import Schedule

NAMES = ["constant", "step", "exponential", "cosine", "one-cycle", "plateau"]


def make(total=1000, per_epoch=100.0, **settings):
    return Schedule(TrainConfig(learning_rate=0.1, **settings), total, per_epoch)


def observe(schedule, losses):
    for loss in losses:
        schedule.observe(loss)


def test_constant_is_the_learning_rate_itself_at_every_step():
    assert {make().rate(step) for step in (0, 1, 999, 10**9)} == {0.1}


def test_step_cuts_at_each_multiple_of_decay_every():
    schedule = make(schedule="step", decay_factor=0.5, decay_every=2)
    rates = [schedule.rate(step) for step in (0, 199, 200, 399, 400)]
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_step_cuts_as_char_rnn_does():
    # main.lua: from the end of epoch 10 on, at the end of every epoch, times 0.97
    per_epoch, rate, expected = 7, 0.1, []
    for i in range(1, 15 * per_epoch + 1):
        expected.append(rate)
        if i % per_epoch == 0 and i / per_epoch >= 10:
            rate *= 0.97
    schedule = make(schedule="step", decay_factor=0.97, decay_after=10, per_epoch=per_epoch)
    rates = [schedule.rate(step) for step in range(15 * per_epoch)]
    np.testing.assert_allclose(rates, expected, rtol=1e-14)


def test_step_without_decay_after_meets_exponential_where_it_cuts():
    step = make(schedule="step", decay_factor=0.7)
    smooth = make(schedule="exponential", decay_factor=0.7)
    for k in range(10):
        assert step.rate(100 * k) == pytest.approx(smooth.rate(100 * k), rel=1e-14)
        assert step.rate(100 * k + 50) > smooth.rate(100 * k + 50)


def test_exponential_falls_from_decay_after_on():
    schedule = make(schedule="exponential", decay_factor=0.5, decay_every=2, decay_after=3)
    assert schedule.rate(0) == schedule.rate(300) == 0.1
    assert schedule.rate(400) == pytest.approx(0.1 * math.sqrt(0.5), rel=1e-14)
    assert schedule.rate(700) == pytest.approx(0.025, rel=1e-14)


def test_epochs_need_not_be_a_whole_number_of_steps():
    schedule = make(schedule="step", decay_factor=0.5, per_epoch=2.5)
    assert [schedule.rate(step) for step in (2, 3, 4, 5)] == [0.1, 0.05, 0.05, 0.025]


def test_cosine_goes_from_peak_over_half_way_to_the_final_rate_and_stays():
    schedule = make(schedule="cosine", final_rate=0.1)
    assert schedule.rate(0) == 0.1
    assert schedule.rate(500) == pytest.approx(0.055, rel=1e-14)
    assert schedule.rate(1000) == schedule.rate(5000) == pytest.approx(0.01, rel=1e-14)


def test_cosine_begins_where_the_warm_up_ends():
    schedule = make(schedule="cosine", warmup=200)
    assert schedule.rate(199) == pytest.approx(0.1 * 200 / 201, rel=1e-14)
    assert schedule.rate(200) == 0.1
    assert schedule.rate(600) == pytest.approx(0.05, rel=1e-14)
    assert schedule.rate(1000) == pytest.approx(0, abs=1e-17)


def test_one_cycle_rises_for_three_tenths_and_falls_to_the_final_rate():
    schedule = make(schedule="one-cycle", final_rate=0.01)
    assert schedule.rate(0) == pytest.approx(0.004, rel=1e-14)
    assert schedule.rate(150) == pytest.approx(0.052, rel=1e-14)
    assert schedule.rate(300) == pytest.approx(0.1, rel=1e-14)
    assert schedule.rate(650) == pytest.approx(0.0505, rel=1e-12)
    assert schedule.rate(1000) == pytest.approx(0.001, rel=1e-14)
    rates = [schedule.rate(step) for step in range(1001)]
    assert np.argmax(rates) == 300
    assert (np.diff(rates[:301]) > 0).all()
    assert (np.diff(rates[300:]) < 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_multiplies_every_schedule_by_a_line_from_zero(name):
    rates = [make(schedule=name, warmup=9).rate(step) for step in range(10)]
    plain = make(schedule=name, total=991)  # cosine and one-cycle begin after the warm-up
    after = plain.rate(0)
    if name in ("step", "exponential"):
        after = np.array([plain.rate(step) for step in range(10)])
    np.testing.assert_allclose(rates, np.arange(1, 11) / 10 * after, rtol=1e-14)


@given(
    name=st.sampled_from(NAMES),
    total=st.integers(1, 10**7),
    per_epoch=st.floats(1e-3, 1e6),
    warmup=st.integers(0, 2000),
    final=st.floats(0, 1),
    every=st.floats(1e-3, 1e3),
    after=st.floats(0, 1e3),
    step=st.integers(0, 10**8),
)
def test_rates_lie_between_zero_and_the_peak(
    name, total, per_epoch, warmup, final, every, after, step
):
    schedule = make(
        total=total,
        per_epoch=per_epoch,
        schedule=name,
        warmup=warmup,
        final_rate=final,
        decay_every=every,
        decay_after=after,
    )
    assert 0 <= schedule.rate(step) <= 0.1 * (1 + 1e-15)


def plateau(**settings):
    return make(schedule="plateau", decay_factor=0.5, window=4, patience=3, **settings)


def test_plateau_keeps_the_rate_while_each_window_is_a_new_best():
    schedule = plateau()
    observe(schedule, np.linspace(3, 1, 400))
    assert schedule.rate(400) == 0.1


def test_plateau_cuts_after_patience_windows_without_a_new_best():
    schedule = plateau()
    observe(schedule, [2.0] * 4 * 3 + [2.0] * 3)  # the first window is the best so far
    assert schedule.rate(0) == 0.1
    schedule.observe(2.0)
    assert schedule.rate(0) == 0.05
    observe(schedule, [2.0] * 4 * 3)
    assert schedule.rate(0) == 0.025


def test_plateau_cuts_when_the_loss_swings_up_and_down():
    schedule = plateau()
    observe(schedule, np.repeat([1.5, 1.0, 1.5, 2.0, 1.5], 4))
    assert schedule.rate(0) == 0.05


def test_plateau_compares_means_not_single_losses():
    schedule = plateau()
    observe(schedule, [2.0] * 4 + [0.1, 4.0, 4.0, 4.0] * 3)
    assert schedule.rate(0) == 0.05


def test_a_new_best_ends_the_count_of_windows():
    schedule = plateau()
    observe(schedule, [2.0] * 12 + [1.9] * 4 + [2.0] * 8)
    assert schedule.rate(0) == 0.1


def test_plateau_stops_at_the_final_rate():
    schedule = plateau(final_rate=0.2)
    observe(schedule, [2.0] * 400)
    assert schedule.rate(0) == pytest.approx(0.02, rel=1e-15)


def test_only_plateau_needs_losses_and_the_others_never_touch_them():
    for name in NAMES:
        schedule = make(schedule=name)
        assert schedule.needs_losses == (name == "plateau")
        if name != "plateau":
            schedule.observe(object())  # a lazy loss: float() of it would raise
            assert schedule.state() == {}


def test_plateau_waits_for_losses_when_a_window_ends_or_its_state_is_asked_for():
    asked = []

    class Late:
        def __float__(self):
            asked.append(self)
            return 2.0

    schedule = plateau()
    observe(schedule, [Late() for _ in range(3)])
    assert asked == []
    observe(schedule, [Late()])
    assert len(asked) == 4
    observe(schedule, [Late()])
    assert schedule.state()["sum"] == 2.0
    assert len(asked) == 5


@given(
    losses=st.lists(st.floats(0, 100), max_size=60),
    cut=st.integers(0, 60),
)
def test_a_state_that_went_through_json_goes_on_bit_for_bit(losses, cut):
    straight = plateau()
    observe(straight, losses)
    before, after = plateau(), plateau()
    observe(before, losses[:cut])
    after.restore(json.loads(json.dumps(before.state(), allow_nan=False)))
    observe(after, losses[cut:])
    assert after.state() == straight.state()
    assert after.rate(7) == straight.rate(7)


def test_a_state_from_another_schedule_starts_afresh():
    schedule = plateau()
    observe(schedule, [2.0] * 100)
    schedule.restore(make().state())
    assert schedule.state() == plateau().state()


# ---- another end


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [0, 5, 300, 999])
def test_an_end_that_stays_where_it_is_changes_hardly_a_bit(name, at):
    straight, anew = (make(schedule=name, warmup=20, final_rate=0.1) for _ in range(2))
    anew.replan(at, 1000)
    for step in range(at, 1000):
        assert anew.rate(step) == pytest.approx(straight.rate(step), rel=1e-12)


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
@pytest.mark.parametrize("total", [500, 650, 2000])
def test_the_rate_goes_on_from_where_it_is_to_its_end(name, total):
    schedule = make(schedule=name, warmup=20, final_rate=0.1)
    before = schedule.rate(400)
    schedule.replan(400, total)
    assert schedule.total == total
    assert schedule.rate(400) == pytest.approx(before, rel=1e-12)
    rates = [schedule.rate(step) for step in range(400, total + 1)]
    assert np.abs(np.diff(rates)).max() < 0.1 * math.pi / 2 / (total - 400)
    assert rates[-1] == pytest.approx(0.01)
    schedule.replan(total - 50, total + 1000)
    assert schedule.rate(total - 50) == pytest.approx(rates[-51], rel=1e-12)
    assert schedule.rate(total + 1000) == pytest.approx(0.01)


def test_an_end_that_moves_during_the_warm_up_leaves_that_as_it_is():
    straight, anew = (make(schedule="cosine", warmup=100, total=n) for n in (400, 1000))
    anew.replan(30, 400)
    for step in range(30, 401):
        assert anew.rate(step) == pytest.approx(straight.rate(step), rel=1e-12, abs=1e-16)


def test_an_end_that_is_here_is_the_end():
    schedule = make(schedule="cosine")
    schedule.replan(400, 400)
    assert (schedule.total, schedule.rate(400)) == (400, make(schedule="cosine").rate(400))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_after_a_new_end_goes_on_bit_for_bit(name):
    before, after = (make(schedule=name, warmup=7, window=4, patience=2) for _ in range(2))
    observe(before, [2.0] * 50)
    before.replan(123, 777)
    before.replan(400, 500)
    after.restore(json.loads(json.dumps(before.state(), allow_nan=False)))
    assert after.state() == before.state()
    assert after.total == 500
    assert [after.rate(step) for step in range(400, 500)] == [
        before.rate(step) for step in range(400, 500)
    ]


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
@pytest.mark.parametrize("floor", [0.0, 0.1, 0.4, 0.5, 0.9, 1.0])
def test_a_schedule_that_has_ended_restarts_at_half_of_its_peak(schedule, floor):
    ended = make(schedule=schedule, final_rate=floor, warmup=10)
    ended.restart(1000, 1400)
    rates = [ended.rate(step) for step in range(1000, 1401)]
    assert rates[0] == pytest.approx(0.1 * max(0.5, floor))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.1 * floor, abs=1e-12)
    again = make(schedule=schedule, final_rate=floor, warmup=10)
    again.restore(json.loads(json.dumps(ended.state())))
    assert [again.rate(step) for step in range(1000, 1401)] == rates


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
@pytest.mark.parametrize("step", [0, 5, 10, 100, 350, 900])
def test_one_that_is_on_its_way_restarts_without_a_cut(schedule, step):
    before, after = make(schedule=schedule, warmup=10), make(schedule=schedule, warmup=10)
    after.restart(step, step + 500)
    half = 0.05 if step >= 500 else before.rate(step)
    assert after.rate(step) == pytest.approx(half)
    assert after.rate(step + 500) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "plateau"])
def test_others_go_on_as_if_they_had_not_ended(schedule):
    settings = {"schedule": schedule, "final_rate": 0.01, "window": 1, "patience": 1}
    before, after = make(**settings), make(**settings)
    for one in before, after:
        observe(one, [1.0, 2.0, 3.0])
    after.restart(1000, 1500)
    assert [after.rate(step) for step in (1000, 1499)] == [before.rate(s) for s in (1000, 1499)]
