"""Section 2: a run that was stopped goes on to the very same bits, however and wherever."""

import random
import shutil
import signal
import time
from collections import Counter
from itertools import product
from unittest import mock

import msgspec
import numpy as np
import pytest
from warm import Warm

from charloom.config import TransformerConfig, WatchConfig, replace
from charloom.errors import CharloomError
from charloom.evaluation import Score
from charloom.runs import checkpoint, metrics
from charloom.runs.meta import Losses, Rollback
from charloom.runs.run import Run
from charloom.training import loop as training
from charloom.training import monitor
from charloom.training import state as training_state
from charloom.training.events import Evaluated, Sampled, Saved
from expect import refused
from small_runs import (
    NEVER,
    OFTEN,
    STEPS,
    TEXT,
    TRAIN,
    config_of,
    copied,
    new_run,
    outcome,
    play,
    played,
    stopped,
    write_text,
)

WAYS = [  # optimizer and schedule: each cell and engine meets each of them
    {"optimizer": "adagrad", "schedule": "plateau", "learning_rate": 0.3},
    {"optimizer": "adamw", "schedule": "one-cycle", "warmup": 7},
    {"optimizer": "rmsprop", "schedule": "step", "decay_every": 2.0, "learning_rate": 0.02},
]
CELLS, ENGINES = ("rnn", "lstm", "gru"), ("reference", "compiled")


@pytest.fixture
def source(tmp_path):
    return write_text(tmp_path)


@pytest.mark.slow
@pytest.mark.reliability("B1", "resumed from any of steps 0..100: equal, tolerance 0")
def test_resumed_from_any_step_a_run_goes_on_to_the_same_bits(tmp_path, source, trials):
    ways = [*product(CELLS, ENGINES, WAYS)]
    if not trials.full:
        ways = [("rnn", "compiled", WAYS[0]), ("lstm", "reference", WAYS[1])]
        ways += [("gru", "compiled", WAYS[2])]
    long = 101 if trials.full else 41
    points = [*range(long)] if trials.full else [30]  # tests/test_loop.py stops at others
    trials.of(3, 18 * 101)
    looks = replace(OFTEN, evaluate_every=10, sample_every=25, checkpoint_every=1, keep=long + 1)
    for number, (cell, engine, way) in enumerate(ways):
        config = config_of(source, cell, engine, replace(TRAIN, iterations=long, **way), looks)
        whole = played(tmp_path / f"{number}", config)
        expected = outcome(whole)
        assert len(expected["metrics"]) == long
        assert len({line["rate"] for line in expected["metrics"]}) > 2  # the schedule is at work
        for step in points:
            run = as_of(whole, step, tmp_path / "copy")
            started, *_, finished = play(run, resume=True)
            assert (started.step, finished.reason, finished.step) == (step, "done", long)
            assert outcome(run) == expected, f"{cell}, {engine}, {way}: resumed from {step}"
            shutil.rmtree(run.path)
        shutil.rmtree(whole.path)
    trials.result(f"{len(points)} of {len(points)} steps equal in each of {len(ways)} set-ups")


def as_of(run, step, path):
    """Return a copy of a run that has lost all after `step`, but for the lines of metrics.

    It saves no more on the way: a look may change nothing.
    """
    path.mkdir()
    for name in ("corpus.json", "vocabulary.json", "metrics.jsonl"):
        shutil.copy(run.path / name, path)
    (path / "samples").mkdir()
    for sample in (run.path / "samples").iterdir():
        if sample.stem.isdigit() and int(sample.stem) <= step:
            shutil.copy(sample, path / "samples")
    name = f"{step:08d}"
    shutil.copytree(run.checkpoints / name, path / "checkpoints" / name)
    rarely = replace(run.config.watch, checkpoint_every=0)
    (path / "config.json").write_bytes(msgspec.json.encode(replace(run.config, watch=rarely)))
    return Run.open(path)


@pytest.mark.reliability("B2", "saved, evaluated and sampled at every step or never: equal")
def test_no_way_of_looking_changes_a_bit_of_the_weights(tmp_path, source, trials):
    every = {"evaluate_every": 1, "sample_every": 1, "checkpoint_every": 1}
    watches = {name: replace(NEVER, **{name: 1}, sample_length=3) for name in every}
    watches |= {"never": NEVER, "all": WatchConfig(**every, sample_length=3)}
    ways = (
        [*product(CELLS, ENGINES)] if trials.full else [("lstm", "reference"), ("gru", "compiled")]
    )
    trials.of(2 * 4, 6 * 4)
    for cell, engine in ways:
        found = {}
        for name, looks in watches.items():
            run = new_run(
                tmp_path / f"{cell}-{engine}-{name}", config_of(source, cell, engine, watch=looks)
            )
            kinds = Counter(type(event) for event in play(run))
            for kind, looked in zip((Evaluated, Sampled, Saved), every, strict=True):
                assert (kinds[kind] >= STEPS) == (name in (looked, "all"))
            found[name] = outcome(run)["arrays"]
        assert len(found["never"]) > 20
        assert all(arrays == found["never"] for arrays in found.values())
    trials.result("weights, optimizer and carried state bit-identical")


# ---- killed and interrupted at random instants, each time in a new process


TINY = ("--hidden", "4", "--batch", "2", "--length", "20", "--optimizer", "adam", "--dropout")
TINY += ("0.25", "--schedule", "plateau", "--window", "3", "--patience", "1")
TINY += ("--checkpoint-every", "1", "--evaluate-every", "5", "--sample-every", "7")
TINY += ("--sample-length", "5", "--learning-rate", "0.1", "--engine", "compiled")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    with Warm(
        "train", write_text(folder), *TINY, "--iterations", 8, "--out", folder / "run"
    ) as warm:
        yield warm


class Chain:
    """A run that is interrupted again and again, beside one that was not."""

    def __init__(self, warm, folder, steps, seed, *more):
        self.warm, self.source, self.folder = warm, write_text(folder), folder
        self.command = ("train", self.source, "--iterations", steps, *TINY, *more, "--out")
        self.steps, self.random = steps, random.Random(seed)
        self.inside = self.killed = 0  # interruptions of a save, and those by SIGKILL
        warm.start(*self.command, folder / "unbroken")
        assert warm.wait() == 0
        self.expected = outcome(Run.open(folder / "unbroken"))
        assert [line["step"] for line in self.expected["metrics"]] == [*range(1, steps + 1)]
        self.begin(0)

    def begin(self, number):
        self.path, self.newest = self.folder / f"broken{number}", 0

    def start(self):
        """Go on, or begin where the command was killed before there was a run."""
        begun = (self.path / "config.json").exists()
        if not begun:
            shutil.rmtree(self.path, ignore_errors=True)
        self.warm.start(*(("resume",) if begun else self.command), self.path)

    def interrupt(self, number, most):
        """Go on for `most` updates or fewer, and a while; returns whether it was stopped."""
        left = self.left_over()
        self.start()
        target = min(self.newest + self.random.randrange(most), self.steps)
        self.warm.until(lambda: self.saved() >= target)
        time.sleep(self.random.uniform(0, 0.1 if target == self.newest else 0.01))
        seen = self.saved()
        self.warm.signal(number)
        status = self.warm.wait()
        if status == 0:
            return False
        assert status in (-number, 128 + number)
        if self.path.exists():
            self.check(seen)
            self.inside += bool(self.left_over() - left)
        self.killed += number == signal.SIGKILL
        return True

    def left_over(self):
        """Name what a save has left that was killed."""
        folders = (self.path / "checkpoints").glob(".saving-*")
        return {(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in folders}

    def saved(self):
        names = [p.name for p in (self.path / "checkpoints").glob("[0-9]*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def check(self, seen):
        """No more than the update at hand and its checkpoint is lost."""
        before, self.newest = self.newest, 0
        if checkpoint.steps(self.path / "checkpoints"):
            self.newest = Run.open(self.path).checkpoint("latest").meta.step
        logged = [line.step for line in metrics_of(self.path)]
        assert logged == [*range(1, len(logged) + 1)]
        assert self.newest >= max(before, seen, len(logged) - 1)

    def finish(self):
        """Go on to the end, which must be that of the unbroken run."""
        self.start()
        assert self.warm.wait() == 0
        run = Run.open(self.path)
        assert outcome(run) == self.expected
        assert [line.step for line in run.metrics()] == [*range(1, self.steps + 1)]


def metrics_of(path):
    return metrics.lines(path / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.reliability("A1", "SIGKILL at a random instant, a checkpoint at every step")
def test_killed_at_any_instant_a_run_loses_one_step_at_most(tmp_path, warm, trials):
    kills, runs = trials.of(4, 200), 1
    rarely = ("--evaluate-every", 20, "--sample-every", 20)  # most of the time goes into saves
    chain = Chain(warm, tmp_path, 40, 1, *rarely)
    while chain.killed < kills:
        if not chain.interrupt(signal.SIGKILL, 9):
            chain.finish()
            chain.begin(runs)
            runs += 1
    chain.finish()
    said = f"{chain.inside} kills inside a save; {runs} runs end bit-identical, 1 step lost at most"
    trials.result(said)
    assert not trials.full or chain.inside >= 60


@pytest.mark.slow
@pytest.mark.reliability("B3", "SIGTERM, SIGINT, SIGKILL at random instants of one run")
def test_interrupted_again_and_again_a_run_goes_on_to_the_same_bits(tmp_path, warm, trials):
    number, turn, runs = trials.of(3, 50), 0, 1
    chain = Chain(warm, tmp_path, 50 if number < 50 else 500, seed=2)
    while turn < number:
        ways = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
        if chain.interrupt(ways[turn % 3], 4):
            turn += 1
        else:  # it had ended before the signal came
            chain.finish()
            chain.begin(runs)
            runs += 1
    chain.finish()
    said = f"{runs} run(s) bit-identical to one that was not; each step is in metrics.jsonl once"
    trials.result(f"{said} (B6)")


@pytest.mark.slow
@pytest.mark.reliability("A9", "a second trainer on a run folder")
def test_one_trainer_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path, warm, trials):
    number, slowest, path = trials.of(3, 50), 0.0, tmp_path / "run"
    command = ("train", write_text(tmp_path), *TINY, "--iterations", 10**6, "--out", path)
    for _ in range(number):
        warm.start(*command)
        assert warm.until(lambda: checkpoint.steps(path / "checkpoints"))
        began = time.perf_counter()
        with refused("busy", process=str(warm.pid)):
            next(training.train(Run.open(path), resume=True))
        slowest = max(slowest, time.perf_counter() - began)
        warm.signal(signal.SIGKILL)
        assert warm.wait() == -signal.SIGKILL
        with Run.open(path).lock():
            pass
        shutil.rmtree(path)
    trials.result(f"refused in {1000 * slowest:.0f} ms at most; free again after SIGKILL")


# ---- what is saved, and what is refused


REDUNDANT = {
    "versions": "threads of PyTorch aside (B7), a difference is told in a note",
    "config": "nothing is computed from it: a difference is refused (B5)",
}


def mutants(saved, fresh):
    """Name, arrays and meta, with one item of the state put back to what a fresh run has."""
    arrays, initial = saved.weights | saved.state, fresh.weights | fresh.state
    for name, array in arrays.items():
        yield name, arrays | {name: another(array, initial[name])}, saved.meta
    for name in saved.meta.__struct_fields__:
        value, then = getattr(saved.meta, name), getattr(fresh.meta, name)
        if name == "seconds":
            continue
        if isinstance(value, dict) and name != "versions":
            changes = {f"{name}.{key}": without(value, key, then) for key in value}
        elif isinstance(value, Losses):
            fields = {
                k: another(getattr(value, k), getattr(then, k)) for k in value.__struct_fields__
            }
            changes = {
                f"{name}.{k}": msgspec.structs.replace(value, **{k: v}) for k, v in fields.items()
            }
        else:
            changes = {name: another(value, then)}
        for item, changed in changes.items():
            yield item, arrays, msgspec.structs.replace(saved.meta, **{name: changed})


def without(items, key, fresh):
    """The items, that of `key` put back, or dropped where a fresh run has none."""
    kept = {k: v for k, v in items.items() if k != key}
    return kept | {key: another(items[key], fresh[key])} if key in fresh else kept


def another(value, fresh):
    """What a fresh run has, or where that is the same, something else."""
    if isinstance(value, np.ndarray):
        return value + 1 if np.array_equal(value, fresh) else fresh
    if value != fresh:
        return fresh
    match value:
        case None:
            return 1.0
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return [*value, Rollback(at=7, to=5, loss="nan")]
        case dict():
            return {}
        case msgspec.Struct():
            return None
    raise AssertionError(f"how is {value!r} dropped?")


@pytest.mark.slow
@pytest.mark.reliability("B4", "each stored item dropped in turn makes B1 fail")
def test_each_stored_item_is_missed_where_it_is_dropped(tmp_path, source, trials, monkeypatch):
    monkeypatch.setattr(monitor, "evaluate", lambda *_: Score(2.0, 9))  # best: the first
    monkeypatch.setattr(training_state, "SMOOTHING", 0.5)  # new lowest losses are rare
    ends = {3: 40, 9: 14, 12: 30, 25: 26}  # of runs with minutes
    monkeypatch.setattr(
        training.TimeBudget, "total", lambda _, step, total, *__: ends.get(step, total)
    )
    plans = [
        {"schedule": "plateau", "optimizer": "adamw", "learning_rate": 1.0, "patience": 2},
        {"schedule": "cosine", "optimizer": "rmsprop", "minutes": 60.0},
        {"schedule": "one-cycle", "optimizer": "adagrad", "minutes": 60.0},
        {"schedule": "step", "optimizer": "sgd"},
    ]
    ways = [("compiled", "rnn", plans[0]), ("reference", "lstm", plans[1])]
    if trials.full:
        ways = [*product(ENGINES, CELLS, plans)]
    looks = replace(OFTEN, sample_at_best=True, sample_every=1)
    killed, survived = Counter(), set()
    for number, (engine, cell, plan) in enumerate(ways):
        config = config_of(source, cell, engine, replace(TRAIN, **plan), looks)
        folder = tmp_path / f"{number}"
        expected = outcome(played(folder / "whole", config))
        fresh = stopped(folder / "fresh", config, 0).checkpoint("latest")
        donor = stopped(folder / "donor", config, 10)
        assert resumed(copied(donor, folder / "same")) == expected
        found = [*mutants(donor.checkpoint("latest"), fresh)]
        one_each = {family(item): item for item, *_ in found}.values()
        for item, arrays, meta in found:
            if trials.full or item in one_each:
                run = copied(donor, folder / "mutant")
                run.save(arrays, meta)
                if resumed(run) == expected:
                    survived.add(item)
                else:
                    killed[item] += 1
    killed["due"] += misses_due(config, expected, folder)
    assert {item for item in survived if not killed[item]} == {*REDUNDANT}
    assert not survived & {*arrays}
    trials.of(killed.total(), killed.total())
    trials.result(f"all are missed; their kinds: {', '.join(sorted({*map(family, killed)}))}")


def misses_due(config, expected, folder):
    """Whether a look that a signal broke off is missed where it is not made up for."""

    def broken_off(*_):
        signal.raise_signal(signal.SIGTERM)

    run = new_run(folder / "due", config)
    with mock.patch.object(monitor, "evaluate", broken_off):
        assert play(run)[-1].step == 5
    saved = run.checkpoint("latest")
    assert saved.meta.due
    assert resumed(copied(run, folder / "same")) == expected
    run.save(saved.weights | saved.state, msgspec.structs.replace(saved.meta, due=False))
    return resumed(run) != expected


def family(item):
    """`optimizer.m.layer0.Wx` is an `optimizer.m`; weights are of one family."""
    parts = item.split(".")
    if parts[0] in ("embedding", "head") or parts[0].startswith("layer"):
        return "weights"
    return ".".join(parts[:1] + parts[-1:] if parts[0] == "state" else parts[:2])


def resumed(run):
    """The outcome of a run that is gone on with, or what is said against it; the folder goes."""
    try:
        play(run, resume=True)
        return outcome(run)
    except (CharloomError, KeyError, ZeroDivisionError) as error:
        return str(error)
    finally:
        shutil.rmtree(run.path)


@pytest.mark.reliability("B5", "another text, model or other settings on resume")
def test_another_text_changes_nothing_and_another_model_or_setting_is_refused(
    tmp_path, source, trials
):
    run = stopped(tmp_path / "run", config_of(source), 13)
    before, text = outcome(run), source.read_text()
    whole = copied(run, tmp_path / "whole")
    play(whole, resume=True)
    played_on = outcome(whole)
    texts = (text.replace("die", "dye"), text + ".", "Cannon to right of them,\n" * 20)
    settings = {
        '"hidden": 4': '"hidden": 5',
        '"cell": "lstm"': '"cell": "gru"',
        '"layers": 2': '"layers": 3',
        '"embedding": 0': '"embedding": 3',
        '"float64"': '"float32"',
        '"adamw"': '"adagrad"',
        '"batch": 2': '"batch": 3',
        '"learning_rate": 0.2': '"learning_rate": 0.1',
        '"seed": 3': '"seed": 4',
        '"validation": 0.1': '"validation": 0.2',
        '"reference"': '"compiled"',
    }
    for changed in texts:
        source.write_text(changed)
        other = copied(run, tmp_path / "other")  # the ids are what it learned, and it goes on
        assert play(Run.open(other.path), resume=True)[0].parts.changed
        assert outcome(other) == played_on
        (other.path / "ids.npy").unlink()
        with refused("changed-text", characters=len(changed), learned=len(text)):
            play(Run.open(other.path), resume=True)
        shutil.rmtree(other.path)
    source.write_text(text)
    path = run.path / "config.json"
    kept = path.read_text()
    for old, new in settings.items():
        assert old in kept
        path.write_text(kept.replace(old, new))
        with pytest.raises(CharloomError) as caught:
            play(Run.open(run.path), resume=True)
        assert caught.value.code in ("other-settings", "bad-array")  # arrays of another shape
    path.write_text(kept)
    assert outcome(run) == before
    assert play(Run.open(run.path), resume=True)[-1].reason == "done"
    trials.of(len(texts) + len(settings), len(texts) + len(settings))
    trials.result("a text: what was learned goes on, to the same bits; the rest refused by name")


def test_another_vocabulary_of_the_same_size_is_refused(tmp_path, source):
    run = stopped(tmp_path / "run", config_of(source), 13)
    path = run.path / "vocabulary.json"
    path.write_text(path.read_text().replace("T", "X"))
    with refused("damaged", path=str(path)):
        play(Run.open(run.path), resume=True)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.reliability("B7", "PyTorch is given another number of threads: bit-identical")
def test_pytorch_goes_on_on_the_threads_of_before(tmp_path, source, trials):
    torch = pytest.importorskip("torch")
    source.write_text(TEXT * 9)
    model = TransformerConfig(layers=2, width=64, heads=2, context=32)
    plan = replace(TRAIN, batch=24, length=32, learning_rate=0.003, iterations=14)
    config = replace(config_of(source, engine="torch", train=plan), model=model)
    threads = torch.get_num_threads()
    for before, after in ((1, 2), (3, 1), (2, 1), (2, 3))[: trials.of(2, 4)]:
        torch.set_num_threads(before)
        whole = outcome(played(tmp_path / f"whole-{before}-{after}", config))
        run = stopped(tmp_path / f"{before}-{after}", config, 10)
        torch.set_num_threads(after)
        play(run, resume=True)
        assert torch.get_num_threads() == after
        assert outcome(run) == whole
    torch.set_num_threads(threads)
    trials.result("weights, optimizer, state and log equal; by 1, 2 and 3 threads")


@pytest.mark.slow
@pytest.mark.reliability("B7", "resumed with another number of threads: bit-identical")
def test_the_number_of_threads_changes_no_bit(tmp_path, source, trials, monkeypatch):
    source.write_text(TEXT * 9)
    config = config_of(source, engine="compiled", train=replace(TRAIN, batch=48))
    trials.of(4, 4)
    expected = None
    for before, after in ((1, 1), (1, 3), (3, 1), (2, 3)):
        path = tmp_path / f"{before}-{after}"
        monkeypatch.setenv("OMP_NUM_THREADS", str(before))
        run = stopped(path, config, 10)
        monkeypatch.setenv("OMP_NUM_THREADS", str(after))
        play(run, resume=True)
        expected = expected or outcome(run)
        assert outcome(run) == expected
    trials.result("weights, optimizer, state and log equal; by 1, 2 and 3 threads")
