"""The benchmarks run, in tiny sizes: what they measure here means nothing."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from charloom.models.engines import has_amx

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
WITHOUT_TORCH = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path({!r}, None, {!r})"

# Rows of a cell in sampling that not every machine has: JAX's, and that in bf16.
BESIDE = (find_spec("jax") is not None) + has_amx()

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
pytestmark = pytest.mark.slow


def bench(*arguments: str, python: tuple[str, ...] = (str(BENCHMARKS / "run.py"),)) -> list[str]:
    """Return the lines that are printed below the one that names the machine."""
    result = subprocess.run(
        [sys.executable, *python, *arguments, "--tiny", "--turns", "1", "--threads", "1"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    machine, *lines = result.stdout.splitlines()
    assert "CPUs" in machine
    assert "NumPy 2" in machine
    return [line.strip() for line in lines]


@pytest.fixture(scope="module")
def without_torch() -> list[str]:
    """Return what the parts print if PyTorch is missing."""
    code = WITHOUT_TORCH.format(str(BENCHMARKS / "run.py"), "__main__")
    parts = (
        "historic",
        "ngram",
        "mixture",
        "compression",
        "text",
        "training",
        "sampling",
        "startup",
        "quality",
    )
    return bench(*parts, python=("-c", code))


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what the parts that compare with PyTorch print."""
    text = tmp_path_factory.mktemp("quality") / "text.txt"
    text.write_text("It was a dark and stormy night; " * 200, "utf-8")
    parts = ("training", "sampling", "scale", "quality")
    return bench(*parts, "--text", str(text), "--minutes", "0.01")


def rows(lines: list[str], start: str) -> list[list[str]]:
    """Return the cells of the rows that begin so, of which there is one at least."""
    found = [
        [cell for cell in line.split("   ") if cell] for line in lines if line.startswith(start)
    ]
    assert found, (start, lines)
    return found


def figures(row: list[str]) -> list[float]:
    """Return the figures of a row: charloom's, and those against another side."""
    numbers = [cell.strip().replace(",", "") for cell in (row[1], *row[3:])]
    return [float(number) for number in numbers]


def test_parts_without_pytorch_print_both_sides_and_their_ratio(without_torch: list[str]) -> None:
    starts = {"min-char-": 4, "text": 1, "c": 1, "LSTM 16": 2}
    for name, count in starts.items():
        start = name if name == "min-char-" else f"us-constitution, {name}"
        found = rows(without_torch, start)
        assert len(found) == count
        for row in found:
            ours, theirs, gain = figures(row)
            assert min(ours, theirs) > 0
            timed = "an update" in row[0]
            assert gain == pytest.approx(theirs / ours if timed else ours / theirs, rel=0.02)


@pytest.mark.torch
@needs_torch
def test_training_and_sampling_stand_beside_pytorch(with_torch: list[str]) -> None:
    precisions = 2 if has_amx() else 1
    others = 3 + BESIDE
    sides = (
        *(("LSTM 1 x", precisions), ("GRU 1 x", precisions)),
        *(("LSTM 16", others), ("GRU 16", others)),
    )
    for start, count in sides:
        found = rows(with_torch, start)
        assert len(found) == count
        assert all(min(figures(row)) > 0 for row in found)


def test_what_a_text_becomes_stands_beside_other_programs(without_torch: list[str]) -> None:
    ours, *others = (
        row for name in ("charloom compress", "bz2", "xz") for row in rows(without_torch, name)
    )
    sizes = [int(row[1].replace(",", "")) for row in (ours, *others)]
    assert sizes[0] < min(sizes[1:])
    assert float(ours[3]) == pytest.approx(float(ours[2]) / math.log(2), abs=0.0002)


def test_what_a_run_knows_makes_a_text_smaller(without_torch: list[str]) -> None:
    starts = ("the last tenth, from", "with the text of a run", "with that network inside")
    alone, known, inside = (rows(without_torch, start)[0] for start in starts)
    assert int(known[1]) < 0.8 * int(alone[1].replace(",", ""))
    assert int(inside[2].replace(",", "")) < int(inside[1].replace(",", ""))


def test_without_pytorch_its_rows_are_left_out_and_a_line_says_so(without_torch: list[str]) -> None:
    assert sum("PyTorch is not installed" in line for line in without_torch) == 2
    assert len(rows(without_torch, "LSTM")) == (3 if has_amx() else 2) + BESIDE
    assert not any("PyTorch," in line or "nn." in line for line in without_torch)


def test_startup_times_processes(without_torch: list[str]) -> None:
    found = rows(without_torch, "charloom --help") + rows(without_torch, "charloom train")
    assert len(found) == 3
    assert all(figures(row)[0] > 0.01 for row in found)


@pytest.mark.torch
@needs_torch
def test_quality_scores_both_sides_on_the_last_tenth(with_torch: list[str]) -> None:
    assert any("640 validation characters" in line for line in with_torch)
    found = rows(with_torch, "0.01 minutes, ")
    sides = ("charloom train", "PyTorch", "PyTorch, better")
    assert [row[0].strip() for row in found] == [f"0.01 minutes, {side}" for side in sides]
    for row in found:
        best, end, best_bits, end_bits = map(float, row[1:5])
        assert 0 < best <= end
        assert best_bits == pytest.approx(best / math.log(2), abs=0.0002)
        assert end_bits == pytest.approx(end / math.log(2), abs=0.0002)


@pytest.mark.torture
def test_quality_runs_one_side_alone() -> None:
    lines = bench(
        "quality", "--text", "corpus:us-constitution", "--minutes", "0.02", "--side", "charloom"
    )
    ((name, *_),) = rows(lines, "0.02 minutes, ")
    assert name.strip() == "0.02 minutes, charloom train"


@pytest.mark.torture
def test_adaptation_tells_two_figures_of_one_run_and_others_beside_the_second() -> None:
    lines = bench("adaptation", "--minutes", "0.02")
    names = ("static", "learning while reading", "... its network alone")
    figures = [float(rows(lines, f"0.02 minutes, {name}")[0][1]) for name in names]
    assert figures[1] < figures[0]
    for name in ("context mixing", "xz"):
        assert float(rows(lines, name)[0][1]) > 0


def test_quality_without_a_text_says_how_to_give_one(without_torch: list[str]) -> None:
    assert any("--text FILE" in line for line in without_torch)


@pytest.mark.torch
@needs_torch
def test_scale_compares_programs_with_a_matrix_product(with_torch: list[str]) -> None:
    for name in ("torch-rnn-1024", "nanogpt-char"):
        found = rows(with_torch, name)
        assert [row[1].strip() for row in found] == ["float32", "bf16"]
        without_bf16 = "-" in found[1][2].split()
        for row in found[: 1 if without_bf16 else 2]:
            assert min(float(cell.replace(",", "")) for cell in row[2:5]) > 0
            assert row[5].strip().endswith("%")


def test_operations_of_the_small_transformer_are_those_by_hand() -> None:
    script = (
        "from scale import operations; from charloom.presets import preset;"
        "print(operations(preset('nanogpt-char-cpu')), operations(preset('char-rnn')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    transformer = 6 * (65 * 128 + 4 * 12 * 128**2) + 12 * 4 * 128 * 64 // 2
    recurrent = 6 * (512 * (65 + 128) + 512 * (128 + 128) + 128 * 65)
    assert done.stdout.split() == [str(transformer), str(recurrent)]


@pytest.mark.skipif(find_spec("uvicorn") is None, reason="the server is not installed")
def test_the_server_is_measured_with_many_clients_and_one() -> None:
    lines = bench("serve")
    found = rows(lines, "LSTM 16, 8 clients")
    assert len(found) == 1 + (find_spec("transformers") is not None)
    assert rows(lines, "first character, ms")
    assert rows(lines, "client gone to slot free, ms")
