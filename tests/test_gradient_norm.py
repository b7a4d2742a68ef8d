import math

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig, replace
from charloom.models.engines import create_learner
from small_runs import TRAIN, config_of, played, write_text

MODEL = ModelConfig(cell="gru", hidden=3)
IDS = np.random.default_rng(0).integers(0, 5, (2, 9))


def learner(engine, clip_norm):
    config = TrainConfig(batch=2, length=8, optimizer="sgd", clip_norm=clip_norm)
    return create_learner(MODEL, config, 5, engine, "float64", seed=1)


def weights(learner):
    names = [name for name in learner.arrays() if "." in name and "optimizer" not in name]
    arrays = [learner.arrays()[n] for n in sorted(names) if not n.startswith(("state", "rng"))]
    return np.concatenate([array.ravel() for array in arrays])


@pytest.mark.parametrize(
    "engine",
    ["reference", "compiled", pytest.param("torch", marks=pytest.mark.torch)],
)
def test_the_norm_is_that_of_the_gradient_before_it_is_clipped(engine):
    if engine == "torch":
        pytest.importorskip("torch")
    free, held = learner(engine, 1e6), learner(engine, 0.01)
    assert free.gradient_norm is None
    before = weights(free).copy()
    for one in (free, held):
        one.update(IDS[:, :-1], IDS[:, 1:], 1.0)
    norm = math.sqrt(np.sum((weights(free) - before) ** 2))  # of sgd at rate 1
    assert norm > 0.1
    assert free.gradient_norm == pytest.approx(norm, rel=1e-9)
    assert held.gradient_norm == pytest.approx(norm, rel=1e-9)
    assert np.linalg.norm(weights(held) - before) == pytest.approx(0.01)
    free.load(free.arrays())
    assert free.gradient_norm is None


@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_metrics_hold_it_where_it_is_clipped(tmp_path, clip_norm):
    config = config_of(write_text(tmp_path), train=replace(TRAIN, clip_norm=clip_norm))
    lines = played(tmp_path / "run", config).metrics()
    assert lines
    if clip_norm is None:
        assert not [line for line in lines if line.gradient_norm is not None]
    else:
        assert all(line.gradient_norm > 0 for line in lines)
