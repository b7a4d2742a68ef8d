from dataclasses import replace

import msgspec
import pytest
from click.testing import CliRunner

from charloom.cli.gradcheck import gradcheck
from charloom.config import ModelConfig
from charloom.models.reference import gradcheck as library
from charloom.models.reference.gradcheck import CELLS, HARD, CellCheck
from charloom.models.weights import weight_shapes


@pytest.fixture(scope="module")
def checks() -> list[CellCheck]:
    return library.check_cells()


def test_every_weight_of_every_cell_in_one_to_three_layers_passes(checks: list[CellCheck]) -> None:
    assert all(check.relative_error <= 1e-6 for check in checks)
    assert {(c.cell, c.inputs, c.layers, c.name) for c in checks} == {
        (cell, inputs, layers, name)
        for cell in CELLS | HARD
        for layers in (1, 2, 3)
        for inputs, embedding in (("one-hot", 0), ("embedded", 3))
        for name in weight_shapes(
            ModelConfig(**(CELLS | HARD)[cell], layers=layers, embedding=embedding), 5
        )
    }


def test_the_table_names_every_weight_and_the_worst_error(
    checks: list[CellCheck], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "check_cells", lambda: checks)
    result = CliRunner().invoke(gradcheck, [])
    assert result.exit_code == 0
    words = result.stdout.split()
    for name in weight_shapes(ModelConfig(layers=3, embedding=3), 5):
        assert words.count(name) >= 3  # once for each cell
    worst = max(check.relative_error for check in checks)
    assert f"passed: {len(checks)} " in result.stdout
    assert f"{worst:.1e}" in words


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_wrong_gradient_is_named_and_ends_with_status_1(
    options: list[str], checks: list[CellCheck], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [
        replace(check, relative_error=2e-6)
        if (check.cell, check.layers, check.name) == ("gru", 2, "layer1.Wh")
        else check
        for check in checks
    ]
    monkeypatch.setattr(library, "check_cells", lambda: wrong)
    result = CliRunner().invoke(gradcheck, options)
    assert result.exit_code == 1
    if options:
        document = msgspec.json.decode(result.stdout)
        bad = [row for row in document["rows"] if row["relative_error"] > document["threshold"]]
        assert not document["passed"]
        assert {(r["cell"], r["layers"], r["name"]) for r in bad} == {("gru", 2, "layer1.Wh")}
        assert len(bad) == 2  # one-hot and embedded
    else:
        assert result.stdout.count("2e-06 FAILED") == 2
        assert "(layer1.Wh, gru " in " ".join(result.stdout.split())
