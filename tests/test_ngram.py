"""The n-gram model against figures worked out by hand and against a slow twin made of dicts."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charloom.config import NgramConfig, Smoothing
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.ngram import NgramModel
from charloom.models.ngram import model as model_module
from charloom.models.ngram.smoothing import discounts, one_discount
from charloom.models.protocols import LanguageModel
from expect import refused

SMOOTHINGS: tuple[Smoothing, ...] = ("held-out", "kneser-ney", "witten-bell", "none")
FORMULAS = SMOOTHINGS[1:]  # for "held-out" see test_ngram_held_out.py
CORPORA = Path(__file__).parents[2] / "shared" / "corpora"


def fitted(text: str, characters: str, order: int, smoothing: Smoothing) -> NgramModel:
    vocabulary = Vocabulary(tuple(characters))
    config = NgramConfig(order=order, smoothing=smoothing)
    return NgramModel.fit(vocabulary.encode(text), vocabulary, config)


def after(model: NgramModel, history: str) -> dict[str, float]:
    """The probabilities of the next character after a text that is all of `history`."""
    ids = model.vocabulary.encode(history)[None]
    log_probs, _ = model.log_probs(ids, model.start(1))
    return dict(zip(model.vocabulary.characters, np.exp(log_probs[0, -1]).tolist(), strict=True))


# Figures by hand. "abracadabra": a 5, b 2, r 2, c 1, d 1; ab 2, br 2, ra 2, ac, ca, ad, da 1.


def test_markov_of_order_1_is_the_share_of_each_character() -> None:
    model = fitted("abracadabra", "abcdr", 1, "none")
    expected = {"a": 5 / 11, "b": 2 / 11, "c": 1 / 11, "d": 1 / 11, "r": 2 / 11}
    assert after(model, "c") == pytest.approx(expected, rel=1e-14)


def test_markov_of_order_2_is_the_share_after_the_character_before() -> None:
    # The last a is followed by nothing, so it does not count.
    model = fitted("abracadabra", "abcdr", 2, "none")
    assert after(model, "rca") == pytest.approx(
        {"a": 0, "b": 1 / 2, "c": 1 / 4, "d": 1 / 4, "r": 0}
    )


def test_witten_bell_by_hand() -> None:
    # 11 characters of 5 kinds: P(x) = (n(x) + 5 / 5) / (11 + 5).
    one = after(fitted("abracadabra", "abcdr", 1, "witten-bell"), "a")
    assert one == pytest.approx({"a": 6 / 16, "b": 3 / 16, "c": 2 / 16, "d": 2 / 16, "r": 3 / 16})
    # 4 after a, of 3 kinds: P(x | a) = (n(ax) + 3 P(x)) / (4 + 3).
    two = after(fitted("abracadabra", "abcdr", 2, "witten-bell"), "a")
    assert two["b"] == pytest.approx((2 + 3 * 3 / 16) / 7, rel=1e-14)
    assert two["r"] == pytest.approx((0 + 3 * 3 / 16) / 7, rel=1e-14)


def test_kneser_ney_by_hand() -> None:
    # a comes after r, c, d and at the start: 4; b, c, d, r after one character each; 8 in all.
    # No character comes after exactly two and no pair came three times, so D is 0.5, 1, 1.5.
    # P(a) = (4 - 1.5) / 8 + (1.5 + 4 * 0.5) / 8 / 5 = 0.4, the others 0.5 / 8 + 0.0875 = 0.15.
    # P(b | a) = (2 - 1) / 4 + (1 + 0.5 + 0.5) / 4 * 0.15, P(c | a) = 0.5 / 4 + 0.5 * 0.15.
    model = fitted("abracadabra", "abcdr", 2, "kneser-ney")
    expected = {"a": 0.2, "b": 0.325, "c": 0.2, "d": 0.2, "r": 0.075}
    assert after(model, "a") == pytest.approx(expected, rel=1e-14)
    log_probs, _ = model.step(np.array([0]), model.start(1))
    assert log_probs[0, 1] == pytest.approx(math.log(0.325), rel=1e-14)


def test_kneser_ney_counts_characters_where_nothing_came_before() -> None:
    # "xaxaxaya" of order 3: after "a" alone came x 2 times and y once, and once nothing. No count
    # is estimated, so D is 0.5, 1, 1.5. Characters before x, a, y: the start and a; x and y; a.
    # P(x) = (2 - 1) / 5 + (1 + 1 + 0.5) / 5 / 3, P(x | a) = (2 - 1) / 3 + (1 + 0.5) / 3 P(x).
    model = fitted("xaxaxaya", "axy", 3, "kneser-ney")
    x, y = 1 / 5 + 0.5 / 3, 0.5 / 5 + 0.5 / 3
    assert after(model, "a")["x"] == pytest.approx(1 / 3 + 0.5 * x, rel=1e-14)
    assert after(model, "a")["y"] == pytest.approx(0.5 / 3 + 0.5 * y, rel=1e-14)
    # After "ya", which only ends the text, x and y count once each: both came after "xa" alone.
    assert after(model, "ya")["x"] == pytest.approx(0.5 / 2 + 0.5 * x, rel=1e-14)


@pytest.mark.parametrize("smoothing", SMOOTHINGS[2:])
@pytest.mark.parametrize("history", ["t", "th", "the ", "q", "tq", "qt", "s t", "was"])
def test_a_short_text_is_continued_as_by_a_model_that_looks_no_further_back(
    history: str, smoothing: Smoothing
) -> None:
    text = "the cat sat on the mat and that was that " * 3
    models = (fitted(text, " acdehmnoqstw", n, smoothing) for n in (8, len(history) + 1))
    longer, shorter = (after(model, history) for model in models)
    assert longer == shorter


def test_a_word_alone_is_predicted_about_as_well_as_by_witten_bell() -> None:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("aeioulmnrst"), 6)) for _ in range(20)]
    text = " ".join(rng.choice(words, 1500))
    *others, witten_bell = (
        np.mean([evaluate(model, model.vocabulary.encode(word)).nats for word in words])
        for model in (fitted(text, " aeilmnorstu", 8, s) for s in SMOOTHINGS[:3])
    )
    assert max(others) < witten_bell + 0.02


@pytest.mark.parametrize(("smoothing", "least"), [("kneser-ney", 0.8), ("held-out", 0.7)])
def test_the_first_letters_of_lines_are_those_of_lines(smoothing: Smoothing, least: float) -> None:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("aeioulmnrst"), 6)) for _ in range(25)]
    lines = [" ".join([rng.choice(words).title(), *rng.choice(words, 40)]) for _ in range(40)]
    text = "\n".join(lines) + "\n"
    model = fitted(text, "".join(sorted(set(text))), 8, smoothing)
    first = after(model, "\n")
    assert sum(p for c, p in first.items() if c.isupper()) > least


def test_discounts_by_hand() -> None:
    # n1..n4 = 10, 5, 3, 2: Y = 10 / 20, D = 1 - 2Y 5/10, 2 - 3Y 3/5, 3 - 4Y 2/3.
    counted = np.repeat(np.array([1, 2, 3, 4, 9], np.int32), [10, 5, 3, 2, 7])
    assert discounts(counted).tolist() == pytest.approx([0, 0.5, 1.1, 3 - 4 / 3])


def test_one_discount_by_hand() -> None:
    # n1 and n2 are 10 and 5: Y = 10 / 20.
    counted = np.repeat(np.array([1, 2, 3, 9], np.int32), [10, 5, 3, 7])
    assert one_discount(counted).tolist() == [0, 0.5, 0.5, 0.5]
    counted = np.repeat(np.array([1, 2, 3], np.int32), [2, 3, 1])
    assert one_discount(counted).tolist() == [0, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("counted", [[1, 3], [2, 2, 3], []])
def test_one_discount_that_cannot_be_estimated_is_a_half(counted: list[int]) -> None:
    assert one_discount(np.array(counted, np.int32)).tolist() == [0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("counted", [[1, 2, 3], [7], [], [1, 2, 3, 3, 3, 3, 4]])
def test_discounts_that_cannot_be_estimated_are_the_stand_ins(counted: list[int]) -> None:
    assert discounts(np.array(counted, np.int32)).tolist() == [0, 0.5, 1, 1.5]


def test_parameter_count_is_the_number_of_different_ngrams() -> None:
    # a b c d r, ab br ra ac ca ad da, and abr bra rac aca cad ada dab.
    assert fitted("abracadabra", "abcdr", 3, "kneser-ney").parameter_count == 5 + 7 + 7


# The slow twin: the definitions, on strings.

Probability = Callable[[str, str], float]


def twin(text: str, V: int, order: int, smoothing: Smoothing) -> Probability:
    n = Counter(text[i:j] for j in range(len(text) + 1) for i in range(max(0, j - order), j))
    alphabet = sorted(set(text))

    def different_before(w: str) -> int:
        return sum(x + w in n for x in alphabet) + text.startswith(w)

    adjusted = dict(n)
    if smoothing == "kneser-ney":
        adjusted = {w: c if len(w) == order else different_before(w) for w, c in n.items()}

    def several_or_one(a: Mapping[str, int], length: int) -> tuple[list[float], list[float]]:
        n1, n2, n3, n4 = (sum(a[w] == k and len(w) == length for w in a) for k in (1, 2, 3, 4))
        several, y = [0.5, 1.0, 1.5], n1 / (n1 + 2 * n2) if n1 * n2 else 0.5
        if n1 * n2 * n3 * n4:
            estimate = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            several = estimate if min(estimate) > 0 else several
        return [0.0, *several], [0.0, y, y, y]

    @cache
    def discounts_of(length: int, whole: bool) -> list[float]:
        several, one = several_or_one(n if whole else adjusted, length)
        grams = [w for w in n if len(w) == length]
        if not whole or not grams:
            return several
        gain = sum(n[w] * math.log(left_out(w, one) / left_out(w, several)) for w in grams)
        return one if gain > 1e-9 * sum(n[w] for w in grams) else several

    def left_out(w: str, d: list[float]) -> float:
        """P(last character | those before), given every place in the text but this one."""
        without = Counter({v: n[v] for v in (w[:-1] + x for x in alphabet) if v in n})
        without[w] -= 1
        lower = interpolated(w[-1], w[1:-1]) if len(w) > 1 else 1 / V
        if not (total := without.total()):
            return lower
        discount = {v: d[min(k, 3)] for v, k in without.items()}
        return (without[w] - discount[w] + sum(discount.values()) * lower) / total

    def probability(c: str, history: str) -> float:
        whole = smoothing == "kneser-ney" and len(history) < order - 1
        return interpolated(c, history[-(order - 1) :] if order > 1 else "", whole)

    def interpolated(c: str, h: str, whole: bool = False) -> float:
        a = n if whole else adjusted
        following = [h + x for x in alphabet if h + x in a]
        total = sum(a[w] for w in following)
        lower = interpolated(c, h[1:]) if h else 1 / V
        if total == 0:
            return lower
        if smoothing == "none":
            return a.get(h + c, 0) / total
        if smoothing == "witten-bell":
            return (a.get(h + c, 0) + len(following) * lower) / (total + len(following))
        d = discounts_of(len(h) + 1, whole)
        kept = a[h + c] - d[min(a[h + c], 3)] if h + c in a else 0.0
        return (kept + sum(d[min(a[w], 3)] for w in following) * lower) / total

    return probability


def assert_same(model: NgramModel, expected: Probability, text: str) -> None:
    log_probs, _ = model.log_probs(model.vocabulary.encode(text)[None], model.start(1))
    wanted = [
        [expected(c, text[: t + 1]) for c in model.vocabulary.characters] for t in range(len(text))
    ]
    np.testing.assert_allclose(np.exp(log_probs[0]), wanted, rtol=1e-11, atol=0)


@given(
    st.text("abc", min_size=1, max_size=40),
    st.text("abcd", min_size=1, max_size=20),
    st.integers(1, 7),
    st.sampled_from(FORMULAS),
)
def test_agrees_with_the_slow_twin(text: str, read: str, order: int, smoothing: Smoothing) -> None:
    model = fitted(text, "abcd", order, smoothing)
    assert_same(model, twin(text, 4, order, smoothing), read)


@pytest.mark.parametrize("smoothing", FORMULAS)
def test_agrees_with_the_slow_twin_where_discounts_are_estimated(smoothing: Smoothing) -> None:
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), rng.integers(1, 6))) for _ in range(40)]
    text = " ".join(rng.choice(words, 600, p=np.arange(1, 41) / 820))
    model = fitted(text, "".join(sorted(set(text))), 4, smoothing)
    grams = Counter(text[i : i + 4] for i in range(len(text) - 3))
    assert discounts(np.array(list(grams.values()), np.int32)).tolist() != [0, 0.5, 1, 1.5]
    expected = twin(text, len(model.vocabulary), 4, smoothing)
    assert_same(model, expected, text[:40] + "ponmlkjihgfedcba  aabb" + text[100:120])


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=300),
    st.lists(st.integers(0, 7), min_size=1, max_size=50),
    st.integers(1, 16),
    st.sampled_from(SMOOTHINGS),
)
def test_every_distribution_sums_to_one(
    text: list[int], read: list[int], order: int, smoothing: Smoothing
) -> None:
    config = NgramConfig(order=order, smoothing=smoothing)
    model = NgramModel.fit(np.array(text), Vocabulary(tuple("abcdefgh")), config)
    log_probs, _ = model.log_probs(np.array([read]), model.start(1))
    assert np.exp(log_probs).sum(axis=-1) == pytest.approx(1, abs=1e-12)
    assert smoothing == "none" or np.isfinite(log_probs).all()


# Texts at the edge.


@pytest.mark.parametrize("smoothing", FORMULAS)
def test_order_longer_than_the_text_counts_what_there_is(smoothing: Smoothing) -> None:
    model = fitted("ab", "abc", 16, smoothing)
    assert model.parameter_count == 3
    assert_same(model, twin("ab", 3, 16, smoothing), "abcab")


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_one_character_repeated(smoothing: Smoothing) -> None:
    text = "a" * 5000
    model = fitted(text, "ab", 16, smoothing)
    assert model.parameter_count == 16
    probabilities = after(model, "a" * 40)
    assert probabilities["a"] > 0.99
    assert (probabilities["b"] > 0) == (smoothing != "none")


def test_unseen_characters_are_impossible_only_without_smoothing() -> None:
    assert after(fitted("abab", "abc", 2, "none"), "a")["c"] == 0
    for smoothing in SMOOTHINGS[:3]:
        assert after(fitted("abab", "abc", 2, smoothing), "a")["c"] > 0


def test_markov_backs_off_to_the_longest_context_seen() -> None:
    model = fitted("abcbd", "abcd", 3, "none")
    assert after(model, "ab") == {"a": 0, "b": 0, "c": 1, "d": 0}
    # "db" never came: after b came c once and d once.
    assert after(model, "db") == {"a": 0, "b": 0, "c": 0.5, "d": 0.5}
    # "bd" ends the text, and so does d: the shares of all characters are left.
    assert after(model, "bd") == {"a": 0.2, "b": 0.4, "c": 0.2, "d": 0.2}


@pytest.mark.parametrize(
    "ids", [np.zeros(0, np.int32), np.zeros((2, 2), np.int32), np.array([0, 2]), np.array([-1])]
)
def test_ids_that_are_no_text_are_refused(ids: NDArray[np.integer]) -> None:
    with refused("bad-array"):
        NgramModel.fit(ids, Vocabulary(("a", "b")), NgramConfig())


def test_more_ngrams_than_can_be_numbered_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "LARGEST", 19)
    with refused("bad-setting", field="order"):
        fitted("abracadabra", "abcdr", 3, "none")
    assert fitted("abracadabra", "abcdr", 2, "none").parameter_count == 12


# The face of a LanguageModel.


@pytest.fixture(scope="module", params=SMOOTHINGS)
def model(request: pytest.FixtureRequest) -> NgramModel:
    return fitted("the cat sat on the mat and that was that " * 3, " acdehmnostw", 5, request.param)


def random_ids(model: NgramModel, lanes: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng(7).integers(0, len(model.vocabulary), (lanes, length))


def test_is_a_language_model(model: NgramModel) -> None:
    assert isinstance(model, LanguageModel)


def test_step_by_step_equals_all_at_once(model: NgramModel) -> None:
    ids = np.concatenate(
        [random_ids(model, 3, 20), model.vocabulary.encode("the cat")[None, :].repeat(3, 0)], 1
    )
    whole, end = model.log_probs(ids, model.start(3))
    state = model.start(3)
    for t in range(ids.shape[1]):
        log_probs, state = model.step(ids[:, t], state)
        np.testing.assert_array_equal(log_probs, whole[:, t])
    np.testing.assert_array_equal(state, end)


def test_an_older_state_can_be_gone_back_to(model: NgramModel) -> None:
    ids = model.vocabulary.encode("the cat sat on")[None]
    _, state = model.log_probs(ids[:, :5], model.start(1))
    kept = state.copy()
    first, _ = model.log_probs(ids[:, 5:], state)
    np.testing.assert_array_equal(state, kept)
    again, _ = model.log_probs(ids[:, 5:], state)
    np.testing.assert_array_equal(first, again)


def test_lanes_do_not_see_one_another(model: NgramModel) -> None:
    ids = random_ids(model, 4, 30)
    together, _ = model.log_probs(ids, model.start(4))
    for lane in range(4):
        alone, _ = model.log_probs(ids[lane : lane + 1], model.start(1))
        np.testing.assert_array_equal(alone[0], together[lane])


def test_ids_may_be_of_any_integer_type_and_read_only(model: NgramModel) -> None:
    ids = random_ids(model, 2, 9)
    expected, _ = model.log_probs(ids, model.start(2))
    for kind in (np.uint8, np.int32, np.uint16):
        other = np.asfortranarray(ids.astype(kind))
        other.flags.writeable = False
        np.testing.assert_array_equal(model.log_probs(other, model.start(2))[0], expected)


def test_importing_the_package_does_not_load_numba() -> None:
    code = "import sys, charloom.models.ngram; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# How good it is.


@pytest.mark.torture
def test_war_and_peace_at_order_8_is_below_1_35_nats() -> None:
    path = CORPORA / "war-and-peace.txt"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/corpora")
    text = path.read_text(encoding="utf-8")
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    cut = round(len(ids) * 0.9)
    model = NgramModel.fit(ids[:cut], vocabulary, NgramConfig(order=8))
    state, nats = model.start(1), []
    for start in range(cut, len(ids) - 1, 5000):
        targets = ids[start + 1 : start + 5001]
        log_probs, state = model.log_probs(ids[None, start : start + len(targets)], state)
        nats.append(-log_probs[0, np.arange(len(targets)), targets])
    assert np.concatenate(nats).mean() < 1.35
