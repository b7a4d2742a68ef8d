import itertools
from typing import Any

import numpy as np
import pytest

from charloom.models.reference import gradcheck, network
from charloom.models.reference.gradcheck import check_gradients, numerical_gradient, relative_error
from charloom.models.weights import Weights, weight_shapes
from every_cell import CELLS, recurrent

NETWORKS = list(itertools.product(CELLS, [1, 2, 3], [0, 3]))


@pytest.mark.parametrize(("cell", "layers", "embedding"), NETWORKS)
def test_every_gradient_is_the_slope_of_the_loss_with_dropout_too(
    cell: str, layers: int, embedding: int
) -> None:
    # Without dropout the same networks are checked in test_cli_gradcheck.py.
    config = recurrent(cell, layers=layers, hidden=4, embedding=embedding)
    errors = check_gradients(config, dropout=0.4)
    assert list(errors) == list(weight_shapes(config, 5))
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("cell", CELLS)
def test_sizes_of_one_are_sizes_like_any_other(cell: str) -> None:
    errors = check_gradients(recurrent(cell, hidden=1), 2, batch=1, length=1)
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("cell", CELLS)
def test_one_wrong_number_in_a_gradient_is_found(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recurrent(cell, layers=2, hidden=3, embedding=2)
    right = network.backward
    for name in weight_shapes(config, 3):

        def wrong(*arguments: Any, name: str = name) -> Weights:
            gradients = right(*arguments)
            gradients[name].flat[np.argmax(np.abs(gradients[name]))] *= 1.0001
            return gradients

        monkeypatch.setattr(gradcheck.network, "backward", wrong)
        errors = check_gradients(config, 3, batch=1, length=2)
        found = [name for name, error in errors.items() if error > 1e-6]
        assert found == [name]


def test_numerical_gradient_of_a_polynomial_is_its_derivative_and_leaves_the_array_alone() -> None:
    w = np.random.default_rng(0).normal(size=(3, 2))
    before = w.copy()
    gradient = numerical_gradient(lambda: float((w**2).sum() + w[0, 1] * w[2, 0]), w)
    expected = 2 * w
    expected[0, 1] += w[2, 0]
    expected[2, 0] += w[0, 1]
    np.testing.assert_allclose(gradient, expected, atol=1e-9)
    assert np.array_equal(w, before)


def test_relative_error_is_zero_for_equal_and_one_for_opposite_or_missing() -> None:
    d = np.array([3.0, -4.0])
    assert relative_error(d, d) == 0
    assert relative_error(d, -d) == 1
    assert relative_error(d, 0 * d) == 1
    assert relative_error(0 * d, 0 * d) == 0
    assert relative_error(d, 1.02 * d) == pytest.approx(0.02 / 2.02)
