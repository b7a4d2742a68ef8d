"""The page of a check: its figures, its advice, and a map of the text."""

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from charloom.analysis.check import Check, advice
from charloom.report.pages import page

CELLS = 800  # of the map, each as many characters
LISTED = 50  # pairs, lines and passages in a table


class Cell(NamedTuple):
    """A stretch of a text: `kind` says what in it is there twice, `label` which document it is."""

    kind: str
    label: str
    odd: bool


def check_page(check: Check, rows: list[tuple[str, str]]) -> str:
    """Return the page, with `rows` of (what, figure); raises CharloomError without jinja2."""
    found = check.found
    return page(
        "check.html",
        title=f"Check of {check.text.name}",
        rows=rows,
        advice=advice(check),
        cells=text_map(check),
        found=found,
        pairs=[*found.equal, *found.near][:LISTED],
        across={(pair.first, pair.second) for pair in check.across},
        boilerplate=found.boilerplate[:LISTED],
        rare=found.rare[:LISTED],
    )


def text_map(check: Check) -> list[Cell]:
    """Return the text as at most 800 stretches of equal length."""
    found = check.found
    total = sum(found.lengths)
    size = max(1, -(-total // CELLS))
    ends = [*accumulate(found.lengths)]
    copies = {pair.second: "copy" for pair in found.equal}
    near = {pair.second: "near" for pair in found.near}
    kinds = near | copies
    again = [(passage.again, passage.again + passage.length) for passage in found.passages]
    starts = [start for start, _ in again]
    cells = []
    for start in range(0, total, size):
        number = bisect_right(ends, start)
        passage = bisect_right(starts, start + size // 2) - 1
        within = passage >= 0 and start < again[passage][1]
        kind = kinds.get(number, "passage" if within else "")
        cells.append(Cell(kind, found.labels[number], number % 2 == 1))
    return cells
