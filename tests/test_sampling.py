import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charloom.config import SampleConfig
from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from charloom.errors import CharloomError
from charloom.generation import sampling
from charloom.generation.draw import draw, filter_probs
from charloom.generation.sampling import generate, generate_ids, generate_many

INF = math.inf
LARGEST_U = 1 - 2**-53


class History:
    """Predicts from all it has read: the state (B,) is a running hash of that."""

    def __init__(self, characters="\n abcdef", sharpness=1.0):
        self.vocabulary = Vocabulary(tuple(sorted(characters)))
        self.table = sharpness * np.random.default_rng(0).normal(size=(101, len(characters)))
        self.table -= np.log(np.exp(self.table).sum(axis=1, keepdims=True))

    def start(self, lanes):
        return np.zeros(lanes, int)

    def step(self, ids, state):
        state = (state * 31 + ids + 1) % 101
        return self.table[state], state

    def log_probs(self, ids, state):
        steps = []
        for column in ids.T:
            log_probs, state = self.step(column, state)
            steps.append(log_probs)
        return np.stack(steps, axis=1), state


class Fast(History):
    calls = 0

    def generate_ids(self, ids, state, uniforms, config):
        self.calls += 1
        return generate_ids(self, ids, state, uniforms, config)


class Script(History):
    """Writes `text` over and over, whatever it reads; the state counts what was read."""

    def __init__(self, text):
        super().__init__(set(text) | {"\n"})
        self.ids = self.vocabulary.encode(text)

    def step(self, ids, state):
        certain = np.arange(len(self.vocabulary)) == self.ids[state % len(self.ids)][:, None]
        return np.where(certain, 0.0, -INF), state + 1


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
        with pytest.raises(CharloomError):
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


def test_10000_vectors_with_every_kind_of_number():
    rng = np.random.default_rng(3)
    odd = np.array([-INF, -1e38, -1e308, 1e38, 1e308, 0.0, -0.0, 5e-324, -745.0])
    bad = np.array([INF, np.nan])
    refused = 0
    for case in range(10_000):
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
            refused += 1
            with pytest.raises(CharloomError, match="the model"):
                draw(x, config, u)
        else:
            assert x[draw(x, config, u)] > -INF
            assert filter_probs(x, config).sum() == pytest.approx(1)
    assert refused > 2000


@pytest.mark.parametrize(
    ("x", "problem"),
    [([0.0, np.nan], "predicts nan"), ([0.0, INF], "predicts inf"), ([-INF, -INF], "rules every")],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_cannot_be_drawn_from_is_named(x, problem, temperature):
    with pytest.raises(CharloomError, match=problem):
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


def test_chi_square_of_200_000_draws_in_20_cases():
    assert max(chi_squares(10_000)) < 3.09  # a million of each: C6 of docs/reliability.md


def test_chi_square_would_see_probabilities_that_are_off_by_a_twentieth():
    probs = np.array([0.55, 0.45])
    assert chi_square_z(np.array([5_000, 5_000]), probs) > 3.09


# ---- generate_ids


def test_generate_ids_reads_each_drawn_character_before_the_next():
    model, config = History(), SampleConfig()
    uniforms = np.random.default_rng(0).random((3, 20))
    drawn, after = generate_ids(model, np.array([1, 2, 3]), model.start(3), uniforms, config)
    assert drawn.dtype == np.int32
    ids, state = np.array([1, 2, 3]), model.start(3)
    for t in range(20):
        log_probs, state = model.step(ids, state)
        ids = np.array(
            [draw(row, config, u) for row, u in zip(log_probs, uniforms[:, t], strict=True)]
        )
        np.testing.assert_array_equal(drawn[:, t], ids)
    np.testing.assert_array_equal(after, state)


def test_generate_ids_in_two_calls_is_the_same_as_in_one():
    model, config = History(), SampleConfig(top_k=5)
    ids, uniforms = np.array([1, 2]), np.random.default_rng(0).random((2, 30))
    whole, end = generate_ids(model, ids, model.start(2), uniforms, config)
    first, state = generate_ids(model, ids, model.start(2), uniforms[:, :11], config)
    second, after = generate_ids(model, first[:, -1], state, uniforms[:, 11:], config)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(after, end)


# ---- generate


def test_pieces_together_are_the_first_of_the_many():
    config = SampleConfig(seed=7, stop=("abc", "dd"))
    pieces = list(generate(History(), config, "fade", 500))
    assert len(pieces) > 1
    assert "" not in pieces
    assert "".join(pieces) == generate_many(History(), config, "fade", 500, 3)[0]


def test_a_text_does_not_depend_on_how_many_are_written_beside_it():
    texts = [generate_many(History(), SampleConfig(seed=1), "a", 300, n) for n in (1, 2, 5)]
    assert texts[0] == texts[1][:1] == texts[2][:1]
    assert texts[1] == texts[2][:2]
    assert len(set(texts[2])) == 5
    assert {len(text) for text in texts[2]} == {300}


def test_a_longer_text_begins_with_the_shorter():
    config = SampleConfig(seed=1)
    [short], [long] = (generate_many(History(), config, "a", n) for n in (37, 411))
    assert long[:37] == short
    assert len(long) == 411


def test_seeds_tell_texts_apart_and_no_seed_is_a_new_text_each_time():
    def write(seed):
        return generate_many(History(), SampleConfig(seed=seed), "a", 100)[0]

    assert write(3) == write(3)
    assert len({write(3), write(4), write(None), write(None), write(2**80)}) == 5


def test_greedy_writes_the_likeliest_each_time():
    model = History()
    [text] = generate_many(model, SampleConfig(temperature=0), "ab", 50)
    _, state = model.log_probs(model.vocabulary.encode("a")[None], model.start(1))
    ids = model.vocabulary.encode("b")
    for character in text:
        log_probs, state = model.step(ids, state)
        ids = log_probs.argmax(axis=1)
        assert model.vocabulary.decode(ids) == character


@pytest.mark.parametrize("prompt", ["a", "ab", "fade" * 3000])
def test_the_whole_prompt_is_read_once_and_in_order(prompt):
    model = History()
    state = model.start(1)
    for i in model.vocabulary.encode(prompt[:-1]):
        _, state = model.step(np.array([i]), state)
    uniforms = np.random.default_rng(5).spawn(1)[0].random((1, 40))
    last = model.vocabulary.encode(prompt[-1])
    drawn, _ = generate_ids(model, last, state, uniforms, SampleConfig())
    expected = model.vocabulary.decode(drawn[0])
    assert generate_many(model, SampleConfig(seed=5), prompt, 40) == [expected]


@pytest.mark.parametrize(
    ("characters", "beginning"), [("\n abc", "\n"), (" abc", " "), ("abc", "a"), ("z", "z")]
)
def test_an_empty_prompt_begins_a_line_or_a_word_or_with_the_first_character(characters, beginning):
    texts = [generate_many(History(characters), SampleConfig(seed=2), p) for p in ("", beginning)]
    assert texts[0] == texts[1]
    assert len(texts[0][0]) == 200


@pytest.mark.parametrize("make", [generate, generate_many])
def test_a_prompt_with_an_unknown_character_is_refused_at_once(make):
    with pytest.raises(UnknownCharacterError, match="U\\+00E9"):
        make(History(), SampleConfig(), "abé")


@given(prompt=st.text(max_size=20) | st.text("\n abcdef", max_size=20))
def test_no_prompt_brings_any_other_error(prompt):
    if set(prompt) <= set("\n abcdef"):
        assert len(generate_many(History(), SampleConfig(), prompt, 5)[0]) == 5
    else:
        with pytest.raises(UnknownCharacterError):
            generate_many(History(), SampleConfig(), prompt, 5)


def test_lengths_and_counts_out_of_range_are_refused_at_once():
    with pytest.raises(CharloomError, match="length is -1"):
        generate(History(), SampleConfig(), "a", -1)
    with pytest.raises(CharloomError, match="count is 0"):
        generate_many(History(), SampleConfig(), "a", 5, 0)


def test_length_zero_writes_nothing():
    assert list(generate(History(), SampleConfig(), "a", 0)) == []
    assert generate_many(History(), SampleConfig(), "a", 0, 3) == ["", "", ""]


def test_a_damaged_model_is_named():
    model = History()
    model.table[:] = np.nan
    with pytest.raises(CharloomError, match="predicts nan"):
        generate_many(model, SampleConfig(), "a")


def test_a_model_that_draws_by_itself_gives_the_same_texts():
    config = SampleConfig(temperature=0.8, top_k=6, top_p=0.9, min_p=0.05, seed=4, stop=("fa",))
    fast = Fast()
    texts = generate_many(fast, config, "abc", 900, 4)
    assert texts == generate_many(History(), config, "abc", 900, 4)
    assert fast.calls > 1


@pytest.mark.parametrize("grow_below", [-INF, INF])
def test_the_size_of_chunks_does_not_matter(monkeypatch, grow_below):
    config = SampleConfig(seed=4, stop=("abab", "ccc"))
    texts = generate_many(History("abc"), config, "", 3000, 4)
    monkeypatch.setattr(sampling, "GROW_BELOW", grow_below)
    assert generate_many(History("abc"), config, "", 3000, 4) == texts


def test_chunks_grow_while_they_are_fast_and_stay_single_while_they_are_slow(monkeypatch):
    model = Script("abcd")
    monkeypatch.setattr(sampling, "GROW_BELOW", INF)
    sizes = [len(piece) for piece in generate(model, SampleConfig(), "", 4000)]
    assert sizes == [1, 4, 16, 64, 256, 1024, 1024, 1024, 587]
    monkeypatch.setattr(sampling, "GROW_BELOW", -INF)
    assert list(generate(model, SampleConfig(), "", 10)) == list("abcdabcdab")


# ---- stop strings


def cut(text, stops):
    """Character by character, as the definition reads."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


def test_the_text_ends_before_the_stop_string():
    config = SampleConfig(stop=("cda",))
    assert generate_many(Script("abcd"), config, "", 100) == ["ab"]
    assert "".join(generate(Script("abcd"), config, "", 100)) == "ab"


def test_the_stop_string_completed_first_counts_and_the_longest_of_those():
    assert generate_many(Script("abcd"), SampleConfig(stop=("abcd", "bc"))) == ["a"]
    assert generate_many(Script("abcd"), SampleConfig(stop=("bc", "abc"))) == [""]


def test_a_stop_string_that_is_not_complete_at_the_end_is_written():
    assert generate_many(Script("abcd"), SampleConfig(stop=("cda",)), "", 4) == ["abcd"]
    assert generate_many(Script("abcd"), SampleConfig(stop=("cda",)), "", 5) == ["ab"]


def test_the_prompt_is_no_part_of_a_stop_string():
    [text] = generate_many(Script("abcd"), SampleConfig(stop=("\na",)), "\n", 8)
    assert text == "abcdabcd"


def test_only_what_may_become_a_stop_string_is_held_back(monkeypatch):
    monkeypatch.setattr(sampling, "GROW_BELOW", -INF)
    pieces = list(generate(Script("aababc"), SampleConfig(stop=("abc",)), "", 12))
    assert pieces == ["a", "ab"]
    pieces = list(generate(Script("aabad"), SampleConfig(stop=("abc",)), "", 7))
    assert pieces == ["a", "ab", "ad", "aa"]


def test_one_text_that_stops_does_not_stop_the_others():
    config = SampleConfig(seed=0, stop=("ab",))
    plain = generate_many(History("abc"), SampleConfig(seed=0), "c", 60, 8)
    texts = generate_many(History("abc"), config, "c", 60, 8)
    assert texts == [cut(text, ("ab",)) for text in plain]
    assert len(set(map(len, texts))) > 3


@given(
    text=st.text("ab", min_size=1, max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=6), max_size=3),
    length=st.integers(0, 60),
    grow_below=st.sampled_from([-INF, INF]),
)
def test_stop_strings_over_every_border_agree_with_the_definition(text, stops, length, grow_below):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "GROW_BELOW", grow_below)
        pieces = generate(Script(text), SampleConfig(stop=tuple(stops)), "", length)
        whole = "".join(itertools.islice(itertools.cycle(text), length))
        assert "".join(pieces) == cut(whole, stops)
