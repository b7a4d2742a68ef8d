import math
import sys

import numpy as np
import pytest

from charloom.config import SampleConfig, TransformerConfig, replace
from charloom.data.vocabulary import Vocabulary
from charloom.generation.sampling import generate_many
from charloom.models.engines import create_model
from charloom.models.protocols import LanguageModel
from charloom.models.reference import ReferenceTransformer
from charloom.models.reference.transformer import (
    attention,
    forward,
    gelu,
    mingru,
    minlstm,
    norm,
    rotate,
)
from charloom.models.weights import weight_shapes
from expect import refused

V, B = 7, 3
VOCABULARY = Vocabulary(tuple("abcdefg"))
MIXERS = {
    "learned": TransformerConfig(layers=2, width=12, heads=3, context=8, positions="learned"),
    "rotary": TransformerConfig(layers=2, width=12, heads=3, context=8, positions="rotary"),
    "mingru": TransformerConfig(layers=2, width=12, mixer="mingru"),
    "minlstm": TransformerConfig(layers=2, width=12, mixer="minlstm"),
}
ATTENTION = [MIXERS["learned"], MIXERS["rotary"], replace(MIXERS["learned"], context=7)]


def weights_of(config, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.5, shape) for name, shape in weight_shapes(config, V).items()}


def model_of(config):
    return ReferenceTransformer(config, weights_of(config), VOCABULARY)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ids_of(length, lanes=B, seed=0):
    return np.random.default_rng(seed).integers(0, V, (lanes, length))


# The parts.


def test_a_norm_has_mean_0_and_variance_1_before_it_is_scaled():
    x = drawn(2, 3, 50) * 7 + 3
    found = norm(x, np.ones(50))
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(found.var(-1), 1, rtol=1e-5)
    scale = drawn(50)
    np.testing.assert_array_equal(norm(x, scale), found * scale)
    assert not norm(np.full((1, 4), 5.0), np.ones(4)).any()


def test_gelu_is_x_times_the_normal_distribution():
    x = np.linspace(-4, 4, 9)
    chances = np.arange(-400_000, 400_001) / 1e5  # of a normal number, summed up to x
    density = np.exp(-(chances**2) / 2) / math.sqrt(2 * math.pi)
    below = [density[chances <= v + 1e-9].sum() / 1e5 for v in x]
    np.testing.assert_allclose(gelu(x), x * below, atol=2e-4)
    assert gelu(np.array([1.0]))[0] == pytest.approx(0.8413447460685429, rel=1e-15)


def test_attention_is_the_sum_that_it_says():
    T, heads, d = 5, 2, 3
    columns = drawn(B, T, 3 * heads * d)
    found = attention(columns, heads, rotary=False)
    for lane in range(B):
        for head in range(heads):
            own = slice(head * d, (head + 1) * d)
            q, k, v = (part[:, own] for part in np.split(columns[lane], 3, axis=-1))
            for t in range(T):
                shares = np.exp([q[t] @ k[s] / math.sqrt(d) for s in range(t + 1)])
                o = sum(share * v[s] for s, share in enumerate(shares / shares.sum()))
                np.testing.assert_allclose(found[lane, t, own], o, rtol=0, atol=1e-13)


def test_rotated_products_depend_on_the_distance_alone():
    q, k = (np.tile(drawn(1, 6, seed=seed), (9, 1)) for seed in (1, 2))
    products = rotate(q) @ rotate(k).T
    for distance in range(-8, 9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-13)
    assert products[0, 0] == pytest.approx(q[0] @ k[0], rel=1e-14)
    assert abs(products[0, 1] - products[0, 0]) > 0.01
    np.testing.assert_allclose(rotate(q)[1, [0, 3]], turned(q[0, [0, 3]], 1.0), atol=1e-15)
    np.testing.assert_allclose(
        rotate(q)[5, [2, 5]], turned(q[0, [2, 5]], 5 * 10000 ** (-4 / 6)), atol=1e-15
    )


def turned(point, angle):
    x, y = point
    return [x * np.cos(angle) - y * np.sin(angle), y * np.cos(angle) + x * np.sin(angle)]


def test_the_cells_are_the_recurrences_that_they_say():
    z, f, i, n = drawn(4, B, 6, 5)
    start = h = drawn(B, 5, seed=9)
    gru, lstm = (
        mingru(np.concatenate([z, n], -1), start),
        minlstm(np.concatenate([f, i, n], -1), start),
    )
    g = h
    for t in range(6):
        share = 1 / (1 + np.exp(-z[:, t]))
        h = (1 - share) * h + share * n[:, t]
        keep, write = 1 / (1 + np.exp(-f[:, t])), 1 / (1 + np.exp(-i[:, t]))
        g = (keep * g + write * n[:, t]) / (keep + write)
        np.testing.assert_allclose(gru[:, t], h, rtol=0, atol=1e-14)
        np.testing.assert_allclose(lstm[:, t], g, rtol=0, atol=1e-14)


def test_gates_that_are_both_shut_are_no_zero_by_zero():
    columns = np.concatenate([np.full((1, 2, 1), -900.0), np.full((1, 2, 1), -900.0)], -1)
    columns = np.concatenate([columns, np.ones((1, 2, 1))], -1)
    np.testing.assert_allclose(minlstm(columns, np.zeros((1, 1)))[0, :, 0], [0.5, 0.75])


# The whole.


def test_blocks_are_added_up_as_the_page_says():
    config = TransformerConfig(layers=1, width=6, heads=2, context=4, positions="learned")
    w, ids = weights_of(config), ids_of(4)
    x = w["embedding"][ids] + w["position"]
    x = x + attention(norm(x, w["layer0.norm1"]) @ w["layer0.Wx"], 2, False) @ w["layer0.Wo"]
    x = x + gelu(norm(x, w["layer0.norm2"]) @ w["layer0.W1"]) @ w["layer0.W2"]
    logits, state = forward(config, w, ids, ())
    np.testing.assert_array_equal(logits, norm(x, w["norm"]) @ w["embedding"].T)
    assert state == ()


@pytest.mark.parametrize("config", MIXERS.values(), ids=MIXERS)
def test_it_is_a_language_model(config):
    model = model_of(config)
    assert isinstance(model, LanguageModel)
    log_p, _ = model.log_probs(ids_of(20), model.start(B))
    assert log_p.shape == (B, 20, V)
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-13)


@pytest.mark.parametrize("config", MIXERS.values(), ids=MIXERS)
def test_what_comes_later_and_other_lanes_do_not_matter(config):
    model, ids = model_of(config), ids_of(20)
    log_p, _ = model.log_probs(ids, model.start(B))
    other = ids.copy()
    other[1, 13] = (ids[1, 13] + 1) % V
    changed, _ = model.log_probs(other, model.start(B))
    np.testing.assert_allclose(changed[[0, 2]], log_p[[0, 2]], rtol=0, atol=1e-13)
    np.testing.assert_allclose(changed[1, :13], log_p[1, :13], rtol=0, atol=1e-13)
    assert (np.abs(changed[1, 13:] - log_p[1, 13:]).max(-1) > 1e-6)[:2].all()


@pytest.mark.parametrize("config", ATTENTION, ids=["learned", "rotary", "odd"])
def test_each_character_is_predicted_from_the_window_of_the_rule(config):
    model, ids, C = model_of(config), ids_of(30), config.context
    log_p, _ = model.log_probs(ids, model.start(B))
    begin = 0
    for t in range(30):
        if t - begin == C:
            begin = t - C // 2
        assert t < C or C // 2 < t + 1 - begin <= C
        logits, _ = forward(config, model.weights, ids[:, begin : t + 1], ())
        expected = logits[:, -1] - np.log(np.exp(logits[:, -1]).sum(-1, keepdims=True))
        np.testing.assert_allclose(log_p[:, t], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("config", MIXERS.values(), ids=MIXERS)
def test_reading_at_once_is_reading_in_pieces_and_step_by_step(config):
    model, ids = model_of(config), ids_of(30)
    whole, end = model.log_probs(ids, model.start(B))
    state, found = model.start(B), []
    for begin, after in ((0, 3), (3, 8), (8, 9), (9, 20), (20, 30)):
        part, state = model.log_probs(ids[:, begin:after], state)
        found.append(part)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=0, atol=1e-13)
    for one, other in zip(state, end, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)
    state = model.start(B)
    for t in range(30):
        kept, before = state, [array.copy() for array in state]
        log_p, state = model.step(ids[:, t], state)
        np.testing.assert_allclose(log_p, whole[:, t], rtol=0, atol=1e-13)
        for array, copy in zip(kept, before, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_it_reads_float32_weights_in_float64_and_refuses_those_of_another_size():
    config = MIXERS["learned"]
    single = {name: w.astype(np.float32) for name, w in weights_of(config).items()}
    model = ReferenceTransformer(config, single, VOCABULARY)
    assert model.step(np.array([0]), model.start(1))[0].dtype == np.float64
    with refused("bad-array", name="position"):
        ReferenceTransformer(replace(config, context=9), single, VOCABULARY)


def test_where_pytorch_is_missing_it_writes(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    config = MIXERS["rotary"]
    model = create_model(config, weights_of(config), VOCABULARY)
    assert isinstance(model, ReferenceTransformer)
    assert len(generate_many(model, SampleConfig(seed=1), "abc", 30)[0]) == 30
