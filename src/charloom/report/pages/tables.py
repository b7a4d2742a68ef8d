"""Comparison, novelty and key words, in the words that a page shows; it decides nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from charloom.analysis.comparison import Comparison, Entry, verdict
from charloom.analysis.keywords import Keyword, Keywords
from charloom.analysis.novelty import Copy, Novelty
from charloom.formatting import duration, printable, short_number
from charloom.report.contents import Part, Studies

LENGTHS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50)  # of passages whose share is shown
LONGEST = 600  # characters of a copied passage
LOUDEST = 40.0  # keyness from which on a word is as large as they get


def comparison_view(part: Part[Comparison], known: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the table of runs and baselines; runs' names and colours are known by their paths."""
    found = part.found
    if found is None:
        return {"why": part.why}
    names = {path: name for path, (name, _) in known.items()}
    worst = max((e.bits for e in found.entries if math.isfinite(e.bits)), default=1.0)
    return {
        "why": "",
        "text": printable(found.text),
        "part": found.part,
        "characters": found.characters,
        "verdict": _named(verdict(found), names),
        "rows": [_entry(entry, known, worst) for entry in found.entries],
        "notes": [_named(note, names) for note in found.notes]
        + [f"{_named(u.name, names)} cannot read this text: {u.why}" for u in found.unread],
    }


def _named(sentence: str, names: Mapping[str, str]) -> str:
    """Put the short names of runs in the place of their paths."""
    for path in sorted(names, key=len, reverse=True):
        sentence = sentence.replace(path, names[path])
    return sentence


def _entry(entry: Entry, known: Mapping[str, tuple[str, str]], worst: float) -> dict[str, Any]:
    name, colour = known.get(entry.name, (entry.name, ""))
    return {
        "name": name,
        "colour": colour,
        "run": entry.kind == "run",
        "model": entry.model,
        "nats": f"{entry.nats:.3f}",
        "bits": f"{entry.bits:.3f}",
        "share": round(100 * min(1.0, entry.bits / worst), 1),
        "perplexity": f"{entry.perplexity:.2f}",
        "parameters": "" if entry.parameters is None else short_number(entry.parameters),
        "time": "" if entry.seconds is None else duration(entry.seconds),
        "speed": "" if not entry.speed else short_number(entry.speed),
        "fair": entry.is_fair,
    }


def novelty_view(studies: Studies) -> dict[str, Any]:
    """Return how much is copied: shares of passages that are new, and the longest copies."""
    found, material = studies.novelty.found, studies.material.found
    if found is None or material is None:
        return {"why": studies.novelty.why}
    return {
        "why": "",
        "wrote": found.text.characters,
        "source": material.source_name,
        "source_characters": found.source_characters,
        "human": found.human is not None,
        "verdict": _novelty_verdict(found),
        "rows": [_share(found, n) for n in LENGTHS if n <= found.text.characters],
        "longest": found.text.longest,
        "human_longest": found.human.longest if found.human else None,
        "copies": [_copy(copy) for copy in found.copies],
        "chance": found.chance,
    }


def _novelty_verdict(found: Novelty) -> str:
    if found.copies_more is None:
        return "Nothing was held out, so that there is no telling what people would repeat."
    if found.copies_more:
        return "It copies more from its source than people do who go on with the same text."
    return "It copies no more from its source than people do who go on with the same text."


def _share(found: Novelty, n: int) -> dict[str, Any]:
    own = found.text.new[n - 1]
    human = math.nan if found.human is None else found.human.new[n - 1]
    return {
        "n": n,
        "own": _percent(own),
        "human": _percent(human),
        "width": _width(own),
        "human_width": _width(human),
    }


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}%"


def _width(share: float) -> float:
    return 0.0 if math.isnan(share) else round(100 * share, 1)


def _copy(copy: Copy) -> dict[str, Any]:
    return {
        "length": copy.length,
        "start": copy.start,
        "line": copy.line,
        "passage": printable(copy.passage[:LONGEST]),
        "left_out": max(0, len(copy.passage) - LONGEST),
    }


def keywords_view(part: Part[Keywords]) -> dict[str, Any]:
    """Return the words that were kept, lost and invented."""
    found = part.found
    if found is None:
        return {"why": part.why}
    return {
        "why": "",
        "kept": _words(found.kept),
        "lost": _words(found.lost),
        "invented": [
            {"word": printable(i.word), "count": i.text, "near": printable(i.near)}
            for i in found.invented
        ],
        "invented_words": found.invented_words,
        "new": _percent(found.new_share),
        "real": _percent(found.real_share),
        "human_new": None if found.human_new_share is None else _percent(found.human_new_share),
    }


def _words(rows: Sequence[Keyword]) -> list[dict[str, Any]]:
    return [
        {
            "word": printable(row.word),
            "text": row.text,
            "source": row.source,
            "size": round(0.92 + 0.33 * min(1.0, row.keyness / LOUDEST), 2),
        }
        for row in rows
    ]
