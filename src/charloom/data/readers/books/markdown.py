"""Markdown with front matter: the text as it is, without what a site generator is told above it.

Front matter is YAML between lines of ---, TOML between lines of +++, or JSON. Of YAML only plain
values of a line are understood: title, author, date, draft.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, BinaryIO

from charloom.data.readers import Document, Head, Job, Kind
from charloom.data.readers.plain import head_text, one_line, whole_text

_SUFFIXES = (".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd")
_YAML = re.compile(r"---[ \t]*\n((?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ \t]*\n((?:.*\n)*?)\+\+\+[ \t]*(?:\n|\Z)")
_ENTRY = re.compile(r"[\w$@./\"'-]+(?: [\w\"'-]+)?[ \t]*:(?:[ \t].*)?")
_BELONGS = re.compile(r"[ \t#-].*|[}\]],?|")  # lines that go on with an entry, or are none
_VALUE = re.compile(r"^(\w+)[ \t]*:[ \t](.*)", re.MULTILINE)
_KNOWN = (
    *("title", "author", "date", "layout", "tags", "categories", "draft", "published", "slug"),
    *("permalink", "description", "summary", "lang"),
)
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)? ?(Z|[+-]\d\d:?\d\d)?)?"
)


def _has_front_matter(head: Head) -> bool:
    text = head_text(head)
    named = head.name.lower().endswith(_SUFFIXES)
    if matter := _YAML.match(text):
        lines = matter[1].splitlines()
        whole = all(_ENTRY.fullmatch(line) or _BELONGS.fullmatch(line) for line in lines)
        keys = {line.partition(":")[0].strip().lower() for line in lines if _ENTRY.fullmatch(line)}
        empty = all(line.startswith("#") for line in lines)  # or there is none at all
        return whole and ((named and (bool(keys) or empty)) or len(keys.intersection(_KNOWN)) > 1)
    if _TOML.match(text):
        return bool(_split(text)[0])
    return named and text.startswith("{") and all(map(len, _split(text.rstrip())))


def _read(file: BinaryIO, job: Job) -> Iterator[Document]:
    whole = whole_text(file, job)
    matter, body = _split(whole)
    is_draft = _text(matter.get("draft")).lower() in ("true", "yes", "on")
    if is_draft or _text(matter.get("published")).lower() == "false":
        job.report.left_out["drafts"] += 1
        return
    kept = job.options.front_matter
    if not kept and len(body) < len(whole):
        job.report.left_out["blocks of front matter"] += 1
    text = whole if kept else body.strip("\n")
    if text.strip():
        author = _text(matter.get("author"))
        yield Document(text, "", _text(matter.get("title")), author, _date(matter.get("date")))


def _split(text: str) -> tuple[Mapping[str, Any], str]:
    """Return what the front matter says, by names in lower case, and what is below it."""
    if found := _YAML.match(text):
        values = {key.lower(): _unquoted(value) for key, value in _VALUE.findall(found[1])}
        return values, text[found.end() :]
    if found := _TOML.match(text):
        try:
            return _lower(tomllib.loads(found[1])), text[found.end() :]
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}, text[found.end() :]
    if text.startswith("{"):
        try:
            matter, end = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return {}, text
        if isinstance(matter, dict) and {"title", "date"}.intersection(_lower(matter)):
            return _lower(matter), text[end:]
    return {}, text


def _lower(matter: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in matter.items()}


def _unquoted(value: str) -> str:
    """Return a value without quotes or comment; "" if it is no plain one."""
    value = value.strip()
    if value[:1] in ("'", '"'):
        quote, end = value[0], value.rfind(value[0])
        return value[1:end].replace("''" if quote == "'" else '\\"', quote)
    return "" if value[:1] in tuple("[{>|&*!~#") else value.partition(" #")[0].strip()


def _text(value: object) -> str:
    """Return a value on one line, if it is a plain one."""
    if isinstance(value, bool):
        return str(value)
    return one_line(value) if isinstance(value, str) else ""


def _date(value: object) -> str:
    """Return a date as ISO 8601; "" if it is written in another way."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    found = _DATE.match(_text(value))
    if not found:
        return ""
    day, time, zone = found.groups()
    return day + (f"T{time}{zone or ''}" if time else "")


KINDS = (Kind("Markdown with front matter", _has_front_matter, _read),)
