"""The view of surprise: a text coloured by it, with the predictions for each character."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from charloom.analysis.surprise import END, Difference, Surprise, verdict
from charloom.report.pages import packed

SHOWN_LENGTH = 100_000  # characters of a text that a page has
PROBABILITY_STEPS = 65_535
HIGHEST = 6.0  # nats of a character that has the full colour; of a word twice as many


def surprise_view(
    label: str, named: Sequence[tuple[str, Surprise]], difference: Difference | None = None
) -> dict[str, Any]:
    """Return the variable `view` of `surprise.html` for runs that have read one text.

    `label` says which text it is, and each of `named` is a run's name with its surprise;
    `difference` is that of two.
    """
    text = named[0][1].text
    starts, _ = named[0][1].words()
    words = int(np.searchsorted(starts, SHOWN_LENGTH, "right")) - 1
    shown = text[: max(starts[words], 1)] if len(text) > SHOWN_LENGTH else text
    names = [name for name, _ in named]
    return {
        "label": label,
        "text": shown,
        "words": [*_words(shown, named, difference)],
        "left_out": len(text) - len(shown),
        "most": SHOWN_LENGTH,
        "named": named,
        "difference": difference,
        "verdict": "" if difference is None else verdict(difference, *names),
        "highest": HIGHEST,
        "data": {
            "text": shown,
            "words": np.diff(starts[starts <= len(shown)]).tolist(),
            "highest": HIGHEST,
            "difference": difference is not None,
            "runs": [_data(name, found, len(shown)) for name, found in named],
        },
    }


def _words(
    shown: str, named: Sequence[tuple[str, Surprise]], difference: Difference | None
) -> Iterator[tuple[str, float]]:
    """Yield the words of a text, each with how strong its colour is, below 0 for the other."""
    starts, nats = named[0][1].words()
    highest = 2 * HIGHEST
    if difference is not None:
        with np.errstate(invalid="ignore"):
            nats = np.nan_to_num(nats - named[1][1].words()[1])
        highest = HIGHEST
    for (start, end), value in zip(pairwise(starts.tolist()), nats.tolist(), strict=True):
        if start < len(shown):
            yield shown[start:end], round(max(-1.0, min(1.0, value / highest)), 2)


def _data(name: str, s: Surprise, shown: int) -> dict[str, Any]:
    """Return what the script needs of a run: its spans, their nats, and their predictions."""
    spans = int(np.searchsorted(s.starts, shown, "right")) - 1
    symbols, places = np.unique(s.guesses[:spans], return_inverse=True)
    lengths = np.diff(s.starts[: spans + 1])
    return {
        "name": name,
        "start": int(s.starts[0]),
        "lengths": None if (lengths == 1).all() else lengths.tolist(),
        "nats": packed(s.nats[:spans].astype(np.float32)),
        "symbols": [s.symbols[i] for i in symbols.tolist()],
        "end": END,
        "ends": [span for span in s.ends if span < spans],
        "guesses": packed(places.astype(np.uint32 if len(symbols) > 2**16 else np.uint16)),
        "p": packed(np.rint(s.probabilities[:spans] * PROBABILITY_STEPS).astype(np.uint16)),
    }
