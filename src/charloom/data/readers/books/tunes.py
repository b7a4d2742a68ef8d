"""Tunes in ABC notation as they are written, each a document: fields and notes are the text."""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.plain import head_text, lines

_NUMBER = re.compile(r"X:[ \t]*\d*[ \t]*(?:%.*)?$")
_FIELD = re.compile(r"[A-Za-z+]:|%|\\|[ \t]*$")
_KEY = re.compile(r"K:")
_OTHERS = re.compile(r"[TMLR]:")  # of which a tune has one at least


def _is_abc(head: Head) -> bool:
    """Whether a file begins with fields, among them X: and then K: and one of the usual others.

    Of a file named so, any line may be the first.
    """
    found = head_text(head).split("\n")
    first = next((n for n, line in enumerate(found) if _NUMBER.match(line)), None)
    if first is None:
        return False
    named = head.name.lower().endswith(".abc")
    if not named and not all(map(_FIELD.match, found[:first])):
        return False
    fields = list(takewhile(_FIELD.match, found[first + 1 :]))
    return any(map(_KEY.match, fields)) and any(map(_OTHERS.match, fields))


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    tune: list[str] = []
    begun = False
    for line in lines(file, job):
        if _NUMBER.match(line):
            yield from _documents(tune, begun, job)
            tune, begun = [], True
        tune.append(line)
    yield from _documents(tune, begun, job)


def _documents(found: list[str], begun: bool, job: Job) -> Iterator[Document]:
    """Yield a tune; what is before the first one is counted."""
    text = "\n".join(found).strip("\n")
    if not text.strip():
        return
    if not begun:
        job.report.left_out["lines before the first tune"] += len(text.split("\n"))
        return
    fields = {line[0]: line[2:].strip() for line in reversed(found) if line[1:2] == ":"}
    number = fields["X"].partition("%")[0].strip()
    yield Document(text, f"X:{number}" if number else "", fields.get("T", ""), fields.get("C", ""))


KINDS = (Kind("tunes in ABC notation", _is_abc, _read, noun="tunes"),)
