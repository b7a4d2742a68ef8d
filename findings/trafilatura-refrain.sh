#!/usr/bin/env bash
# trafilatura 2.3.1: of neighbouring paragraphs of more than 50 characters that are equal, one is left, though
# deduplicate is False; shorter ones stay. A song's refrain that is sung twice in a row is there once.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check trafilatura==2.3.1 lxml_html_clean==0.4.5
"$folder/venv/bin/python" - <<'P'
from trafilatura import extract

PAGE = """<!doctype html><html><head><title>Songs</title></head><body><article><h1>Two songs</h1>
<p>The first stanza of this song has quite enough words to be taken for the main text of a page.</p>
{}<p>The last stanza of this song has quite enough words to be taken for the main text of a page.</p>
</article></body></html>"""
LONG = "O bring the boat to the harbour, the boat to the harbour wall."
SHORT = "O bring the boat to the harbour wall."


def times(refrain: str) -> int:
    page = PAGE.format(2 * f"<p>{refrain}</p>\n")
    return (extract(page, deduplicate=False) or "").count(refrain)


seen = {len(refrain): times(refrain) for refrain in (LONG, SHORT)}
print("characters of a paragraph that is there twice: times in the text", seen)
assert seen == {62: 1, 37: 2}, "this has changed"
P
