"""The view of surprise: a text coloured by it, with the predictions for each character."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from charloom.analysis.surprise import Difference, Surprise, verdict

SHOWN_LENGTH = 12_000  # characters of a text that a page has
INFINITE_NATS = 999  # JSON has no infinity; the script knows this one


def surprise_view(
    label: str, named: Sequence[tuple[str, Surprise]], difference: Difference | None = None
) -> dict[str, Any]:
    """Return the variable `view` of `surprise.html` for one run, or two and their difference.

    `label` says which text it is, and each of `named` is a run's name with its surprise.
    """
    first = named[0][1]
    shown = first.text[:SHOWN_LENGTH]
    alike = all(np.array_equal(s.starts, first.starts) for _, s in named)
    spans = _spans_until(first, len(shown))
    names = [name for name, _ in named]
    return {
        "label": label,
        "text": shown,
        "left_out": len(first.text) - len(shown),
        "named": named,
        "difference": difference,
        "verdict": "" if difference is None else verdict(difference, *names),
        "data": {
            "text": shown,
            "lengths": np.diff(first.starts[: spans + 1]).tolist() if alike else None,
            "start": int(first.starts[0]) if alike else 0,
            "runs": [_data(name, s, len(shown), alike) for name, s in named],
        },
    }


def _spans_until(s: Surprise, shown: int) -> int:
    """Return how many spans end within the first `shown` characters."""
    return int(np.searchsorted(s.starts, shown, "right")) - 1


def _data(name: str, s: Surprise, shown: int, alike: bool) -> dict[str, Any]:
    """Return what the script needs of a run: the nats of each cell, and its span's predictions.

    Cells are the spans, or, if two runs have different ones, characters.
    """
    spans = _spans_until(s, shown)
    symbols, places = np.unique(s.guesses[:spans], return_inverse=True)
    nats: list[float | None] = [_finite(n) for n in s.nats[:spans].tolist()]
    at = None
    if not alike:
        first = int(s.starts[0])
        shared = s.by_character()[: max(0, shown - first)].tolist()
        nats = [None] * min(first, shown) + [_finite(n) for n in shared]
        owners = np.searchsorted(s.starts, np.arange(shown), "right") - 1
        at = np.where(owners < spans, owners, -1).tolist()
    return {
        "name": name,
        "nats": nats,
        "at": at,
        "symbols": [s.symbols[i] for i in symbols.tolist()],
        "guesses": places.reshape(s.guesses[:spans].shape).tolist(),
        "p": [[round(p, 4) for p in row] for row in s.probabilities[:spans].tolist()],
    }


def _finite(nats: float) -> float:
    return round(nats, 3) if nats < INFINITE_NATS else INFINITE_NATS
