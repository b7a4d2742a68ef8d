"""What office documents and books have in common: rows of a table, properties, soft hyphens."""

from collections.abc import Iterator

from charloom.data.readers import Job, Report
from charloom.data.readers.members import Members
from charloom.data.readers.xml_tree import Element, parse
from charloom.errors import CharloomError

SOFT_HYPHEN = "\u00ad"


def row_lines(cells: list[list[str]]) -> Iterator[str]:
    """Yield a row of a table: a line with tabs, or if a cell has several lines, all one by one."""
    if all(len(cell) <= 1 for cell in cells):
        yield "\t".join("".join(cell) for cell in cells)
    else:
        yield from (line for cell in cells for line in cell)


def properties(members: Members, name: str, job: Job) -> Element | None:
    """Return what a document says of itself in a file; None, counted, if that is damaged."""
    try:
        return parse(members.read(name), job.label) if name in members.names() else None
    except CharloomError:
        job.report.left_out["damaged properties"] += 1
        return None


def without_soft_hyphens(text: str, report: Report) -> str:
    """Return a text without the hyphens that show only where a line happens to end."""
    if found := text.count(SOFT_HYPHEN):
        report.mended["soft hyphens"] += found
    return text.replace(SOFT_HYPHEN, "")
