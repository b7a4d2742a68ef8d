"""Reads small files that would become huge, deep or slow, within bounds, and says what came of it.

    python bombs.py FOLDER [all]

Each is harmless, and refused by a limit of charloom's own or read in a moment; those that take a
second or more to make or to read are in `all`. It prints one JSON object a line.
"""

import io
import json
import resource
import sys
import time
import zipfile
import zlib
from pathlib import Path

from damaged import PACKERS, PROSE, epub, files, look, mail, odt, tables, tarred, zipped
from hostile import limit_memory, limit_time

ROOM = 768 * 2**20  # bytes of memory for one file
MANY = 200_000
LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12)
)  # which would become 10^11 laughs
DOCTYPE = f"<!DOCTYPE x [{LAUGHS}]>"
SECRET = "a secret of another file"


def deep(opened, closed="", inner="x"):
    return (opened * MANY + inner + closed * MANY).encode()


def nested(packs):
    data, name = PROSE.encode() * 9, "it.txt"
    for number in range(packs):
        data, name = zipped([(name, data)]), f"{number}.zip"
    return data


def book(chapter, opf=""):
    """An EPUB of one chapter, as it is given."""
    sound = dict(zip_parts(epub.book(a="<p>x</p>")))
    sound["OEBPS/a.xhtml"] = chapter
    if opf:
        sound["OEBPS/content.opf"] = sound["OEBPS/content.opf"].replace(
            b"<package", opf + b"<package"
        )
    return zipped(sound.items())


def zip_parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def word(body):
    return zipped([("[Content_Types].xml", b"<Types/>"), ("word/document.xml", body)])


def flate_pdf(stream, pages=1):
    """A PDF whose pages show one stream, which is packed."""
    packed = zlib.compress(stream, 9)
    kids = b" ".join([b"4 0 R"] * pages)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, kids),
        b"<< /Length %d /Filter /FlateDecode >> stream\n%s\nendstream" % (len(packed), packed),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 800] /Contents 3 0 R /Resources << /Font "
        b"<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >> >> >> >>",
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, o) for n, o in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer << /Size 5 /Root 1 0 R >>\n%%EOF"


def multipart(depth):
    head = b"From: a@example.org\nDate: Wed, 17 May 2023 12:00:00 +0000\nSubject: x\n"
    text = b"Content-Type: text/plain\n\nx\n"
    for n in range(depth):
        text = b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n%s\n--b%d--\n' % (
            n,
            n,
            text,
            n,
        )
    return head + text


def bombs(secret):
    """Name and content of each, made when it is asked for; some ask for the file `secret`."""
    big = b"a" * (18 * 2**20)
    local = f'<!DOCTYPE x [<!ENTITY l11 SYSTEM "{secret.as_uri()}">]>'
    sound = files()
    yield from ((f"big.txt.{name}", lambda p=pack: p(big)) for name, pack in PACKERS.items())
    yield "big.gz.gz", lambda: PACKERS["gz"](PACKERS["gz"](big))
    yield "big.zip", lambda: zipped([("a.txt", big)])
    yield "big.tgz", lambda: PACKERS["gz"](tarred([("a.txt", big)]))
    yield "deep.zip", lambda: nested(9)
    yield "many.zip", lambda: zipped((f"{n}.txt", b"x\n") for n in range(20_000))
    yield "book.epub", lambda: book(b"<html><body><p>" + big + b"</p></body></html>")
    yield "it.docx", lambda: word(b"<w:document xmlns:w='w'>" + big + b"</w:document>")
    yield "it.odt", lambda: odt.odt(odt.p("a" * len(big)))
    yield "flate.pdf", lambda: flate_pdf(b" " * 2**26 + b"BT /F1 12 Tf (x) Tj ET")
    yield "pages.pdf", lambda: flate_pdf(b"BT /F1 12 Tf (word) Tj ET", 20_000)
    for name, head in (("laughs", DOCTYPE), ("local", local)):
        text = head.encode()
        yield (
            f"{name}.xml",
            lambda t=text: (
                sound["export.xml"]
                .replace(b"<rss", t + b"<rss", 1)
                .replace(b"<title>", b"<title>&l11;")
            ),
        )
        yield (
            f"{name}.atom",
            lambda t=text: (
                sound["feed.atom"]
                .replace(b"<feed", t + b"<feed", 1)
                .replace(b"<title", b"<title>&l11;</title><title")
            ),
        )
        yield f"{name}.epub", lambda t=text: book(t + b"<html><body><p>x &l11;</p></body></html>")
        yield f"{name}-opf.epub", lambda t=text: book(b"<html><body><p>x</p></body></html>", t)
        yield (
            f"{name}.docx",
            lambda t=text: word(
                t + b"<d xmlns:w='w'><w:body><w:p><w:r><w:t>x &l11;</w:t></w:r></w:p></w:body></d>"
            ),
        )
        yield (
            f"{name}.fodt",
            lambda t=text: (
                sound["it.fodt"]
                .replace(b"<office:document", t + b"<office:document", 1)
                .replace(b"<text:p>", b"<text:p>&l11;", 1)
            ),
        )
        yield f"{name}.html", lambda t=text: t + b"<html><body><p>x &l11;</p></body></html>"
    yield "deep.html", lambda: b"<!DOCTYPE html><html><body>" + deep("<div>", "</div>")
    yield "deep.epub", lambda: book(b"<html><body>" + deep("<div>", "</div>") + b"</body></html>")
    yield (
        "deep.docx",
        lambda: word(b"<w:d xmlns:w='w'><w:body>" + deep("<w:p>", "</w:p>") + b"</w:body></w:d>"),
    )
    yield "deep.odt", lambda: odt.odt(deep("<text:p>", "</text:p>").decode())
    yield (
        "deep.xml",
        lambda: sound["export.xml"].replace(b"<channel>", b"<channel>" + deep("<a>", "</a>")),
    )
    yield "deep.rtf", lambda: b"{\\rtf1 " + deep("{", "}") + b"}"
    yield "deep.json", lambda: b'{"cells": ' + deep("[", "]", "1") + b', "nbformat": 4}'
    yield (
        "deep-ghost.json",
        lambda: b'{"db": [{"meta": {}, "data": {"posts": ' + deep("[", "]", "1") + b"}}]}",
    )
    yield "deep.jsonl", lambda: b'{"text": ' + deep("[", "]", "1") + b"}\n" + b'{"text": "x"}\n' * 9
    yield "deep.eml", lambda: multipart(2_000)
    yield (
        "cell.csv",
        lambda: tables.written([("id", "text"), ("1", "a" * (17 * 2**20)), ("2", "b")]),
    )
    yield "open.csv", lambda: b'id,text\n1,"' + b"a, b\n" * 2_000_000
    yield "rows.csv", lambda: b"id,text\n" + b"1,some words\n" * MANY
    yield (
        "columns.csv",
        lambda: b",".join(b"c%d" % n for n in range(MANY)) + b"\n" + b"x," * MANY + b"\n",
    )
    yield "mail.mbox", lambda: mail.in_mbox(*[mail.letter("x")] * 20_000)
    yield "header.eml", lambda: mail.letter("x", References="<a@b> " * MANY)
    yield "quotes.eml", lambda: mail.letter("> " * MANY + "x\n" + ">" * MANY)
    yield "cues.srt", lambda: sound["it.srt"] * 20_000
    yield "arrows.srt", lambda: sound["it.srt"] + b"00:00:01,000 --> " * MANY
    yield "angles.html", lambda: b"<!DOCTYPE html><p>x" + b"<" * 2**21
    yield "tags.html", lambda: b"<!DOCTYPE html>" + b"<p" * 2**20
    yield "comments.html", lambda: b"<!DOCTYPE html><p>x" + b"<!--" * 2**19
    yield "attributes.html", lambda: b"<!DOCTYPE html><p " + b"a=b " * MANY + b">x"
    yield "tables.html", lambda: b"<!DOCTYPE html><body>" + b"<table><tr><td>x" * 20_000
    yield "bold.html", lambda: b"<!DOCTYPE html><body>" + b"<p><b>x" * 20_000
    yield "brackets.xml", lambda: sound["export.xml"].replace(b"<p>", b"<p>" + b"[a " * MANY)
    yield (
        "shortcodes.xml",
        lambda: sound["export.xml"].replace(b"<p>", b"<p>" + b"[gallery]" * MANY, 1),
    )
    yield "cdata.xml", lambda: sound["export.xml"].replace(b"<p>", b"<p>" + b"]]]" * MANY, 1)
    yield "front.md", lambda: b"---\n" + b"a: b\n" * MANY * 5
    yield "front2.md", lambda: b"---\na: " + b"[" * MANY + b"\n---\nx\n"
    yield "start.txt", lambda: b"*** START OF THE PROJECT GUTENBERG EBOOK x\n" * 50_000
    yield "tunes.abc", lambda: b"X:1\nT:x\nK:C\nabc\n\n" * 50_000
    yield "games.pgn", lambda: b'[Event "x"]\n[White "y"]\n\n1. e4 *\n\n' * 20_000
    yield "chat.txt", lambda: sound["chat.txt"] * 2_000
    yield "line.txt", lambda: b"a" * 2**25
    yield "marks.txt", lambda: b"x\n<|endoftext|>\n" * MANY
    yield "returns.txt", lambda: b"\r" * 2**23 + b"x"
    yield "accents.txt", lambda: ("e" + "\u0301" * 2**20).encode()


LARGE = {"many.zip", "book.epub", "it.docx", "pages.pdf", "open.csv", "rows.csv", "mail.mbox"}
LARGE |= {"cues.srt", "bold.html", "brackets.xml", "shortcodes.xml", "start.txt", "tunes.abc"}
LARGE |= {"games.pgn", "line.txt", "cell.csv", "chat.txt", "marks.txt", "returns.txt", "flate.pdf"}


def main(folder, every):
    secret = folder / "secret"
    secret.write_text(SECRET)
    for name, data in files().items():  # all is imported
        (folder / name).write_bytes(data)
        look(folder / name)
        (folder / name).unlink()
    for name, make in bombs(secret):
        if name in LARGE and not every:
            continue
        path = folder / name
        path.write_bytes(make())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limit_memory(ROOM)
        limit_time()
        began = time.process_time()
        found = look(path)
        spent = time.process_time() - began
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        wrong = found.wrong or ("the secret is read" if SECRET in found.text else "")
        told = {"name": name, "bytes": path.stat().st_size, "outcome": found.outcome}
        told |= {"wrong": wrong, "said": found.said, "seconds": spent, "kib": more}
        print(json.dumps(told), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["all"])
