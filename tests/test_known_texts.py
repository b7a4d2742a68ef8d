import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import pytest

from charloom.data import sources
from charloom.data.known_texts import KNOWN_TEXTS, KnownText, find_corpus, load_corpus
from charloom.data.reading import Reading
from charloom.data.text import read_text
from charloom.data.writing import Writing
from expect import refused

TEXT = "To be, or not to be: that is the question — 😀\n" * 50
FILES = {  # of a package, as they are found in real ones
    "package/README": b"about these books",
    "package/books/b.txt": "\nC\xe6sar\r\nends\x1a".encode("latin-1"),
    "package/books/a.txt": "Æsop\n\nEnd of Project Gutenberg's Æsop\n\nits licence\n".encode(),
}
BOOKS = "Æsop\n<|endoftext|>\nCæsar\nends\n"
COPY = Path(__file__).parents[2] / "shared" / "corpora"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("CHARLOOM_CACHE", str(folder))
    return folder


@pytest.fixture
def server():
    """A web server of this machine: `.answer` is what it sends, `.asked` how often it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked += 1
            status, length, body = self.server.answer
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = 0
        server.answer = (200, len(TEXT.encode()), TEXT.encode())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def plays(server: http.server.HTTPServer) -> list[KnownText]:
    return [
        KnownText(
            name="plays",
            title="A line",
            licence="public domain",
            source="this test",
            url=f"http://127.0.0.1:{server.server_port}/input.txt",
            sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
        )
    ]


def package(files: dict[str, bytes]) -> bytes:
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(unpacked.getvalue(), mtime=0)  # the same bytes at any time


def packed(server: http.server.HTTPServer, files: dict[str, bytes], text: str) -> list[KnownText]:
    """Let the server send a package of these files, and return the text as one that is known."""
    body = package(files)
    server.answer = (200, len(body), body)
    (known,) = plays(server)
    return [
        dataclasses.replace(
            known,
            sha256=hashlib.sha256(body).hexdigest(),
            members="*/books/*",
            text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
    ]


def refusal(code: str, name: str, known: list[KnownText]) -> str:
    with refused(code, name=name) as caught:
        load_corpus(name, known)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_every_corpus_says_what_it_is():
    names = [corpus.name for corpus in KNOWN_TEXTS]
    assert names[:4] == ["us-constitution", "python-manual", "python-source", "tiny-shakespeare"]
    assert len({*names}) == len(names)
    for corpus in KNOWN_TEXTS:
        assert corpus.title
        assert corpus.licence
        assert corpus.source
        if corpus.sha256:
            assert bool(corpus.url) != bool(corpus.command)
            assert re.fullmatch("[0-9a-f]{64}", corpus.sha256)
            assert corpus.characters
            assert corpus.size
            assert bool(corpus.members) == (
                re.fullmatch("[0-9a-f]{64}", corpus.text_sha256) is not None
            )
    with pytest.raises(dataclasses.FrozenInstanceError):
        KNOWN_TEXTS[0].name = "x"


def test_an_unknown_name_lists_the_known_ones():
    message = refusal("not-found", "shakespear\n", [*KNOWN_TEXTS])
    assert "us-constitution, python-manual, python-source, tiny-shakespeare" in message


def test_the_constitution_has_the_layout_and_length_of_the_published_run():
    text = load_corpus("us-constitution")
    (corpus,) = (corpus for corpus in KNOWN_TEXTS if corpus.name == "us-constitution")
    assert len(text) == corpus.characters
    assert 0.98 * 45_106 <= len(text) <= 1.02 * 45_121
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 78
    assert not re.search(r"[ \t]$|\t|\n{4}|  |\r", text, re.MULTILINE)
    lines = text.splitlines()
    headings = [f"Article {n}" for n in range(1, 8)] + [f"Amendment {n}" for n in range(1, 28)]
    assert [line for line in lines if re.fullmatch(r"(Article|Amendment) \w+", line)] == headings
    sections = [line for line in lines if line.startswith("Section ")]
    numbers = [int(line.removeprefix("Section ")) for line in sections]
    runs = [10, 4, 3, 4, 2, 5, 2, 3, 6, 3, 2, 2, 2, 4, 2]  # of Articles 1 to 4, Amendments 13 to 26
    assert numbers == [n for run in runs for n in range(1, run + 1)]


# What the copy has that is no part of the Constitution, or is not as in the signed document.
NOTES = [
    r"\nPreamble\n",
    r"\nAmendments\n",
    r"\nThe Ten Original Amendments: The Bill of Rights\.\n",
    r"\nPassed by Congress [^.]*\.\s+Ratified \w+ \d+, \d+\.?\n",
    r" \(October 1933\)",
]
SPELLINGS = [
    ("provide for the common defense", "provide for the common defence"),
    ("his continuance in office", "his Continuance in Office"),
    ("Revision and Control of", "Revision and Controul of"),
    ("the Representatives from each State having", "the Representation from each State having"),
    ("shall any person be eligible to that", "shall any Person be eligible to that"),
    ("Power to Grant Reprieves", "Power to grant Reprieves"),
    ("other public ministers and Consuls to", "other public Ministers and Consuls to"),
    ("Laws of any state to the Contrary", "Laws of any State to the Contrary"),
]
ONES = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]
ROMAN = {"X" * (number // 10) + ONES[number % 10]: number for number in range(1, 28)}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_the_constitution_has_the_words_of_an_independent_copy():
    path = COPY / "us-constitution.txt"
    if not path.exists():
        pytest.skip("no copy of the Constitution to compare with: shared/corpora is absent")
    copy = path.read_text("utf-8")
    for note in NOTES:
        copy, count = re.subn(note, "\n", copy)
        assert count, note
    copy = re.sub(r"(?m)^(Article|Amendment) ([IVX]+)$", lambda m: f"{m[1]} {ROMAN[m[2]]}", copy)
    copy = " ".join(words(copy))
    for theirs, ours in SPELLINGS:
        assert copy.count(theirs) == 1, theirs
        copy = copy.replace(theirs, ours)
    body, closing, amendments = re.split(
        r"(Done in Convention.*?Secretary\n)", load_corpus("us-constitution"), flags=re.DOTALL
    )
    assert words(body + amendments) == copy.split()
    assert len(re.findall(r"[A-Z]\w+(?=,|$|\n)", closing.split("Names,")[1])) >= 39


def test_the_manual_and_the_source_of_this_python_are_long_prose_and_code():
    manual, source = load_corpus("python-manual"), load_corpus("python-source")
    assert 200_000 < len(manual) < 5_000_000
    assert 'The "while" statement is used for repeated execution' in manual
    assert "def dataclass(" in source
    assert "def namedtuple(" in source
    assert len(source) > 5_000_000
    assert not re.search(r"^from test(\.support)? import", source, re.MULTILINE), "a test module"
    for text in (manual, source):
        assert "\r" not in text
        assert text == text.encode().decode()
        assert text.endswith("\n")


def test_a_download_is_checked_kept_and_not_repeated(cache, server, capfd):
    known = plays(server)
    assert load_corpus("plays", known) == TEXT
    assert load_corpus("plays", known) == TEXT
    assert server.asked == 1
    assert [path.name for path in cache.iterdir()] == ["plays.txt"]
    assert capfd.readouterr() == ("", "")


def test_a_kept_file_that_was_changed_is_fetched_again(cache, server):
    cache.mkdir()
    (cache / "plays.txt").write_text("changed")
    assert load_corpus("plays", plays(server)) == TEXT
    assert (cache / "plays.txt").read_text("utf-8") == TEXT


def test_a_kept_file_needs_no_server(cache, server):
    known = plays(server)
    load_corpus("plays", known)
    gone = [dataclasses.replace(known[0], url="http://127.0.0.1:9/input.txt")]
    assert load_corpus("plays", gone) == TEXT


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, 9, b"not plays"), "damaged"),
        ((200, 1000, TEXT.encode()[:1000]), "damaged"),
        ((200, 2000, TEXT.encode()[:1000]), "unreadable"),
        ((200, 0, b""), "damaged"),
        ((404, 4, b"gone"), "unreadable"),
        ((500, 4, b"oops"), "unreadable"),
    ],
)
def test_a_bad_answer_is_refused_and_nothing_of_it_is_kept(cache, server, answer, code):
    server.answer = answer
    message = refusal(code, "plays", plays(server))
    assert answer[0] == 200 or str(answer[0]) in message
    assert list(cache.iterdir()) == []
    server.answer = (200, len(TEXT.encode()), TEXT.encode())
    assert load_corpus("plays", plays(server)) == TEXT


def test_of_a_package_the_documents_are_kept_as_a_text_and_nothing_else(cache, server, capfd):
    known = packed(server, FILES, BOOKS)
    told = list[str]()
    assert find_corpus("plays", known, told.append) == cache / "plays.txt"
    assert load_corpus("plays", known) == BOOKS
    assert server.asked == len(told) == 1
    assert [path.name for path in cache.iterdir()] == ["plays.txt"]
    assert capfd.readouterr() == ("", "")
    (cache / "plays.txt").write_text(BOOKS.replace("ends", "end"))
    assert load_corpus("plays", known) == BOOKS
    assert server.asked == 2


def test_a_file_that_is_compressed_in_a_package_is_kept_as_it_is(cache, server):
    text = "CRLF\r\n and what has no line end "
    known = packed(server, {"package/books/a.gz": gzip.compress(text.encode())}, text)
    find_corpus("plays", known)
    assert (cache / "plays.txt").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("status", "left_out", "code"),
    [(200, 0, "damaged"), (200, 9, "damaged"), (404, 0, "unreadable")],
)
def test_a_bad_package_is_refused_and_nothing_of_it_is_kept(cache, server, status, left_out, code):
    known = packed(server, FILES, BOOKS)
    right = server.answer
    body = package(FILES | {"package/books/c.txt": b"more"})[: -left_out or None]
    server.answer = (status, len(body), body)
    refusal(code, "plays", known)
    assert list(cache.iterdir()) == []
    server.answer = right
    assert load_corpus("plays", known) == BOOKS


def test_the_documents_of_a_package_are_those_of_a_text(cache, server, monkeypatch):
    known = packed(server, FILES, BOOKS)
    monkeypatch.setattr(sources, "find_corpus", partial(find_corpus, known=known))
    text = read_text(["corpus:plays"], reading=Reading(boundaries=True))
    assert text.content == "Æsop\n\0Cæsar\nends\n\0"
    assert text.files == ()  # a run does not ask for it again
    rows = "".join(Writing(["corpus:plays"], as_json=True).pieces()).splitlines()
    assert [json.loads(row)["text"] for row in rows] == ["Æsop\n", "Cæsar\nends\n"]


def test_a_server_that_is_gone_is_told_with_where_to_put_the_file(cache, server):
    gone = [dataclasses.replace(plays(server)[0], url="http://127.0.0.1:9/input.txt")]
    assert str(cache / "plays.txt") in refusal("unreadable", "plays", gone)
    assert list(cache.iterdir()) == []
    known = [dataclasses.replace(packed(server, FILES, BOOKS)[0], url=gone[0].url)]
    path = cache / "plays.tar.gz"
    assert str(path) in refusal("unreadable", "plays", known)
    path.write_bytes(package(FILES))  # as the message says
    assert load_corpus("plays", known) == BOOKS


def test_a_cache_that_cannot_be_written_is_named(tmp_path, server, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CHARLOOM_CACHE", str(tmp_path / "file" / "below"))
    assert str(tmp_path / "file" / "below") in refusal("unwritable", "plays", plays(server))


def test_nothing_but_a_download_loads_pooch():
    code = (
        "import sys, charloom.data.text; from charloom.data.known_texts import load_corpus\n"
        "load_corpus('us-constitution'), load_corpus('python-manual')\n"
        "assert not {'pooch', 'requests', 'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["tiny-shakespeare"])
def test_the_pinned_hash_is_that_of_a_copy_at_hand(name):
    path = COPY / f"{name}.txt"
    if not path.exists():
        pytest.skip(f"no copy of {name} to compare with: shared/corpora is absent")
    (corpus,) = (corpus for corpus in KNOWN_TEXTS if corpus.name == name)
    data = path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == corpus.sha256
    assert len(data.decode()) == corpus.characters


def test_a_package_without_an_address_is_fetched_by_hand(server, cache):
    (served,) = packed(server, FILES, BOOKS)
    body = server.answer[2]
    known = [dataclasses.replace(served, url="", command="npm pack plays@1")]
    said = refusal("not-found", served.name, known)
    assert "npm pack plays@1" in said
    path = cache / f"{served.name}.tar.gz"
    assert str(path) in said
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body[:-1])
    refusal("not-found", served.name, known)
    path.write_bytes(body)
    assert load_corpus(served.name, known) == BOOKS
    assert load_corpus(served.name, known) == BOOKS  # from the cache
