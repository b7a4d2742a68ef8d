"""Ordinary texts are none of the kinds of books and documents."""

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data.readers.books import (
    chess,
    docx,
    epub,
    gutenberg,
    markdown,
    notebook,
    odt,
    pdf,
    rtf,
    subtitles,
    tunes,
)
from reading import matching, packed

MODULES = (chess, docx, epub, gutenberg, markdown, notebook, odt, pdf, rtf, subtitles, tunes)
KINDS = [kind for module in MODULES for kind in module.KINDS]

TEXTS = {
    "prose": "It was a dark night; the rain fell. X: said nothing.\n\nThen --> he left.\n",
    "poem": "Roses are red\n  Violets are blue\n\n---\n\nSugar is sweet\n",
    "play": "A: Who is there?\nB: I.\n\nX: Nobody.\nK: Then go.\n",
    "python": 'import re\n\nSTART = "*** START OF THE PROJECT GUTENBERG EBOOK"\n{"cells": []}\n',
    "c": "#include <stdio.h>\nint main(void) { return 1; }\n",
    "latex": "\\documentclass{article}\n\\begin{document}\nText.\n\\end{document}\n",
    "log": "00:00:01,000 INFO a --> b\n00:00:02,000 [Event] done\n",
    "ini": '[Event]\nname = "x"\n[White]\n1 = 2\n',
    "csv": "a,b\n1,2\n00:00:01,00:00:02\n",
    "json": '{"title": "x", "cells": [1, 2]}\n',
    "yaml": "key: value\nother:\n  - 1\n---\nkey: value\n",
    "markdown": "# Head\n\ntitle: no front matter\n\n---\n",
    "rules": "---\n\ntext between rules\n\n---\n",
    "mail": "From: ann@example.org\nTo: bo@example.org\n\nHello.\n",
    "html": "<!DOCTYPE html><html><body><p>%PDF-1.4</p></body></html>\n",
    "numbers": "1\n2\n3\n00:00:01\n",
    "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n",
    "chess": "1. e4 e5 is how the game began.\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["a.txt", "", "a.md", "a.abc"])
def test_ordinary_texts(text: str, name: str) -> None:
    assert matching(KINDS, text.encode(), name) == []
    assert matching(KINDS, ("\ufeff" + text.replace("\n", "\r\n")).encode("utf-16"), name) == []


def test_the_texts_that_come_with_charloom() -> None:
    assets = [a for a in files("charloom").joinpath("assets").iterdir() if a.is_file()]
    assert assets
    for asset in assets:
        assert matching(KINDS, asset.read_bytes(), asset.name) == []


def test_archives_of_texts() -> None:
    assert matching(KINDS, packed({"a.txt": "x", "b/word/document.xml": "x"})) == []
    assert matching(KINDS, packed({"META-INF/MANIFEST.MF": "x", "a.class": "x"})) == []


@given(
    st.binary(max_size=400) | st.text(alphabet='X:K1.-> \n{}[]"*%+a', max_size=200).map(str.encode)
)
def test_no_beginning_raises(data: bytes) -> None:
    matching(KINDS, data)


def test_long_beginnings_are_looked_at_quickly() -> None:
    """Each would take minutes if a pattern had to try all ways to match it."""
    for piece in ("\n", " ", "1\n", "---\n", "a: b\n", "X:1\n", "[", "<", "+++\n", '[A "', "*** "):
        for start in ("", "---\n", "+++\n", "X:1\n", '[Event "', "1\n", "WEBVTT", '{"cells":['):
            text = (start + piece * (2**16 // len(piece)))[: 2**16]
            matching(KINDS, text.encode(), "a.md")
