"""Whether what is held out of a text is like the rest of it: not another text, and not the same."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.config import DataConfig
from charloom.data.overlap import WINDOW, overlap
from charloom.data.text import Layout
from charloom.data.tokenizer import Ids
from charloom.formatting import percent

PIECE = 64  # ids; so many pieces from all over a text stand for it
KINDS = 256  # of ids that are told apart: the most frequent, and all others as one
MOST_READ = 2**18  # ids of a part for its pairs; of a longer one, evenly spaced runs of RUN
RUN = 2**10
# Of 714 stretches of 4,000 to 128,000 characters of 21 books, 2 have an end this unlike the rest.
# A licence behind a novel has 0.086, T to Z of a sorted list 0.11, another language 0.39.
UNLIKE = 0.08
FEWEST_PIECES = 4  # for any verdict
UNLIKE_TIMES = 2.0  # as unlike as pieces from all over; small parts are unlike by chance
REPEATED = 0.2  # of what is held out, from which on its loss measures memory more than prediction
ALL = 0.9995
MOST_LOOKED_FOR, MOST_SEARCHED = 2**18, 2**26  # ids held out and of the training part, for copies
SEARCHED_AT_ONCE = 2**17


class Verdict(NamedTuple):
    """Whether what is held out is unlike the rest, and a sentence on each thing to do about it.

    `repeated` is the share of it that the training part has, too; 0 if it is not worth telling.
    """

    unlike: bool
    repeated: float
    notes: tuple[str, ...]


def judge(train: Ids, held_out: Ids, V: int, config: DataConfig, layout: Layout | None) -> Verdict:
    """Judge whether ids that are held out are too unlike those to learn, or too like them."""
    unlike, share, notes = is_unlike(train, held_out, V), repeated(train, held_out), list[str]()
    if unlike:
        end = "the end of the text, which is held out, is"
        what = end if layout is None else "what is held out is"
        notes.append(
            f"{what} unlike the rest: the loss on it says little about the text as a whole, and "
            f"the best checkpoint is chosen by it; {other_split(config, layout)}"
        )
    if share >= REPEATED:
        least = "at least " if len(train) > MOST_SEARCHED and share <= ALL else ""
        notes.append(
            f"{least}{share_words(share)} of what is held out is in the training part word for "
            "word: the loss on it measures memory more than prediction; take out what is there "
            "twice"
        )
    return Verdict(unlike, share if share >= REPEATED else 0.0, tuple(notes))


def share_words(share: float) -> str:
    """Return a share of a text as "all" or 85%."""
    return "all" if share > ALL else percent(share, 0)


def other_split(config: DataConfig, layout: Layout | None) -> str:
    """Return what to do about a part that is unlike the rest."""
    if layout is not None and layout.drawn is not None:
        return f"draw again: --split-seed {config.split_seed + 1}"
    if layout is None and config.split == "tail":
        return "hold out some of everything: --split documents, or --split lines for a list"
    if config.split == "lines":
        return "give a text of one kind"
    return "hold out some of everything: --split lines, for a list"


def is_unlike(train: Ids, held_out: Ids, V: int) -> bool:
    """Return whether ids (M,) that are held out have other pairs of ids than `train` (N,).

    How much two texts differ is the Jensen-Shannon divergence of their pairs of neighbours, from
    0 to ln 2. Pieces of `train`, from all over it and as long together, say what is usual.
    """
    train, held_out = _sample(train, MOST_READ), _sample(held_out, MOST_READ)
    frequent = np.argsort(-np.bincount(train, minlength=V), kind="stable")[: KINDS - 1]
    kinds = np.full(V, KINDS - 1, np.uint16)
    kinds[frequent] = np.arange(len(frequent))
    pieces, ends = (
        kinds[ids[: len(ids) // PIECE * PIECE]].reshape(-1, PIECE) for ids in (train, held_out)
    )
    n = min(len(ends), len(pieces) // 4)
    if n < FEWEST_PIECES:
        return False
    usual = np.zeros(len(pieces), np.bool_)
    usual[np.arange(n) * len(pieces) // n] = True
    rest = _pairs(pieces[~usual])
    found = _difference(_pairs(ends[np.arange(n) * len(ends) // n]), rest)
    expected = _difference(_pairs(pieces[usual]), rest)
    return found - expected >= UNLIKE and found >= UNLIKE_TIMES * expected


def repeated(train: Ids, held_out: Ids) -> float:
    """Return what share of ids (M,) that are held out are in `train` (N,) 64 or more in a row.

    Of fewer than 64 nothing can be said: 0.
    """
    if len(held_out) < WINDOW:
        return 0.0
    steps = range(0, len(train), SEARCHED_AT_ONCE)
    every = max(1, -(-len(train) // MOST_SEARCHED))
    source = (train[start : start + SEARCHED_AT_ONCE] for start in steps[::every])
    return overlap(_sample(held_out, MOST_LOOKED_FOR), source)


def _sample(ids: Ids, most: int) -> Ids:
    """Return ids (N,), or if there are more than `most`, so many of them in evenly spaced runs."""
    if len(ids) <= most:
        return ids
    starts = np.linspace(0, len(ids) - RUN, most // RUN).astype(np.intp)
    return np.concatenate([ids[start : start + RUN] for start in starts.tolist()])


def _pairs(pieces: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Pieces (n, PIECE) -> how frequent each pair of neighbours is, (KINDS^2,)."""
    pairs = (pieces[:, :-1] * np.uint16(KINDS) + pieces[:, 1:]).ravel()
    return np.bincount(pairs, minlength=KINDS**2) / np.float64(len(pairs))


def _difference(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """The Jensen-Shannon divergence of two distributions, H((p + q) / 2) - (H(p) + H(q)) / 2."""
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _entropy(p: NDArray[np.float64]) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
