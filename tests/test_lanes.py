"""Lanes that come and go: kernels against their slow twin, each alone and among others."""

import numpy as np
import pytest

from charloom.config import EnsembleConfig, ModelConfig, NgramConfig, SampleConfig
from charloom.data.vocabulary import Vocabulary
from charloom.generation import lanes
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.sampling import generate, generate_ids
from charloom.models.compiled import averaging, network
from charloom.models.engines import create_model
from charloom.models.lanes import Rules, WritesLanes
from charloom.models.mixture import kernels as mixing
from charloom.models.mixture.gate import KNOTS
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.models.ngram import kernels as counting
from charloom.models.weights import initial_weights, name_in
from toy_models import History

VERSE = "the cat sat on the mat; the rat sat on the hat, and the cat saw that. " * 3
VOCABULARY = Vocabulary(tuple(sorted(set(VERSE))))
V = len(VOCABULARY)
KINDS = ["rnn", "lstm", "gru", "embedding", "float64", "ngram", "mixture", "several", "of several"]


def model_of(kind):
    counts = NgramModel.fit(VOCABULARY.encode(VERSE), VOCABULARY, NgramConfig(order=4))
    if kind == "ngram":
        return counts
    cell = kind if kind in ("rnn", "lstm", "gru") else "lstm"
    config = ModelConfig(
        cell=cell, layers=2, hidden=9, embedding=5 * (kind == "embedding"), init_std=1.0
    )
    dtype = "float64" if kind == "float64" else "float32"
    weights = initial_weights(config, V, 3)
    if "several" in kind:
        config = EnsembleConfig(network=config, networks=3)
        found = [initial_weights(config.network, V, k) for k in range(3)]
        weights = {name_in(k, n): a for k, own in enumerate(found) for n, a in own.items()}
    network = create_model(config, weights, VOCABULARY, "compiled", dtype)
    shares = np.random.default_rng(0).random((KNOTS, KNOTS))
    return mixture_of(network, counts, shares) if kind in ("mixture", "of several") else network


@pytest.fixture(params=KINDS)
def model(request):
    return model_of(request.param)


def some_rules(b):
    """Rules of lane b, each of another kind."""
    bias = np.random.default_rng(b).normal(size=V)
    return [
        Rules.of(SampleConfig(temperature=0.7), V),
        Rules.of(SampleConfig(top_k=3), V, presence=1.5, frequency=0.3),
        Rules.of(SampleConfig(top_p=0.8), V, bias=bias),
        Rules.of(SampleConfig(temperature=0), V),
        Rules.of(SampleConfig(min_p=0.1), V, frequency=-0.5, bias=bias),
    ][b % 5]


def read(model, text, lanes=1):
    """Return the last id (B,) of a text, and the state before it."""
    ids = np.tile(VOCABULARY.encode(text), (lanes, 1))
    state = model.start(lanes)
    if ids.shape[1] > 1:
        _, state = model.log_probs(ids[:, :-1], state)
    return ids[:, -1], state


def written(write, model, numbers, n=30):
    """What lanes of these numbers write side by side, with their log-probabilities."""
    ids, states = zip(*(read(model, VERSE[b : b + 3 + b]) for b in numbers), strict=True)
    rules = Rules.join([some_rules(b) for b in numbers])
    uniforms = np.stack([np.random.default_rng(b).random(n) for b in numbers])
    out = np.empty((len(numbers), n, V), np.float64 if is_double(model) else np.float32)
    drawn, after = write(np.concatenate(ids), model.join(states), uniforms, rules, out)
    return drawn, out, after


def is_double(model):
    log_probs, _ = model.step(np.array([0]), model.start(1))
    return log_probs.dtype == np.float64


def test_a_kernel_writes_what_its_slow_twin_writes(model):
    assert isinstance(model, WritesLanes)
    fast = written(model.write, model, range(10))
    slow = written(lambda *arguments: lanes.write(model, *arguments), model, range(10))
    np.testing.assert_array_equal(fast[0], slow[0])
    np.testing.assert_allclose(fast[1], slow[1], rtol=1e-4, atol=1e-5)


def test_a_lane_is_the_same_to_the_bit_alone_and_among_others(model):
    drawn, out, after = written(model.write, model, range(13))
    for numbers in ([0], [4, 1], [12, 11, 7], [3, 9, 2, 6, 8]):
        some, its, state = written(model.write, model, numbers)
        assert some.tobytes() == drawn[numbers].tobytes()
        assert its.tobytes() == out[numbers].tobytes()
        picked = model.pick(after, np.array(numbers))
        assert flat(state) == flat(picked)


@pytest.mark.parametrize("length", [1, 2, 9, 40])
def test_a_text_is_read_the_same_to_the_bit_alone_and_among_others(model, length):
    ids = np.stack([VOCABULARY.encode(VERSE[b : b + 3 + length]) for b in range(19)])
    _, before = model.log_probs(ids[:, :3], model.start(19))
    out, after = model.log_probs(ids[:, 3:], before)
    for numbers in ([0], [18], [7, 2], [4, 5, 6, 17, 1, 0, 3, 9, 11]):
        places = np.array(numbers)
        its, state = model.log_probs(ids[places, 3:], model.pick(before, places))
        assert its.tobytes() == out[places].tobytes()
        assert flat(state) == flat(model.pick(after, places))


def flat(state):
    if isinstance(state, tuple):
        return b"".join(map(flat, state))
    return state.tobytes()


def test_lanes_go_on_from_a_piece_with_other_neighbours(model):
    whole, *_ = written(model.write, model, range(6), 40)
    ids, states = zip(*(read(model, VERSE[b : b + 3 + b]) for b in range(6)), strict=True)
    rules = Rules.join([some_rules(b) for b in range(6)])
    uniforms = np.stack([np.random.default_rng(b).random(40) for b in range(6)])
    first, state = model.write(np.concatenate(ids), model.join(states), uniforms[:, :7], rules)
    left = np.array([5, 2, 0])
    rest, _ = model.write(
        first[left, -1], model.pick(state, left), uniforms[left, 7:], rules.pick(left)
    )
    np.testing.assert_array_equal(first, whole[:, :7])
    np.testing.assert_array_equal(rest, whole[left, 7:])


def test_what_a_kernel_draws_is_cut_to_a_copy_limit_as_its_slow_twin_writes(model):
    total = 0
    for b in range(5):
        prompt, n = VERSE[b : b + 9], 60
        (ids, state), uniforms = read(model, prompt), np.random.default_rng(b).random(n)
        (fast, slow), limit = (some_rules(b), some_rules(b)), CopyLimit(VERSE, 1 + b % 3)
        wanted, _ = lanes.write_within(model, ids, state, uniforms[None], slow, limit, prompt)
        redrawn, limit.redrawn, drawn = limit.redrawn, 0, np.empty(0, np.int32)
        while len(drawn) < n and -1 not in drawn:
            place = ids, state, uniforms[len(drawn) :][:13], fast.pick(np.array([0]))
            out = np.empty((1, len(place[2]), V), np.float64 if is_double(model) else np.float32)
            new, state = model.write(ids, state, place[2][None], fast, out)
            written = prompt + VOCABULARY.decode(drawn)
            new = new[0]
            cut = lanes.cut_to(limit, written, model, model, place, new, out[0])
            if cut is not None:
                new, state, fast = cut
            ids, drawn = new[-1:], np.append(drawn, new)
        np.testing.assert_array_equal(drawn, wanted[0][: len(drawn)])
        assert limit.redrawn == redrawn
        total += redrawn
    assert total > 0


def test_for_a_view_of_the_numbers_no_kernel_is_compiled_anew(model):
    ids, state = read(model, "the ", 2)
    known = None
    for numbers in (np.full((2, 5), 0.5), np.full((2, 9), 0.5)[:, :5]):
        model.write(ids, state, numbers, Rules.join([some_rules(0)] * 2))
        generate_ids(model, ids, state, numbers, SampleConfig())
        known = known or variants()
    assert variants() == known


def variants():
    """How many types of arguments each kernel that draws was compiled for."""
    kernels = (network.read, counting.write, mixing.write, averaging.step_into, averaging.draw_each)
    return [len(kernel.signatures) for kernel in kernels]


def test_a_lane_writes_what_the_sampler_writes(model):
    for seed in range(5):
        config = SampleConfig(seed=seed, temperature=0.9)
        text = "".join(generate(model, config, "the ", 60))
        ids, state = read(model, "the ", 7)
        rules = Rules.join([Rules.of(config, V)] * 7)
        (rng,) = np.random.default_rng(seed).spawn(1)
        drawn, _ = model.write(ids, state, np.tile(rng.random(60), (7, 1)), rules)
        assert VOCABULARY.decode(drawn[3]) == text


def test_penalties_are_those_of_the_formula():
    model = History()
    V = len(model.vocabulary)
    rules = Rules.of(SampleConfig(temperature=0), V, presence=0.5, frequency=0.25)
    drawn, _ = lanes.write(model, np.array([0]), model.start(1), np.zeros((1, 50)), rules)
    counts = np.bincount(drawn[0], minlength=V)
    np.testing.assert_allclose(rules.bias[0], -0.25 * counts - 0.5 * (counts > 0))
    ids, state, seen = np.array([0]), model.start(1), np.zeros(V)
    for id in drawn[0]:
        log_probs, state = model.step(ids, state)
        assert id == np.argmax(log_probs[0] - 0.25 * seen - 0.5 * (seen > 0))
        seen[id] += 1
        ids = np.array([id])


def test_rules_without_bias_take_no_room_until_they_are_joined_to_some_with():
    plain = Rules.of(SampleConfig(), V)
    assert plain.bias.shape == (1, 0)
    both = Rules.join([plain, some_rules(2)])
    assert both.bias.shape == (2, V)
    assert not both.bias[0].any()
    assert both.biased.tolist() == [0, 1]
