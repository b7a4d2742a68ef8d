import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charloom.config import SampleConfig
from charloom.generation.draw import draw, filter_weights
from expect import refused

INF = math.inf
LARGEST_U = 1 - 2**-53


def filter_probs(log_probs, config):
    weights = filter_weights(log_probs, config)
    return weights / weights.sum()


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


# ---- filters


def kept(log_probs, **settings):
    return np.flatnonzero(filter_probs(np.array(log_probs), SampleConfig(**settings))).tolist()


def test_without_filters_the_probabilities_are_the_models_own():
    probs = np.random.default_rng(0).dirichlet(np.ones(30))
    np.testing.assert_allclose(filter_probs(np.log(probs), SampleConfig()), probs, rtol=1e-13)


def test_temperature_divides_log_probabilities():
    x = np.random.default_rng(0).normal(size=30)
    probs = filter_probs(x, SampleConfig(temperature=0.7))
    np.testing.assert_allclose(probs, softmax(x / 0.7), rtol=1e-13)


def test_temperature_zero_takes_the_likeliest_and_the_lowest_id_of_equals():
    assert kept([0.0, 2.0, 1.0, 2.0], temperature=0) == [1]


def test_top_k_keeps_the_lower_ids_of_equals_at_its_border():
    assert kept([0.0, 1.0, 2.0, 1.0, 1.0], top_k=3) == [1, 2, 3]


def test_top_k_of_zero_or_of_more_than_there_are_keeps_all():
    for k in (0, 3, 4, 10**9):
        assert kept([1.0, 0.0, 2.0], top_k=k) == [0, 1, 2]


def test_top_p_keeps_the_fewest_that_reach_it():
    equal = [0.0] * 4  # a quarter each, exactly
    assert kept(equal, top_p=0.5) == [0, 1]
    assert kept(equal, top_p=0.5 + 1e-9) == [0, 1, 2]
    assert kept(equal, top_p=0.25) == [0]
    assert kept(equal, top_p=0.0) == kept(equal, top_p=1e-9) == [0]
    assert kept(equal, top_p=1.0) == [0, 1, 2, 3]


def test_top_p_is_a_share_of_what_top_k_left():
    assert kept([0.0] * 8, top_k=4, top_p=0.5) == [0, 1]


def test_top_p_sees_the_temperature():
    x = np.log([0.6, 0.3, 0.1])
    assert kept(x, top_p=0.65) == [0, 1]
    assert kept(x, top_p=0.65, temperature=0.1) == [0]


def test_min_p_is_a_share_of_the_likeliest_and_keeps_what_equals_it():
    x = [0.0, -1.0, -2.0]
    assert kept(x, min_p=math.exp(-1.5)) == [0, 1]
    assert kept([3.0, 3.0, 2.0], min_p=1.0) == [0, 1]
    assert kept(x, min_p=math.exp(-1.5), temperature=2) == [0, 1, 2]


@given(
    x=arrays(float, st.integers(1, 40), elements=st.sampled_from([*np.linspace(-8, 3, 12), -INF])),
    temperature=st.sampled_from([0.3, 1.0, 4.0]),
    top_k=st.integers(0, 45),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
)
def test_filters_agree_with_their_definition(x, temperature, top_k, top_p, min_p):
    config = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    if not np.isfinite(x).any():
        with refused("bad-model"):
            filter_probs(x, config)
        return
    probs = filter_probs(x, config)
    ranked = sorted(range(len(x)), key=lambda i: (-x[i], i))
    some = len(np.flatnonzero(probs))
    assert set(np.flatnonzero(probs)) == set(ranked[:some])
    np.testing.assert_allclose(probs[ranked[:some]], softmax(x[ranked[:some]] / temperature))
    candidates = softmax(x[ranked[: top_k or None]] / temperature)
    close = 1e-12
    # What stays had not reached top_p before it and is at least min_p of the likeliest ...
    assert some <= len(candidates)
    assert some == 1 or candidates[: some - 1].sum() < top_p + close or top_p == 1
    assert candidates[some - 1] >= min_p * candidates[0] * (1 - close)
    # ... and what comes next in rank does not stay because one of these would not hold.
    if some < len(candidates):
        reached = top_p < 1 and candidates[:some].sum() >= top_p - close
        assert reached or candidates[some] <= min_p * candidates[0] * (1 + close)


def test_vectors_with_every_kind_of_number():
    rng = np.random.default_rng(3)
    odd = np.array([-INF, -1e38, -1e308, 1e38, 1e308, 0.0, -0.0, 5e-324, -745.0])
    bad = np.array([INF, np.nan])
    named = 0
    for case in range(3_000):
        V = int(rng.integers(1, 30))
        x = rng.normal(scale=10.0 ** rng.integers(-3, 4), size=V)
        x[rng.random(V) < rng.choice([0, 0.3, 1])] = rng.choice(odd)
        if case % 5 == 0:
            x[rng.integers(V)] = rng.choice(bad)
        config = SampleConfig(
            temperature=float(rng.choice([0, 5e-324, 1e-10, 1e-3, 1, 1e10, 1e308])),
            top_k=int(rng.choice([0, 1, 3, V, V + 1])),
            top_p=float(rng.choice([0, 1e-9, 0.5, 0.999, 1])),
            min_p=float(rng.choice([0, 1e-9, 0.5, 1])),
        )
        u = float(rng.choice([0, rng.random(), LARGEST_U]))
        if np.isnan(x).any() or x.max() in (INF, -INF):
            named += 1
            with refused("bad-model"):
                draw(x, config, u)
        else:
            assert x[draw(x, config, u)] > -INF
            assert filter_probs(x, config).sum() == pytest.approx(1)
    assert named > 600


@pytest.mark.parametrize("x", [[0.0, np.nan], [0.0, INF], [-INF, -INF]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_cannot_be_drawn_from_is_refused(x, temperature):
    with refused("bad-model"):
        draw(np.array(x), SampleConfig(temperature=temperature), 0.5)


def test_extreme_temperatures_are_greedy_and_uniform():
    x = np.array([-3.0, -1.0, -2.0, -INF])
    np.testing.assert_array_equal(filter_probs(x, SampleConfig(temperature=1e-10)), [0, 1, 0, 0])
    hot = filter_probs(x, SampleConfig(temperature=1e10))
    np.testing.assert_allclose(hot, [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-9)


# ---- draw


def test_draw_is_the_inverse_of_the_cumulated_probabilities_in_the_order_of_ids():
    x = np.array([0.0, -INF, 0.0, 0.0, -INF, 0.0])
    at = [0.0, 0.25 - 2**-54, 0.25, 0.5, 0.75, LARGEST_U]
    assert [draw(x, SampleConfig(), u) for u in at] == [0, 0, 2, 3, 5, 5]


def test_draw_never_takes_an_impossible_first_or_last_character():
    for V in range(1, 50):
        x = np.concatenate([[-INF], np.zeros(V), [-INF]])
        assert draw(x, SampleConfig(), 0.0) == 1
        assert draw(x, SampleConfig(), LARGEST_U) == V


def test_shares_of_u_are_the_probabilities():
    x, config = np.random.default_rng(5).normal(size=12), SampleConfig(temperature=1.5, top_p=0.9)
    n = 4000
    counts = np.bincount([draw(x, config, (i + 0.5) / n) for i in range(n)], minlength=12)
    np.testing.assert_allclose(counts / n, filter_probs(x, config), atol=1 / n)


def chi_square_z(counts, probs):
    """Chi-square as a normal deviate (Wilson & Hilferty 1931); 3.09 is p = 0.001."""
    expected = counts.sum() * probs
    df = np.count_nonzero(probs) - 1
    used = expected > 0
    chi2 = ((counts - expected)[used] ** 2 / expected[used]).sum()
    return ((chi2 / df) ** (1 / 3) - (1 - 2 / (9 * df))) / math.sqrt(2 / (9 * df))


def chi_squares(draws):
    for case in range(20):
        rng = np.random.default_rng(case)
        x = rng.normal(size=4 + case)
        config = SampleConfig(
            temperature=float(rng.uniform(0.7, 2)),
            top_k=[0, 4][case % 2],
            top_p=[1, 0.95][case % 3 > 1],
        )
        ids = [draw(x, config, u) for u in rng.random(draws)]
        probs = filter_probs(x, config)
        counts = np.bincount(ids, minlength=len(x))
        assert counts[probs == 0].sum() == 0
        yield chi_square_z(counts, probs)


def test_chi_square_of_60_000_draws_in_20_cases():
    assert max(chi_squares(3_000)) < 3.09  # a million of each: C6 of docs/reliability.md


def test_chi_square_would_see_probabilities_that_are_off_by_a_twentieth():
    probs = np.array([0.55, 0.45])
    assert chi_square_z(np.array([5_000, 5_000]), probs) > 3.09
