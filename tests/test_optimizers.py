import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import TrainConfig
from charloom.models.optimizers import SLOTS, Optimizer, clip_norm, clip_value
from charloom.models.weights import Weights

SHAPES = {"layer0.Wx": (5, 6), "layer0.b": (6,), "head.W": (6, 5)}


def draw(seed: int, scale: float = 1.0) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, shape) for name, shape in SHAPES.items()}


def torch_optimizer(name: str, weights: list[Any], config: TrainConfig) -> Any:
    optim = pytest.importorskip("torch.optim")
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    if name == "sgd":
        return optim.SGD(weights, lr=rate)
    if name == "adagrad":  # 1e-8 within the root: PyTorch's memory may start there
        return optim.Adagrad(weights, lr=rate, initial_accumulator_value=1e-8, eps=0)
    if name == "rmsprop":
        return optim.RMSprop(weights, lr=rate, alpha=config.decay, eps=1e-8)
    if name == "adam":
        return optim.Adam(weights, lr=rate, betas=betas, eps=1e-8)
    matrices = {"params": [w for w in weights if w.ndim > 1], "weight_decay": config.weight_decay}
    biases = {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0}
    return optim.AdamW([matrices, biases], lr=rate, betas=betas, eps=1e-8)


@pytest.mark.torch
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("name", SLOTS)
def test_twenty_steps_agree_with_pytorch(name: str, scale: float) -> None:
    torch = pytest.importorskip("torch")
    config = TrainConfig(
        optimizer=name, learning_rate=0.02, weight_decay=0.1, beta1=0.8, beta2=0.98, decay=0.9
    )
    ours = draw(0)
    theirs = {n: torch.tensor(w, requires_grad=True) for n, w in ours.items()}
    optimizer = Optimizer(config, ours)
    other = torch_optimizer(name, list(theirs.values()), config)
    for step in range(20):
        gradients = draw(step + 1, scale)
        for n, w in theirs.items():
            w.grad = torch.tensor(gradients[n])
        optimizer.step(ours, gradients, config.learning_rate)
        other.step()
        for n, w in theirs.items():
            np.testing.assert_allclose(ours[n], w.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_adagrad_is_min_char_rnn_s_formula_bit_for_bit() -> None:
    weights, plain = draw(0), draw(0)
    memory = {name: np.zeros_like(w) for name, w in plain.items()}
    optimizer = Optimizer(TrainConfig(optimizer="adagrad"), weights)
    for step in range(5):
        gradients = draw(step + 1)
        optimizer.step(weights, gradients, 0.1)
        for name, w in plain.items():
            dw, mem = gradients[name], memory[name]
            mem += dw * dw
            w += -0.1 * dw / np.sqrt(mem + 1e-8)
            assert np.array_equal(weights[name], w)
            assert np.array_equal(optimizer.slots["memory"][name], mem)


def test_adagrad_leaves_numbers_without_a_gradient_untouched() -> None:
    weights = draw(0)
    before = weights["layer0.Wx"].copy()
    gradients = draw(1)
    gradients["layer0.Wx"][2:] = 0
    Optimizer(TrainConfig(optimizer="adagrad"), weights).step(weights, gradients, 0.1)
    assert np.array_equal(weights["layer0.Wx"][2:], before[2:])
    assert (weights["layer0.Wx"][:2] != before[:2]).all()


def test_adamw_decays_matrices_and_spares_biases() -> None:
    weights, before = draw(0), draw(0)
    nothing = {name: np.zeros_like(w) for name, w in weights.items()}
    config = TrainConfig(optimizer="adamw", weight_decay=0.5)
    Optimizer(config, weights).step(weights, nothing, 0.1)
    for name, w in weights.items():
        factor = 0.95 if w.ndim > 1 else 1.0
        np.testing.assert_allclose(w, factor * before[name], rtol=1e-15)


def test_weight_decay_is_adamw_s_alone() -> None:
    for name in SLOTS.keys() - {"adamw"}:
        with_decay, without = draw(0), draw(0)
        for weights, decay in ((with_decay, 0.5), (without, 0.0)):
            config = TrainConfig(optimizer=name, weight_decay=decay)
            Optimizer(config, weights).step(weights, draw(1), 0.1)
        assert all(np.array_equal(with_decay[n], without[n]) for n in SHAPES)


@pytest.mark.parametrize("name", SLOTS)
def test_float32_stays_float32_even_where_the_rate_is_a_float64_scalar(name: str) -> None:
    weights = {n: w.astype("float32") for n, w in draw(0).items()}
    optimizer = Optimizer(TrainConfig(optimizer=name), weights)
    arrays = list(weights.values())
    gradients = {n: w.astype("float32") for n, w in draw(1).items()}
    assert optimizer.step(weights, gradients, np.float64(0.1))
    assert all(w is array for w, array in zip(weights.values(), arrays, strict=True))
    assert list(optimizer.slots) == list(SLOTS[name])
    kept = [array for slot in optimizer.slots.values() for array in slot.values()]
    assert all(array.dtype == np.float32 for array in [*kept, *weights.values()])
    assert all(array.any() for array in kept)
    assert optimizer.updates == 1


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_clip_norm_scales_all_gradients_by_one_factor(limit: float, seed: int) -> None:
    gradients, before = draw(seed), draw(seed)
    norm = math.sqrt(sum(float((dw**2).sum()) for dw in before.values()))
    assert clip_norm(gradients, limit) == pytest.approx(norm, rel=1e-14)
    factor = min(1.0, limit / norm)
    for name, dw in gradients.items():
        np.testing.assert_allclose(dw, factor * before[name], rtol=1e-13)
        if factor == 1:
            assert np.array_equal(dw, before[name])


@given(st.floats(1e-3, 10), st.integers(0, 100))
def test_clip_value_moves_only_what_lies_outside(limit: float, seed: int) -> None:
    gradients, before = draw(seed), draw(seed)
    clip_value(gradients, limit)
    for name, dw in gradients.items():
        inside = np.abs(before[name]) <= limit
        assert np.array_equal(dw[inside], before[name][inside])
        assert np.array_equal(dw[~inside], limit * np.sign(before[name][~inside]))


def test_a_step_clips_the_norm_first_and_then_the_values() -> None:
    weights, by_hand, gradients = draw(0), draw(0), draw(1)
    config = TrainConfig(optimizer="sgd", clip_norm=2.0, clip_value=0.3)
    Optimizer(config, weights).step(weights, draw(1), 0.1)
    norm = math.sqrt(sum(float((dw**2).sum()) for dw in gradients.values()))
    assert norm > 2
    for name, w in by_hand.items():
        w -= 0.1 * np.clip(gradients[name] * (2 / norm), -0.3, 0.3)
        np.testing.assert_allclose(weights[name], w, rtol=1e-14)


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", SLOTS)
def test_a_gradient_that_is_not_finite_moves_nothing(
    name: str, value: float, clipping: dict[str, float]
) -> None:
    weights = draw(0)
    optimizer = Optimizer(TrainConfig(optimizer=name, **clipping), weights)
    assert optimizer.step(weights, draw(1), 0.1)
    kept = copy.deepcopy((weights, optimizer.slots))
    gradients = draw(2)
    gradients["layer0.b"][3] = value
    with np.errstate(invalid="ignore"):
        assert not optimizer.step(weights, gradients, 0.1)
    for before, after in zip(kept, (weights, optimizer.slots), strict=True):
        np.testing.assert_equal(after, before)
    assert optimizer.updates == 1


def test_the_norm_of_float32_gradients_does_not_overflow() -> None:
    gradients = {"head.W": np.full((2, 2), 1e30, np.float32)}
    assert clip_norm(gradients, 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(gradients["head.W"], 0.5, rtol=1e-6)
