import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.config import ModelConfig, TrainConfig  # noqa: E402
from charloom.errors import CharloomError  # noqa: E402
from charloom.model import Learner, create_learner  # noqa: E402
from charloom.optimizers import SLOTS  # noqa: E402
from charloom.reference import ReferenceLearner  # noqa: E402
from charloom.weights import initial_weights  # noqa: E402

pytestmark = pytest.mark.torch
torch.set_num_threads(1)  # so little work is not shared out

CELLS = ["rnn", "lstm", "gru"]
V, B, T = 7, 3, 5


def batch(seed: int, lanes: int = B, length: int = T) -> Any:
    return np.random.default_rng(seed).integers(0, V, (2, lanes, length))


def network(cell: str = "lstm", **options: Any) -> ModelConfig:
    return ModelConfig(**{"cell": cell, "layers": 2, "hidden": 6, **options})


def settings(**options: Any) -> TrainConfig:
    return TrainConfig(**{"batch": B, "length": T, "optimizer": "adam", **options})


def fresh(model: ModelConfig, train: TrainConfig, dtype: Any = "float32", seed: Any = None) -> Any:
    return create_learner(model, train, V, "torch", dtype, seed)


def trained(model: ModelConfig, train: TrainConfig, updates: int = 4, **options: Any) -> Any:
    learner = fresh(model, train, **options)
    for seed in range(updates):
        learner.update(*batch(seed), 0.05)
    return learner


def assert_equal(a: dict[str, Any], b: dict[str, Any], but: str = "nothing") -> None:
    assert list(a) == list(b)
    for name in a:
        if not name.startswith(but):
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", SLOTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_those_of_the_reference(cell: str, optimizer: str, dtype: str) -> None:
    model, train = network(cell, embedding=2), settings(optimizer=optimizer)
    learner, plain = trained(model, train, dtype=dtype), ReferenceLearner(model, train, V, dtype)
    assert isinstance(learner, Learner)
    for seed in range(4):
        plain.update(*batch(seed), 0.05)
    found, expected = learner.arrays(), plain.arrays()
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].flags.c_contiguous
        assert found[name].any() or name == "rng.seed"
    assert found["optimizer.updates"] == 4


@pytest.mark.parametrize("cell", CELLS)
def test_loss_changes_nothing_and_is_what_update_then_returns(cell: str) -> None:
    learner = trained(network(cell, embedding=2), settings(), dtype="float64")
    before = learner.arrays()
    loss = learner.loss(*batch(9))
    assert type(loss) is float
    assert loss == learner.loss(*batch(9))
    assert_equal(learner.arrays(), before)
    updated = learner.update(*batch(9), 0.1)
    assert type(updated) is float
    assert updated == pytest.approx(loss, rel=1e-14)
    learner.reset()
    assert learner.loss(*batch(9)) != loss
    assert not learner.arrays()["state.layer1.h"].any()


def test_loss_leaves_the_next_update_as_it_was() -> None:
    learners = [fresh(network(), settings(dropout=0.5)) for _ in range(2)]
    for seed in range(4):
        learners[1].loss(*batch(seed + 50))
        losses = [learner.update(*batch(seed), 0.1) for learner in learners]
        assert losses[0] == losses[1]
    assert_equal(learners[0].arrays(), learners[1].arrays())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", SLOTS)
def test_a_saved_learner_goes_on_to_the_last_bit(cell: str, optimizer: str) -> None:
    model = network(cell, embedding=2)
    train = settings(optimizer=optimizer, dropout=0.3, clip_norm=1.0, clip_value=0.05)
    learner, other = (fresh(model, train, seed=seed) for seed in (5, 6))
    for seed in range(6):
        learner.update(*batch(seed), 0.05)
        other.update(*batch(seed + 50), 0.05)  # so that there is something to forget
        other.load(learner.arrays())
        assert_equal(other.arrays(), learner.arrays())
        ahead = [[one.update(*batch(s), 0.05) for s in range(10, 13)] for one in (learner, other)]
        assert ahead[0] == ahead[1]
        assert_equal(other.arrays(), learner.arrays())


def test_weights_alone_make_all_else_fresh() -> None:
    model, train = network(), settings(dropout=0.3)
    used, plain = trained(model, train, seed=5), fresh(model, train, seed=5)
    used.load({name: w.astype("float32") for name, w in initial_weights(model, V, 5).items()})
    assert_equal(used.arrays(), plain.arrays())
    assert used.update(*batch(9), 0.1) == plain.update(*batch(9), 0.1)
    assert_equal(used.arrays(), plain.arrays())


def test_arrays_that_do_not_fit_are_refused_and_change_nothing() -> None:
    learner = trained(network(), settings())
    before = learner.arrays()
    smaller = trained(network(), settings(optimizer="sgd")).arrays()
    for arrays, message in [
        ({}, r"missing: head\.W"),
        (initial_weights(network("gru"), V, 0), "shape"),
        (before | {"extra": np.zeros(1)}, "unknown: extra"),
        (before | {"head.b": np.full(V, np.nan)}, r"head\.b holds NaN"),
        (smaller, r"missing: optimizer\.m\.head\.W"),
        (fresh(network(), settings(batch=2)).arrays(), r"\(2, 6\).*need \(3, 6\)"),
    ]:
        with pytest.raises(CharloomError, match=message):
            learner.load(arrays)
        assert_equal(learner.arrays(), before)


@pytest.mark.parametrize("shape", [(B, T, 1), (1, T), (B + 1, T), (T,), (B, 0)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    learner = fresh(network(), settings())
    ids = np.zeros(shape, int)
    for call in (lambda: learner.loss(ids, ids), lambda: learner.update(ids, ids, 0.1)):
        with pytest.raises(CharloomError, match=r"must be \(B, T\) with B = 3"):
            call()
    with pytest.raises(CharloomError):
        learner.loss(np.zeros((B, T), int), np.zeros((B, T + 1), int))


@pytest.mark.parametrize("bad", [-1, V])
@pytest.mark.parametrize("spoiled", [0, 1])
def test_ids_outside_the_vocabulary_are_refused(bad: int, spoiled: int) -> None:
    learner = trained(network(), settings())
    before = learner.arrays()
    ids = batch(9)
    ids[spoiled][1, 2] = bad
    for call in (lambda: learner.loss(*ids), lambda: learner.update(*ids, 0.1)):
        with pytest.raises(CharloomError, match="outside 0 to 6"):
            call()
    assert_equal(learner.arrays(), before)


@pytest.mark.parametrize("optimizer", SLOTS)
@pytest.mark.parametrize(("value", "told"), [(np.nan, np.nan), (-np.inf, np.inf)])
def test_a_loss_that_is_not_finite_comes_back_as_it_is_and_moves_nothing(
    value: float, told: float, optimizer: str
) -> None:
    train = settings(optimizer=optimizer, clip_value=1.0, dropout=0.3, weight_decay=0.1)
    learner, other = trained(network(), train), fresh(network(), train)
    whole, (inputs, targets) = learner.arrays(), batch(9)
    with torch.no_grad():
        learner.network.head_b[targets[2, 1]] = value
    before = learner.arrays()
    np.testing.assert_equal(learner.update(inputs, targets, 0.1), told)
    assert_equal(learner.arrays(), before, but="state.")
    for one in (learner, other):
        one.load(whole)
        one.update(*batch(10), 0.1)
    assert_equal(learner.arrays(), other.arrays())


@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("optimizer", SLOTS)
def test_a_gradient_that_overflows_under_a_finite_loss_tells_nan(
    optimizer: str, embedding: int
) -> None:
    train = settings(optimizer=optimizer, reduction="sum", weight_decay=0.1)
    model = network("rnn", embedding=embedding)
    learner = fresh(model, train)
    weights = {name: 0 * w for name, w in initial_weights(model, V, 0).items()}
    weights["head.W"][:, :2] = 1e38, -1e38  # h is 0: each logit is 0, each dh is 1e38
    learner.load(weights)
    before, ones = learner.arrays(), np.ones((B, T), int)
    assert learner.loss(ones, ones) == pytest.approx(math.log(V))
    assert math.isnan(learner.update(ones, ones, 0.1))
    assert_equal(learner.arrays(), before, but="state.")


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = (trained(network(), settings(dropout=0.3), seed=8) for _ in range(2))
    assert_equal(one.arrays(), other.arrays())


def test_another_length_keeps_the_carried_state() -> None:
    model, train = network(), settings(optimizer="adagrad")
    learner, plain = fresh(model, train, "float64"), ReferenceLearner(model, train, V)
    for length in (5, 3, 8, 5):
        step = batch(length, length=length)
        expected = plain.update(*step, 0.1)
        assert learner.update(*step, 0.1) == pytest.approx(expected, rel=1e-12)
