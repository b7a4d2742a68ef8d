import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.analysis.surprise import (
    CONTEXT_LENGTH,
    END,
    MAX_WIDENING,
    PASSAGE_LENGTH,
    difference,
    find_passages,
    surprise,
    verdict,
)
from charloom.config import ModelConfig, NgramConfig
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.ngram import NgramModel
from charloom.models.reference import ReferenceModel
from charloom.models.weights import initial_weights, weight_shapes
from expect import refused
from toy_models import History

LETTERS = Vocabulary(("\n", " ", "a", "b"))


def uniform(vocabulary=LETTERS):
    """A network that has learned nothing: all its weights are 0."""
    config = ModelConfig(cell="rnn", layers=1, hidden=2)
    shapes = weight_shapes(config, len(vocabulary))
    weights = {name: np.zeros(shape) for name, shape in shapes.items()}
    return ReferenceModel(config, weights, vocabulary)


def lstm(seed, vocabulary=LETTERS):
    config = ModelConfig(cell="lstm", layers=2, hidden=5, init_std=1.0)
    return ReferenceModel(config, initial_weights(config, len(vocabulary), seed), vocabulary)


def counting(text, order=2):
    vocabulary = Vocabulary.from_text(text)
    config = NgramConfig(order=order, smoothing="none")
    return NgramModel.fit(vocabulary.encode(text), vocabulary, config)


def test_equal_chances_surprise_by_the_logarithm_of_how_many_there_are():
    found = surprise(uniform(), "ab ab\n")
    assert found.nats == pytest.approx([math.log(4)] * 5, abs=1e-12)
    assert (found.score.nats, found.score.bits) == pytest.approx((math.log(4), 2))
    assert found.top(0) == [(c, pytest.approx(0.25)) for c in "\n ab"]  # of equals, in order
    assert [found.span(i) for i in range(5)] == [*"b ab\n"]
    assert found.score.characters == 6


def test_counts_surprise_by_what_one_can_count_by_hand():
    model = counting("aabb")  # after a: a and b once each; after b: b
    found = surprise(model, "abba")
    assert found.nats == pytest.approx([math.log(2), 0, math.inf])
    assert found.top(0) == [("a", pytest.approx(0.5)), ("b", pytest.approx(0.5))]
    assert found.top(2) == [("b", pytest.approx(1)), ("a", 0)]
    assert found.score.nats == math.inf
    (passage,) = found.passages
    assert (passage.start, passage.end, passage.line) == (1, 4, 1)


@settings(max_examples=30)
@given(st.text(alphabet="ab \n", min_size=2, max_size=60), st.integers(0, 5))
def test_the_mean_is_what_evaluate_says(text, seed):
    model = lstm(seed)
    found = surprise(model, text)
    score = evaluate(model, LETTERS.encode(text))
    assert found.score.nats == pytest.approx(score.nats, rel=1e-12)
    assert found.score.bits == pytest.approx(score.bits, rel=1e-12)
    assert found.score.characters == score.characters == len(text)
    assert (found.text, surprise(model, LETTERS.encode(text)).text) == (text, text)


def test_the_mean_is_what_evaluate_says_of_a_text_that_is_read_in_lanes(monkeypatch):
    monkeypatch.setattr("charloom.evaluation.LANE_LENGTH", 300)
    monkeypatch.setattr("charloom.evaluation.chunk_length", lambda *_: 50)
    model = History()  # of all that was read: it has another loss in lanes
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary), 1000)
    found, score = surprise(model, ids), evaluate(model, ids)
    assert found.score.nats == pytest.approx(score.nats, rel=1e-12)
    assert score.nats != pytest.approx(evaluate(model, ids, lanes=1).nats, rel=1e-6)
    words = "ab ba\nabab " * 100
    markov = counting(words, order=3)
    expected = evaluate(markov, markov.vocabulary.encode(words), lanes=1).nats
    assert surprise(markov, words).score.nats == pytest.approx(expected, rel=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 100))
def test_guesses_are_the_likeliest_with_their_probabilities(seed):
    vocabulary = Vocabulary(tuple("abcdefgh"))
    model = lstm(seed, vocabulary)
    ids = vocabulary.encode("hagcbdfe")
    log_p, _ = model.log_probs(ids[None, :-1], model.start(1))
    found = surprise(model, ids)
    for place, row in enumerate(log_p[0]):
        best = sorted(range(8), key=lambda i: -row[i])[:5]
        wanted = [(vocabulary.characters[i], pytest.approx(math.exp(row[i]))) for i in best]
        assert found.top(place) == wanted


@pytest.mark.parametrize("text", ["", "a"])
def test_nothing_to_predict_is_refused(text):
    with refused("no-text", characters=len(text)):
        surprise(uniform(), text)


def test_the_end_of_a_document_is_a_prediction_of_its_own():
    text = "a\n\0b\n\n\0"
    found = surprise(uniform(Vocabulary.from_text(text)), text)
    assert found.text == "a\n\nb\n\n\n"
    assert found.ends == (1, 5)
    assert [name for name, _ in found.top(0)] == [END, "\n", "a", "b"]
    assert surprise(uniform(), "ab\n\n").ends == ()


def test_a_character_that_the_model_does_not_know_is_named():
    with refused("unknown-character", character="x", position=2):
        surprise(uniform(), "abx")


def test_a_planted_passage_is_found_with_its_line_and_what_is_around():
    text = "all is calm here\n" * 20 + "and then zxqv jkwp came by\n" + "all is calm again\n" * 20
    start = text.index("then zxqv jkwp came by")
    end = start + PASSAGE_LENGTH  # the one place where the sum is highest
    nats = np.full(len(text) - 1, 0.125)  # binary fractions, which are summed exactly
    nats[start - 1 : end - 1] = 5.0
    first, *others = find_passages(text, nats, 1, 3)
    assert first.text == text[start:end].strip() + text[end:].split()[0]
    assert first.line == 21
    assert text[first.start : first.end] == first.text
    assert (
        text[: first.start].endswith(first.before),
        text[first.end :].startswith(first.after),
    ) == (True, True)
    assert first.nats == pytest.approx(nats[first.start - 1 : first.end - 1].mean())
    assert all(other.nats == pytest.approx(0.125) for other in others)


@given(st.text(alphabet="ab \n", min_size=1, max_size=200), st.integers(0, 5), st.data())
def test_passages_lie_in_the_text_and_apart(text, count, data):
    first = data.draw(st.integers(0, len(text)))
    values = st.floats(-9, 9, allow_subnormal=False) | st.just(math.inf)
    nats = np.array(
        data.draw(st.lists(values, min_size=len(text) - first, max_size=len(text) - first))
    )
    found = find_passages(text, nats, first, count)
    assert len(found) <= count
    for p in found:
        assert first <= p.start < p.end <= len(text)
        assert p.end - p.start <= PASSAGE_LENGTH + 2 * MAX_WIDENING
    ordered = sorted(found, key=lambda p: p.start)
    assert all(a.end <= b.start for a, b in pairwise(ordered))
    assert [p.nats for p in found] == sorted((p.nats for p in found), reverse=True)


@given(st.text(alphabet="ab \n", min_size=2, max_size=60), st.integers(0, 5))
def test_words_are_whole_and_their_nats_add_up(text, seed):
    found = surprise(lstm(seed), text)
    starts, nats = found.words()
    words = [text[start:end] for start, end in pairwise(starts)]
    assert "".join(words) == text
    assert all(len(word.split()) == 1 for word in words[1:])
    assert not any(word[0].isspace() for word in words[1:])
    assert nats.sum() == pytest.approx(found.nats.sum())
    last = len(words[-1])
    assert nats[-1] == pytest.approx(found.by_character()[-last:].sum())


def test_a_passage_that_is_only_better_without_its_whole_words_is_none():
    text = "unmistakably " * 9
    nats = np.full(len(text), -0.125)
    nats[30 : 30 + PASSAGE_LENGTH] = 0.125
    (passage,) = find_passages(text, nats, 0, 1)
    assert passage.text.split() == ["unmistakably"] * len(passage.text.split())
    nats[26:30] = nats[54:64] = -4
    assert find_passages(text, nats, 0, 5) == ()


def test_what_is_around_a_passage_has_whole_words():
    sentence = "Congress shall make no law respecting an establishment of religion or"
    text, words = " ".join([sentence] * 9), {*sentence.split()}
    for start in range(60, 120):
        nats = np.zeros(len(text))
        nats[start : start + PASSAGE_LENGTH] = 1
        (passage,) = find_passages(text, nats, 0, 1)
        around = passage.before + passage.after
        assert {*around.split()} <= words, around
        assert len(around) > CONTEXT_LENGTH


def test_two_models_on_one_text():
    text = "aabb"
    known, fresh = counting(text), uniform(Vocabulary.from_text(text))
    one, other = surprise(known, text), surprise(fresh, text)
    found = difference(one, other)
    # the counts cost log 2, log 2 and 0; equal chances log 2 each time
    assert found.nats == pytest.approx([0, 0, math.log(2)], abs=1e-12)
    assert (found.first, found.second) == pytest.approx((one.score.nats, other.score.nats))
    assert found.mean == pytest.approx(math.log(2) / 3)
    assert found.mean == pytest.approx(-difference(other, one).mean)
    assert found.better
    assert not found.worse
    assert difference(one, one).mean == 0
    assert (difference(other, one).better, len(difference(other, one).worse)) == ((), 1)


def test_what_both_hold_to_be_impossible_makes_no_difference():
    model = counting("aabb")
    found = difference(surprise(model, "abba"), surprise(model, "abba"))
    assert (found.mean, found.nats.tolist()) == (0, [0, 0, 0])


def test_what_is_impossible_to_one_model_is_told_in_words():
    text, only_ab, only_aab = "abba", counting("ababab"), counting("aaabbb")
    neither = difference(surprise(only_ab, text), surprise(only_aab, text))
    assert (neither.first, neither.second) == (math.inf, math.inf)
    one = difference(surprise(uniform(), text), surprise(only_ab, text))
    assert one.mean == math.inf
    said = verdict(neither, "one", "other"), verdict(one, "one", "other")
    assert said[0] != said[1]
    assert not any(re.search(r"\b(inf|nan)\b", sentence) for sentence in said)


def test_two_models_on_two_texts_are_refused():
    with refused("bad-setting", field="text"):
        difference(surprise(uniform(), "ab"), surprise(uniform(), "ba"))


class EveryTokenAlike:
    """A model of tokens that has learned nothing."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary

    def start(self, lanes):
        return None

    def log_probs(self, ids, state):
        V = len(self.vocabulary)
        return np.full((*ids.shape, V), -math.log(V)), None


@pytest.fixture(scope="module")
def tokens():
    library = pytest.importorskip("tokenizers")
    from charloom.data.subwords import Subwords

    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator(["half a league, half a league\n"] * 9, trainer)
    return Subwords.adapt(tokenizer.to_str(), begin=["<|end|>"])


@pytest.mark.parametrize("text", ["half a league\nonward", "Dämmerung €5, 東京", "€"])
def test_of_tokens_each_span_has_whole_characters_and_the_sum_is_the_same(tokens, text):
    model = EveryTokenAlike(tokens)
    found = surprise(model, text)
    assert found.score.nats == pytest.approx(evaluate(model, tokens.whole(text)).nats)
    spans = [found.span(i) for i in range(len(found.nats))]
    assert "".join(spans) == text
    assert all(spans)
    assert found.by_character().sum() == pytest.approx(found.nats.sum())
    if "€" in text:  # three bytes, each a token: one span
        assert found.nats[spans.index("€")] == pytest.approx(3 * math.log(len(tokens)))
    else:
        assert any(len(span) > 1 for span in spans)


def test_characters_and_tokens_compare_by_character(tokens):
    text = "half a league"
    other = surprise(uniform(Vocabulary.from_text(text)), text)
    found = difference(surprise(EveryTokenAlike(tokens), text), other)
    assert (found.start, len(found.nats)) == (1, len(text) - 1)
    assert found.second == pytest.approx(other.score.nats)
