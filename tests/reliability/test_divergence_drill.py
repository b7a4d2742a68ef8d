"""C4: a learning rate that is a thousand times too high for five steps, and runs without that."""

import random

import pytest

from charloom.config import DataConfig, ModelConfig, RunConfig, TrainConfig, WatchConfig, replace
from charloom.training.events import Warned
from charloom.training.loop import train
from charloom.training.schedules import Schedule
from small_runs import new_run

STEPS, FEW_STEPS = 4000, 1500  # of each run of `make torture`, and of the one of `make test`
MODELS = {  # cell, optimiser and rate: as charloom chooses them, and those of the past
    "lstm": {"optimizer": "adamw", "learning_rate": 0.03, "clip_norm": 1.0},
    "gru": {"optimizer": "adamw", "learning_rate": 0.02, "clip_norm": 1.0},
    "rnn": {"optimizer": "adagrad", "learning_rate": 0.1},
}


def config_of(cell, seed=0, steps=STEPS):
    plan = {"batch": 16, "length": 32, "iterations": steps, "schedule": "one-cycle", "seed": seed}
    return RunConfig(
        model=ModelConfig(cell=cell, hidden=48),
        data=DataConfig(sources=("corpus:us-constitution",)),
        train=TrainConfig(**plan, **MODELS[cell]),
        watch=WatchConfig(sample_every=0),
    )


def play(path, config):
    """The held-out loss at the end, and what was warned of on the way."""
    events = [*train(new_run(path, config))]
    return events[-1].validation.nats, [e for e in events if isinstance(e, Warned)]


def hurt(monkeypatch, first):
    rate = Schedule.rate

    def thousandfold(self, step):
        high = first <= step < first + 5 and not self.halvings
        return rate(self, step) * (1000 if high else 1)

    monkeypatch.setattr(Schedule, "rate", thousandfold)


@pytest.mark.reliability("C4", "learning rate x 1000 for 5 steps: found, gone back, within 5 %")
def test_a_network_that_is_broken_recovers(tmp_path, monkeypatch, trials):
    rng, number = random.Random(4), trials.of(1, 20)
    undisturbed, found, near, worst = {}, 0, 0, 0.0
    steps = STEPS if trials.full else FEW_STEPS
    for trial in range(number):
        cell = [*MODELS][trial % len(MODELS)]
        if cell not in undisturbed:
            undisturbed[cell], _ = play(tmp_path / cell, config_of(cell, steps=steps))
        first = rng.randrange(steps // 20, steps * 19 // 20)
        with monkeypatch.context() as patched:
            hurt(patched, first)
            nats, warned = play(tmp_path / f"{trial}", config_of(cell, steps=steps))
        found += len(warned) == 1 and first < warned[0].step <= first + 20
        worse = nats / undisturbed[cell] - 1
        print(cell, first, f"{100 * worse:.1f} %")
        near, worst = near + (worse <= 0.05), max(worst, worse)
    trials.result(
        f"{found} found within 20 steps; {near} within 5 % of the undisturbed loss, worst "
        f"{100 * worst:.1f} %"
    )
    assert found >= 0.95 * number
    assert near == number


@pytest.mark.reliability("C4", "sound runs: false alarms")
def test_no_sound_run_is_taken_for_broken(tmp_path, trials):
    number = trials.of(2, 20)
    for trial in range(number):
        cell = [*MODELS][trial % len(MODELS)]
        config = config_of(cell, seed=trial, steps=500 if number < 20 else STEPS // 2)
        if trial % 2:
            config = replace(config, train=replace(config.train, dropout=0.4))
        assert play(tmp_path / f"{trial}", config)[1] == []
    trials.result(f"0 of {number}")
