"""Contexts that are mixed while they are read: arithmetic, tree, code and scores."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import ModelConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.mixing import (
    ContextMixer,
    InOrder,
    code_lengths,
    kernels,
    network,
    new_network,
)
from charloom.models.mixing.tables import LIMIT, ONE, tables
from charloom.models.mixing.tree import tree_of
from charloom.models.reference import ReferenceModel
from charloom.models.weights import initial_weights
from every_cell import recurrent
from expect import refused

VERSE = "the cat sat on the mat; the rat sat on the hat, and the cat saw that. " * 12


def mixer(V: int, N: int) -> ContextMixer:
    lengths = sorted(code_lengths([1] * V))
    return ContextMixer(lengths, np.arange(V) % 3 > 0, N)


def ids_of(text: str) -> np.ndarray:
    known = sorted(set(text))
    return np.array([known.index(c) for c in text], np.int32)


def scores(ids: np.ndarray, V: int) -> np.ndarray:
    return mixer(V, len(ids)).score(ids)


def test_the_tables_are_the_same_on_every_machine() -> None:
    content = b"".join(table.astype("<i4").tobytes() for table in tables())
    assert hashlib.sha256(content).hexdigest()[:16] == "f67b403eb1be3b0a"


def test_logits_and_probabilities_are_one_another_s_inverse() -> None:
    squash, stretch = tables().squash, tables().stretch
    assert (np.diff(squash) >= 0).all()
    assert (squash[1:] + squash[:0:-1] == ONE).all()  # p(x) + p(-x)
    assert squash[LIMIT + 256] == round(ONE / (1 + math.exp(-1)))
    assert (np.abs(squash[stretch + LIMIT] / 16 - np.arange(0.5, 4096)) < 2.5).all()


def test_histories_fit_a_byte_and_lean_to_what_came_last_and_oftener() -> None:
    after, likely = tables().after, tables().likely
    assert len(after) <= 256
    for bits in ([1], [0, 1, 1], [1] * 50, [0] * 9 + [1] * 5):
        ones, zeros = 0, 0
        for bit in bits:
            ones, zeros = after[ones, bit], after[zeros, 1 - bit]
        assert likely[ones] > likely[0] > likely[zeros]


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_the_tree_is_a_code_of_least_length(counts: list[int]) -> None:
    lengths = code_lengths(counts)
    tree = tree_of(sorted(lengths))
    for c, length in enumerate(sorted(lengths)):
        node = 0
        for depth in range(length):
            assert node >= 0
            node = tree.child[node, tree.code[c] >> depth & 1]
        assert len(lengths) == 1 or node == ~c
    total = sum(counts)
    entropy = -sum(n / total * math.log2(n / total) for n in counts)
    mean = sum(n * length for n, length in zip(counts, lengths, strict=True)) / total
    assert entropy - 1e-9 <= mean < entropy + 1


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [0, 1], [1, 2], [2, 1, 2], [1, 2, 3, 4], [70]])
def test_lengths_of_no_tree_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="no such tree"):
        tree_of(lengths)


@given(st.lists(st.integers(0, 5), max_size=300))
def test_what_is_encoded_is_decoded(values: list[int]) -> None:
    ids = np.array(values, np.int32)
    code = b"".join(mixer(6, len(ids)).encode(ids))
    assert np.concatenate([ids[:0], *mixer(6, len(ids)).decode(code)]).tolist() == values
    with pytest.raises(ValueError, match="the code"):
        list(mixer(6, len(ids)).decode(code + b"\0"))


def test_the_code_is_as_long_as_the_scores_say() -> None:
    ids = ids_of(VERSE)
    V = len(set(VERSE))
    code = b"".join(mixer(V, len(ids)).encode(ids))
    bits = scores(ids, V).sum() / math.log(2)
    assert bits / 8 <= len(code) <= bits / 8 * 1.001 + 4


def test_the_probabilities_of_all_characters_add_up_to_one() -> None:
    start = ids_of(VERSE)[:200] % 5
    after = [scores(np.append(start, c), 5)[-1] for c in range(5)]
    assert sum(np.exp(-np.array(after))) == pytest.approx(1, abs=1e-12)


@given(st.integers(0, len(VERSE) - 1), st.randoms(use_true_random=False))
def test_no_score_depends_on_what_comes_later(cut: int, random) -> None:
    ids, V = ids_of(VERSE), len(set(VERSE))
    other = ids.copy()
    other[cut:] = [random.randrange(V) for _ in range(len(ids) - cut)]
    assert (scores(ids, V)[:cut] == scores(other, V)[:cut]).all()


def test_it_learns_what_it_reads() -> None:
    ids, V = ids_of(VERSE), len(set(VERSE))
    nats, half = scores(ids, V), len(ids) // 2
    assert nats[half:].mean() < 0.1 * nats[:half].mean()
    shares = np.bincount(ids) / len(ids)
    assert nats.mean() < -(shares * np.log(shares)).sum() / 2


def test_plain_python_computes_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand times as slowly; its numbers are as large as they need to be."""
    ids, V = ids_of(VERSE)[:150], len(set(VERSE))
    compiled = b"".join(mixer(V, len(ids)).encode(ids))
    in_python(monkeypatch)
    assert b"".join(mixer(V, len(ids)).encode(ids)) == compiled
    assert len(compiled) > 20


def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kernels, network):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)


def a_network(cell: str, V: int, embedding: int = 3) -> network.Network:
    config = ModelConfig(cell=cell, layers=2, hidden=7, embedding=embedding)
    weights = initial_weights(config, V, seed=5)
    return new_network(config, {n: 3 * w for n, w in weights.items()}, np.arange(V)[::-1], V + 1)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_plain_python_computes_the_same_code_with_a_network(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy's numbers of 32 bits are added and multiplied one by one: nothing is fused."""
    ids, V = ids_of(VERSE)[:60], len(set(VERSE)) - 1
    compiled = b"".join(mixer(V + 1, len(ids)).encode(ids, a_network(cell, V)))
    assert compiled != b"".join(mixer(V + 1, len(ids)).encode(ids))
    in_python(monkeypatch)
    assert b"".join(mixer(V + 1, len(ids)).encode(ids, a_network(cell, V))) == compiled


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 3])
def test_a_network_predicts_what_the_reference_does(cell: str, embedding: int) -> None:
    V, ids = 9, np.random.default_rng(6).integers(0, 9, 50)
    config = ModelConfig(cell=cell, layers=2, hidden=7, embedding=embedding)
    weights = {name: 2 * w for name, w in initial_weights(config, V, seed=5).items()}
    places = np.random.default_rng(7).permutation(V)
    net, p = new_network(config, weights, places, V), np.empty(V)
    model = ReferenceModel(config, weights, Vocabulary(tuple("abcdefghi")))
    expected, _ = model.log_probs(ids[None], model.start(1))
    for _ in range(2):
        net.begin(int(ids[0]))
        for t in range(len(ids)):
            network.predict(net, p)
            assert np.log(p / p.sum())[places] == pytest.approx(expected[0, t], abs=3e-5)
            if t + 1 < len(ids):
                network.read(net, int(ids[t + 1]))


@pytest.mark.parametrize("cell", ["gru, biased-product", "gru, state"])
def test_other_grus_are_refused(cell: str) -> None:
    config = recurrent(cell, hidden=7)
    with refused("unsupported", field="reset"):
        new_network(config, initial_weights(config, 9, seed=5), np.arange(9), 9)


def test_the_functions_of_a_network_are_those_of_mathematics() -> None:
    for x in np.linspace(-20, 20, 801, dtype=np.float32):
        assert network.exp(x) == pytest.approx(math.exp(x), rel=3e-7)
        assert network.tanh(x) == pytest.approx(math.tanh(x), abs=3e-7)
        assert network.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)), abs=3e-7)
        assert kernels.ln(math.exp(x)) == pytest.approx(float(x), abs=1e-8)
    assert network.exp(np.float32(200)) == network.exp(np.float32(87))
    assert network.exp(np.float32("nan")) == network.exp(np.float32(-87))


def test_a_network_s_predictions_are_mixed_in() -> None:
    ids, V = ids_of(VERSE)[:300], len(set(VERSE)) - 1
    with_it = mixer(V + 1, len(ids)).score(ids, network=a_network("lstm", V))
    code = b"".join(mixer(V + 1, len(ids)).encode(ids, a_network("lstm", V)))
    assert with_it.sum() / math.log(2) / 8 == pytest.approx(len(code), abs=4)
    again = mixer(V + 1, len(ids)).decode(code, a_network("lstm", V))
    assert np.concatenate(list(again)).tolist() == ids.tolist()


def test_what_was_scored_before_helps_to_encode() -> None:
    ids, V = ids_of(VERSE), len(set(VERSE))
    ready, reader = mixer(V, len(ids)), mixer(V, len(ids))
    half = len(ids) // 2
    ready.score(ids[:half])
    code = b"".join(ready.encode(ids[half:]))
    assert len(code) < 0.3 * len(b"".join(mixer(V, half).encode(ids[half:])))
    reader.score(ids[:half])
    assert np.concatenate(list(reader.decode(code))).tolist() == ids[half:].tolist()


def test_a_large_alphabet_shares_weights_among_its_rare_characters() -> None:
    V = 9000
    ids = np.random.default_rng(1).integers(0, V, 400).astype(np.int32)
    lengths = sorted(code_lengths((np.bincount(ids, minlength=V) + 1).tolist()))
    code = b"".join(ContextMixer(lengths, np.zeros(V, bool), len(ids)).encode(ids))
    decoded = ContextMixer(lengths, np.zeros(V, bool), len(ids)).decode(code)
    assert np.concatenate(list(decoded)).tolist() == ids.tolist()


def test_a_text_may_come_piece_by_piece() -> None:
    ids, V = ids_of(VERSE), len(set(VERSE))
    whole, pieces = scores(ids, V), mixer(V, len(ids))
    found = [pieces.score(ids[at : at + 7]) for at in range(0, len(ids), 7)]
    assert np.concatenate(found).tolist() == whole.tolist()


def test_what_another_model_predicts_is_mixed_in_and_trusted_as_it_deserves() -> None:
    rng = np.random.default_rng(2)
    V, N = 6, 4000
    said = rng.integers(0, V, N)  # at random: nothing can be learned from the text itself
    ids = np.where(rng.random(N) < 0.8, said, rng.integers(0, V, N))
    outside = np.log(np.where(np.arange(V) == said[:, None], 5 / 6, 1 / 30))
    wrong = np.roll(outside, 1, axis=1)
    alone = scores(ids, V)[N // 2 :].mean()
    helped = mixer(V, N).score(ids, outside)[N // 2 :].mean()
    misled = mixer(V, N).score(ids, wrong)[N // 2 :].mean()
    entropy = -(5 / 6 * math.log(5 / 6) + 1 / 6 * math.log(1 / 30))
    assert helped == pytest.approx(entropy, abs=0.1)
    assert alone == pytest.approx(math.log(V), abs=0.1)
    assert misled < alone  # that it is wrong tells something, too


def test_probabilities_add_up_to_one_with_another_model() -> None:
    rng = np.random.default_rng(3)
    start, V = ids_of(VERSE)[:200] % 5, 5
    outside = np.log(rng.dirichlet(np.ones(V), len(start) + 1))
    after = [mixer(V, 201).score(np.append(start, c), outside)[-1] for c in range(V)]
    assert sum(np.exp(-np.array(after))) == pytest.approx(1, abs=1e-12)


def test_ids_in_any_order_have_the_scores_of_their_characters() -> None:
    symbols = sorted(set(VERSE))
    ids = ids_of(VERSE)
    counts = np.bincount(ids)
    turned = InOrder(symbols[::-1], counts[::-1].tolist(), len(ids))
    straight = InOrder(symbols, counts.tolist(), len(ids))
    outside = np.log(np.random.default_rng(4).dirichlet(np.ones(len(symbols)), len(ids)))
    found = straight.score(ids, outside).mean()
    expected = turned.score(len(symbols) - 1 - ids, outside[:, ::-1]).mean()
    assert found == pytest.approx(expected, rel=0.05)  # symbols of equal counts change places
