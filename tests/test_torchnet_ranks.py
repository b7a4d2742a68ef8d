"""Several processes compute what one does: real ones, forked from one that has loaded PyTorch."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.data.batches import open_batches
from charloom.distributed import Place
from charloom.errors import CharloomError
from charloom.runs.checkpoint import steps
from charloom.runs.run import Run
from expect import refused
from nest import Nest
from small_runs import write_text

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import rank_tasks  # noqa: E402
from charloom.models import torchnet  # noqa: E402
from charloom.models.torchnet import devices  # noqa: E402
from charloom.models.torchnet.ranks import rows_of  # noqa: E402
from rank_tasks import unpacked  # noqa: E402

RUN = ("--hidden", "4", "--batch", "3", "--length", "20", "--dropout", "0.25", "--dtype", "float64")
RUN += ("--evaluate-every", "0", "--sample-every", "0", "--checkpoint-every", "4")


@pytest.fixture(scope="module")
def nest():
    with Nest() as nest:
        yield nest


@pytest.fixture(scope="module")
def alone(nest, tmp_path_factory):
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    return nest.call(1, folder, "rank_tasks:train", 20, hooks=recording(folder, 1))


def recording(folder, ranks):
    return {rank: ["rank_tasks:record", str(folder / f"ids{rank}")] for rank in range(ranks)}


def assert_close(found, wanted, tolerance=1e-10):
    """Weights, slots and state within a share of their largest number; what is counted, equal."""
    found, wanted = unpacked(found), unpacked(wanted)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_allclose(
            array, wanted[name], rtol=0, atol=tolerance * np.abs(wanted[name]).max(), err_msg=name
        )


@pytest.mark.parametrize(("ranks", "batch"), [(1, 1), (2, 5), (3, 5), (4, 4), (7, 64)])
def test_every_lane_belongs_to_one_rank(ranks, batch):
    parts = [rows_of(rank, ranks, batch) for rank in range(ranks)]
    assert [lane for part in parts for lane in range(batch)[part]] == [*range(batch)]
    assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_compute_what_one_process_does(nest, tmp_path, alone, ranks):
    losses, arrays = nest.call(
        ranks, tmp_path, "rank_tasks:train", 20, hooks=recording(tmp_path, ranks)
    )
    np.testing.assert_allclose(losses, alone[0], rtol=1e-12)
    assert_close(arrays, alone[1])
    parts = [(tmp_path / f"ids{rank}").read_text().splitlines() for rank in range(ranks)]
    lanes = open_batches(rank_tasks.TEXT, rank_tasks.TRAIN)
    assert {len(part) for part in parts} == {20}
    for step in zip(*parts, strict=True):
        inputs, targets, _ = lanes.next()
        told = [json.loads(line) for line in step]
        assert [lane for part in told for lane in part[0]] == inputs.tolist()
        assert [lane for part in told for lane in part[1]] == targets.tolist()
        assert {part[2] for part in told} == {0.02}


def test_a_part_of_the_state_is_carried_by_each_rank(nest, tmp_path):
    before, after = nest.call(2, tmp_path, "rank_tasks:stop_and_go", 7)
    assert before == after


def test_weights_alone_make_a_fresh_learner(nest, tmp_path):
    fresh, loaded = nest.call(2, tmp_path, "rank_tasks:weights_alone")
    assert fresh == loaded


def test_all_ranks_compute_on_the_threads_that_the_leader_is_told(nest, tmp_path):
    seen = [tmp_path / f"threads{rank}" for rank in range(2)]
    hooks = {rank: ["rank_tasks:record_threads", str(seen[rank])] for rank in range(2)}
    assert nest.call(2, tmp_path, "rank_tasks:on_threads", 3, hooks=hooks) == 3
    assert [path.read_text() for path in seen] == ["3", "3"]


def test_what_does_not_fit_is_refused_and_the_ranks_go_on(nest, tmp_path, alone):
    code, losses = nest.call(2, tmp_path, "rank_tasks:misfit")
    assert code == "bad-array"
    np.testing.assert_allclose(losses, alone[0][2:4], rtol=1e-12)


def test_a_loss_is_of_all_lanes_and_changes_nothing(nest, tmp_path):
    one = nest.call(1, tmp_path, "rank_tasks:losses")
    two = nest.call(2, tmp_path, "rank_tasks:losses")
    np.testing.assert_allclose(two[0], one[0], rtol=1e-12)
    assert two[0][0] != two[0][1]
    assert two[1]


def test_no_start_waits_for_what_only_compilation_needs(nest, tmp_path):
    needless = ["sympy", "torch._dynamo"]  # half a second, at the first tensor of a meta device
    assert nest.call(2, tmp_path, "rank_tasks:loaded", needless) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_rank_finds_nan_nobody_moves(nest, tmp_path, rank):
    hooks = {rank: ["rank_tasks:at_update", 3, "poison"]}
    finite, moved = nest.call(2, tmp_path, "rank_tasks:nan_somewhere", 3, hooks=hooks)
    assert finite == moved == [True, True, False, True, True]


def test_a_signal_during_a_command_waits_for_its_end(nest, tmp_path, alone):
    before, came, after = nest.call(2, tmp_path, "rank_tasks:interrupted", 3)
    assert came == [signal.SIGTERM, "interrupted"]
    np.testing.assert_allclose(before + after, alone[0][:3] + alone[0][4:7], rtol=1e-12)


def test_each_rank_needs_a_lane(nest, tmp_path):
    err = tmp_path / "err"
    command = ("train", write_text(tmp_path), *RUN, "--iterations", 2, "--out", tmp_path / "run")
    err.touch()
    assert nest.run(4, *command, err=err) == [2] * 4
    assert re.search(r"\bbatch\b.*\b3\b.*\b4\b", err.read_text())
    assert messages(err.read_text()) == 1


def test_replicas_that_differ_end_the_run(nest, tmp_path):
    hooks = {1: ["rank_tasks:at_update", 2, "drift"]}
    statuses, err = trained(nest, tmp_path, hooks=hooks)
    assert statuses == [CharloomError.status] * 2
    assert messages(err) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_rank_ends_all(nest, tmp_path, rank):
    statuses, err = trained(nest, tmp_path, hooks={rank: ["rank_tasks:at_update", 9, "fail"]})
    assert 0 not in statuses
    assert "a part is broken" in err  # this is an error to be mended, so it is told at length
    assert err.count("Traceback") == 1


def trained(nest, folder, *more, ranks=2, **how):
    """Train in `folder`; returns statuses and what was said."""
    (folder / "err").write_text("")
    source = write_text(folder)
    command = ("train", source, *RUN, "--iterations", 24, *more, "--out", folder / "run")
    return nest.run(ranks, *command, err=folder / "err", **how), (folder / "err").read_text()


def messages(err):
    """How many messages are of charloom; if a rank is lost, Gloo may log lines of its own."""
    return sum(line.startswith("charloom: ") for line in err.splitlines())


def latest(run):
    found = Run.open(run).checkpoint("latest")
    assert found.meta.step == 24
    return {name: a.tobytes() for name, a in (found.weights | found.state).items()}


@pytest.fixture(scope="module")
def whole(nest, tmp_path_factory):
    """What two ranks come to that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert trained(nest, folder) == ([0, 0], "")
    return latest(folder / "run")


def test_a_run_that_lost_a_rank_goes_on_to_the_same_bits(nest, tmp_path, whole):
    statuses, err = trained(nest, tmp_path, hooks={1: ["rank_tasks:at_update", 11, "die"]})
    assert statuses == [CharloomError.status, -signal.SIGKILL]
    assert messages(err) == 1
    assert [*steps(tmp_path / "run" / "checkpoints")] == [4, 8]
    assert trained(nest, tmp_path) == ([0, 0], "")  # as torchrun does it
    assert latest(tmp_path / "run") == whole


def test_a_rank_that_is_lost_while_rank_0_saves_leaves_the_checkpoint_before(nest, tmp_path, whole):
    hooks = {0: ["rank_tasks:alone_at_save", 4]}  # after those of steps 0, 4 and 8
    statuses, err = trained(nest, tmp_path, hooks=hooks)
    assert statuses == [1, -signal.SIGKILL]
    assert messages(err) == 1
    folder = tmp_path / "run" / "checkpoints"
    assert [*steps(folder)] == [4, 8]
    assert [*folder.glob(".saving-*")]
    assert trained(nest, tmp_path) == ([0, 0], "")  # as torchrun does it
    assert latest(tmp_path / "run") == whole
    assert not [*folder.glob(".saving-*")]


def test_the_others_go_on_while_rank_0_cannot_save(nest, tmp_path):
    hooks = {0: ["rank_tasks:full_disk", 3, 5]}
    assert trained(nest, tmp_path, hooks=hooks) == ([0, 0], "")
    assert latest(tmp_path / "run")


@pytest.mark.slow
def test_a_rank_that_is_silent_is_named(nest, tmp_path):
    hooks = {0: ["rank_tasks:impatient_at", 3], 1: ["rank_tasks:silent_at", 3]}
    statuses, err = trained(nest, tmp_path, "--iterations", 10**6, hooks=hooks)
    assert statuses == [1, -signal.SIGKILL]
    assert re.search(r"\branks? 1\b", err, re.IGNORECASE)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_comes_late_is_waited_for(nest, tmp_path, rank):
    assert trained(nest, tmp_path, hooks={rank: ["rank_tasks:late", 0.5]}) == ([0, 0], "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_follower_stops_the_run_with_a_checkpoint(nest, tmp_path, number):
    pids = busy(nest, tmp_path, recording(tmp_path, 2))
    os.kill(pids[1], number)
    os.kill(pids[1], number)
    assert nest.wait() == [128 + number] * 2
    assert (tmp_path / "err").read_text() == ""
    saved = Run.open(tmp_path / "run").checkpoint("latest").meta.step
    made = [len((tmp_path / f"ids{rank}").read_text().splitlines()) for rank in (0, 1)]
    assert made == [saved, saved]


@pytest.mark.slow
def test_no_process_outlives_what_started_it(tmp_path):
    with Nest() as nest:
        pids = busy(nest, tmp_path)
        nest.server.kill()
        wait_until(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids))
    assert (tmp_path / "err").read_text()


def busy(nest, folder, hooks=None):
    """Begin a long run; returns the ids of its processes, once it is under way."""
    command = ("train", write_text(folder), *RUN, "--iterations", 10**6, "--out", folder / "run")
    (folder / "err").touch()
    pids = nest.start(2, *command, err=folder / "err", hooks=hooks)
    wait_until(lambda: any(steps(folder / "run" / "checkpoints")))
    return pids


def wait_until(true):
    """Wait until something holds; the test's own limit ends it if that never comes."""
    while not true():
        time.sleep(0.02)


def test_another_command_is_done_once(nest, tmp_path):
    for command, word in ((("presets",), "char-rnn - "), (("train", "--help"), "Usage")):
        out = tmp_path / command[0]
        out.touch()
        assert nest.run(2, *command, out=out) == [0, 0]
        assert out.read_text().count(f"\n{word}") + out.read_text().startswith(word) == 1


def test_a_rank_has_the_gpu_of_its_own_number(monkeypatch):
    monkeypatch.setattr(devices, "place", lambda: Place(5, 8, 1, "node7", 29500))
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: taken[-1])
    assert devices.pick_device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with refused("unsupported", found=1):
        devices.pick_device()


def test_only_rank_0_is_asked_to_learn(monkeypatch):
    monkeypatch.setattr(torchnet, "place", lambda: Place(1, 2, 1, "node7", 29500))
    with refused("unsupported"):
        torchnet.create_learner(TrainConfig(), ModelConfig(), 5)


def test_n_grams_are_counted_by_rank_0(nest, tmp_path):
    out = tmp_path / "run"
    assert nest.run(2, "train", write_text(tmp_path), "--model", "ngram", "--out", out) == [0, 0]
    assert Run.open(out).load_weights()


@pytest.mark.slow
def test_the_speed_of_all_ranks_is_measured_where_minutes_are_given(nest, tmp_path):
    out, source = tmp_path / "run", tmp_path / "text"
    source.write_text("It was the best of times, it was the worst of times.\n" * 4)
    small = ("--hidden", "8", "--batch", "2", "--length", "4")  # read often enough in no time
    assert nest.run(2, "train", source, "--minutes", "20", *small, "--out", out) == [0, 0]
    meta = Run.open(out).checkpoint("latest").meta
    assert meta.config.train.iterations  # as many as there seemed to be time for
    assert meta.step >= 1


def test_nor_if_that_is_killed_while_pytorch_is_loaded(tmp_path):
    begun = (  # it knows its parent, and has not loaded PyTorch
        "import sys, charloom.distributed; print('begun', flush=True)\n"
        "from charloom.cli import main; main()"
    )
    script = (
        "import signal, subprocess, sys\n"
        f"child = [sys.executable, '-c', {begun!r}, 'train', 'text.txt', '--out', 'run']\n"
        "print(subprocess.Popen(child).pid, flush=True)\n"
        "signal.pause()\n"
    )
    # A store that does not answer, as that of a torchrun that has gone.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        variables = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": port}
        variables |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        parent = subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "begun\n"
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until(lambda: not Path("/proc", str(pid)).exists())
