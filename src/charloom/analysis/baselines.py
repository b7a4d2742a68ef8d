"""Baselines for a network: models that need no training, on the same held-out text.

All are mean losses per character, in nats. Those that give probabilities score every character
but the first, given the held-out text before it, as `evaluation.evaluate` does.
"""

import bz2
import gzip
import lzma
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from charloom.config import NgramConfig
from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.mixing import InOrder
from charloom.models.ngram import NgramModel, shorter
from charloom.progress import Tell, say_nothing

MAX_ORDER = 8  # of n-grams
UNIFORM = "uniform"  # all characters are equally likely
MIXING = "context mixing"
COMPRESSORS: dict[str, Callable[[bytes], int]] = {  # each at its level 9: content to size
    "gzip": lambda content: len(gzip.compress(content, 9, mtime=0)),
    "bz2": lambda content: len(bz2.compress(content, 9)),
    "xz": lambda content: len(lzma.compress(content, preset=9)),
}
PPMD_ORDER, PPMD_MEMORY = 6, 1 << 24  # the best of those that were tried, in bytes


@dataclass(frozen=True)
class Baseline:
    """A baseline and its loss; `parameters` is how many counts it has, None for none.

    `learns` says that it goes on learning while it reads.
    """

    name: str
    nats: float
    parameters: int | None = None
    learns: bool = False


def baselines(
    train: str, held_out: str, vocabulary: Vocabulary, tell: Tell = say_nothing, slow: bool = False
) -> list[Baseline]:
    """Return all baselines on `held_out`, fitted to `train`; if that is empty, the uniform one.

    zpaq, if it is installed, is one of them only with `slow`: it takes minutes and much memory.

    Raises CharloomError if `held_out` has fewer than two characters, UnknownCharacterError if
    `vocabulary` lacks one.
    """
    found = [Baseline(UNIFORM, math.log(len(vocabulary)))]
    if not train:
        return found
    tell("counting n-grams and compressing")
    counted, ids = vocabulary.encode(train), vocabulary.encode(held_out)
    with ThreadPoolExecutor(1) as thread:  # compressors let other threads run
        later = thread.submit(compressors, train, held_out, slow)
        found += [unigram(counted, ids, vocabulary), *ngrams(counted, ids, vocabulary)]
        found.append(mixing(counted, ids, vocabulary))
        return [*found, *later.result()]


def unigram(train: Ids, held_out: Ids, vocabulary: Vocabulary) -> Baseline:
    """Return the loss of P(c) = (n(c) + 1) / (N + V), with n(c) of the N characters of train.

    That is Laplace's rule of succession: a character that never came is not impossible.
    """
    V = len(vocabulary)
    shares = (np.bincount(train, minlength=V) + 1) / (len(train) + V)
    return Baseline("unigram", float(-np.log(shares[held_out[1:]]).mean()), V)


def ngrams(
    train: Ids, held_out: Ids, vocabulary: Vocabulary, orders: int = MAX_ORDER
) -> Iterator[Baseline]:
    """Yield n-gram models of each order from 1 to `orders`.

    The text is counted once: the counts of an order hold those of all lower ones.
    """
    counts = NgramModel.fit(train, vocabulary, NgramConfig(order=orders)).arrays()
    for order in range(1, orders + 1):
        config = NgramConfig(order=order)
        model = NgramModel.from_arrays(config, vocabulary, shorter(counts, order))
        nats = evaluate(model, held_out).nats
        yield Baseline(f"n-gram, order {order}", nats, model.parameter_count)


def mixing(train: Ids, held_out: Ids, vocabulary: Vocabulary) -> Baseline:
    """Return the loss of what `charloom compress` predicts with, learning while it reads.

    It reads the training text before.
    """
    counts = np.bincount(train, minlength=len(vocabulary)) + 1
    mixer = InOrder(vocabulary.characters, counts.tolist(), len(train) + len(held_out))
    mixer.score(train)
    return Baseline(MIXING, float(mixer.score(held_out)[1:].mean()), learns=True)


def compressors(train: str, held_out: str, slow: bool = False) -> list[Baseline]:
    """Return what the held-out text adds to the compressed size of the training text.

        bits per character = 8 (size(train + held_out) - size(train)) / characters of held_out

    Sizes are bytes, and it is the UTF-8 that is compressed. Each looks back so far: gzip 32 KB, bz2
    to where its block of 900 KB began, xz 64 MiB. PPMd is there if pyppmd is installed, zpaq if it
    is and may be `slow`.
    """
    known, all_of_it = train.encode(), (train + held_out).encode()
    programs = {**COMPRESSORS}
    if find_spec("pyppmd") is not None:
        programs["PPMd"] = _ppmd
    if slow and shutil.which("zpaq"):
        programs["zpaq"] = partial(_zpaq, length=1 << max(16, len(all_of_it).bit_length()))
    with ThreadPoolExecutor() as pool:
        sizes = {
            name: [pool.submit(size, content) for content in (known, all_of_it)]
            for name, size in programs.items()
        }
    found = []
    for name, (before, after) in sizes.items():
        with suppress(OSError, subprocess.CalledProcessError):  # zpaq, without room enough
            found.append(_added(name, before.result(), after.result(), held_out))
    return found


def compressor(name: str, train: str, held_out: str) -> Baseline:
    """Return one of COMPRESSORS, as `compressors` has it."""
    size = COMPRESSORS[name]
    return _added(name, size(train.encode()), size((train + held_out).encode()), held_out)


def _added(name: str, before: int, after: int, held_out: str) -> Baseline:
    bits = 8 * (after - before) / len(held_out)
    return Baseline(name, bits * math.log(2), learns=True)


def _ppmd(content: bytes) -> int:
    """Return the size that PPMd makes of it (Shkarin 2002, variant H): a mixture of 6 contexts."""
    pyppmd = import_module("pyppmd")
    return len(pyppmd.compress(content, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY))


def _zpaq(content: bytes, length: int) -> int:
    """Return the size that zpaq makes of it at its level 5, with zeros behind it to a length.

    Its tables are as large as what it compresses needs: two sizes compare only if that is as long.
    It does not cut a text into fragments, of which it would keep a list, unless that is beyond
    4 MiB.
    """
    with TemporaryDirectory() as folder:
        Path(folder, "it").write_bytes(content.ljust(length, b"\0"))
        command = ["zpaq", "add", "out.zpaq", "it", "-m5", "-t1", "-fragment", "16"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Path(folder, "out.zpaq").stat().st_size
