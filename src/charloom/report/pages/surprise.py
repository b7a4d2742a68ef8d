"""The view of surprise: a text coloured by it, with the guesses for each character."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from charloom.analysis.surprise import Difference, Passage, Surprise
from charloom.report.pages import page

SHOWN = 12_000  # characters of a text that a page holds


def surprise_view(
    title: str,
    source: str,
    named: Sequence[tuple[str, Surprise]],
    difference: Difference | None = None,
) -> dict[str, Any]:
    """Return the variable `view` of `_surprise.html` for one run, or two and their difference.

    `title` is the heading, `source` says in few words which text it is, and each of `named` is
    a run's name with what it made of that text.
    """
    found = [surprise for _, surprise in named]
    text = found[0].text
    shown = min(SHOWN, len(text))
    alike = all(np.array_equal(s.starts, found[0].starts) for s in found)
    cells = _spans_until(found[0], shown) if alike else None
    rows = [
        {
            "name": name,
            "nats": s.mean,
            "bits": s.bits,
            "perplexity": math.exp(min(s.mean, 700)),
            "characters": s.characters,
        }
        for name, s in named
    ]
    return {
        "title": title,
        "source": source,
        "text": text[:shown],
        "left_out": len(text) - shown,
        "runs": rows,
        "passages": [_passage(p, shown) for p in found[0].passages],
        "difference": None if difference is None else _difference(difference, named, shown),
        "data": {
            "text": text[:shown],
            "lengths": None if cells is None else np.diff(found[0].starts[: cells + 1]).tolist(),
            "start": int(found[0].starts[0]) if alike else 0,
            "runs": [_data(name, s, shown, alike) for name, s in named],
        },
    }


def surprise_page(view: dict[str, Any]) -> str:
    """Return a page of its own; raises CharloomError where jinja2 is not installed."""
    return page("surprise.html", title=view["title"], view=view)


def _spans_until(s: Surprise, shown: int) -> int:
    """How many spans end within the characters that are shown."""
    return int(np.searchsorted(s.starts, shown, "right")) - 1


def _data(name: str, s: Surprise, shown: int, alike: bool) -> dict[str, Any]:
    """What the script needs of a run: for each cell its nats and the span whose guesses it has.

    Cells are the spans, or, where two runs have different ones, characters.
    """
    spans = _spans_until(s, shown)
    symbols = sorted(np.unique(s.guesses[:spans]).tolist())
    places = np.searchsorted(symbols, s.guesses[:spans]) if symbols else s.guesses[:spans]
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
        "symbols": [s.symbols[i] for i in symbols],
        "guesses": places.tolist(),
        "p": [[round(p, 4) for p in row] for row in s.probabilities[:spans].tolist()],
    }


def _finite(nats: float) -> float:
    """JSON has no infinity; the script shows 999 as one."""
    return round(nats, 3) if nats < 999 else 999


def _passage(p: Passage, shown: int) -> dict[str, Any]:
    return {
        "line": p.line,
        "before": p.before,
        "text": p.text,
        "after": p.after,
        "nats": p.nats,
        "bits": p.bits,
        "start": p.start if p.end <= shown else -1,
        "end": p.end,
    }


def _difference(d: Difference, named: Sequence[tuple[str, Surprise]], shown: int) -> dict[str, Any]:
    (first, _), (second, _) = named
    ahead = d.mean >= 0
    return {
        "better": first if ahead else second,
        "other": second if ahead else first,
        "nats": abs(d.mean),
        "bits": abs(d.mean) / math.log(2),
        "ahead": d.ahead if ahead else float((d.nats < 0).mean()),
        "passages": [
            {"name": first, "rows": [_passage(p, shown) for p in d.better]},
            {"name": second, "rows": [_passage(p, shown) for p in d.worse]},
        ],
    }
