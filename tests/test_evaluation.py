import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom import evaluation
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import (
    Score,
    chunk_length,
    evaluate,
    evaluate_part,
    read_windows,
    stretches,
    windows,
)
from expect import refused


class Bigram:
    """Predicts from a table log p[last, next] (V, V); the state counts what was read."""

    def __init__(self, table):
        self.table = np.log(table)
        self.vocabulary = Vocabulary(tuple(map(chr, range(97, 97 + len(table)))))
        self.shapes = []

    def start(self, lanes):
        return np.zeros(lanes, int)

    def step(self, ids, state):
        return self.table[ids], state + 1

    def log_probs(self, ids, state):
        self.shapes.append(ids.shape)
        return self.table[ids], state + ids.shape[1]


class WarmsUp(Bigram):
    """Knows nothing until it has read `context` characters, and then is a bigram."""

    def __init__(self, table, context):
        super().__init__(table)
        self.context = context

    def log_probs(self, ids, state):
        read = state[:, None] + np.arange(1, ids.shape[1] + 1)
        ready = (read >= self.context)[:, :, None]
        log_probs, state = super().log_probs(ids, state)
        return np.where(ready, log_probs, -math.log(len(self.table))), state


class Windowed(Bigram):
    """Goes on with a new window when one of `context` is full; knows nothing in its first half."""

    context = 10

    def log_probs(self, ids, state):
        place = (state[:, None] + np.arange(ids.shape[1])) % self.context
        log_probs, state = super().log_probs(ids, state)
        known = (place >= self.context // 2)[:, :, None]
        return np.where(known, log_probs, -math.log(len(self.table))), state


def random_bigram(V=5, seed=0):
    return Bigram(np.random.default_rng(seed).dirichlet(np.ones(V), V))


def random_ids(N, V=5, seed=1):
    return np.random.default_rng(seed).integers(0, V, N).astype(np.int32)


def test_score_of_a_text_worked_out_by_hand():
    model = Bigram(np.array([[0.5, 0.5], [0.125, 0.875]]))
    score = evaluate(model, model.vocabulary.encode("abaa"))  # a->b 1/2, b->a 1/8, a->a 1/2
    assert score.characters == 4
    assert score.bits == pytest.approx((1 + 3 + 1) / 3, rel=1e-15)
    assert score.nats == pytest.approx(5 / 3 * math.log(2), rel=1e-15)
    assert score.perplexity == pytest.approx(2 ** (5 / 3), rel=1e-15)


def character_nats(model, ids):
    """Ids (N,) -> nats (N - 1,): the loss of each character but the first, given all before it."""
    whole = windows(len(ids) - 1, 1)
    nats = [evaluation._nats(piece, ids)[0] for piece in read_windows(model, ids, whole)]
    return np.concatenate([np.empty(0), *nats])


def test_character_nats_are_those_of_each_character_but_the_first():
    model = Bigram(np.array([[0.5, 0.5], [0.125, 0.875]]))
    nats = character_nats(model, model.vocabulary.encode("abaa"))
    np.testing.assert_allclose(nats, np.log([2, 8, 2]), rtol=1e-15)
    assert nats.dtype == np.float64


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    model = Bigram(np.full((7, 7), 1 / 7))
    assert evaluate(model, random_ids(50_000, 7)).perplexity == pytest.approx(7, rel=1e-12)


def test_score_equals_one_recomputed_step_by_step():
    model, ids = random_bigram(), random_ids(3000)
    state, total = model.start(1), 0.0
    for before, after in itertools.pairwise(ids):
        log_probs, state = model.step(np.array([before]), state)
        total -= float(log_probs[0, after])
    assert evaluate(model, ids).nats == pytest.approx(total / 2999, rel=1e-12)
    assert character_nats(model, ids).sum() == pytest.approx(total, rel=1e-12)


def test_an_impossible_character_gives_infinity_without_a_warning():
    with np.errstate(divide="ignore"):
        model = Bigram(np.array([[1.0, 0.0], [0.5, 0.5]]))
    score = evaluate(model, np.array([0, 0, 1, 0], np.int32))
    assert (score.nats, score.bits, score.perplexity) == (math.inf,) * 3
    np.testing.assert_array_equal(character_nats(model, np.array([0, 1])), [math.inf])


def test_perplexity_too_large_for_a_float_is_infinite():
    assert Score(nats=1e6, characters=1).perplexity == math.inf


@pytest.mark.parametrize("N", [0, 1])
def test_a_text_without_a_character_to_predict_is_refused(N):
    ids = np.zeros(N, np.int32)
    with refused("no-text", characters=N):
        evaluate(random_bigram(), ids)
    assert character_nats(random_bigram(), ids).shape == (0,)


@given(N=st.integers(2, 3000), lanes=st.integers(1, 70))
def test_lanes_are_exact_where_the_model_looks_no_further_back_than_the_warm_up(N, lanes):
    # The first that a lane scores has its warm-up before it and the character it is read after.
    model = WarmsUp(np.exp(random_bigram().table), context=256 + 1)
    ids = random_ids(N)
    exact = character_nats(model, ids)
    score = evaluate(model, ids, lanes=lanes)
    assert score.characters == N
    assert score.nats == pytest.approx(exact.mean(), rel=1e-12)


def test_a_lane_that_is_scored_too_early_would_be_seen():
    model, ids = WarmsUp(np.exp(random_bigram().table), context=300), random_ids(3000)
    assert evaluate(model, ids, lanes=4).nats != pytest.approx(evaluate(model, ids).nats, rel=1e-3)


@pytest.mark.parametrize(("N", "lanes"), [(16_383, 1), (16_384, 2), (100_000, 12), (400_000, 32)])
def test_long_texts_are_cut_into_lanes_by_their_length(N, lanes):
    model = random_bigram()
    evaluate(model, random_ids(N))
    assert {shape[0] for shape in model.shapes} == {lanes}


@pytest.mark.parametrize("N", [16_383, 16_384, 16_389, 100_000])
def test_a_model_of_windows_reads_a_long_text_as_it_reads_on(N):
    model, ids = Windowed(np.exp(random_bigram().table)), random_ids(N)
    expected = character_nats(model, ids).mean()
    assert evaluate(model, ids).nats == pytest.approx(expected, rel=1e-12)
    assert evaluate(model, ids, lanes=2).nats != pytest.approx(expected, rel=1e-6)


def test_lanes_below_one_are_refused():
    with refused("bad-setting", field="lanes"):
        evaluate(random_bigram(), random_ids(10), lanes=0)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("lanes", [1, 3])
def test_the_size_of_chunks_does_not_matter(monkeypatch, chunk, lanes):
    model, ids = WarmsUp(np.exp(random_bigram().table), context=100), random_ids(3000)
    before = evaluate(model, ids, lanes=lanes)
    monkeypatch.setattr(evaluation, "chunk_length", lambda lanes, size: chunk)
    assert evaluate(model, ids, lanes=lanes).nats == pytest.approx(before.nats, rel=1e-13)


@given(lanes=st.integers(1, 1000), V=st.integers(1, 200_000))
def test_chunks_are_small_and_never_empty(lanes, V):
    T = chunk_length(lanes, V)
    assert T >= 1
    assert T == 1 or lanes * T <= max(2**20 // V, 128)


def test_float32_log_probabilities_are_added_up_in_float64():
    model, ids = random_bigram(), random_ids(200_000)
    model.table = model.table.astype(np.float32)
    exact = math.fsum(-model.table[ids[:-1], ids[1:]].astype(float)) / (len(ids) - 1)
    assert evaluate(model, ids).nats == pytest.approx(exact, rel=1e-14)


# ---- a part, spread evenly


@given(count=st.integers(1, 10**6), most=st.integers(1, 10**6), warm_up=st.sampled_from([256, 700]))
def test_stretches_are_spread_evenly_and_each_is_warmed_up(count, most, warm_up):
    cut = stretches(count, most, warm_up)
    if cut is None:
        assert most + 32 * warm_up >= count
        return
    B, each = len(cut.starts), cut.length - warm_up
    assert most - B < B * each <= most
    assert (cut.own[:, 0] - cut.starts == warm_up).all()
    assert cut.starts[0] >= 0
    assert cut.starts[-1] + cut.length <= count
    gaps = np.diff(cut.starts)
    assert (gaps >= each).all()
    assert np.ptp(gaps) <= 1 if B > 1 else B == 1


@pytest.mark.parametrize("most", [50, 600, 5000])
def test_a_part_is_scored_as_in_the_whole(most):
    model, ids = WarmsUp(np.exp(random_bigram().table), context=300), random_ids(30_000)
    exact, cut = character_nats(model, ids), stretches(29_999, most, warm_up=300)
    own = (cut.own + np.arange(cut.length - 300)).ravel()
    score = evaluate_part(model, ids, most)
    assert (score.characters, score.whole) == (len(own), 30_000)
    assert score.nats == pytest.approx(exact[own].mean(), rel=1e-12)


def test_a_part_that_is_about_all_is_the_whole():
    model, ids = random_bigram(), random_ids(30_000)
    assert evaluate_part(model, ids, 25_000) == evaluate(model, ids)
    assert evaluate_part(model, ids, 10**9).whole is None
    assert evaluate_part(model, ids[:2], 1) == evaluate(model, ids[:2])
    with refused("no-text"):
        evaluate_part(model, ids[:1], 10)


def test_the_whole_is_within_the_margin_of_a_part_nineteen_times_in_twenty():
    model, within, trials = random_bigram(), 0, 300
    for seed in range(trials):
        rng = np.random.default_rng(seed)  # passages, easy and hard ones
        kinds = rng.integers(0, 2, 100)
        ids = np.concatenate([rng.integers(0, 2 + 3 * kind, 300) for kind in kinds])
        part, whole = evaluate_part(model, ids, 10_000), evaluate(model, ids)
        within += abs(part.nats - whole.nats) <= part.margin
        assert part.margin > 0
    assert 0.92 <= within / trials <= 0.995


@pytest.mark.parametrize(("freedom", "t"), [(4, 2.776), (6, 2.447), (15, 2.131), (31, 2.040)])
def test_a_few_stretches_widen_the_margin_as_students_t_does(freedom, t):
    assert evaluation._student(freedom) == pytest.approx(t, rel=0.02)


def test_a_part_in_few_stretches_or_with_an_impossible_character_has_no_margin():
    assert evaluate_part(random_bigram(), random_ids(30_000), 1200).margin is None
    with np.errstate(divide="ignore"):
        model = Bigram(np.array([[1.0, 0.0], [0.5, 0.5]]))
    part = evaluate_part(model, random_ids(30_000, 2), 10_000)
    assert (part.nats, part.margin) == (math.inf, None)


def test_a_part_of_tokens_is_per_character_too():
    model, ids = random_bigram(), random_ids(30_000)
    plain = evaluate_part(model, ids, 10_000)
    model.vocabulary.lengths = np.full(5, 2, np.int32)
    model.vocabulary.count = lambda ids: 2 * len(ids)
    part = evaluate_part(model, ids, 10_000)
    assert (part.characters, part.whole) == (2 * plain.characters, 60_000)
    assert part.nats == pytest.approx(plain.nats / 2, rel=1e-12)
    assert part.margin == pytest.approx(plain.margin / 2, rel=1e-9)
