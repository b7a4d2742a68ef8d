"""What an n-gram model saves: opened again it is the same, damaged it is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from charloom.config import NgramConfig, SampleConfig, Smoothing
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.generation.lanes import write
from charloom.models.lanes import Rules
from charloom.models.ngram import NgramModel, kernels
from expect import refused

SMOOTHINGS: tuple[Smoothing, ...] = ("held-out", "kneser-ney", "witten-bell", "none")


def fitted(text: str, characters: str, order: int, smoothing: Smoothing) -> NgramModel:
    vocabulary = Vocabulary(tuple(characters))
    config = NgramConfig(order=order, smoothing=smoothing)
    return NgramModel.fit(vocabulary.encode(text), vocabulary, config)


def random_ids(model: NgramModel, lanes: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng(7).integers(0, len(model.vocabulary), (lanes, length))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_arrays_survive_a_file(smoothing: Smoothing, tmp_path: Path) -> None:
    model = fitted("the cat sat on the mat and that was that " * 3, " acdehmnostw", 5, smoothing)
    save_file(model.arrays(), tmp_path / "model.safetensors")
    opened = NgramModel.from_arrays(
        model.config, model.vocabulary, load_file(tmp_path / "model.safetensors")
    )
    ids = random_ids(model, 2, 50)
    expected, _ = model.log_probs(ids, model.start(2))
    np.testing.assert_array_equal(opened.log_probs(ids, opened.start(2))[0], expected)
    assert opened.parameter_count == model.parameter_count
    for name, values in model.arrays().items():
        np.testing.assert_array_equal(opened.arrays()[name], values, strict=True)


def test_arrays_by_hand() -> None:
    # a: 3 times, then b 2; b: 2 times, then a 2. Pairs ab 2, ba 2.
    arrays = fitted("ababa", "ab", 2, "none").arrays()
    assert {name: values.tolist() for name, values in arrays.items()} == {
        "character": [0, 1, 1, 0],
        "count": [3, 2, 2, 2],
        "children": [2, 1, 1],
    }
    assert {values.dtype for values in arrays.values()} == {np.dtype(np.uint8)}


def test_large_alphabets_are_counted_and_saved_in_wider_types() -> None:
    vocabulary = Vocabulary(tuple(map(chr, range(0x4E00, 0x4E00 + 400))))
    ids = np.random.default_rng(5).integers(0, 400, 3000)
    model = NgramModel.fit(ids, vocabulary, NgramConfig(order=3))
    arrays = model.arrays()
    assert arrays["character"].dtype == np.uint16
    opened = NgramModel.from_arrays(model.config, vocabulary, arrays)
    read = ids[None, :100]
    expected, _ = model.log_probs(read, model.start(1))
    np.testing.assert_array_equal(opened.log_probs(read, opened.start(1))[0], expected)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 16))
def test_counts_do_not_depend_on_the_size_of_the_alphabet(text: list[int], order: int) -> None:
    ids, config = np.array(text), NgramConfig(order=order, smoothing="none")
    # Of 4 characters 16 fit into 64 bits, of 300 seven, of 70,000 three.
    small, *larger = (
        NgramModel.fit(ids, Vocabulary(tuple(map(chr, range(1, 1 + V)))), config).arrays()
        for V in (4, 300, 40_000)
    )
    for arrays in larger:
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, small[name])


Damage = Callable[[dict[str, NDArray[Any]]], Any]


def put(name: str, place: int, value: int) -> Damage:
    return lambda arrays: arrays[name].__setitem__(place, value)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "floats": (lambda arrays: arrays.update(count=arrays["count"] * 1.0), "count"),
    "two axes": (lambda arrays: arrays.update(count=arrays["count"][None]), "count"),
    "empty": (lambda arrays: arrays.update(character=np.zeros(0, np.uint8)), "character"),
    "cut short": (lambda arrays: arrays.update(count=arrays["count"][:-1]), "count"),
    "a character beyond the vocabulary": (put("character", 9, 5), "character"),
    "a negative character": (put("character", 9, -1), "character"),
    "a count of 0": (put("count", 9, 0), "count"),
    "a count beyond int32": (put("count", 9, 2**31), "count"),
    "more children than characters": (put("children", 0, 6), "children"),
    "a child too few": (put("children", 3, 0), "children"),
    "siblings out of order": (put("character", 1, 0), "character"),
    "a triple whose end never came": (put("character", 12, 1), "character"),
    "a pair seen once more than its end": (put("count", 5, 3), "count"),
    "a character twice without a neighbour": (put("count", 0, 6), "count"),
}


@pytest.mark.parametrize(("damage", "array"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_arrays_are_refused(damage: Damage, array: str) -> None:
    model = fitted("abracadabra", "abcdr", 3, "kneser-ney")
    arrays = {name: values.astype(np.int64) for name, values in model.arrays().items()}
    NgramModel.from_arrays(model.config, model.vocabulary, arrays)
    damage(arrays)
    with refused("damaged", array=array):
        NgramModel.from_arrays(model.config, model.vocabulary, arrays)


def test_arrays_of_other_names_are_refused() -> None:
    model = fitted("abracadabra", "abcdr", 3, "kneser-ney")
    arrays = model.arrays()
    without = {name: array for name, array in arrays.items() if name != "count"}
    for wrong, missing, unknown in (
        ({}, ["character", "children", "count"], []),
        (without, ["count"], []),
        (arrays | {"b": np.zeros(1)}, [], ["b"]),
    ):
        with refused("bad-array", missing=missing, unknown=unknown):
            NgramModel.from_arrays(model.config, model.vocabulary, wrong)


@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_arrays_of_another_order_are_refused(order: int) -> None:
    model = fitted("abracadabra", "abcdr", 3, "kneser-ney")
    config = NgramConfig(order=order, smoothing="kneser-ney")
    with refused("damaged", array="children"):
        NgramModel.from_arrays(config, model.vocabulary, model.arrays())


@given(
    st.sampled_from(["character", "count", "children"]),
    st.integers(0, 30),
    st.integers(-2, 9),
    st.sampled_from(SMOOTHINGS),
)
def test_one_wrong_number_is_refused_or_harmless(
    name: str, place: int, value: int, smoothing: Smoothing
) -> None:
    model = fitted("abracadabra abacadabra", " abcdr", 4, smoothing)
    arrays = model.arrays()
    arrays[name] = arrays[name].astype(np.int64)
    arrays[name][place % arrays[name].size] = value
    try:
        opened = NgramModel.from_arrays(model.config, model.vocabulary, arrays)
    except CharloomError:
        return
    log_probs, _ = opened.log_probs(random_ids(opened, 1, 40), opened.start(1))
    assert np.exp(log_probs).sum(axis=-1) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("smoothing", ["held-out", "kneser-ney", "none"])
@pytest.mark.parametrize("filters", [(1.0, 0, 1.0, 0.0), (0.7, 3, 0.9, 0.1), (0.0, 0, 1.0, 0.0)])
def test_fast_sampling_draws_what_the_slow_twin_draws(
    smoothing: Smoothing, filters: tuple[float, int, float, float]
) -> None:
    text = "the cat sat on the mat and the dog sat on the log " * 3
    vocabulary = Vocabulary.from_text(text)
    config = NgramConfig(order=4, smoothing=smoothing)
    model = NgramModel.fit(vocabulary.encode(text), vocabulary, config)
    temperature, top_k, top_p, min_p = filters
    sample = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    ids, uniforms = vocabulary.encode("tm"), np.random.default_rng(0).random((2, 300))
    rules = Rules.same(sample, len(vocabulary), 2)
    expected, context = write(model, ids, model.start(2), uniforms, rules)
    found, after = model.write(ids, model.start(2), uniforms, rules)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(after, context)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    st.lists(st.sampled_from("abcd"), max_size=30),
    st.integers(1, 6),
)
def test_contexts_that_are_followed_are_those_of_the_state(
    text: list[str], read: list[str], order: int
) -> None:
    model = fitted("".join(text), "abcd", order, "kneser-ney")
    contexts = model.contexts(model.start(1))
    for c in model.vocabulary.encode("".join(read)):
        kernels.follow(model.trie, contexts, np.array([c], np.int32))
        expected = model.contexts(contexts[:, 0])[0].tolist()
        end = next(k for k, context in enumerate(expected) if context in (0, ~0))
        assert contexts[0, : end + 1].tolist() == expected[: end + 1]
