"""Subtitles (SRT, WebVTT): what is said, a line a cue, without times, numbers and tags."""

import re
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import pairwise
from typing import BinaryIO

from charloom.data.readers import Document, Head, Job, Kind, Report
from charloom.data.readers.plain import head_text, lines, one_line

ROLLING = 0.4  # of the cues that begin with the last line of the one before: captions that roll up
FEW = 8  # cues, below which that says nothing

_TIME = r"(?:\d{1,3}:)?\d{1,2}:\d\d[,.]\d{1,3}"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_SRT = re.compile(rf"\s*(?:\d+[ \t]*\n\s*)?{_TIME}\s*-->\s*{_TIME}(?:\s|\Z)")
_VTT = re.compile(r"WEBVTT(?:[ \t].*)?(?:\n|\Z)")
_TAG = re.compile(
    r"</?(?:[biuscv]|rp|ruby|lang|font|span|br|em|i|strong)(?:[.\s/][^<>]*)?>|<\d[\d:.]*>",
    re.IGNORECASE,
)
_RUBY = re.compile(r"<rt(?:[.\s][^<>]*)?>[^<]*</rt>", re.IGNORECASE)
_STYLE = re.compile(r"\{\\[^{}]*\}")  # of SubStation Alpha: {\an8}
_DASHES = ("-", "\u2010", "\u2013", "\u2014", ">>")  # before what each of two persons says

Cue = list[str]  # its lines


def _is_srt(head: Head) -> bool:
    return _SRT.match(head_text(head)) is not None


def _is_vtt(head: Head) -> bool:
    return _VTT.match(head_text(head)) is not None


def _read_srt(file: BinaryIO, job: Job) -> Iterator[Document]:
    yield from _documents(_srt_cues(lines(file, job)), job.report)


def _read_vtt(file: BinaryIO, job: Job) -> Iterator[Document]:
    yield from _documents(_vtt_cues(lines(file, job), job.report), job.report)


def _srt_cues(found: Iterable[str]) -> Iterator[Cue]:
    """Yield cues: what is between two lines with times, without the number before the second.

    There may be empty lines in a cue, and none behind it.
    """
    cue: Cue | None = None
    for line in found:
        if not _TIMES.fullmatch(line):
            if cue is not None and line.strip():
                cue.append(line)
            continue
        if cue is not None:
            if cue and cue[-1].strip().isdecimal():
                cue.pop()
            yield cue
        cue = []
    if cue is not None:
        yield cue


def _vtt_cues(found: Iterable[str], report: Report) -> Iterator[Cue]:
    """Yield cues: blocks between empty lines that have a line with times."""
    block: list[str] = []
    for number, line in enumerate([*found, ""]):
        if line.strip() and number:
            block.append(line)
            continue
        times = next((n for n, one in enumerate(block[:2]) if _TIMES.fullmatch(one)), -1)
        if times >= 0:
            yield block[times + 1 :]
        elif block and block[0].startswith("NOTE"):
            report.left_out["notes"] += 1
        elif block and block[0].startswith(("STYLE", "REGION")):
            report.left_out["styles"] += 1
        block = []


def _documents(cues: Iterable[Cue], report: Report) -> Iterator[Document]:
    plain = [[line for line in map(_plain, cue) if line] for cue in cues]
    plain = [cue for cue in plain if cue]
    text = "\n".join(_rolled(plain, report) if _rolls(plain) else map(_joined, plain))
    if text:
        yield Document(text)


def _plain(line: str) -> str:
    """Return a line without tags, and with the characters that entities stand for."""
    line = _STYLE.sub("", _TAG.sub("", _RUBY.sub("", line)))
    line = unescape(line) if "&" in line else line
    return one_line(re.sub("[\u200b\u200e\u200f]", "", line))


def _joined(cue: Cue) -> str:
    """Return the lines of a cue as one, unless several persons speak in it."""
    separator = "\n" if sum(line.startswith(_DASHES) for line in cue) > 1 else " "
    return separator.join(cue)


def _rolls(cues: list[Cue]) -> bool:
    """Whether a cue shows again what the one before said, as captions made by machines do."""
    again = sum(_again(before, cue) > 0 for before, cue in pairwise(cues))
    return len(cues) >= FEW and again >= ROLLING * len(cues)


def _rolled(cues: list[Cue], report: Report) -> Iterator[str]:
    """Yield each line of captions that roll up once."""
    before: Cue = []
    for cue in cues:
        if again := _again(before, cue):
            report.left_out["lines shown again"] += again
        yield from cue[again:]
        before = cue


def _again(before: Cue, cue: Cue) -> int:
    """Return how many lines a cue begins with that the one before ended with."""
    most = min(len(before), len(cue))
    return next((n for n in range(most, 0, -1) if before[-n:] == cue[:n]), 0)


KINDS = (
    Kind("SRT subtitles", _is_srt, _read_srt),
    Kind("WebVTT subtitles", _is_vtt, _read_vtt),
)
