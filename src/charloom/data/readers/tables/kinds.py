"""Rows of a table as documents: CSV, TSV, JSON Lines, JSON and Parquet."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from itertools import chain, islice
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.dates import date_of_seconds, mail_time
from charloom.data.readers.objects import begins
from charloom.data.readers.plain import clean, one_line
from charloom.data.readers.tables.columns import (
    AUTHORS,
    DATES,
    TITLES,
    Row,
    called,
    columns_of,
    is_prose,
    text_column,
    value_of,
)
from charloom.data.readers.tables.rows import (
    array_rows,
    delimited_rows,
    first_objects,
    line_rows,
    parquet_rows,
)
from charloom.errors import CharloomError
from charloom.formatting import listed

SAMPLE = 100  # rows that columns are chosen by
NAMED = 12  # columns, at most, that a message names

_PROSE = re.compile(rb'"(?:text|content|body|message|story|lyrics)"\s*:\s*"[^"]{100}')


def _is_delimited(head: Head) -> bool:
    """Whether a file is CSV or TSV: by its name, since prose has commas, too."""
    wide = head.start.startswith((b"\xff\xfe", b"\xfe\xff"))
    named = head.name.lower().endswith((".csv", ".tsv", ".tab"))
    return named and (wide or b"\0" not in head.start)


def _is_lines(head: Head) -> bool:
    """Whether a file is JSON Lines: by the objects that its first lines are, or by its name."""
    found = [line for line in begins(head).split(b"\n") if line.strip()]
    if not found or not found[0].startswith(b"{"):
        return False
    if head.name.lower().endswith((".jsonl", ".ndjson")):
        return True
    objects = [list(first_objects(line)) for line in found[:SAMPLE]]
    return len(found) > 2 and all(len(row) == 1 for row in objects[: len(found) - 1])


def _is_array(head: Head) -> bool:
    """Whether a file is an array of objects in JSON with a text in them, which settings have not.

    If the first of them is longer than the head, the name of a column has to do.
    """
    start = begins(head)
    if not re.match(rb"\[\s*\{", start):
        return False
    sample = list(islice(first_objects(start[1:]), SAMPLE))
    return is_prose(sample) if sample else _PROSE.search(start) is not None


def _is_parquet(head: Head) -> bool:
    return head.start.startswith(b"PAR1")


def _read(
    rows_of: Callable[[BinaryIO, Job], Iterator[Row]], file: BinaryIO, job: Job
) -> Iterator[Document]:
    rows = rows_of(file, job)
    sample = list(islice(rows, SAMPLE))
    if not sample:
        message = f"{job.label} has no rows: give a table with text in it"
        raise CharloomError(message, "not-text", why="no rows", path=job.label)
    columns = columns_of(sample)
    texts = job.options.columns or (_chosen(sample, columns, job),)
    _check(texts, columns, job)
    others = [column for column in columns if column not in texts]
    title, author, day = (called(others, names) for names in (TITLES, AUTHORS, DATES))
    for number, row in enumerate(chain(sample, rows), 1):
        parts = [clean(_text(value_of(row, column)), job.report) for column in texts]
        if text := "\n\n".join(filter(None, parts)):
            yield Document(
                text,
                f"row {number}",
                one_line(_text(value_of(row, title))) if title else "",
                one_line(_text(value_of(row, author))) if author else "",
                _iso(value_of(row, day)) if day else "",
            )
        else:
            job.report.left_out["rows without text"] += 1


def _check(texts: Iterable[str], columns: list[str], job: Job) -> None:
    """Raise CharloomError if the table has not all of these columns."""
    for column in texts:
        if column not in columns:
            message = (
                f"{job.label} has no column {column}, but {listed(columns, NAMED)}: --column NAME "
                "takes one of these"
            )
            facts = {"field": "column", "path": job.label, "columns": tuple(columns)}
            raise CharloomError(message, "bad-setting", **facts)


def _chosen(sample: list[Row], columns: list[str], job: Job) -> str:
    """Return the column with the text, and say so; raises CharloomError if there is none."""
    column, names = text_column(sample), listed(columns, NAMED)
    if not column:
        message = (
            f"{job.label} is a table, and which of its columns is the text cannot be told: "
            f"--column NAME takes one of {names}"
        )
        facts = {"why": "no column", "path": job.label, "columns": tuple(columns)}
        raise CharloomError(message, "not-text", **facts)
    if len(columns) > 1:
        job.report.notes.append(
            f"{job.label}: took the column {column} of {names}; --column NAME takes another"
        )
    return column


def _text(value: object) -> str:
    """Return a value as text; a list is lines."""
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    if value is None or isinstance(value, dict) or value != value:
        return ""
    return str(value)


def _iso(value: object) -> str:
    """Return a date as ISO 8601 if it is written as one is everywhere, else nothing."""
    if isinstance(value, date):
        return value.isoformat()
    text = _text(value).strip()
    if re.match(r"\d{4}(-\d\d(-\d\d)?)?($|[T ])", text):
        return text.replace(" ", "T", 1) if len(text) < 40 else ""
    if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
        return date_of_seconds(float(text))
    time = mail_time(text) if re.search(r"\d:\d", text) else None
    return time.isoformat() if time else ""


KINDS = (
    Kind(
        "a Parquet table",
        _is_parquet,
        partial(_read, parquet_rows),
        "parquet",
        "rows",
        in_any_order=True,
    ),
    Kind("a table", _is_delimited, partial(_read, delimited_rows), noun="rows"),
    Kind("a table in JSON Lines", _is_lines, partial(_read, line_rows), noun="rows"),
    Kind("a table in JSON", _is_array, partial(_read, array_rows), noun="rows"),
)
