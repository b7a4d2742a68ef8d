"""Tables as rows, each a dict by column, one after the other: none is kept."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain, islice
from typing import BinaryIO

import msgspec

from charloom.data.readers import Job
from charloom.data.readers.objects import each, whole
from charloom.data.readers.plain import lines
from charloom.data.readers.tables.columns import TEXTS, Row
from charloom.errors import CharloomError, needs_extra

CELL = 2**24  # characters of a cell, at most
BATCH = 256  # rows of Parquet at once
HEAD = 200  # lines that the form of a table is seen in
AGREE = 0.7  # share of the rows, at least, that have as many cells as the first

_DELIMITERS = ",;\t|"
_NONE = "\0"  # a delimiter that is in no text: there is one column
_NUMBER = re.compile(r"[\d.,:/+-]*\d[\d.,:/+ -]*")
_OBJECT = re.compile(r"[\s,]*(?=\{)")


def delimited_rows(file: BinaryIO, job: Job) -> Iterator[Row]:
    """Yield the rows of CSV or TSV; columns without names are numbered from 1."""
    found = lines(file, job)
    head = list(islice(found, HEAD))
    if head and (said := re.fullmatch("sep=(.)", head[0])):  # Excel's
        delimiter, head = said[1], head[1:]
    else:
        delimiter = _delimiter(head, job.label)
    csv.field_size_limit(max(CELL, csv.field_size_limit()))
    quotes, has_quotes = list[int](), _has_quotes(head, delimiter)  # those in each line of a row
    reader = _parsed(_counted(chain(head, found), quotes), delimiter, has_quotes, job.label)
    first = next((cells for cells in reader if cells), [])
    has_header = _is_header(first, job)
    columns = [c.strip() for c in first] if has_header else [str(n + 1) for n in range(len(first))]
    height, is_open = 1, False
    if has_header:
        quotes.clear()
    for cells in reader if has_header else chain([first], reader):
        height, is_open = len(quotes), sum(quotes) % 2 == 1
        quotes.clear()
        if len(cells) > len(columns):
            job.report.mended["rows with more cells than columns"] += 1
            end = len(columns) - 1
            cells[end:] = [delimiter.join(cells[end:])]
        if cells:
            yield dict(zip(columns, cells, strict=False))
    if has_quotes and is_open and height > 1:
        what = f"a quotation mark is not closed, so its last {height:,} lines are one row"
        job.report.notes.append(f"{job.label}: {what}")


def _counted(found: Iterable[str], quotes: list[int]) -> Iterator[str]:
    """Yield lines, and note how many quotation marks each of them has."""
    for line in found:
        quotes.append(line.count('"'))
        yield line


def rows(data: bytes, label: str) -> Iterator[dict[str, str]]:
    """Yield the rows of CSV that an export has in UTF-8, by its columns; raises CharloomError."""
    lines = StringIO(data.decode("utf-8-sig", "replace"), newline="")
    try:
        for row in csv.DictReader(lines, restval=""):
            yield {name: value for name, value in row.items() if isinstance(name, str)}
    except csv.Error as error:
        message = f"{label} is damaged ({error}): export it again"
        raise CharloomError(message, "damaged", why="damaged", path=label) from None


def line_rows(file: BinaryIO, job: Job) -> Iterator[Row]:
    """Yield the objects of JSON Lines."""
    found = lines(file, job)
    rows = (line.encode() for line in found if line and not line.isspace())
    return each(rows, job.report.left_out, "damaged rows")


def array_rows(file: BinaryIO, job: Job) -> Iterator[Row]:
    """Yield the objects of an array in JSON, which is read as a whole."""
    rows = whole(file, job.label, list[msgspec.Raw])
    return each(rows, job.report.left_out, "damaged rows")


def parquet_rows(file: BinaryIO, job: Job) -> Iterator[Row]:
    """Yield the rows of Parquet, but for columns of pictures and the like."""
    with needs_extra("parquet", "reading Parquet"):
        from pyarrow import ArrowException, types
        from pyarrow.parquet import ParquetFile
    simple = (types.is_string, types.is_large_string, types.is_dictionary, types.is_integer)
    dated = (types.is_date, types.is_timestamp)
    try:
        table = ParquetFile(file)
        names = [f.name for f in table.schema_arrow if any(is_(f.type) for is_ in simple + dated)]
        for batch in table.iter_batches(BATCH, columns=names, use_threads=False):
            yield from batch.to_pylist()
    except (ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        message = f"{job.label} is damaged ({reason}): get another copy"
        raise CharloomError(message, "damaged", why="damaged", path=job.label) from None


def first_objects(data: bytes) -> Iterator[Row]:
    """Yield the objects that the beginning of some JSON has, with commas between them or not."""
    text, decoder, place = data.decode("utf-8", "ignore"), json.JSONDecoder(strict=False), 0
    while begin := _OBJECT.match(text, place):
        try:
            value, place = decoder.raw_decode(text, begin.end())
        except (ValueError, RecursionError):
            return
        yield value


def _parsed(
    found: Iterable[str], delimiter: str, has_quotes: bool, label: str
) -> Iterator[list[str]]:
    """Yield the cells of rows; raises CharloomError."""
    reader = csv.reader(
        (line + "\n" for line in found),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
    )
    try:
        yield from reader
    except csv.Error as error:
        message = (
            f"{label} is damaged in the row that ends in line {reader.line_num:,} ({error}): look "
            "for a quotation mark that is not closed"
        )
        facts = {"why": "damaged", "path": label, "line": reader.line_num}
        raise CharloomError(message, "damaged", **facts) from None


def _delimiter(head: Sequence[str], label: str) -> str:
    """Return what is between the cells: by it most rows have as many cells as the first.

    If a cell of the first says that there is a text in its column, they need not.
    """
    is_tsv = label.lower().endswith((".tsv", ".tab"))
    scores = {
        delimiter: (is_tsv and delimiter == "\t", share, width)
        for delimiter in _DELIMITERS
        for share, width in [_agreement(head, delimiter, True)]
        if width > 1 and (share >= AGREE or _names_text(head[0].split(delimiter)))
    }
    return max(scores, key=lambda delimiter: scores[delimiter], default=_NONE)


def _has_quotes(head: Sequence[str], delimiter: str) -> bool:
    """Whether cells are in quotation marks, which in many a TSV are only that."""
    cells = [cell for line in head for cell in line.split(delimiter) if cell.startswith('"')]
    if delimiter != "\t" or all(len(cell) > 1 and cell.endswith('"') for cell in cells):
        return True
    return _agreement(head, delimiter, True) > _agreement(head, delimiter, False)


def _names_text(cells: Sequence[str]) -> bool:
    return any(cell.strip('" ').lower() in TEXTS for cell in cells)


def _agreement(head: Sequence[str], delimiter: str, has_quotes: bool) -> tuple[float, int]:
    """Return the share of rows that have as many cells as the first one, and how many that are."""
    try:
        rows = [row for row in _parsed(head, delimiter, has_quotes, "") if row]
    except CharloomError:
        return 0, 0
    others = rows[1:-1] or rows[1:] or rows  # the last may be cut
    width = len(rows[0]) if rows else 0
    return sum(len(row) == width for row in others) / max(1, len(others)), width


def _is_header(cells: Sequence[str], job: Job) -> bool:
    """Whether a first row has names in it; if there is one column, such as that of a text has."""
    names = [cell.strip() for cell in cells]
    if len(names) == 1:
        return names[0].lower() in TEXTS or names[0] in job.options.columns
    return len(set(names)) == len(names) > 1 and not any(
        len(name) > 50 or _NUMBER.fullmatch(name) or name.endswith((".", "!", "?"))
        for name in names
    )
