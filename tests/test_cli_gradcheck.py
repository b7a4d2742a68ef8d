from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from charloom.cli.gradcheck import CELLS, gradcheck
from charloom.config import ModelConfig
from charloom.models.reference import network
from charloom.models.weights import Weights, weight_shapes


def test_every_weight_of_every_cell_in_one_to_three_layers_passes() -> None:
    result = CliRunner().invoke(gradcheck, ["--json"])
    assert result.exit_code == 0
    document = msgspec.json.decode(result.stdout)
    assert document["passed"]
    assert all(row["relative_error"] <= 1e-6 for row in document["rows"])
    assert CELLS == ("rnn", "lstm", "gru")
    found = {(r["cell"], r["inputs"], r["layers"], r["name"]) for r in document["rows"]}
    assert found == {
        (cell, inputs, layers, name)
        for cell in CELLS
        for layers in (1, 2, 3)
        for inputs, embedding in (("one-hot", 0), ("embedded", 3))
        for name in weight_shapes(ModelConfig(cell=cell, layers=layers, embedding=embedding), 5)
    }


def test_the_table_names_every_weight_and_says_that_all_passed() -> None:
    result = CliRunner().invoke(gradcheck, [])
    assert result.exit_code == 0
    words = result.stdout.split()
    for name in weight_shapes(ModelConfig(layers=3, embedding=3), 5):
        assert words.count(name) >= 3  # once for each cell
    assert "passed: " in result.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_wrong_gradient_is_named_and_ends_with_status_1(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = network.backward

    def wrong(config: ModelConfig, *rest: Any) -> Weights:
        gradients = right(config, *rest)
        if config.cell == "gru" and config.layers == 2:
            gradients["layer1.Wh"].flat[np.argmax(np.abs(gradients["layer1.Wh"]))] *= 1.001
        return gradients

    monkeypatch.setattr(network, "backward", wrong)
    monkeypatch.setattr("charloom.cli.gradcheck.CELLS", ("rnn", "gru"))
    result = CliRunner().invoke(gradcheck, options)
    assert result.exit_code == 1
    if options:
        document = msgspec.json.decode(result.stdout)
        bad = [row for row in document["rows"] if row["relative_error"] > 1e-6]
        assert not document["passed"]
        assert {(r["cell"], r["layers"], r["name"]) for r in bad} == {("gru", 2, "layer1.Wh")}
        assert len(bad) == 2  # one-hot and embedded
    else:
        assert "FAILED: " in result.stdout
        assert "layer1.Wh, gru in 2 layers" in " ".join(result.stdout.split())
