"""Reads damaged files of every kind within bounds, and says what became of them.

    python damaged.py FOLDER SEED NUMBER

Files that are written here are harmed, as they are or in what they are packed in, and read as
`charloom text` does; FOLDER is where they are, and nothing outside it may be opened. It prints one
JSON object.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import resource
import sys
import tarfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import zstandard
from hostile import limit_memory, limit_time

import blog_site
import charloom
import test_chats as chats
import test_docx as docx
import test_epub as epub
import test_mail as mail
import test_notebook as notebook
import test_odt as odt
import test_pdf as pdf
import test_rtf as rtf
import test_subtitles as subtitles
import test_tables as tables
from charloom.config import DataConfig
from charloom.data.boundary import BOUNDARY
from charloom.data.reading import Reading
from charloom.data.text import read_text
from charloom.errors import CharloomError
from charloom.formatting import in_a_line
from readers import damaged
from test_blogs import ghost_export

ROOM = 384 * 2**20  # bytes of memory for one file
FORBIDDEN = ("exec", "pickle", "os.system", "os.exec", "os.fork", "subprocess", "socket")
FORBIDDEN += ("os.mkdir", "os.remove", "os.rename", "os.symlink", "os.link", "shutil", "tempfile")
PROSE = "It was the best of times, it was the worst of times, it was the age of wisdom.\n"
NAMES = (
    "../../outside.txt", "/outside.txt", "a/../../../outside.txt", "..", ".", "", "/", "a//b.txt",
    "C:\\outside.txt", "..\\outside.txt", "a\0b.txt", "\x1b[31m.txt", "a\nb.txt",
    "x" * 5000 + ".txt", "é\u202e.txt", ".hidden.txt", "mimetype", "META-INF/container.xml",
    "posts.csv", "word/document.xml",
)  # fmt: skip
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
SITE = blog_site.site(seed=1, count=3)


def zipped(files):
    """A ZIP archive, in which a name may be there twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            with suppress(ValueError):  # a name that no archive can have
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tarred(files, chance=None):
    """A TAR archive; with a `chance`, one of its files is a link, a device or a pipe."""
    buffer, files = io.BytesIO(), list(files)
    odd = chance.randrange(len(files)) if chance and files else -1
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, (name, data) in enumerate(files):
            info = tarfile.TarInfo(name or "x")
            info.size = len(data)
            if number == odd:
                info.type = chance.choice([b"1", b"2", b"3", b"4", b"6", b"5", b"S"])
                info.linkname = chance.choice(["/etc/passwd", "../../outside.txt", name or "x"])
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def parts(data):
    """The names and contents of a ZIP archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def files():
    """A sound file of every kind, by name."""
    rng, text = random.Random(0), PROSE.encode() * 20
    folder = [("ch2.txt", text), ("ch10.txt", text), ("notes/a.md", b"---\ntitle: A\n---\n" + text)]
    cells = notebook.cell("markdown", [PROSE]), notebook.cell("code", "a = 1\n")
    cues = "One and\ntwo", "- Who?\n- Me.", "<i>Three</i>"
    letters = [mail.letter(PROSE * 3, n) for n in range(3)]
    public = ["https://www.w3.org/ns/activitystreams#Public"]
    note = {"id": "n", "content": f"<p>{PROSE}</p>", "published": "2020-01-01T00:00:00Z"}
    created = {"type": "Create", "object": note | {"to": public}}
    outbox = {"@context": "x", "id": "outbox.json", "type": "OrderedCollection"}
    outbox |= {"orderedItems": [created]}
    tweet = {"id_str": "1", "full_text": PROSE, "created_at": "Wed May 17 12:00:00 +0000 2023"}
    tweets = f"window.YTD.tweets.part0 = [{json.dumps({'tweet': tweet})}]".encode()
    found = {
        "folder.zip": zipped(folder),
        "folder.tar": tarred(folder),
        "book.epub": epub.book(a=f"<h1>One</h1><p>{PROSE}</p>", b=f"<p>{PROSE * 3}</p>"),
        "it.docx": docx.word(docx.p(docx.run(PROSE)) * 5, word__styles="<styles/>"),
        "it.odt": odt.odt(odt.p(PROSE) * 5, meta=odt.META),
        "it.fodt": odt.content(odt.p(PROSE) * 5, "document", odt.META).encode(),
        "it.rtf": rtf.rtf(r"\pard It was {\b the best} of times\par " * 9),
        "it.pdf": pdf.pdf(*[pdf.lines(*[PROSE.strip()] * 9)] * 3),
        "export.xml": blog_site.wxr(SITE, rng),
        "feed.atom": blog_site.atom(SITE, rng),
        "substack.zip": blog_site.substack(SITE, rng),
        "page.html": next(iter(blog_site.pages(SITE, rng).values())).encode(),
        "plain.html": f"<p>{PROSE}</p><div>{PROSE * 5}</div>".encode(),
        "ghost.json": ghost_export({"id": "a", "html": f"<p>{PROSE}</p>", "status": "published"}),
        "outbox.json": json.dumps(outbox).encode(),
        "tweets.zip": zipped([("data/tweets.js", tweets)]),
        "chat.txt": chats.IOS.encode(),
        "chat.zip": zipped([("_chat.txt", chats.ANDROID.encode())]),
        "result.json": json.dumps(chats.telegram_chat()).encode(),
        "general.json": json.dumps(chats.discord_channel()).encode(),
        "slack.zip": zipped(chats.slack_export().items()),
        "mail.mbox": mail.in_mbox(*letters),
        "letter.eml": mail.parts().as_bytes(),
        "songs.csv": tables.written([tables.COLUMNS, *tables.SONGS]),
        "songs.jsonl": "\n".join(map(json.dumps, tables.json_rows())).encode(),
        "songs.parquet": tables.parquet([{"id": n, "text": PROSE} for n in range(50)]),
        "it.ipynb": notebook.notebook(*cells),
        "it.srt": subtitles.srt(*cues),
        "it.vtt": subtitles.vtt(*cues),
        "latin.srt": subtitles.srt("Süße Töne für Löwen").decode().encode("cp1252"),
        "it.txt": text,
    }  # fmt: skip
    packed = {f"it.txt.{name}": pack(text) for name, pack in PACKERS.items()}
    return found | packed | {"folder.tgz": gzip.compress(found["folder.tar"])}


def harmed(name, data, chance):
    """A file damaged in one of several ways, with its name."""
    seed = chance.randrange(2**32)
    way = chance.randrange(8)
    if data.startswith(b"PK") and way < 5:
        members = parts(data)
        place = chance.randrange(len(members))
        inner, content = members[place]
        match way:
            case 0 | 1:  # a file in it, and the archive is sound
                members[place] = inner, damaged(content, seed) if content else b"\0"
            case 2:
                members[place] = chance.choice(NAMES), content
            case 3:
                members += [(inner, damaged(content, seed) if content else b"x")]
                chance.shuffle(members)
            case 4:  # what the archive says of its files
                return name, directory_harmed(data, chance)
        return name, zipped(members)
    if way == 5 and name.endswith((".zip", ".tar")):
        members = parts(data) if name.endswith(".zip") else [("a.txt", b"abc\n" * 99)] * 2
        members = [(chance.choice(NAMES), content) for _, content in members] + members
        return name, tarred(members, chance) if chance.random() < 0.5 else zipped(members)
    if way == 6:  # it is packed, once or several times
        data = damaged(data, seed) if chance.random() < 0.7 else data
        for _ in range(chance.choice((1, 1, 2, 5))):
            kind = chance.choice([*PACKERS, "zip", "tar"])
            pack = {"zip": zipped, "tar": tarred}.get(kind)
            data = pack([(name, data)]) if pack else PACKERS[kind](data)
            name = f"{name}.{kind}"
        return name, damaged(data, seed) if chance.random() < 0.3 else data
    if way == 7:  # of several files some are harmed, the others are not
        return "several.zip", zipped([(name, damaged(data, seed)), ("sound.txt", PROSE.encode())])
    return name, damaged(data, seed)


def directory_harmed(data, chance):
    """A ZIP archive in whose list of files a few bytes have changed."""
    out, start = bytearray(data), data.rfind(b"PK\x01\x02") if chance.random() < 0.5 else 0
    start = start or data.find(b"PK\x01\x02")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(start, len(out))
        out[place] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
    return bytes(out)


class Looked(NamedTuple):
    """What came of a file: it is read, refused or crashed; what is wrong; what is read and said."""

    outcome: str
    wrong: str = ""
    text: str = ""
    said: str = ""


def look(path):
    """Read a file as `charloom text` does."""
    try:
        text = read_text([str(path)], reading=Reading.of(DataConfig(boundaries=True)))
        again = "".join(text.pieces())
    except CharloomError as error:
        said, wrong = str(error), ""
        inner = traceback.extract_tb(error.__cause__.__traceback__) if error.__cause__ else []
        if said != in_a_line(said) or len(said) > 20_000:
            wrong = "is refused in another form"
        elif inner and "charloom" in Path(inner[-1].filename).parts:
            wrong = f"{inner[-1].filename}:{inner[-1].lineno} {error.__cause__!r:.200}"
        return Looked("refused", wrong, said=said)
    except BaseException:
        return Looked("crashed", traceback.format_exc()[-1500:])
    wrong, said = "", " ".join(text.notes)
    if len(again) != text.characters or not again.replace(BOUNDARY, ""):
        wrong = "differs when it is read again, or is empty"
    elif said != in_a_line(said):
        wrong = "has odd notes"
    return Looked("read", wrong, again, said)


def main(folder, seed, number):
    sound, counts, wrong, events, watching = files(), Counter(), [], Counter(), False
    trials, libraries = Counter(), (sys.prefix, sys.base_prefix, charloom.__path__[0])

    def hook(event, arguments):
        if not watching:
            return
        what = str(getattr(arguments[0], "co_filename", arguments[0])) if arguments else ""
        if event == "open":
            writes = set(str(arguments[1])) & set("wax+")
            bad = writes or not what.startswith((str(folder), *libraries))
        else:
            bad = event.startswith(FORBIDDEN) and not what.startswith(libraries)
        if bad:
            events[f"{event} {what:.200}"] += 1

    warnings.simplefilter("ignore")  # of archives that are made with a name twice
    for name, data in sound.items():  # all is imported, and what is sound can be read
        (folder / name).write_bytes(data)
        counts[f"sound files {look(folder / name).outcome}"] += 1
        (folder / name).unlink()
    sys.addaudithook(hook)
    slowest = 0.0, ""
    for trial in range(number):
        chance = random.Random(f"{seed} {trial}")
        first = [*sound][trial % len(sound)]
        name, data = harmed(first, sound[first], chance)
        path = folder / name
        path.write_bytes(data)
        limit_memory(ROOM)
        limit_time()
        began, watching = time.process_time(), True
        looked = look(path)
        watching = False
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        slowest = max(slowest, (time.process_time() - began, f"{name} {trial}"))
        counts[looked.outcome] += 1
        trials[first] += 1
        if looked.wrong:
            wrong.append([trial, name, looked.wrong, looked.said[:300]])
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"counts": counts, "wrong": wrong, "events": events, "slowest": slowest, "peak": peak}
    print(json.dumps(told | {"kinds": len(trials)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
