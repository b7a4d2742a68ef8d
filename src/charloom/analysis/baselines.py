"""Baselines for a network: models that need no training, on the same held-out text.

All are mean losses per character, in nats. Those that give probabilities score every character
but the first, given the held-out text before it, as `evaluation.evaluate` does.
"""

import bz2
import gzip
import lzma
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {  # each at its level 9
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
    "bz2": lambda content: bz2.compress(content, 9),
    "xz": lambda content: lzma.compress(content, preset=9),
}
LEARNING = (MIXING, *COMPRESSORS)  # while they read: they have learned what came before


@dataclass(frozen=True)
class Baseline:
    """A baseline and its loss; `parameters` is how many counts it has, None for none."""

    name: str
    nats: float
    parameters: int | None = None


def baselines(
    train: str, held_out: str, vocabulary: Vocabulary, tell: Tell = say_nothing
) -> list[Baseline]:
    """Return all baselines on `held_out`, fitted to `train`; if that is empty, the uniform one.

    Raises CharloomError if `held_out` has fewer than two characters, UnknownCharacterError if
    `vocabulary` lacks one.
    """
    found = [Baseline(UNIFORM, math.log(len(vocabulary)))]
    if not train:
        return found
    tell("counting n-grams and compressing")
    counted, ids = vocabulary.encode(train), vocabulary.encode(held_out)
    with ThreadPoolExecutor(1) as thread:  # compressors let other threads run
        later = thread.submit(compressors, train, held_out)
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
    """Yield n-gram models with modified Kneser-Ney smoothing, of each order from 1 to `orders`.

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
    return Baseline(MIXING, float(mixer.score(held_out)[1:].mean()))


def compressors(train: str, held_out: str) -> list[Baseline]:
    """Return what the held-out text adds to the compressed size of the training text.

        bits per character = 8 (size(train + held_out) - size(train)) / characters of held_out

    Sizes are bytes, and it is the UTF-8 that is compressed. Each looks back so far: gzip 32 KB, bz2
    to where its block of 900 KB began, xz 64 MiB.
    """
    known, all_of_it = train.encode(), (train + held_out).encode()
    with ThreadPoolExecutor() as pool:
        sizes = {
            name: [pool.submit(compress, content) for content in (known, all_of_it)]
            for name, compress in COMPRESSORS.items()
        }
        bits = {name: [8 * len(size.result()) for size in both] for name, both in sizes.items()}
    per_bit = math.log(2) / len(held_out)
    return [Baseline(name, (after - before) * per_bit) for name, (before, after) in bits.items()]
