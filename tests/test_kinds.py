from pathlib import Path

import pytest

import charloom
from charloom.data.known_texts import KNOWN_TEXTS, load_corpus
from charloom.data.readers import HEAD_BYTES, Head
from charloom.data.readers.kinds import KINDS, recognise, recognise_bundle

ROOT = Path(charloom.__file__).parents[2]
SOURCES = sorted(ROOT.glob("src/charloom/**/*.py"))
PLAIN = {
    "empty": "",
    "poem.txt": "Half a league, half a league,\nHalf a league onward,\n" * 9,
    "notes.md": "# Notes\n\n- one, two\n- three, four\n\n```sh\ncharloom train a\n```\n",
    "paper.tex": "\\documentclass{article}\n\\begin{document}\nOne, two.\n\\end{document}\n",
    "wiki.xml": '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">\n<page>\n',
    "config.json": '{"name": "x",\n "numbers": [1, 2]}\n',
    "answer.json": '{"data": {"items": [1, 2], "next": null}}',
    "config.yaml": "---\nname: x\n",
    "play.txt": "FIRST CITIZEN:\nBefore we proceed, hear me speak.\n\nALL:\nSpeak, speak.\n\n" * 9,
    "names.txt": "emma\nolivia\nava\n" * 9,
    "prices.txt": "apples, 1\npears, 2\n\nAnd a line of prose, as it were, at the end.\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_text_stays_plain_text(name):
    assert recognise(Head(name, PLAIN[name].encode())) is None


def test_source_code_and_known_texts_are_plain_text():
    found = {path: recognise(Head(path.name, path.read_bytes()[:HEAD_BYTES])) for path in SOURCES}
    assert {path.name: kind.name for path, kind in found.items() if kind} == {}
    for text in KNOWN_TEXTS:
        if not text.sha256:  # nothing to fetch
            assert recognise(Head("text", load_corpus(text.name).encode()[:HEAD_BYTES])) is None


def test_kinds_have_names_that_are_not_mistaken():
    names = [kind.name for kind in KINDS]
    assert len({*names}) == len(names)
    assert all(kind.noun.endswith("s") for kind in KINDS)


def test_bytes_that_mean_nothing_are_of_no_kind():
    for start in (bytes(range(256)) * 9, b"\x89PNG\r\n\x1a\n\0", b"\0" * 999, b"PK\x03\x04"):
        assert recognise(Head("file", start)) is None
        assert recognise_bundle(Head("file.csv", start, ("a", "b/c"))) is None
