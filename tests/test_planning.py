"""The clock is played: an update takes as long as the test says."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charloom.config import ModelConfig, RunConfig, TrainConfig, replace
from charloom.data.text import Text
from charloom.data.token_file import alone
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError, Code
from charloom.models.weights import in_each, initial_weights, parameter_count
from charloom.runs.run import Run
from charloom.training import planning, speeds
from charloom.training.planning import EVALUATING_SHARE, MODELS_TIMED, plan, prepare
from charloom.training.recipe import (
    BASE,
    FEWEST_STEPS,
    MOST_EPOCHS,
    MOST_NETWORKS,
    PARAMETERS_PER_STEP,
    RATES,
    several,
)
from charloom.training.recipe import alone as network_of
from expect import refused
from small_runs import new_run

NIGHT = "It was a dark and stormy night; the rain fell.\n" * 20_000
TEXT = Text.from_string(NIGHT, "night")
DIFFERENT = len({*NIGHT})


class Machine:
    """`cost` says how long 2,048 characters of a model take; the very first takes `compiling` more.

    `timed` are the hidden sizes of models that were made, but for the tiny one that is compiled.
    """

    def __init__(self, cost: Callable[[ModelConfig], float], compiling: float = 0.0) -> None:
        self.now, self.cost, self.compiling = 1000.0, cost, compiling
        self.bf16_share = 1.0  # of the time that an update takes, if it multiplies in bf16
        self.gain = 1.0  # of several networks side by side
        self.together = 0  # networks that were timed side by side, at most
        self.timed: list[int] = []
        self.rates: set[float] = set()

    def create_learner(self, found: Any, train: TrainConfig, V: int, *_: Any) -> Any:
        machine = self
        model, networks = network_of(found)
        self.together = max(self.together, networks)
        if model.hidden > 1 and networks == 1:
            self.timed.append(model.hidden)

        class Learner:
            def update(self, inputs: Any, targets: Any, rate: float) -> float:
                assert inputs.shape == targets.shape == (train.batch, train.length)
                share = train.batch * train.length / 2048
                share *= machine.bf16_share if train.precision == "bf16" else 1.0
                share *= networks if networks == 1 else networks / machine.gain
                machine.now += machine.cost(model) * share + machine.compiling
                machine.compiling = 0.0
                machine.rates.add(rate)
                return 1.0

            def reset(self) -> None:
                pass

            def arrays(self) -> Any:
                weights = initial_weights(model, V, seed=0)
                return weights if networks == 1 else in_each(found, weights)

        return Learner()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that takes a tenth of a nanosecond for each character and number."""

    def cost(model: ModelConfig) -> float:
        return 2048 * parameter_count(model, DIFFERENT) / 10e9

    made = Machine(cost)
    monkeypatch.setattr(planning, "perf_counter", lambda: made.now)
    monkeypatch.setattr(speeds, "perf_counter", lambda: made.now)
    monkeypatch.setattr(speeds, "create_learner", made.create_learner)
    monkeypatch.setattr(planning, "has_amx", lambda: False)
    return made


def asked(minutes: float | None = 3.0, **train: Any) -> RunConfig:
    return replace(BASE, train=replace(BASE.train, minutes=minutes, **train))


def hidden(config: RunConfig) -> int:
    assert isinstance(config.model, ModelConfig)
    return config.model.hidden


def planned(machine: Machine, config: RunConfig, text: Text = TEXT, given: Any = ()) -> Any:
    said: list[str] = []
    found = plan(config, given, text, machine.now - 1.0, said.append)
    assert len(said) == 2
    return found


@pytest.mark.parametrize("minutes", [0.2, 1.0, 3.0, 30.0])
def test_what_is_chosen_has_been_timed_and_fills_the_time(machine: Machine, minutes: float) -> None:
    began = machine.now - 1.0
    config, *_ = planned(machine, asked(minutes))
    assert hidden(config) in machine.timed
    assert len(machine.timed) <= MODELS_TIMED
    assert config.train.minutes == minutes
    left = 60 * minutes - (machine.now - began)
    updates = config.train.iterations * machine.cost(config.model)
    assert updates == pytest.approx(left * (1 - EVALUATING_SHARE), rel=0.01)
    most = PARAMETERS_PER_STEP * config.train.iterations
    found = parameter_count(config.model, DIFFERENT)
    assert found <= 1.01 * most or hidden(config) == min(RATES)
    assert machine.now - began < 1.0 + 0.1 * 60 * minutes
    assert machine.rates == {0.0}


@pytest.mark.parametrize("share", [0.4, 0.6, 0.95, 2.0])
def test_bf16_is_taken_where_it_is_faster(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    full = planned(machine, asked())
    monkeypatch.setattr(planning, "has_amx", lambda: True)
    machine.bf16_share = share
    found = planned(machine, asked())
    faster = share < 0.9
    assert found.config.train.precision == ("bf16" if faster else "full")
    assert ("speed" in dict(found.reasons)) == faster
    cost = machine.cost(found.config.model) * (share if faster else 1)
    steps = found.config.train.iterations
    assert 0.75 < steps * cost / 180 < 1
    assert hidden(found.config) >= hidden(full.config)


@pytest.mark.parametrize(
    "config",
    [
        asked(precision="bf16"),
        replace(asked(), dtype="float64"),
        replace(asked(), engine="reference"),
        asked(minutes=None, iterations=10),
    ],
)
def test_what_is_said_of_precision_is_done(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, config: RunConfig
) -> None:
    monkeypatch.setattr(planning, "has_amx", lambda: True)
    machine.bf16_share = 0.1
    said: list[str] = []
    given = {"precision"} if config.train.precision == "bf16" else set()
    found = plan(config, given, TEXT, machine.now - 1.0, said.append)
    assert found.config.train.precision == config.train.precision
    full = plan(asked(), {"precision"}, TEXT, machine.now - 1.0, said.append)
    assert full.config.train.precision == "full"


def test_a_small_text_is_not_read_more_often_than_is_good_for_it(machine: Machine) -> None:
    text = Text.from_string(NIGHT[:40_000], "night")
    config, reasons, *_ = planned(machine, asked(30.0), text)
    model, networks = network_of(config.model)
    assert networks == MOST_NETWORKS
    read = config.train.iterations * config.train.batch * config.train.length
    assert config.train.epochs == MOST_EPOCHS
    assert read == pytest.approx(MOST_EPOCHS * 36_000, rel=0.01)
    seconds = MOST_EPOCHS * 36_000 / 2048 * machine.cost(model) * networks
    said = f"{MOST_EPOCHS} epochs of {networks} networks take {seconds:.0f} s"
    assert said in dict(reasons)["time"]
    assert " take " not in dict(planned(machine, asked(3.0))[1])["time"]


def test_what_is_gained_side_by_side_is_measured(machine: Machine) -> None:
    text = Text.from_string(NIGHT[:40_000], "night")
    one, *_ = planned(machine, asked(0.5, epochs=None), text, {"networks"})
    assert machine.together == 1
    found = {}
    for gain in (1.0, 2.0):
        machine.gain = gain
        config, *_ = planned(machine, asked(0.5), text)
        found[gain] = parameter_count(config.model, DIFFERENT) * config.train.iterations
    assert machine.together == 2
    assert isinstance(one.model, ModelConfig)
    assert found[2.0] == pytest.approx(2 * found[1.0], rel=0.5)


def test_what_is_gained_is_known_of_a_size_that_was_not_timed(machine: Machine) -> None:
    vocabulary = Vocabulary.from_alphabet({*NIGHT}, len(NIGHT))
    found = speeds.Speeds(vocabulary.encode(NIGHT[:40_000]), vocabulary, 1.0)
    found.time(BASE, 1.0)
    machine.gain = 1.5
    wider = replace(BASE, model=replace(BASE.model, hidden=2 * hidden(BASE)))
    found.time_together(several(wider, 2), 1.0)
    assert hidden(wider) not in machine.timed
    assert found.gain == pytest.approx(1.5, rel=0.01)


def test_compiling_counts_in_the_time_and_not_in_the_speed(machine: Machine) -> None:
    warm, *_ = planned(machine, asked(minutes=1))
    machine.compiling = 12.0
    cold, reasons, *_ = planned(machine, asked(minutes=1))
    assert cold.train.iterations / warm.train.iterations == pytest.approx(47 / 59, rel=0.1)
    assert "12 s" in dict(reasons)["note"]


def test_where_compiling_takes_more_than_half_of_the_time_half_is_left(machine: Machine) -> None:
    machine.compiling = 30.0
    config, reasons, began, _ = planned(machine, asked(minutes=0.1))
    assert machine.now - began == pytest.approx(3.0)
    assert config.train.iterations * machine.cost(config.model) > 2.7
    assert len(machine.timed) == 1
    assert "28 s later" in dict(reasons)["note"]


def test_compiling_does_not_keep_from_timing_what_is_chosen(machine: Machine) -> None:
    machine.compiling = 40.0
    config, *_ = planned(machine, asked(minutes=2))
    assert hidden(config) in machine.timed


def test_a_slow_machine_times_few_updates(machine: Machine) -> None:
    machine.cost = lambda _: 2.0
    began = machine.now
    planned(machine, asked(minutes=1))
    assert machine.now - began <= 6.0


@pytest.mark.parametrize("given", [{"hidden"}, {"hidden", "batch"}, {"layers", "hidden"}, None])
def test_a_size_that_can_take_no_steps_is_refused_at_once_with_one_that_can(
    machine: Machine, given: Any
) -> None:
    config = replace(asked(minutes=0.1), model=replace(BASE.model, hidden=4096, layers=3))
    began = machine.now
    with refused("bad-setting", field="minutes") as found:
        planned(machine, config, given=given)
    assert machine.now - began < 0.1 * 6
    fits = found.value.facts["fits"]
    assert list(fits) == ["hidden"]
    smaller = replace(config, model=replace(config.model, **fits))
    assert planned(machine, smaller, given=given)[0].train.iterations >= FEWEST_STEPS


@pytest.mark.parametrize("hidden", [600, 1000, 2000])
def test_where_large_models_are_slower_than_in_proportion_what_is_named_has_been_timed(
    machine: Machine, hidden: int
) -> None:
    machine.cost = lambda model: 0.1 * (parameter_count(model, DIFFERENT) / 4e5) ** 1.4
    config = replace(asked(minutes=0.1), model=replace(BASE.model, hidden=hidden))
    with refused("bad-setting", field="minutes") as found:
        planned(machine, config, given={"hidden"})
    fits = found.value.facts["fits"]
    assert fits["hidden"] in machine.timed
    machine.cost = lambda model: 0.2 * (parameter_count(model, DIFFERENT) / 4e5) ** 1.4  # busier
    smaller = replace(config, model=replace(config.model, **fits))
    assert planned(machine, smaller, given={"hidden"})[0].train.iterations >= FEWEST_STEPS


def test_a_size_that_only_just_fits_has_been_timed_itself(machine: Machine) -> None:
    machine.cost = lambda model: 0.1 * (parameter_count(model, DIFFERENT) / 4e5) ** 1.4
    config = replace(asked(minutes=0.1), model=replace(BASE.model, hidden=400))
    assert planned(machine, config, given={"hidden"})[0].train.iterations < 2 * FEWEST_STEPS
    assert 400 in machine.timed
    slow = replace(config, model=replace(BASE.model, hidden=500))  # by proportion 12 steps, not 7
    with refused("bad-setting", field="minutes"):
        planned(machine, slow, given={"hidden"})


def test_what_is_scored_at_the_end_has_its_time(machine: Machine) -> None:
    machine.cost = lambda model: 1.2  # of 2,048 characters
    config = replace(asked(minutes=0.1, batch=4, length=16), model=replace(BASE.model, hidden=400))
    assert planned(machine, config, given={"hidden", "batch", "length"})[0].train.iterations > 80
    machine.cost = lambda model: 2.4
    with refused("bad-setting", field="minutes"):
        planned(machine, config, given={"hidden", "batch", "length"})


def test_a_step_that_takes_the_time_because_of_its_batch_is_refused(machine: Machine) -> None:
    text = Text.from_string(NIGHT * 3, "nights")
    config = asked(minutes=0.1, batch=8192, length=256)
    with refused("bad-setting", field="minutes") as found:
        planned(machine, config, text, {"batch", "length"})
    assert list(found.value.facts["fits"]) == ["batch"]


def test_what_is_not_given_is_made_smaller_until_there_are_steps(machine: Machine) -> None:
    machine.cost = lambda model: parameter_count(model, DIFFERENT) / 40e3
    config, *_ = planned(machine, asked(minutes=0.1))
    assert hidden(config) == min(RATES)
    assert config.train.batch < BASE.train.batch
    assert config.train.iterations >= FEWEST_STEPS
    machine.cost = lambda model: parameter_count(model, DIFFERENT) / 400e3
    with refused("bad-setting", field="minutes") as found:
        planned(machine, asked(minutes=0.1, batch=512), given={"batch", "length"})
    assert list(found.value.facts["fits"]) == ["batch"]


def test_what_is_given_is_timed_and_nothing_else(machine: Machine) -> None:
    config = replace(asked(batch=8, length=16), model=replace(BASE.model, hidden=200))
    found, reasons, *_ = planned(machine, config, given={"hidden", "batch", "length"})
    assert machine.timed == [200]
    assert (hidden(found), found.train.batch, found.train.length) == (200, 8, 16)
    assert {what for what, _ in reasons} == {"time", "cell", "drop", "rate", "mix"}


def test_of_a_preset_only_the_length_is_found(machine: Machine) -> None:
    config = RunConfig(train=TrainConfig(minutes=2.0, schedule="plateau"), preset="old")
    found, reasons, *_ = planned(machine, config, given=None)
    iterations = found.train.iterations
    assert found == replace(config, train=replace(config.train, iterations=iterations))
    assert [what for what, _ in reasons] == ["time"]


def test_without_minutes_nothing_is_timed_and_the_plan_is_the_same_again(
    machine: Machine,
) -> None:
    config = asked(minutes=None, iterations=3000)
    found = plan(config, (), TEXT, 0.0)
    assert found == plan(config, (), TEXT, 0.0)
    assert found.config.train.iterations == 3000
    assert machine.timed == []


@pytest.mark.parametrize("characters", [3, 20, 200, 2_000, 20_000])
def test_a_small_text_can_be_learned(machine: Machine, characters: int, tmp_path: Path) -> None:
    text = Text.from_string(NIGHT[:characters], "small")
    config, *_ = planned(machine, asked(), text)
    run = new_run(tmp_path / "run", config, text)
    parts = run.dataset()
    assert (parts.validation is None) == (characters < 200)


def test_a_step_that_does_not_fit_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(CharloomError):
        plan(asked(batch=80_000, length=64), {"batch", "length"}, TEXT, machine.now)


@pytest.mark.parametrize(("characters", "read"), [(40_000, 360_000), (900_000, 2_000_000)])
def test_a_run_that_nothing_ends_reads_ten_epochs_within_bounds(
    monkeypatch: pytest.MonkeyPatch, characters: int, read: int
) -> None:
    monkeypatch.setattr(planning, "FEWEST_READ", 100_000)
    monkeypatch.setattr(planning, "MOST_READ", 2_000_000)
    config = RunConfig(train=TrainConfig(batch=10, length=100))
    text = Text.from_string(NIGHT[:characters], "night")
    found = plan(config, None, text, 0.0)
    assert found.config.train.iterations == read // 1000
    tiny = Text.from_string(NIGHT[:2_000], "night")
    assert plan(config, None, tiny, 0.0).config.train.iterations == 100


def test_a_run_is_prepared_from_a_text_and_what_is_given(tmp_path: Path) -> None:
    source = tmp_path / "night.txt"
    source.write_text(NIGHT[:40_000])
    given = {"iterations": 300, "batch": 8, "model": "gru"}
    run, reasons, began = prepare([str(source)], given, tmp_path / "run", began=7.0)
    assert (run.path, began) == (tmp_path / "run", 7.0)
    assert run.config.model == ModelConfig(cell="gru", hidden=hidden(run.config), embedding=64)
    assert (run.config.train.iterations, run.config.train.batch) == (300, 8)
    assert {what for what, _ in reasons} == {"size", "drop", "rate"}
    assert Run.open(run.path).config == run.config
    preset, none, _ = prepare([str(source)], {"preset": "min-char-rnn"}, tmp_path / "preset")
    assert (preset.config.preset, none) == ("min-char-rnn", ())


@pytest.mark.parametrize(("out", "code"), [("run", "taken"), ("night.txt/run", "unwritable")])
def test_a_folder_that_cannot_be_had_is_refused_before_the_text_is_read(
    tmp_path: Path, out: str, code: Code
) -> None:
    (tmp_path / "night.txt").write_text(NIGHT[:4000])
    prepare([str(tmp_path / "night.txt")], {"model": "ngram"}, tmp_path / "run")
    with refused(code, path=str(tmp_path / out)):
        prepare(["nowhere"], {}, tmp_path / out)


def test_real_updates_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**9))
    for module in (planning, speeds):
        monkeypatch.setattr(module, "perf_counter", lambda: next(times) * 0.001)
    config = replace(asked(minutes=0.1, batch=2, length=8), model=ModelConfig(hidden=4))
    config = replace(config, engine="reference", dtype="float64")
    given = {"hidden", "batch", "length"}
    found, reasons, *_ = plan(config, given, TEXT, planning.perf_counter())
    assert found.train.iterations is not None
    assert found.train.iterations > 5
    assert np.isfinite(found.train.dropout)
    assert reasons[0][0] == "time"


def test_a_run_waits_for_who_looks_whether_its_folder_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "night.txt").write_text(NIGHT[:9999])
    looking = ExitStack()
    create = Run.create

    def created(path: Path, *args: Any) -> Run:
        run = create(path, *args)
        looking.enter_context(alone(path))
        return run

    monkeypatch.setattr(Run, "create", created)
    monkeypatch.setattr(planning, "sleep", lambda _: looking.close())
    run = prepare([str(tmp_path / "night.txt")], {"model": "ngram"}, tmp_path / "run").run
    assert run.dataset().train.size
    with looking, refused("busy"):
        monkeypatch.setattr(planning, "sleep", lambda _: None)
        prepare([str(tmp_path / "night.txt")], {"model": "ngram"}, tmp_path / "other")


PREPARE = """
import sys
from charloom.training import planning, speeds

create = planning.Run.create
planning.Run.create = lambda *args: print("planned", flush=True) or (
    sys.stdin.readline() and create(*args)
)
print(planning.prepare(sys.argv[1:], {"model": "ngram"}).run.path)
"""


def test_runs_without_a_name_that_begin_at_once_get_a_name_each(tmp_path: Path) -> None:
    (tmp_path / "night.txt").write_text(NIGHT[:9999])
    half = tmp_path / "runs" / "night-ngram"  # what a killed process left
    half.mkdir(parents=True)
    (half / "vocabulary.json").write_text("[")
    command = [sys.executable, "-c", PREPARE, "night.txt"]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=tmp_path)
            )
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "planned\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n" * 9)  # more names than there are to try
            process.stdin.flush()
        said = [process.communicate()[0].splitlines()[-1] for process in processes]
    assert sorted(said) == ["runs/night-ngram", "runs/night-ngram-2", "runs/night-ngram-3"]
    for path in said:
        assert Run.open(tmp_path / path).dataset().train.size
