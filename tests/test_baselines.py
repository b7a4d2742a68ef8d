"""Baselines against figures worked out by hand, and against fits of their own."""

import bz2
import lzma
import math
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.analysis import baselines as module
from charloom.analysis.baselines import Baseline, baselines, compressor, compressors, mixing, ngrams
from charloom.config import NgramConfig
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.ngram import NgramModel, shorter

ABRA = Vocabulary(tuple("abcdr"))


def by_name(found: list[Baseline]) -> dict[str, float]:
    return {baseline.name: baseline.nats for baseline in found}


def test_figures_by_hand() -> None:
    # Learned: abracadab, of which a 4, b 2, c, d and r 1. Scored: the b of "ab", after an a.
    found = by_name(baselines("abracadab", "ab", ABRA))
    assert found["uniform"] == pytest.approx(math.log(5), rel=1e-12)
    # (n(b) + 1) / (N + V) = (2 + 1) / (9 + 5)
    assert found["unigram"] == pytest.approx(-math.log(3 / 14), rel=1e-12)
    # Nothing is held out of so short a text: 0.8, 1.2 and 1.5 are taken off 1, 2 and more.
    # Order 1: (2 - 1.2) / 9, and of what was taken off, 1.5 + 1.2 + 3 x 0.8 = 5.1, a fifth.
    assert found["n-gram, order 1"] == pytest.approx(-math.log(0.8 / 9 + 5.1 / 9 / 5), rel=1e-12)
    # Order 2: after a came b 2, c 1, d 1. (2 - 1.2) / 4, and 2.8 / 4 of P(b), which goes by what
    # comes before: a came after 3 once each and at the start, b twice after a, the others once.
    total = 4 + 2**0.2 + 3
    b = (2**0.2 - 0.8 + (1.5 + 4 * 0.8) / 5) / total
    # Before ab, too, came nothing and d, so higher orders say the same.
    for order in range(2, 9):
        expected = -math.log(0.8 / 4 + 2.8 / 4 * b)
        assert found[f"n-gram, order {order}"] == pytest.approx(expected, rel=1e-12)


def test_the_first_character_is_not_scored() -> None:
    # Of "bab" the a and the last b: (5 + 1) / 16 and 3 / 16.
    found = by_name(baselines("abracadabra", "bab", ABRA))
    assert found["unigram"] == pytest.approx(-(math.log(6 / 16) + math.log(3 / 16)) / 2, rel=1e-12)


def test_a_character_that_never_came_is_not_impossible() -> None:
    found = by_name(baselines("ababab", "abc", Vocabulary(tuple("abc"))))
    assert all(math.isfinite(nats) for nats in found.values())
    # b came 3 times of 6, c never: 4 / 9 and 1 / 9.
    assert found["unigram"] == pytest.approx(-(math.log(4 / 9) + math.log(1 / 9)) / 2, rel=1e-12)


@given(st.text("abcd", min_size=1, max_size=60))
def test_one_count_serves_all_orders(train: str) -> None:
    vocabulary = Vocabulary(tuple("abcd"))
    counted = vocabulary.encode(train)
    highest = NgramModel.fit(counted, vocabulary, NgramConfig(order=5)).arrays()
    for order, found in enumerate(
        ngrams(counted, vocabulary.encode("ab"), vocabulary, orders=5), 1
    ):
        own = NgramModel.fit(counted, vocabulary, NgramConfig(order=order))
        assert found.parameters == own.parameter_count
        cut = shorter(highest, order)
        for name in ("character", "count", "children"):
            np.testing.assert_array_equal(cut[name], own.arrays()[name])


def test_one_estimate_serves_all_orders() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcd"), rng.integers(1, 6))) for _ in range(40)]
    text = "".join(rng.choice(words, 1500, p=np.arange(1, 41) / 820))
    vocabulary = Vocabulary(tuple("abcd"))
    train, held_out = vocabulary.encode(text[:4000]), vocabulary.encode(text[4000:])
    for order, found in enumerate(ngrams(train, held_out, vocabulary, orders=6), 1):
        own = NgramModel.fit(train, vocabulary, NgramConfig(order=order))
        assert found.nats == pytest.approx(evaluate(own, held_out).nats, rel=2e-3)


def test_context_mixing_reads_the_training_text_before_and_learns_on() -> None:
    train, held_out = "the cat sat. the dog dug. " * 9, "the dog sat. " * 30
    vocabulary = Vocabulary.from_text(train + held_out)
    counted, ids = vocabulary.encode(train), vocabulary.encode(held_out)
    found = mixing(counted, ids, vocabulary)
    assert found.name in by_name(baselines(train, held_out, vocabulary))
    alone = mixing(counted[:1], ids, vocabulary)
    assert found.nats < alone.nats
    assert found.nats < 0.5 * mixing(counted, ids[:20], vocabulary).nats  # which is met again


def test_compressed_sizes_are_bytes_and_the_mean_is_over_characters() -> None:
    train, held_out = "Dämmerung über Łódź, " * 20, "Dämmerung? Übermut! "
    makers = {
        "gzip": lambda: zlib.compressobj(9, wbits=31),  # with gzip's header
        "bz2": lambda: bz2.BZ2Compressor(9),
        "xz": lambda: lzma.LZMACompressor(preset=9),
    }
    found = by_name(compressors(train, held_out))
    for name, make in makers.items():
        sizes = []
        for content in (train, train + held_out):
            made = make()
            sizes.append(len(made.compress(content.encode()) + made.flush()))
        bits = 8 * (sizes[1] - sizes[0]) / 20
        assert found[name] == pytest.approx(bits * math.log(2), rel=1e-12)
        assert compressor(name, train, held_out).nats == found[name]


def test_gzip_looks_back_over_32_kilobytes_and_xz_over_more() -> None:
    rng = np.random.default_rng(0)
    noise = "".join(map(chr, rng.integers(97, 123, 60_000)))
    near, far = (by_name(compressors(noise, noise[at : at + 1000])) for at in (50_000, 1_000))
    assert near["gzip"] < 0.5
    assert far["gzip"] > 3
    assert max(near["xz"], far["xz"]) < 0.5


def test_ppmd_is_there_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def compress(content: bytes, max_order: int, mem_size: int) -> bytes:
        assert (max_order, mem_size) == (6, 1 << 24)
        return content[:: 1 + (b"x" in content)]

    for spec in (None, object()):
        monkeypatch.setattr(module, "find_spec", lambda _, spec=spec: spec)
        monkeypatch.setattr(module, "import_module", lambda _: SimpleNamespace(compress=compress))
        found = by_name(compressors("abcd", "xabc"))
        assert ("PPMd" in found) is (spec is not None)
    assert found["PPMd"] == 0  # 4 bytes, and half of 8


def zpaq_that(does: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return what compressors are found with a program of that name first on the path."""
    program = folder / "zpaq"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return by_name(compressors("the cat sat", "the rat", slow=True))


def test_zpaq_compresses_two_texts_of_one_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = f"test $# = 7 && cat it >> {tmp_path}/all && cp it $2"
    assert zpaq_that(copies, tmp_path, monkeypatch)["zpaq"] == 0
    both = (tmp_path / "all").read_bytes()
    texts = [b"the cat sat", b"the cat satthe rat"]
    assert {both[: 1 << 16], both[1 << 16 :]} == {text.ljust(1 << 16, b"\0") for text in texts}
    assert "zpaq" not in by_name(compressors("the cat sat", "the rat"))
    assert "zpaq" not in zpaq_that("exit 1", tmp_path, monkeypatch)  # there was no room


def test_without_a_training_text_only_the_uniform_one_is_left() -> None:
    assert [baseline.name for baseline in baselines("", "ab", ABRA)] == ["uniform"]
