"""PyTorch's optimizers are held to charloom/models/optimizers.py."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.config import TrainConfig  # noqa: E402
from charloom.models.optimizers import SLOTS  # noqa: E402
from charloom.models.optimizers import Optimizer as PlainOptimizer  # noqa: E402
from charloom.models.torchnet.network import Layout  # noqa: E402
from charloom.models.torchnet.optimizers import ALIGNED, Gradients, Optimizer  # noqa: E402

pytestmark = pytest.mark.torch

SHAPES = {"matrix": (9, 30), "bias": (30,), "one": (1,)}
TRUE = torch.tensor(True)


def both(train: TrainConfig, dtype: str = "float64") -> Any:
    """Equal weights under each, and their optimizers."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    layouts = {
        name: Layout(torch.nn.Parameter(torch.tensor(array))) for name, array in weights.items()
    }
    return weights, PlainOptimizer(train, weights), layouts, Optimizer(train, layouts)


def put(gradients: Gradients, arrays: dict[str, Any]) -> None:
    for part, array in zip(gradients.parts, arrays.values(), strict=True):
        part.copy_(torch.tensor(array))


def snapshot(layouts: Any, optimizer: Optimizer) -> dict[str, Any]:
    found = {name: layout.read(layout.parameter) for name, layout in layouts.items()}
    for slot, named in optimizer.slots.items():
        found |= {f"{slot}.{name}": tensor.numpy().copy() for name, tensor in named.items()}
    return found | {"moves": int(optimizer.moves)}


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 0.3}])
@pytest.mark.parametrize("optimizer", SLOTS)
def test_twenty_steps_are_those_of_the_plain_twin(optimizer: str, clip: dict[str, float]) -> None:
    options = {"beta1": 0.8, "beta2": 0.99, "decay": 0.9, "weight_decay": 0.3}
    train = TrainConfig(optimizer=optimizer, **options, **clip)  # type: ignore[arg-type]
    weights, plain, layouts, fused = both(train)
    gradients = Gradients(layouts)
    for step in range(20):
        rng = np.random.default_rng(step)
        drawn = {
            name: rng.normal(size=shape) * 10.0 ** -(step % 5) for name, shape in SHAPES.items()
        }
        put(gradients, drawn)
        rate = 0.1 / (step + 1)
        assert plain.step(weights, drawn, rate)
        assert fused.step(gradients, rate, TRUE)
    found = snapshot(layouts, fused)
    assert found["moves"] == plain.updates == 20
    expected = weights | {
        f"{s}.{n}": a for s, named in plain.slots.items() for n, a in named.items()
    }
    assert found.keys() == expected.keys() | {"moves"}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-13, err_msg=name)


def test_only_matrices_decay_and_only_under_adamw() -> None:
    for optimizer in ("adam", "adamw"):
        train = TrainConfig(optimizer=optimizer, weight_decay=0.5)  # type: ignore[arg-type]
        weights, _, layouts, fused = both(train)
        assert fused.step(Gradients(layouts), 0.1, TRUE)  # gradients of 0
        shrunk = weights["matrix"] * (0.95 if optimizer == "adamw" else 1)
        found = snapshot(layouts, fused)
        np.testing.assert_allclose(found["matrix"], shrunk, rtol=1e-15)
        for name in ("bias", "one"):
            np.testing.assert_array_equal(found[name], weights[name])


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("optimizer", SLOTS)
def test_what_is_not_finite_moves_nothing(optimizer: str, clip_norm: float | None) -> None:
    options = {"optimizer": optimizer, "clip_norm": clip_norm, "clip_value": 5.0}
    train = TrainConfig(weight_decay=0.1, **options)  # type: ignore[arg-type]
    weights, _, layouts, fused = both(train, "float32")
    gradients = Gradients(layouts)
    put(gradients, weights)
    assert fused.step(gradients, 0.1, TRUE)
    before = snapshot(layouts, fused)
    places = [(k, at) for k, part in enumerate(gradients.parts) for at in (0, part.numel() - 1)]
    for (k, at), value in itertools.product(places, (math.nan, math.inf, -math.inf)):
        put(gradients, weights)
        gradients.parts[k].view(-1)[at] = value
        assert not fused.step(gradients, 0.1, TRUE)
        np.testing.assert_equal(snapshot(layouts, fused), before)
    put(gradients, weights)
    assert not fused.step(gradients, 0.1, ~TRUE)
    np.testing.assert_equal(snapshot(layouts, fused), before)
    assert fused.step(gradients, 0.1, TRUE)  # these gradients were sound: nothing has stayed
    assert snapshot(layouts, fused)["moves"] == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_finite_moves_however_large_it_is(dtype: str) -> None:
    weights, _, layouts, fused = both(TrainConfig(optimizer="sgd"), dtype)
    gradients = Gradients(layouts)
    most = float(np.finfo(dtype).max)
    put(gradients, {n: np.where(np.arange(w.size).reshape(w.shape) % 2, most, -most)
                    for n, w in weights.items()})  # fmt: skip
    assert fused.step(gradients, 0.0, TRUE)
    assert fused.moves == 1


def test_a_norm_is_summed_in_float64_and_one_that_overflows_moves_nothing() -> None:
    train = TrainConfig(optimizer="sgd", clip_norm=1.0)
    for dtype, size, moves in (("float32", 1e38, True), ("float64", 1e200, False)):
        weights, _, layouts, fused = both(train, dtype)
        gradients = Gradients(layouts)
        put(gradients, {name: np.full_like(w, size) for name, w in weights.items()})
        assert bool(fused.step(gradients, 1.0, TRUE)) == moves
        moved = sum(
            ((weights[n] - layouts[n].read(layouts[n].parameter)) ** 2).sum() for n in SHAPES
        )
        assert float(moved) == pytest.approx(float(moves), rel=1e-4)


def test_gradients_lie_in_one_vector_and_its_gaps_stay_empty() -> None:
    _, _, layouts, _ = both(TrainConfig())
    gradients = Gradients(layouts)
    loss = sum((layout.parameter * 2).sum() for layout in layouts.values())
    loss.backward()
    assert gradients.vector.numel() % ALIGNED == 0
    assert gradients.flat.numel() == gradients.vector.numel() + 2
    assert int(gradients.flat.sum()) == 2 * sum(math.prod(shape) for shape in SHAPES.values())
    for layout, part in zip(layouts.values(), gradients.parts, strict=True):
        assert layout.parameter.grad is part
        assert (part == 2).all()
        assert part.storage_offset() % ALIGNED == 0
