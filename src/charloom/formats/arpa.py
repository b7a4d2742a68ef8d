"""An n-gram model in; an ARPA file out, which KenLM and other toolkits read.

Each n-gram hc has log10 P(c | h) and, if it is shorter than the order, log10 of its backoff. Both
follow from the smoothing's two terms (models/ngram/smoothing.py):

    P(c | h) = weight(hc) + backoff(h) P(c | h without its first character)

so that what was never seen after h has backoff(h) P(c | ...), as the format means it. A word is a
character; white space and what cannot be seen is <U+0020>. There are no sentences in charloom:
<s> and </s> are in the file because the format asks for them, and <unk> is never predicted. A
text is scored without them. KenLM begins with the empty context, charloom with the beginning of
the text: the first order - 1 characters have other probabilities there.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charloom.config import NgramConfig
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.files import write_output
from charloom.models.ngram import NgramModel
from charloom.runs.open import open_model
from charloom.runs.run import Run

KENLM_ORDER = 6  # the highest that it reads, unless it is built for more
NEVER = -99.0  # log10 of a probability of 0
_ROWS = 2**16  # that are written at once


def export_arpa(run: Run, path: Path, free: bool = False) -> tuple[Path, int]:
    """Write an n-gram model as an ARPA file; return the path and the number of n-grams.

    It is written as `write_output` says. Raises CharloomError if the run is no such model, or one
    without smoothing, whose probabilities may be 0.
    """
    is_ngram = isinstance(run.config.model, NgramConfig)
    model = open_model(run) if is_ngram else None
    if not isinstance(model, NgramModel) or not isinstance(run.vocabulary, Vocabulary):
        message = f"{run.path} is no n-gram model of characters: ARPA files hold n-grams"
        raise CharloomError(message, "unsupported", path=str(run.path))
    if model.config.smoothing == "none":
        message = f"{run.path} has no smoothing, and an ARPA file cannot rule anything out"
        raise CharloomError(message, "unsupported", path=str(run.path))
    return write_output(path, _lines(model, run.vocabulary), free), model.parameter_count


def _lines(model: NgramModel, vocabulary: Vocabulary) -> Iterator[bytes]:
    trie, order = model.trie, model.config.order
    C, V = trie.backoff.size, len(vocabulary)
    names = np.array([name_of(character) for character in vocabulary.characters], object)
    probability = np.empty(trie.weight.size)
    levels, begin, end = [], 1, int(trie.first[1])
    for _ in range(order):
        levels.append(slice(begin, end))
        begin, end = end, int(trie.first[min(end, C)])
    counts = [V + 3, *(level.stop - level.start for level in levels[1:])]
    listed = "".join(f"ngram {n}={size}\n" for n, size in enumerate(counts, 1))
    yield f"\\data\\\n{listed}".encode()
    parents = np.repeat(np.arange(C), np.diff(trie.first))
    words = np.array([""], object)  # of the nodes of the level before, each with a space behind it
    before = slice(0, 1)
    with np.errstate(divide="ignore"):
        backoff = np.maximum(np.log10(trie.backoff), NEVER)
    for n, level in enumerate(levels, 1):
        parent = parents[level.start - 1 : level.stop - 1]
        lower = 1 / V if n == 1 else probability[trie.suffix[level]]
        probability[level] = trie.weight[level] + trie.backoff[parent] * lower
        yield f"\n\\{n}-grams:\n".encode()
        words = words[parent - before.start] + names[trie.character[level]]
        if n == 1:
            yield _others(trie.character[level], names, float(trie.backoff[0]) / V, order)
        log = np.minimum(np.log10(probability[level]), 0.0)
        for at in range(0, len(log), _ROWS):
            rows = slice(at, at + _ROWS)
            nodes = np.arange(level.start, level.stop)[rows]
            after = backoff[nodes] if n < order else None
            yield _section(log[rows], words[rows], after)
        words, before = words + " ", level
    yield b"\n\\end\\\n"


def _section(log: NDArray[np.float64], words: NDArray[np.object_], after: object) -> bytes:
    if isinstance(after, np.ndarray):
        rows = zip(log.tolist(), words, after.tolist(), strict=True)
        return "".join(f"{p:.7f}\t{word}\t{b:.7f}\n" for p, word, b in rows).encode()
    return "".join(f"{p:.7f}\t{w}\n" for p, w in zip(log.tolist(), words, strict=True)).encode()


def _others(
    seen: NDArray[np.int32], names: NDArray[np.object_], probability: float, order: int
) -> bytes:
    """Return the unigrams of no text: the format's own, and characters that were never counted."""
    unseen = np.delete(names, seen)
    log = min(0.0, math.log10(probability)) if probability > 0 else NEVER
    end = "\t0\n" if order > 1 else "\n"
    found = "".join(f"{NEVER:g}\t{word}{end}" for word in ("<unk>", "<s>"))
    found += f"{NEVER:g}\t</s>\n"
    return (found + "".join(f"{log:.7f}\t{word}{end}" for word in unseen)).encode()


def name_of(character: str) -> str:
    """Return how a character stands in the file: itself, or <U+000A> if nobody could see it."""
    visible = character.isprintable() and not character.isspace()
    return character if visible else f"<U+{ord(character):04X}>"
