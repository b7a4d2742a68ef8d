import pytest

from charloom.data.readers import Document, Options
from charloom.data.readers.books.markdown import KINDS
from reading import damaged, matching, only_charloom_errors, read

[MARKDOWN] = KINDS
BODY = "# Head\n\nSome *text*.  \n\n---\n\nMore."
YAML = """---
title: "A \\"Title\\": more"
author: 'Ann O''Example'
date: 2020-01-02 10:00:00 +0200  # a comment
tags:
- one
  - two
summary: >-
  Folded text.

layout: post
---

"""
TOML = """+++
title = "A Title"
date = 2020-01-02T10:00:00Z
author = ["Ann"]
draft = false
+++
"""
JSON = '{\n"title": "A Title",\n"date": "2020-01-02",\n"tags": []\n}\n\n'


@pytest.mark.parametrize(
    ("matter", "about"),
    [
        (YAML, ('A "Title": more', "Ann O'Example", "2020-01-02T10:00:00+0200")),
        (TOML, ("A Title", "", "2020-01-02T10:00:00+00:00")),
        (JSON, ("A Title", "", "2020-01-02")),
        ("---\nTitle: A Title\ndate: yesterday\n...\n", ("A Title", "", "")),
        ("---\n---\n", ("", "", "")),
        ('---\ntitle: "Post #1"  # first\nauthor: Ann # Bo\n---\n', ("Post #1", "Ann", "")),
        ("---\ntitle: 'open\n---\n", ("", "", "")),
        ("---\n# no entries\n---\n", ("", "", "")),
        ("---\ntitle: |\n  A Title\nauthor: [Ann]\n---\n", ("", "", "")),
    ],
)
def test_front_matter_is_left_out(matter: str, about: tuple[str, str, str]) -> None:
    data = (matter + BODY + "\n").encode()
    assert matching(KINDS, data, "a.md") == [MARKDOWN.name]
    [found], report = read(MARKDOWN, data)
    assert found == Document(BODY, "", *about)
    assert report.left_out == {"blocks of front matter": 1}
    [found], report = read(MARKDOWN, data, Options(front_matter=True))
    assert (found.text, found[2:]) == ((matter + BODY), about)
    assert not report.left_out


@pytest.mark.parametrize(
    "matter",
    ["---\ndraft: true\n---\n", "+++\ndraft = true\n+++\n", "---\npublished: false\n---\n"],
)
def test_drafts_are_left_out(matter: str) -> None:
    found, report = read(MARKDOWN, (matter + BODY).encode())
    assert (found, report.left_out) == ([], {"drafts": 1})


@pytest.mark.parametrize("name", ["a.txt", "", "a.yml"])
def test_front_matter_is_recognised_without_the_name(name: str) -> None:
    assert matching(KINDS, (YAML + BODY).encode(), name) == [MARKDOWN.name]
    assert matching(KINDS, (TOML + BODY).encode(), name) == [MARKDOWN.name]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (BODY, "a.md"),
        ("---\n\nA line between rules.\n\n---\n\nText.\n", "a.md"),
        ("---\n\nNote: this is prose\nof two lines.\n\n---\n", "a.md"),
        ("---\nNote: a story\n---\nOnce.\n", "a.txt"),
        ("---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\n", "a.yaml"),
        ('{"title": "settings", "date": "x"}', "a.json"),
        ("{title} is a word\n", "a.md"),
        ("--- a/file\n+++ b/file\n@@ -1 +1 @@\n-a\n+b\n", "a.diff"),
        ("+++\nno entries\n+++\n", "a.md"),
        ("---\n", "a.md"),
    ],
)
def test_what_has_no_front_matter_is_plain_text(text: str, name: str) -> None:
    assert matching(KINDS, text.encode(), name) == []


def test_line_ends_and_marks() -> None:
    data = b"\xef\xbb\xbf" + (YAML + BODY).replace("\n", "\r\n").encode()
    assert matching(KINDS, data, "a.md") == [MARKDOWN.name]
    assert read(MARKDOWN, data)[0][0].text == BODY


def test_nothing_but_front_matter_yields_nothing() -> None:
    assert read(MARKDOWN, YAML.encode())[0] == []


def test_damaged_files() -> None:
    for matter in (YAML, TOML, JSON, "{" + '"a":{' * 5000):
        assert only_charloom_errors(MARKDOWN, damaged((matter + BODY).encode(), 60)) > 0
