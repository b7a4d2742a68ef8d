"""Held-out discounts against figures worked out by hand and a slow twin made of dicts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import NgramConfig, Smoothing
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.ngram import NgramModel, held_out, shorter
from expect import refused

Discounts = dict[tuple[int, str, bool, int], float]  # length, which a, several follow, a up to 3


def fitted(text: str, characters: str, order: int, smoothing: Smoothing = "held-out") -> NgramModel:
    vocabulary = Vocabulary(tuple(characters))
    config = NgramConfig(order=order, smoothing=smoothing)
    return NgramModel.fit(vocabulary.encode(text), vocabulary, config)


def after(model: NgramModel, history: str) -> list[float]:
    """The probabilities of the next character after a text that is all of `history`."""
    log_probs, _ = model.log_probs(model.vocabulary.encode(history)[None], model.start(1))
    return np.exp(log_probs[0, -1]).tolist()


def test_by_hand() -> None:
    # "abracadab" is too short to hold something out: D is 0.8, 1.2, 1.5. Order 2: a came after
    # r, c, d and at the start, b twice after a, the others once after a or b. In all:
    total = 4 + 2**0.2 + 1 + 1 + 1
    a, b, c = (4 - 1.5) / total, (2**0.2 - 0.8) / total, (1 - 0.8) / total
    uniform = (1.5 + 4 * 0.8) / total / 5
    passed_on = (1.2 + 0.8 + 0.8) / 4
    expected = [
        passed_on * (a + uniform),
        (2 - 1.2) / 4 + passed_on * (b + uniform),
        (1 - 0.8) / 4 + passed_on * (c + uniform),
        (1 - 0.8) / 4 + passed_on * (c + uniform),
        passed_on * (c + uniform),
    ]
    assert after(fitted("abracadab", "abcdr", 2), "a") == pytest.approx(expected, rel=1e-14)


def test_one_held_out_character_by_hand() -> None:
    # Order 1: a came 9 times, then b because it was forgotten: in one draw beside 10, in which it
    # was forgotten 1.5 times in 3.
    ids = np.array([0] * 9 + [1], np.int32)
    model = NgramModel.fit(ids, Vocabulary(("a", "b")), NgramConfig(order=1))
    D = model.arrays()["discount"]
    assert D[0, 0, 0].tolist() == pytest.approx([0.8, 1.2, 3 * (10 * 0.5 + 1) / (10 + 1)])
    assert D[0, 0, 1].tolist() == [0.8, 1.2, 1.5]


# The slow twin: the definitions, on strings.


class Twin:
    """Counts of a text, and the probabilities that follow from them with discounts `D`."""

    def __init__(self, text: str, alphabet: str, order: int, D: Discounts) -> None:
        n = Counter(text[i:j] for j in range(len(text) + 1) for i in range(max(0, j - order), j))
        self.alphabet, self.order, self.D = alphabet, order, D
        self.a = {(w, True): float(n[w]) for w in n}
        for w in n:
            before = [n[x + w] for x in alphabet if x + w in n]
            shared = sum(k**0.2 for k in before) + text.startswith(w)
            self.a[w, False] = n[w] if len(w) == order else shared

    def followers(self, h: str, whole: bool) -> dict[str, tuple[float, int]]:
        """What follows h: a, and which discount is its."""
        a = {x: self.a[h + x, whole] for x in self.alphabet if (h + x, whole) in self.a}
        return {x: (k, min(int(k + 1e-9), 3)) for x, k in a.items()}

    def discount(self, h: str, whole: bool, m: int) -> float:
        whole = whole or len(h) == self.order - 1
        return self.D[len(h) + 1, whole, len(self.followers(h, whole)) > 1, m]

    def probability(self, c: str, h: str, whole: bool = False) -> float:
        lower = self.probability(c, h[1:]) if h else 1 / len(self.alphabet)
        following = self.followers(h, whole)
        if not following:
            return lower
        d = {x: self.discount(h, whole, m) for x, (_, m) in following.items()}
        kept = following[c][0] - d[c] if c in following else 0.0
        return (kept + sum(d.values()) * lower) / sum(k for k, _ in following.values())

    def after(self, c: str, history: str) -> float:
        whole = len(history) < self.order - 1
        return self.probability(c, history[max(0, len(history) - self.order + 1) :], whole)


def draws(twin: Twin, c: str, h: str, whole: bool, times: float) -> tuple[Counter, Counter]:
    """How often each discount was taken, and how often it could be, if c came so often after h."""
    taken, possible = Counter[tuple[int, bool, bool, int]](), Counter[tuple[int, bool, bool, int]]()
    following = twin.followers(h, whole)
    lower = twin.probability(c, h[1:]) if h else 1 / len(twin.alphabet)
    total = sum(k for k, _ in following.values())
    p = twin.probability(c, h, whole)
    key = len(h) + 1, whole or len(h) == twin.order - 1, len(following) > 1
    for x, (a, m) in following.items():
        d = twin.discount(h, whole, m)
        forgotten = a / total * d / a * lower / p
        # It was drawn and not forgotten, by the part of a that can be.
        kept = (m - d) / total / p if x == c else 0.0
        taken[*key, m] += times * forgotten
        possible[*key, m] += times * (forgotten + kept)
    return taken, possible


def estimated(text: str, alphabet: str, order: int) -> Discounts:
    start = len(text) - len(text) // 10
    D = {
        (length, whole, several, m): d
        for length in range(1, order + 1)
        for whole in (True, False)
        for several in (True, False)
        for m, d in ((1, 0.8), (2, 1.2), (3, 1.5))
    }
    first = dict(D)
    for _ in range(15 if start < len(text) else 0):
        twin = Twin(text[:start], alphabet, order, D)
        taken, possible = Counter[tuple[int, bool, bool, int]](), Counter()
        for t in range(start, len(text)):
            times = 1.0
            for k in range(min(order - 1, t), -1, -1):
                h = text[t - k : t]
                if not twin.followers(h, True):
                    continue
                for whole in (False, True):
                    if whole and k == order - 1:
                        continue
                    new = draws(twin, text[t], h, whole, 1.0 if whole else times)
                    for sums, more in zip((taken, possible), new, strict=True):
                        sums.update(more)
                    if not whole:
                        led_on = new[0].total()
                times = led_on
        D = {key: (key[3] * taken[key] + 10 * first[key]) / (possible[key] + 10) for key in D}
    return D


def assert_same(text: str, alphabet: str, order: int, read: str) -> None:
    model = fitted(text, alphabet, order)
    twin = Twin(text, alphabet, order, estimated(text, alphabet, order))
    log_probs, _ = model.log_probs(model.vocabulary.encode(read)[None], model.start(1))
    wanted = [[twin.after(c, read[: t + 1]) for c in alphabet] for t in range(len(read))]
    np.testing.assert_allclose(np.exp(log_probs[0]), wanted, rtol=1e-9, atol=0)


@given(
    st.text("abc", min_size=1, max_size=60),
    st.text("abcd", min_size=1, max_size=20),
    st.integers(1, 7),
)
def test_agrees_with_the_slow_twin(text: str, read: str, order: int) -> None:
    assert_same(text, "abcd", order, read)


def test_an_order_longer_than_the_text() -> None:
    assert_same("ab", "abc", 16, "abcab")
    assert_same("abcabcabcabcabc", "abc", 16, "abcabba")


@pytest.mark.parametrize("order", [1, 4])
def test_agrees_with_the_slow_twin_on_words(order: int) -> None:
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 6))) for _ in range(20)]
    text = " ".join(rng.choice(words, 120, p=np.arange(1, 21) / 210))
    assert_same(text, " abcdefghi", order, text[:40] + "hgfedcba  aabbi" + text[100:120])


def test_places_of_a_long_text_are_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 40 held-out characters every fourth is looked at: only these are b.
    ids = np.zeros(400, np.int32)
    ids[360::4] = 1
    monkeypatch.setattr(held_out, "PLACES", 10)
    model = NgramModel.fit(ids, Vocabulary(("a", "b")), NgramConfig(order=1))
    # All ten came because an a was forgotten.
    assert model.arrays()["discount"][0, 0, 0, 2] == pytest.approx((3 * 10 + 10 * 1.5) / 20)


def test_a_short_text_is_continued_as_by_a_model_that_looks_no_further_back() -> None:
    text = "the cat sat on the mat and that was that " * 5
    model = fitted(text, " acdehmnoqstw", 8)
    for history in ("t", "th", "the ", "q", "tq", "qt", "s t", "was"):
        order = len(history) + 1
        lower = NgramModel.from_arrays(
            NgramConfig(order=order), model.vocabulary, shorter(model.arrays(), order)
        )
        assert after(model, history) == after(lower, history)


def test_what_is_soon_repeated_and_never_again_is_discounted() -> None:
    # Each line stands there twice: what has been seen twice is no reason to expect it elsewhere.
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("aeiou"), 4)) for _ in range(200)]
    lines = [" ".join(rng.choice(words, 4)) for _ in range(120)]
    train, unseen = ("".join(f"{s}\n{s}\n" for s in part) for part in (lines[:100], lines[100:]))
    alphabet = "\n aeiou"
    ids = Vocabulary(tuple(alphabet)).encode("\n".join(unseen.split("\n")[::2]))
    held, kneser_ney = (
        evaluate(fitted(train, alphabet, 8, s), ids).nats for s in ("held-out", "kneser-ney")
    )
    assert held < kneser_ney - 0.05


def test_wrong_discounts_are_refused() -> None:
    model = fitted("abracadabra", "abcdr", 3)
    arrays = model.arrays()
    good = arrays["discount"]
    for bad in (good[:2], good.astype(np.int64), good * 0, good + 0.3, good * np.nan):
        with refused("damaged", array="discount"):
            NgramModel.from_arrays(model.config, model.vocabulary, arrays | {"discount": bad})
    with refused("bad-array", missing=["discount"], unknown=[]):
        old = {name: array for name, array in arrays.items() if name != "discount"}
        NgramModel.from_arrays(model.config, model.vocabulary, old)
