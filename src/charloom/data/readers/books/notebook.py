"""Jupyter notebooks: the text and code of their cells, without what the code put out."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.objects import Object, begins, mapping, objects, string, whole
from charloom.data.utf8 import normalized
from charloom.errors import CharloomError

_CELLS = re.compile(rb'"(?:cells|worksheets)"\s*:\s*\[')
_CELL = re.compile(rb'"cell_type"\s*:\s*"(?:markdown|code|raw|heading|html)"|"cells"\s*:\s*\[\s*\]')


def _is_notebook(head: Head) -> bool:
    start = begins(head)
    return start.startswith(b"{") and bool(_CELLS.search(start) and _CELL.search(start))


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    notebook = whole(file, job.label, Object)
    cells = notebook.get("cells")
    if cells is None:  # format 3
        sheets = objects(notebook.get("worksheets"))
        cells = [cell for sheet in sheets for cell in objects(sheet.get("cells"))]
    elif not isinstance(cells, list):
        message = f"{job.label} is damaged (it has no list of cells): save it again"
        raise CharloomError(message, "damaged", why="damaged", path=job.label)
    texts = []
    for cell in objects(cells):
        texts.append(_source(cell))
        if outputs := objects(cell.get("outputs")):
            job.report.left_out["code outputs"] += len(outputs)
    text = "\n\n".join(text for text in texts if text.strip())
    if text:
        yield Document(text, "", string(mapping(notebook.get("metadata")).get("title")))


def _source(cell: Object) -> str:
    """Return what was typed into a cell, with LF line ends; a string, or lines with their ends."""
    source = cell.get("source", cell.get("input"))
    if isinstance(source, list):
        source = "".join(map(string, source))
    text = normalized(string(source)).strip("\n")
    level = cell.get("level")
    if text and cell.get("cell_type") == "heading" and isinstance(level, int):  # of format 3
        return f"{'#' * min(max(1, level), 6)} {text}"
    return text


KINDS = (Kind("a Jupyter notebook", _is_notebook, _read),)
