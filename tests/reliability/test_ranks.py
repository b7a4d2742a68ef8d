"""Section 6: one run on several processes and machines, and what happens when some of them go.

Most trials fork their processes from one that has loaded PyTorch (nest.py), which takes the part
of torchrun's agent; if the agent itself matters, it is the real one. tests/test_torchnet_ranks.py
has a small case of each promise, and runs in `make test`; here only F3 and F7 do.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from charloom.config import replace
from charloom.data.batches import open_batches
from charloom.runs.checkpoint import steps
from charloom.runs.run import Run
from nest import Nest
from small_runs import write_text

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.slow]

from agents import ADDRESSES, CABLE, Agent, Machines, alive, free_port, has_namespaces, kill, until  # noqa: E402, I001
from rank_tasks import TEXT as IDS, TRAIN, unpacked  # noqa: E402

RUN = ("--hidden", "4", "--batch", "3", "--length", "20", "--dropout", "0.25", "--evaluate-every")
RUN += ("0", "--sample-every", "0", "--learning-rate", "0.01", "--checkpoint-every")
ENDLESS = 10**7
SILENCE = 30  # seconds in the place of 120; no rank of a busy machine is silent for so long
SILENT = {"CHARLOOM_SILENCE": f"{SILENCE}"}


@pytest.fixture(scope="module")
def nest():
    with Nest() as nest:
        yield nest


@pytest.fixture
def source(tmp_path):
    return write_text(tmp_path)


def command(source, out, number, every=50):
    return ("train", source, *RUN, every, "--iterations", number, "--out", out)


def bits(run, step=None):
    """All that a run has learned, and where it stands in the text."""
    found = Run.open(run).checkpoint("latest" if step is None else step)
    arrays = {name: array.tobytes() for name, array in (found.weights | found.state).items()}
    return found.meta.step, found.meta.cursor, found.meta.losses.smooth, arrays


def saved(run):
    """The steps at which a run was saved after its beginning."""
    folder = Path(run, "checkpoints")
    return [step for step in steps(folder) if step] if folder.is_dir() else []


def recording(folder, ranks):
    return {rank: ["rank_tasks:record", str(folder / f"ids{rank}")] for rank in range(ranks)}


# ---- F1, F2: several processes compute what one does


def most_apart(found, wanted):
    """The largest difference of two sets of arrays, as a share of the largest number of each."""
    found, wanted = unpacked(found), unpacked(wanted)
    assert found.keys() == wanted.keys()
    return max(np.abs(a - wanted[n]).max() / np.abs(wanted[n]).max() for n, a in found.items())


@pytest.mark.torture
@pytest.mark.reliability("F1", "1, 2 and 4 ranks, uneven shares, parts: 100 steps in float64")
def test_ranks_compute_what_one_process_does(nest, tmp_path, trials):
    ways = {"batch": 9, "accumulate": 2}, {"batch": 8}, {"batch": 9}, {"batches": "windows"}
    ways = [(cell, way) for cell in ("rnn", "lstm", "gru") for way in ways]
    worst, other, _ = 0.0, 0.0, trials.of(2, 2 * len(ways))
    for cell, way in ways:
        single = {name: value for name, value in way.items() if name != "accumulate"}
        losses, arrays = nest.call(1, tmp_path, "rank_tasks:train", 100, cell, single)
        for ranks in (2, 4):
            hooks = recording(tmp_path, ranks)
            found = nest.call(ranks, tmp_path, "rank_tasks:train", 100, cell, way, hooks=hooks)
            worst = max(worst, most_apart(found[1], arrays))
            other = max(other, np.abs(np.array(found[0]) / losses - 1).max())
            assert_same_data(tmp_path, ranks, way)
    assert worst <= 1e-10
    assert other <= 1e-10
    trials.result(f"numbers within {worst:.0e}, losses within {other:.0e}; the same text, in order")


def assert_same_data(folder, ranks, way):
    """What the ranks have read, side by side, is what one process reads."""
    files = [folder / f"ids{rank}" for rank in range(ranks)]
    batches = open_batches(IDS, replace(TRAIN, **way))
    for step in zip(*(file.read_text().splitlines() for file in files), strict=True):
        inputs, targets, _ = batches.next()
        told = [json.loads(line) for line in step]
        assert [lane for part in told for lane in part[0]] == inputs.tolist()
        assert [lane for part in told for lane in part[1]] == targets.tolist()
    for file in files:
        file.unlink()


@pytest.mark.torture
@pytest.mark.reliability("F2", "2 ranks with one seed, replicas compared after every step")
def test_two_ranks_come_to_the_same_bits_again(nest, tmp_path, source, trials):
    hooks = {rank: ["rank_tasks:compare_always"] for rank in (0, 1)}
    ends = []
    for number in range(trials.of(2, 10)):
        out = tmp_path / f"run{number}"
        assert nest.run(2, *command(source, out, 100), hooks=hooks) == [0, 0]
        ends.append(bits(out))
    assert all(end == ends[0] for end in ends)
    trials.result("bit-identical")


# ---- F3: a rank is killed


@pytest.mark.reliability("F3", "SIGKILL of a rank at a random instant, torchrun starts anew")
def test_a_killed_rank_costs_no_bit(nest, tmp_path, source, trials):
    chance, left, slowest = random.Random(3), trials.of(1, 50), 0.0
    number = 1500 if trials.full else 400
    assert nest.run(2, *command(source, tmp_path / "whole", number)) == [0, 0]
    wanted, where = bits(tmp_path / "whole"), Counter()
    while left:
        out = tmp_path / f"run{left}"
        options = ("--nproc-per-node", 2, "--max-restarts", left)
        with Agent(tmp_path / "log", *command(source, out, number), options=options) as agent:
            while left and (ranks := next_ranks(agent)):
                if trials.full:
                    time.sleep(chance.uniform(0, 5))  # loading PyTorch takes some seconds of that
                else:
                    until(lambda run=out: saved(run), agent)
                if ranks.items() <= agent.ranks().items():
                    kill(ranks[chance.randrange(2)], signal.SIGKILL)
                    where["on the way" if saved(out) else "before the first checkpoint"] += 1
                    left -= 1
                    slowest = max(slowest, until(lambda old=ranks: gone_on(agent, old)))
            assert agent.wait() == 0, agent.said
        assert bits(out) == wanted
    told = ", ".join(f"{n} {what}" for what, n in where.items())
    trials.result(f"bit-identical; started anew within {slowest:.1f} s; {told}")


def next_ranks(agent):
    """Wait for two ranks; return them, or nothing where the agent has ended."""
    until(lambda: len(agent.ranks()) == 2 or agent.process.poll() is not None)
    ranks = agent.ranks()
    return ranks if len(ranks) == 2 else {}


def gone_on(agent, old):
    ranks = agent.ranks()
    return agent.process.poll() is not None or (
        len(ranks) == 2 and not {*ranks.values()} & {*old.values()}
    )


# ---- F4: a rank that is silent


@pytest.mark.torture
@pytest.mark.reliability("F4", f"SIGSTOP of a rank, with {SILENCE} s in the place of 120")
def test_a_rank_that_is_stopped_is_named_and_the_job_ends(tmp_path, source, trials):
    chance, slowest = random.Random(4), 0.0
    for number in range(trials.of(1, 10)):
        out, log = tmp_path / f"run{number}", tmp_path / f"log{number}"
        with Agent(log, *command(source, out, ENDLESS), env=SILENT) as agent:
            until(lambda run=out: saved(run), agent)
            ranks, rank = agent.ranks(), chance.randrange(2)
            time.sleep(chance.uniform(0, 0.5))
            kill(ranks[rank], signal.SIGSTOP)
            began = time.monotonic()
            assert agent.wait() != 0
            slowest = max(slowest, time.monotonic() - began)
            assert re.search(rf"\branks? {rank}\b", agent.said, re.IGNORECASE)
            assert not alive(ranks.values())
    trials.result(f"named, and all ended after {slowest:.1f} s at most")


# ---- F5: trouble on one rank only


@pytest.mark.torture
@pytest.mark.reliability("F5", "NaN on one rank: nobody moves, back to the checkpoint")
def test_nan_on_one_rank_is_seen_by_all(nest, tmp_path, source, trials):
    chance = random.Random(5)
    for number in range(trials.of(2, 30)):
        out = tmp_path / f"run{number}"
        hooks = {chance.randrange(2): ["rank_tasks:at_update", chance.randint(1, 99), "poison"]}
        assert nest.run(2, *command(source, out, 100), hooks=hooks) == [0, 0]
        assert bits(out)[0] == 100
        assert len(Run.open(out).checkpoint("latest").meta.rollbacks) == 1
    trials.result("one rollback, then to the end")


@pytest.mark.torture
@pytest.mark.reliability("F5", "an exception on one rank: all leave")
def test_an_error_on_one_rank_ends_all(nest, tmp_path, source, trials):
    chance, slowest = random.Random(6), 0.0
    for number in range(trials.of(2, 30)):
        out, err = tmp_path / f"run{number}", tmp_path / "err"
        err.write_text("")
        rank, at = chance.randrange(3), chance.randint(1, 99)
        hooks = {rank: ["rank_tasks:at_update", at, "fail"]}
        began = time.monotonic()
        statuses = nest.run(3, *command(source, out, 100), err=err, hooks=hooks)
        slowest = max(slowest, time.monotonic() - began)
        assert 0 not in statuses
        assert err.read_text().count("RuntimeError: a part is broken") == 1
    trials.result(f"statuses above 0, {slowest:.1f} s at most with the start")


@pytest.mark.torture
@pytest.mark.reliability("F5", "the disk of rank 0 is full for a while, then has room again")
def test_the_others_wait_while_rank_0_cannot_save(tmp_path, source, trials):
    alone = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this user may not make a namespace of mounts")
    small = tmp_path / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
    said = tmp_path / "out"
    said.write_text("")
    with Nest(*alone, "sh", "-c", mount, small) as nest:
        disk = Path(f"/proc/{nest.server.pid}/root{small}")
        until(lambda: os.path.ismount(disk))
        for _ in range(trials.of(1, 5)):
            out = disk / "run"
            hooks = {0: ["rank_tasks:impatient"]}
            nest.start(2, *command(source, small / "run", 600, every=20), out=said, hooks=hooks)
            until(lambda run=out: saved(run))
            fill(disk / "filler")
            until(lambda: f"{small / 'run'}" in said.read_text())
            (disk / "filler").unlink()
            assert nest.wait() == [0, 0]
            assert bits(out)[0] == 600
            said.write_text("")
            shutil.rmtree(out)
    trials.result("training goes on, and saves when there is room")


def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


# ---- F6: signals


@pytest.mark.torture
@pytest.mark.reliability("F6", "SIGTERM or Ctrl-C to a rank: one checkpoint, all leave")
def test_a_signal_to_any_rank_ends_all_with_one_checkpoint(nest, tmp_path, source, trials):
    chance, slowest = random.Random(7), 0.0
    for number in range(trials.of(3, 30)):
        out, rank = tmp_path / f"run{number}", number % 3
        signum = chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        pids = nest.start(3, *command(source, out, ENDLESS), hooks=recording(tmp_path, 3))
        until(lambda run=out: saved(run))
        time.sleep(chance.uniform(0, 0.3))
        began = time.monotonic()
        for pid in [pids[rank], *(pids if number % 2 else [])]:  # or to all, as a terminal does
            kill(pid, signum)
        assert nest.wait() == [128 + signum] * 3
        slowest = max(slowest, time.monotonic() - began)
        files = [tmp_path / f"ids{rank}" for rank in range(3)]
        made = [len(file.read_text().splitlines()) for file in files]
        assert made == [bits(out)[0]] * 3
        for file in files:
            file.unlink()
    trials.result(f"status 128 + signal, the last step saved, {slowest:.1f} s at most")


@pytest.mark.torture
@pytest.mark.reliability("F6", "SIGTERM, Ctrl-C, SIGKILL to torchrun: no orphans")
def test_a_signal_to_torchrun_leaves_no_process_behind(tmp_path, source, trials):
    chance, slowest = random.Random(8), Counter()
    for number in range(trials.of(2, 30)):
        out, log = tmp_path / f"run{number}", tmp_path / f"log{number}"
        signum = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3]
        with Agent(log, *command(source, out, ENDLESS, every=ENDLESS)) as agent:
            until((out / "checkpoints" / "00000000").exists, agent)
            ranks = agent.ranks()
            pids = [*ranks.values()]
            assert len(pids) == 2
            kill(ranks[0], signal.SIGUSR1)
            until(lambda run=out: saved(run), agent)  # an update has been made
            (first,) = saved(out)
            time.sleep(chance.uniform(0, 0.5))
            agent.kill(signum)
            took = until(lambda left=pids: not alive(left))
            slowest[signum.name] = max(slowest[signum.name], took)
        if signum != signal.SIGKILL:
            assert saved(out)[-1] > first
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slowest.items())
    trials.result(f"all gone within: {told}; but for SIGKILL, the last step saved")


# ---- F7: another number of ranks


@pytest.mark.reliability("F7", "a run goes on with 2, 1, 2 ranks, beside one that had 2 throughout")
def test_the_number_of_ranks_may_change(nest, tmp_path, source, trials):
    wanted, worst = tmp_path / "whole", 0.0
    end = 300 if trials.full else 30
    assert nest.run(2, *command(source, wanted, end)) == [0, 0]
    for number in range(trials.of(1, 10)):
        out, chance = tmp_path / f"run{number}", random.Random(number)
        stops = [int(end * chance.uniform(*third)) for third in ((0.2, 0.3), (0.5, 0.6))]
        for ranks, last in zip((2, 1, 2), (*stops, 10**6), strict=True):
            hooks = {0: ["rank_tasks:stop_after", last]}
            nest.run(ranks, *command(source, out, end), hooks=hooks)
        step, cursor, loss, _ = bits(out)
        whole = bits(wanted)
        assert (step, cursor) == whole[:2]
        pairs = zip(Run.open(out).metrics(), Run.open(wanted).metrics(), strict=True)
        worst = max(worst, abs(loss / whole[2] - 1), *(abs(a.loss / b.loss - 1) for a, b in pairs))
    assert worst <= 1e-5
    trials.result(f"the same text, in order; losses within {worst:.0e}")


# ---- F8: several machines


@pytest.mark.torture
@pytest.mark.reliability("F8", "two machines, --nnodes 2, each with its own torchrun here")
def test_two_agents_train_one_run_and_bear_a_kill(tmp_path, source, nest, trials):
    out = tmp_path / "run"
    assert nest.run(2, *command(source, tmp_path / "whole", 400)) == [0, 0]
    trials.of(1, 1)
    with two_machines(tmp_path, source, out, 400, "127.0.0.1") as agents:
        until(lambda: saved(out), *agents)
        kill(next(iter(agents[1].ranks().values())), signal.SIGKILL)
        assert [agent.wait() for agent in agents] == [0, 0], agents[0].said
    assert bits(out) == bits(tmp_path / "whole")
    trials.result("bit-identical, with a rank killed on the way")


@pytest.mark.torture
@pytest.mark.reliability("F8", "two machines as network namespaces joined by a cable")
def test_two_machines_with_a_network_between_them(tmp_path, source, nest, trials):
    if not has_namespaces():
        pytest.skip("this user may not make network namespaces")
    out = tmp_path / "run"
    assert nest.run(2, *command(source, tmp_path / "whole", 400)) == [0, 0]
    trials.of(1, 1)
    with Machines() as machines:
        before = machines.before
        with two_machines(tmp_path, source, out, 400, ADDRESSES[0], before, CABLE) as agents:
            until(lambda: saved(out), *agents)
            kill(next(iter(agents[1].ranks().values())), signal.SIGKILL)
            assert [agent.wait() for agent in agents] == [0, 0], agents[0].said
    assert bits(out) == bits(tmp_path / "whole")
    trials.result("bit-identical, with a rank killed on the way")


@pytest.mark.torture
@pytest.mark.reliability("F4", "the cable between two machines is pulled")
def test_where_the_network_is_lost_both_machines_end(tmp_path, source, trials):
    if not has_namespaces():
        pytest.skip("this user may not make network namespaces")
    slowest = 0.0
    for number in range(trials.of(1, 3)):
        out = tmp_path / f"run{number}"
        with Machines() as machines:
            env, before = SILENT | CABLE, machines.before
            with two_machines(tmp_path, source, out, ENDLESS, ADDRESSES[0], before, env) as agents:
                until(lambda run=out: saved(run), *agents)
                pids = [pid for agent in agents for pid in agent.ranks().values()]
                machines.cut()
                slowest = max(slowest, until(lambda left=pids: not alive(left)))
                said = agents[0].said + agents[1].said
        assert re.search(r"\branks? [01]\b", said, re.IGNORECASE)
    trials.result(f"all ranks ended after {slowest:.1f} s at most")


@pytest.mark.torture
@pytest.mark.reliability("F8", "elastic, --nnodes 1:2: one machine lost, then back")
def test_training_goes_on_with_one_machine_and_then_with_two(tmp_path, source, trials):
    alone, together = 0.0, 0.0
    for number in range(trials.of(1, 10)):
        went_on, came_back = lose_and_return(source, tmp_path / f"run{number}", free_port())
        alone, together = max(alone, went_on), max(together, came_back)
    trials.result(
        f"on with one after {alone:.0f} s at most, with two {together:.0f} s after it came back"
    )


def lose_and_return(source, out, port):
    """Kill one machine of two and let it come back; how long until training went on, each time."""
    options = ("--nnodes", "1:2", "--nproc-per-node", 1, "--max-restarts", 9)
    options += ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}")
    conf = "last_call_timeout=3,keep_alive_interval=1,is_host="  # here both could keep the store
    env = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # else PyTorch 2.13 lets nobody come back
    log = out.parent / f"{out.name}.log"

    def machine(hosts=0):
        more = (*options, "--rdzv-conf", f"{conf}{hosts}")
        return Agent(log, *command(source, out, ENDLESS), options=more, env=env)

    def gone_on(ranks):
        """Wait until that many save, and again 200 steps on: a busy machine restarts some."""
        known = saved(out)[-1]
        first = until(lambda: saved(out)[-1] > known and saved_by(out)[1] == ranks, host)
        step = saved_by(out)[0] + 200
        return first + until(lambda: saved(out)[-1] >= step and saved_by(out)[1] == ranks, host)

    with machine(hosts=1) as host, machine() as guest:
        until(lambda: saved(out) and saved_by(out)[1] == 2, host)
        old = host.ranks()
        guest.kill()
        alone = gone_on(1)
        assert host.ranks() != old
        with machine() as returned:
            together = until(lambda: len(returned.ranks()) == 1)
            gone_on(2)
    return alone, together


def saved_by(run):
    """The step of the newest checkpoint, and how many ranks there were."""
    meta = Run.open(run).checkpoint("latest").meta
    return meta.step, int(meta.versions["processes"])


class two_machines:  # noqa: N801 -- it reads as what it gives
    """Two agents of one rank each, as on two machines; rank 0 is on the first."""

    def __init__(self, folder, source, out, number, address, before=((), ()), env=None):
        port = free_port()
        self.agents = []
        for node in (0, 1):
            options = ("--nnodes", 2, "--nproc-per-node", 1, "--node-rank", node)
            options += ("--master-addr", address, "--master-port", port, "--max-restarts", 2)
            log = folder / f"machine{node}"
            log.write_text("")
            how = {"options": options, "before": before[node], "env": env}
            self.agents.append(Agent(log, *command(source, out, number), **how))

    def __enter__(self):
        return self.agents

    def __exit__(self, *_):
        for agent in self.agents:
            agent.__exit__()
