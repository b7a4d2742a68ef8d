import math
from typing import Any

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.dropout import dropout_masks
from charloom.models.optimizers import SLOTS
from charloom.models.protocols import LanguageModel, Learner, LendsModel, ReportsGradientNorm
from charloom.models.reference import ReferenceLearner, ReferenceModel
from charloom.models.reference.network import forward
from charloom.models.reference.operations import cross_entropy
from charloom.models.weights import initial_weights
from expect import refused

CELLS = ["rnn", "lstm", "gru"]
V, B, T = 7, 3, 5
Batch = tuple[np.ndarray, np.ndarray]


def batch(seed: int, lanes: int = B, length: int = T) -> Batch:
    inputs, targets = np.random.default_rng(seed).integers(0, V, (2, lanes, length))
    return inputs, targets


def network(cell: str = "lstm", **options: Any) -> ModelConfig:
    return ModelConfig(**{"cell": cell, "layers": 2, "hidden": 6, **options})


def settings(**options: Any) -> TrainConfig:
    return TrainConfig(**{"batch": B, "length": T, "optimizer": "adam", **options})


def copies(learner: ReferenceLearner) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in learner.arrays().items()}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(
        a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]) for name in a
    )


def trained(model: ModelConfig, train: TrainConfig, updates: int = 4, **options: Any) -> Any:
    learner = ReferenceLearner(model, train, V, **options)
    for seed in range(updates):
        learner.update(*batch(seed), 0.05)
    return learner


# The learner.


def test_the_two_faces_are_those_of_the_protocols() -> None:
    model = network()
    learner = ReferenceLearner(model, settings(), V)
    assert isinstance(learner, Learner)
    assert isinstance(learner, LendsModel)
    assert isinstance(learner, ReportsGradientNorm)
    vocabulary = Vocabulary(tuple("abcdefg"))
    assert isinstance(ReferenceModel(model, learner.weights, vocabulary), LanguageModel)


def test_the_seed_is_that_of_the_settings_unless_given() -> None:
    model = network()
    drawn = ReferenceLearner(model, settings(seed=3), V).arrays()
    assert equal(drawn, ReferenceLearner(model, settings(seed=1), V, seed=3).arrays())
    assert not equal(drawn, ReferenceLearner(model, settings(seed=1), V).arrays())
    first = initial_weights(model, V, 3)
    assert all(np.array_equal(drawn[name], w) for name, w in first.items())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_have_the_names_shapes_and_dtypes_agreed(cell: str, dtype: str) -> None:
    learner = trained(network(cell, embedding=2), settings(), dtype=dtype)
    arrays = learner.arrays()
    state = ["h", "c"] if cell == "lstm" else ["h"]
    expected = list(learner.weights)
    expected += [f"optimizer.{slot}.{name}" for slot in "mv" for name in learner.weights]
    expected += ["optimizer.updates", *(f"state.layer{k}.{n}" for k in (0, 1) for n in state)]
    assert list(arrays) == [*expected, "rng.seed"]
    for name, array in arrays.items():
        if name in ("optimizer.updates", "rng.seed"):
            assert array.dtype == np.int64
            assert array.shape == (1,)
        else:
            assert array.dtype == dtype
            assert array.any()
        if name.startswith("state"):
            assert array.shape == (B, 6)
    assert arrays["optimizer.updates"] == 4


@pytest.mark.parametrize("cell", CELLS)
def test_loss_changes_nothing_and_is_what_update_then_returns(cell: str) -> None:
    learner = trained(network(cell, embedding=2), settings())
    before, states = copies(learner), learner.states
    loss = learner.loss(*batch(9))
    assert loss == learner.loss(*batch(9))
    assert equal(copies(learner), before)
    assert learner.states is states
    assert learner.update(*batch(9), 0.1) == loss
    learner.reset()
    assert learner.loss(*batch(9)) != loss


def test_loss_has_no_dropout_and_update_has_the_masks_of_its_number() -> None:
    model, train = network(layers=3), settings(dropout=0.5, seed=11)
    learner, plain = trained(model, train), ReferenceLearner(model, settings(), V)
    plain.load(copies(learner))
    inputs, targets = batch(9)
    assert learner.loss(inputs, targets) == plain.loss(inputs, targets)
    masks = [*dropout_masks(11, 4, 3, (B, 6), 0.5, "float64")]
    logits, _, _ = forward(model, learner.weights, inputs.T, learner.states, masks)
    loss = learner.update(inputs, targets, 0.1)
    assert loss == cross_entropy(logits, targets.T)[0]
    assert loss != plain.update(inputs, targets, 0.1)


def test_dropout_acts_on_a_single_layer_too() -> None:
    model = network(layers=1)
    dropped, plain = trained(model, settings(dropout=0.5)), trained(model, settings())
    assert not equal(dropped.arrays(), plain.arrays())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", SLOTS)
def test_a_saved_learner_goes_on_to_the_last_bit(cell: str, optimizer: str) -> None:
    model = network(cell, embedding=2)
    train = settings(optimizer=optimizer, dropout=0.3, clip_norm=1.0, clip_value=0.05)
    learner = trained(model, train, dtype="float32", seed=5)
    saved = copies(learner)
    other = ReferenceLearner(model, train, V, "float32", seed=6)
    other.load(saved)
    for seed in range(10, 15):
        assert other.update(*batch(seed), 0.05) == learner.update(*batch(seed), 0.05)
    assert equal(other.arrays(), learner.arrays())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "adam"])
def test_every_item_saved_is_needed(cell: str, optimizer: str) -> None:
    model, train = network(cell, embedding=2), settings(optimizer=optimizer, dropout=0.3)
    saved = copies(trained(model, train))

    def continuation(arrays: dict[str, np.ndarray]) -> list[float]:
        learner = ReferenceLearner(model, train, V)
        learner.load(arrays)
        return [learner.update(*batch(seed), 0.05) for seed in (8, 9, 10)]

    whole = continuation(saved)
    assert whole == continuation(saved)
    for name, array in saved.items():
        counts = name == "optimizer.updates" or name == "rng.seed"
        changed = saved | {name: array + 1 if counts else array * 0.5}
        assert continuation(changed) != whole, name
        with refused("bad-array", missing=[name], unknown=[]):
            continuation({n: a for n, a in saved.items() if n != name})


def test_weights_alone_make_all_else_fresh() -> None:
    model, train = network(), settings(dropout=0.3)
    learner = trained(model, train)
    weights = {name: w.copy() for name, w in learner.weights.items()}
    learner.load(weights)
    fresh = ReferenceLearner(model, train, V)
    for name, w in fresh.weights.items():
        w[...] = weights[name]
    assert equal(learner.arrays(), fresh.arrays())
    assert learner.update(*batch(9), 0.1) == fresh.update(*batch(9), 0.1)


def test_arrays_that_do_not_fit_are_refused_and_change_nothing() -> None:
    learner = trained(network(), settings())
    before = copies(learner)
    smaller = trained(network(), settings(optimizer="sgd"))
    fewer_lanes = ReferenceLearner(network(), settings(batch=2), V)
    slots = [f"optimizer.{slot}.{name}" for slot in "mv" for name in learner.weights]
    wrong: list[tuple[dict[str, np.ndarray], dict[str, object]]] = [
        ({}, {"missing": sorted(learner.weights)}),
        (initial_weights(network("gru"), V, 0), {"name": "layer0.Wx", "found": (7, 18)}),
        (before | {"extra": np.zeros(1)}, {"unknown": ["extra"]}),
        (before | {"head.b": np.full(V, np.nan)}, {"name": "head.b"}),
        (copies(smaller), {"missing": sorted(slots), "unknown": []}),
        (copies(fewer_lanes), {"name": "state.layer0.h", "found": (2, 6), "needed": (3, 6)}),
    ]
    for arrays, facts in wrong:
        with refused("bad-array", **facts):
            learner.load(arrays)
        assert equal(copies(learner), before)


@pytest.mark.parametrize("shape", [(B, T, 1), (1, T), (B + 1, T), (T,), (B, 0)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    learner = ReferenceLearner(network(), settings(), V)
    ids = np.zeros(shape, int)
    for call in (lambda: learner.loss(ids, ids), lambda: learner.update(ids, ids, 0.1)):
        with refused("bad-array", batch=B):
            call()
    with refused("bad-array", batch=B):
        learner.loss(np.zeros((B, T), int), np.zeros((B, T + 1), int))


@pytest.mark.parametrize("bad", [-1, V])
@pytest.mark.parametrize("spoiled", [0, 1])
def test_ids_outside_the_vocabulary_are_refused(bad: int, spoiled: int) -> None:
    learner = trained(network(), settings())
    before = copies(learner)
    ids = batch(9)
    ids[spoiled][1, 2] = bad
    with refused("bad-array", vocabulary_size=V):
        learner.loss(*ids)
    with refused("bad-array", vocabulary_size=V):
        learner.update(*ids, 0.1)
    assert equal(copies(learner), before)


def test_a_loss_that_is_not_finite_comes_back_as_it_is_and_moves_nothing() -> None:
    learner = trained(network(), settings(clip_value=1.0))
    inputs, targets = batch(9)
    for value, told in ((np.nan, np.nan), (-np.inf, np.inf)):
        learner.weights["head.b"][targets[0, 0]] = value
        before = copies(learner)
        np.testing.assert_equal(learner.update(inputs, targets, 0.1), told)
        np.testing.assert_equal(copies(learner), before)


def test_a_gradient_that_overflows_under_a_finite_loss_tells_nan_and_moves_nothing() -> None:
    learner = ReferenceLearner(network("rnn"), settings(reduction="sum"), V)
    weights = {name: np.zeros_like(w) for name, w in learner.weights.items()}
    weights["head.W"][:, :2] = 1e308, -1e308  # h is 0: each logit is 0, each dh is 1e308
    learner.load(weights)
    before, ones = copies(learner), np.ones((B, T), int)
    assert learner.loss(ones, ones) == pytest.approx(math.log(V))
    assert math.isnan(learner.update(ones, ones, 0.1))
    np.testing.assert_equal(copies(learner), before)


@pytest.mark.parametrize("cell", CELLS)
def test_lanes_do_not_see_each_other(cell: str) -> None:
    model = network(cell)
    together = ReferenceLearner(model, settings(optimizer="sgd", reduction="sum"), V)
    before = {name: w.copy() for name, w in together.weights.items()}
    inputs, targets = batch(0)
    loss = together.update(inputs, targets, 0.1)
    moves = {name: np.zeros_like(w) for name, w in before.items()}
    losses = []
    for lane in range(B):
        alone = ReferenceLearner(model, settings(optimizer="sgd", reduction="sum", batch=1), V)
        losses.append(alone.update(inputs[[lane]], targets[[lane]], 0.1))
        for layer in range(2):
            for a, b in zip(alone.states[layer], together.states[layer], strict=True):
                np.testing.assert_allclose(a[0], b[lane], rtol=0, atol=1e-14)
        for name, w in alone.weights.items():
            moves[name] += w - before[name]
    assert loss == pytest.approx(np.mean(losses), rel=1e-14)
    for name, w in together.weights.items():
        np.testing.assert_allclose(w - before[name], moves[name], rtol=0, atol=1e-13)


def test_the_gradient_of_the_sum_is_that_of_the_mean_times_the_characters() -> None:
    summed = trained(network(), settings(optimizer="sgd", reduction="sum"), updates=0)
    mean = trained(network(), settings(optimizer="sgd"), updates=0)
    assert summed.update(*batch(0), 0.01) == mean.update(*batch(0), 0.01 * B * T)
    for name, w in summed.weights.items():
        np.testing.assert_allclose(w, mean.weights[name], rtol=0, atol=1e-14)


def test_the_state_is_carried_from_step_to_step() -> None:
    learner = ReferenceLearner(network(), settings(), V)
    (first, first_targets), (second, second_targets) = batch(0), batch(1)
    both = np.hstack([first, second]), np.hstack([first_targets, second_targets])
    whole = learner.loss(*both)
    parts = learner.update(first, first_targets, 0.0), learner.loss(second, second_targets)
    assert np.mean(parts) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_follows_float64(cell: str) -> None:
    model, train = network(cell, embedding=3), settings(dropout=0.2)
    single, double = (ReferenceLearner(model, train, V, dtype) for dtype in ("float32", "float64"))
    for seed in range(20):
        a, b = (learner.update(*batch(seed), 0.01) for learner in (single, double))
        assert a == pytest.approx(b, rel=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_a_repeated_text_is_learned(cell: str) -> None:
    learner = ReferenceLearner(network(cell, layers=1, hidden=16), settings(), V)
    start = learner.loss(*batch(0))
    for _ in range(200):
        learner.reset()
        learner.update(*batch(0), 0.02)
    learner.reset()
    assert learner.loss(*batch(0)) < start / 10


# The language model.


@pytest.mark.parametrize("cell", CELLS)
def test_reading_at_once_is_reading_step_by_step(cell: str) -> None:
    config = network(cell, embedding=2)
    model = ReferenceModel(config, initial_weights(config, V, 0), Vocabulary(tuple("abcdefg")))
    ids = batch(0)[0]
    log_p, end = model.log_probs(ids, model.start(B))
    assert log_p.shape == (B, T, V)
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-14)
    state = model.start(B)
    for t in range(T):
        before = [s.copy() for layer in state for s in layer]
        step, after = model.step(ids[:, t], state)
        assert step.shape == (B, V)
        np.testing.assert_allclose(step, log_p[:, t], rtol=0, atol=1e-14)
        assert all(np.array_equal(a, b) for a, b in zip(before, sum(state, ()), strict=True))
        state = after
    for a, b in zip(sum(state, ()), sum(end, ()), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_a_model_predicts_what_its_learner_learned_and_keeps_it() -> None:
    config = network()
    learner = trained(config, settings())
    model = ReferenceModel(config, learner.weights, Vocabulary(tuple("abcdefg")))
    learner.reset()
    inputs, targets = batch(9)
    log_p, _ = model.log_probs(inputs, model.start(B))
    loss = -np.take_along_axis(log_p, targets[..., None], -1).mean()
    assert loss == pytest.approx(learner.loss(inputs, targets), rel=1e-14)
    learner.update(inputs, targets, 0.1)
    assert np.array_equal(model.log_probs(inputs, model.start(B))[0], log_p)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_lent_model_is_the_learner_as_it_stands_and_leaves_it_alone(dtype: str) -> None:
    learner, vocabulary = trained(network(), settings(), dtype=dtype), Vocabulary(tuple("abcdefg"))
    before, lent = copies(learner), learner.model(vocabulary)
    own = ReferenceModel(network(), learner.weights, vocabulary)
    found, wanted = (m.log_probs(batch(9)[0], m.start(B))[0] for m in (lent, own))
    assert np.array_equal(found, wanted)
    assert equal(copies(learner), before)
    if dtype == "float64":
        assert all(lent.weights[name] is w for name, w in learner.weights.items())


def test_a_model_reads_float32_weights_in_float64_and_refuses_those_of_another_size() -> None:
    config, vocabulary = network(), Vocabulary(tuple("abcdefg"))
    single = {n: w.astype("float32") for n, w in initial_weights(config, V, 0).items()}
    model = ReferenceModel(config, single, vocabulary)
    assert model.step(np.array([0, 1]), model.start(2))[0].dtype == np.float64
    with refused("bad-array", name="layer0.Wx"):
        ReferenceModel(config, initial_weights(config, V + 1, 0), vocabulary)
