import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.config import SampleConfig
from charloom.data.subwords import Subwords
from charloom.data.suffix_array import Continuations
from charloom.generation import sampling
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.draw import draw, filter_weights
from charloom.generation.lanes import write_within
from charloom.generation.sampling import generate, generate_many
from charloom.models.lanes import Rules
from expect import refused
from toy_models import History, Script, WritesAtOnce

INF = math.inf
SOURCE = "a bad cab fed a dead bee\na deaf cad bade a fab bed\n" * 3


class Parrot(History):
    """Expects what follows in SOURCE after the last three characters, and a little all others."""

    def __init__(self, others=1e-3):
        super().__init__(sorted(set(SOURCE)))
        V = len(self.vocabulary)
        counts = np.full((V, V, V, V), others)
        ids = self.vocabulary.encode(SOURCE)
        for context in zip(ids, ids[1:], ids[2:], ids[3:], strict=False):
            counts[context] += 1
        counts[counts.sum(axis=3) == 0] = 1
        with np.errstate(divide="ignore"):
            self.table = np.log(counts)

    def start(self, lanes):
        return np.zeros((lanes, 3), int)

    def step(self, ids, state):
        state = np.column_stack([state[:, 1:], ids])
        return self.table[tuple(state.T)], state


def too_long(text, most, source=SOURCE, start=0):
    """Where a passage of `most` + 1 characters of the source ends, from `start` on."""
    ends = range(max(most + 1, start + 1), len(text) + 1)
    return [end for end in ends if text[end - most - 1 : end] in source]


SETTINGS = st.builds(
    SampleConfig,
    seed=st.integers(0, 99),
    temperature=st.sampled_from([0, 0.5, 1.0]),
    top_k=st.sampled_from([0, 1, 3]),
    top_p=st.sampled_from([0.5, 1.0]),
)


@settings(max_examples=40)
@given(SETTINGS, st.integers(1, 12), st.sampled_from(["", "b", SOURCE[:20]]), st.integers(1, 3))
def test_no_passage_is_longer_than_the_limit(config, most, prompt, count):
    limit = CopyLimit(SOURCE, most)
    texts = generate_many(Parrot(), config, prompt, 60, count, limit)
    for text in texts:
        assert not too_long(prompt + text, most, start=len(prompt))
        assert len(text) == 60  # there always is another character
    assert limit.ended == 0


def test_without_the_limit_there_are_longer_passages():
    [text] = generate_many(Parrot(), SampleConfig(seed=0), "", 60)
    assert too_long(text, 8)


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(1, 9))
def test_up_to_where_it_steps_in_the_text_is_the_one_without(seed, most):
    config, limit = SampleConfig(seed=seed), CopyLimit(SOURCE, most)
    [plain] = generate_many(Parrot(), config, "", 50)
    [text] = generate_many(Parrot(), config, "", 50, 1, limit)
    first = min(too_long(plain, most), default=51) - 1
    assert text[:first] == plain[:first]
    assert text[first : first + 1] != plain[first : first + 1] or first >= 50
    assert (limit.redrawn == 0) == (text == plain)


def test_the_same_seed_writes_the_same_text_in_pieces_or_beside_others():
    config = SampleConfig(seed=5, stop=("dd", "bed"))
    texts = [generate_many(Parrot(), config, "a ", 80, n, CopyLimit(SOURCE, 5)) for n in (1, 3)]
    pieces = list(generate(Parrot(), config, "a ", 80, CopyLimit(SOURCE, 5)))
    assert texts[0] == texts[1][:1] == ["".join(pieces)]
    assert len(pieces) > 3
    assert len(set(texts[1])) == 3


@pytest.mark.parametrize("grow_below", [-INF, INF])
def test_the_size_of_chunks_does_not_matter(monkeypatch, grow_below):
    config, limits = SampleConfig(seed=4, stop=("dada", "fed a f")), [CopyLimit(SOURCE, 7)] * 2
    texts = generate_many(Parrot(), config, "", 400, 3, limits[0])
    redrawn, limits[1].redrawn = limits[0].redrawn, 0
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", grow_below)
    assert generate_many(Parrot(), config, "", 400, 3, limits[1]) == texts
    assert limits[1].redrawn == redrawn > 3


def test_a_model_that_draws_by_itself_is_gone_back_in():
    class Fast(WritesAtOnce, Parrot):
        pass

    config, fast = SampleConfig(seed=2, temperature=0.8), Fast()
    texts = generate_many(fast, config, "a", 600, 2, CopyLimit(SOURCE, 9))
    assert texts == generate_many(Parrot(), config, "a", 600, 2, CopyLimit(SOURCE, 9))
    assert fast.calls > 5


def test_texts_that_have_ended_are_not_counted():
    config = SampleConfig(seed=1, stop=("\n",))
    alone = CopyLimit(SOURCE, 4)
    [first] = generate_many(Parrot(), config, "a", 400, 1, alone)
    both = CopyLimit(SOURCE, 4)
    texts = generate_many(Parrot(), config, "a", 400, 4, both)
    counts = []
    for text in texts:  # with n characters and the stop string, each is as if it were alone
        longest = CopyLimit(SOURCE, 4)
        one = generate_many(Parrot(), config, "a", len(text) + 1, 4, longest)
        assert text in one
        counts.append(longest.redrawn)
    assert texts[0] == first
    assert alone.redrawn <= both.redrawn == max(counts)


def test_a_passage_that_began_in_the_prompt_counts_and_the_prompt_is_left_alone():
    """After a prompt of one character the script begins with its first."""
    for prompt, expected in [("d", "abcda"), ("a", "abcdab")]:  # "aa" is not in the source
        limit = CopyLimit("abcd" * 9, 6)
        assert generate_many(Script("abcd"), SampleConfig(), prompt, 50, 1, limit) == [expected]
    limit = CopyLimit("abcdabcdabcd", 2)
    [text] = generate_many(Parrot(), SampleConfig(seed=0), "abcd", 30, 1, limit)
    assert not too_long("abcd" + text, 2, "abcdabcdabcd", start=4)
    assert len(text) == 30


def test_where_nothing_is_left_the_text_ends_and_that_is_counted():
    limit = CopyLimit("abcd" * 9, 6)
    assert generate_many(Script("abcd"), SampleConfig(), "", 50, 2, limit) == ["abcdab"] * 2
    assert (limit.redrawn, limit.ended) == (0, 2)
    pieces = generate(Script("abcd"), SampleConfig(stop=("bc",)), "", 50, limit)
    assert "".join(pieces) == "a"
    assert limit.ended == 2  # the stop string came before
    pieces = generate(Script("abcd"), SampleConfig(stop=("bca",)), "", 50, CopyLimit("abcda", 2))
    assert "".join(pieces) == "ab"  # which was held back


def test_one_text_that_ends_does_not_end_the_others():
    config, limit = SampleConfig(seed=3), CopyLimit(SOURCE, 6)
    texts = generate_many(Parrot(others=0), config, "", 200, 6, limit)
    assert limit.ended == sum(len(text) < 200 for text in texts) > 1
    assert len(set(map(len, texts))) > 2


def test_what_is_drawn_anew_has_the_probabilities_of_the_others():
    model, config = History(), SampleConfig(temperature=1.3, top_p=0.95)
    log_probs = np.random.default_rng(2).normal(size=len(model.vocabulary))
    n = 4000
    limit = CopyLimit("abc abd abf", 2)
    draws = [
        limit.redraw(model.vocabulary, "fab", log_probs, config, u, draw(log_probs, config, u))
        for u in (np.arange(n) + 0.5) / n
    ]
    counts = np.bincount(draws, minlength=len(log_probs)) / n
    ruled_out = model.vocabulary.encode("cdf")
    before = filter_weights(log_probs, config)
    before /= before.sum()
    left = log_probs.copy()
    left[ruled_out] = -INF
    after = filter_weights(left, config)
    after /= after.sum()
    share = before[ruled_out].sum()
    expected = np.where(np.isin(np.arange(len(before)), ruled_out), 0, before) + share * after
    np.testing.assert_allclose(counts, expected, atol=4 / n)
    assert limit.redrawn == pytest.approx(n * share, abs=3)


def test_an_id_that_the_filters_leave_out_here_is_redrawn_too():
    """A model that draws by itself may round otherwise than its log-probabilities do."""
    model, limit = History(), CopyLimit("abc abd abf", 2)
    log_probs = np.zeros(len(model.vocabulary))
    likeliest, drawn = model.vocabulary.encode("bc").tolist()
    log_probs[likeliest] = 1.0
    for u in (0.0, 0.5, 0.999):
        found = limit.redraw(model.vocabulary, "ab", log_probs, SampleConfig(top_k=1), u, drawn)
        assert found == likeliest


def test_characters_of_the_source_that_the_model_does_not_know_do_not_matter():
    limit = CopyLimit("aé" * 5 + "aa", 1)
    [text] = generate_many(History("ab\n"), SampleConfig(seed=0), "a", 40, 1, limit)
    assert "aa" not in "a" + text


def test_a_limit_below_one_and_tokens_are_refused():
    with refused("bad-setting", field="max_copy"):
        CopyLimit(SOURCE, 0)
    model = History()
    model.vocabulary = object.__new__(Subwords)
    with refused("unsupported", field="max_copy"):
        generate(model, SampleConfig(), "a", 5, CopyLimit(SOURCE, 5))


def test_a_source_shorter_than_the_limit_limits_nothing():
    limit = CopyLimit("ab", 5)
    plain = generate_many(History(), SampleConfig(seed=0), "", 90)
    assert generate_many(History(), SampleConfig(seed=0), "", 90, 1, limit) == plain
    assert limit.redrawn == 0


def test_the_check_itself_finds_what_is_too_long():
    assert too_long("xxabcdxx", 3, "abcde") == [6]
    assert too_long("abcdxx", 3, "abcde", start=4) == []
    assert list(itertools.islice(too_long("aaaa", 1, "aa"), 3)) == [2, 3, 4]


@settings(max_examples=30)
@given(SETTINGS, st.integers(1, 9), st.sampled_from(["b", SOURCE[:20]]))
def test_a_lane_within_a_limit_is_what_the_sampler_writes(config, most, prompt):
    model, n = Parrot(), 40
    wanted = "".join(generate(model, config, prompt, n, CopyLimit(SOURCE, most)))
    ids = model.vocabulary.encode(prompt)
    state = model.start(1)
    for id in ids[:-1]:
        _, state = model.step(np.array([id]), state)
    uniforms = np.random.default_rng(config.seed).spawn(1)[0].random(n)[None]
    rules = Rules.of(config, len(model.vocabulary))
    log_probs = np.empty((1, n, len(model.vocabulary)))
    limit, end = CopyLimit(SOURCE, most), prompt[-most:]
    drawn, _ = write_within(model, ids[-1:], state, uniforms, rules, limit, end, log_probs)
    assert model.vocabulary.decode(drawn[0]) == wanted


def test_a_lane_ends_where_a_limit_leaves_nothing_to_draw():
    model = Parrot(others=0)
    prompt = SOURCE[:9]
    ids = model.vocabulary.encode(prompt)
    state = model.start(1)
    for id in ids[:-1]:
        _, state = model.step(np.array([id]), state)
    rules = Rules.of(SampleConfig(), len(model.vocabulary))
    limit = CopyLimit(SOURCE, 3, Continuations(SOURCE, 3))
    drawn, _ = write_within(model, ids[-1:], state, np.zeros((1, 5)), rules, limit, prompt[-3:])
    assert drawn.tolist() == [[-1] * 5]
    assert limit.ended == 1
