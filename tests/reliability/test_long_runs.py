"""Section 7: runs of days. Logs stay small, checkpoints are rotated, clocks jump, readers hang."""

import random
from collections import deque

import pytest

from charloom import metrics
from charloom.outlook import history

# ---- G2: metrics.jsonl


def record_of(step, noise):
    record = {
        "step": step,
        "characters": 2048 * step,
        "seconds": step / 7,
        "loss": 1 + 3 / step + noise.random(),
        "smooth": 2.345678901234,
        "rate": 0.003,
    }
    record |= {"validation": 1 + noise.random()} if step % 7 == 0 else {}
    return record | ({"setbacks": [{"at": step}]} if step in (5, 20_000) else {})


@pytest.mark.slow
@pytest.mark.reliability("G2", "records through the log: its size, what stays of it")
def test_the_log_of_a_long_run_stays_small_and_its_outline_stays(tmp_path, trials, monkeypatch):
    number, newest = trials.of(40_000, 10**7), 10_000
    if not trials.full:
        newest = 1000
        monkeypatch.setattr(metrics, "LARGEST", 2**19)
        monkeypatch.setattr(metrics, "NEWEST", newest)
        monkeypatch.setattr(metrics, "STRETCHES", 100)
    path, noise, largest = tmp_path / "metrics.jsonl", random.Random(1), 0
    seen = {name: [] for name in metrics.LOSSES}
    extremes = {name: set() for name in metrics.LOSSES}
    last = deque(maxlen=newest)
    for step in range(1, number + 1):
        record = record_of(step, noise)
        metrics.append(path, record)
        last.append(record)
        for name in metrics.LOSSES:
            if name in record:
                seen[name] = sorted([*seen[name], (record[name], step)])
                seen[name] = [seen[name][0], seen[name][-1]]
                extremes[name] = {step for _, step in seen[name]}
        if step % 1000 == 0:
            largest = max(largest, path.stat().st_size)
    found = [record for _, record in metrics.lines(path)]
    steps = [record["step"] for record in found]
    assert largest <= (2**26 if trials.full else 2**19 + 2**18)
    assert found[-newest:] == [*last]
    assert steps == sorted({*steps})
    assert {5, 20_000, *extremes["loss"], *extremes["validation"]} <= {*steps}
    gaps = [after - before for before, after in zip([0, *steps], steps, strict=False)]
    assert max(gaps) < number / 20  # nowhere is nothing left
    assert history(found)
    metrics.truncate(path, number // 2)
    kept = [record["step"] for _, record in metrics.lines(path)]
    assert kept == [step for step in steps if step <= number // 2]
    trials.result(f"{largest / 2**20:.1f} MiB at most; the newest {newest:,} whole; extremes kept")


@pytest.mark.reliability("G2", "a crash in the middle of a line, and a line after it")
def test_a_line_cut_short_swallows_no_other(tmp_path, trials):
    chance = random.Random(2)
    for trial in range(trials.of(100, 100)):
        path = tmp_path / f"{trial}.jsonl"
        records = [record_of(step, chance) for step in range(1, 30)]
        records[-1]["text"] = "x" * chance.choice((0, 10_000))
        for record in records:
            metrics.append(path, record)
        content = path.read_bytes()
        cut = chance.randrange(len(content))
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert [record for _, record in metrics.lines(path)] == records[:whole]
        metrics.append(path, records[whole])
        assert [record for _, record in metrics.lines(path)] == records[: whole + 1]
    trials.result("readable, and gone on with")
