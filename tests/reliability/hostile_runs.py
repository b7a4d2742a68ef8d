"""Run folders as an attacker would make them, each with how it must be refused.

    python hostile_runs.py FOLDER FRIENDLY

opens a friendly run, so that all is loaded, then each run in FOLDER as `sample` and `resume` do,
between two marks that strace can see. It prints one JSON object a line.
"""

import contextlib
import json
import os
import shutil
import stat
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile import limit_time

from charloom.errors import CharloomError
from charloom.runs.checkpoint import FILES, MANIFEST
from charloom.runs.run import Run
from checkpoints import forge

BEGIN, END = "/charloom-begin", "/charloom-end"
MODEL, STATE = FILES[:2]
LISTED = {name: {"bytes": 0, "sha256": ""} for name in FILES}


def manifest(content):
    return lambda run, _: (step(run) / MANIFEST).write_bytes(content)


def listing(files, start='{"format":1,"files":'):
    return manifest(f"{start}{json.dumps(files)}}}".encode())


def sized(size):
    """The manifest as it is, but for the size of the first file."""

    def arrange(run, _):
        document = json.loads((step(run) / MANIFEST).read_bytes())
        document["files"][MODEL]["bytes"] = size
        (step(run) / MANIFEST).write_text(json.dumps(document))

    return arrange


def step(run):
    return run / "checkpoints" / "00000010"


def forged(name, content):
    return lambda run, _: forge(step(run), name, content)


def appended(content):
    return lambda run, _: forge(step(run), MODEL, (step(run) / MODEL).read_bytes() + content)


def link(name):
    """A link to the very same file or folder outside: only the link is wrong."""

    def arrange(run, outside):
        shutil.move(run / name, outside)
        (run / name).symlink_to(outside)

    return arrange


def instead(name, make):
    def arrange(run, _):
        (run / name).unlink()
        make(run / name)

    return arrange


def device(path):
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        path.symlink_to("/dev/zero")


def edited(name, old, new):
    def arrange(run, _):
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return arrange


def config(old, new):
    return edited("config.json", old, new)


def meta(old, new):
    """The place where the run stood, edited, and its manifest made to agree."""

    def arrange(run, _):
        text = (step(run) / "meta.json").read_text()
        assert old in text
        forge(step(run), "meta.json", text.replace(old, new).encode())

    return arrange


def characters(change):
    def arrange(run, _):
        path = run / "vocabulary.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return arrange


def bomb(run, _):
    config('"hidden": 4', '"hidden": 65536')(run, _)
    config('"layers": 2', '"layers": 256')(run, _)


def renamed(name):
    return lambda run, _: step(run).rename(run / "checkpoints" / name)


HERE = "checkpoints/00000010/"
# What is said of each: the code of the error, and a name that its message holds.
LIST, META, CONFIG = ("damaged", MANIFEST), ("damaged", "meta.json"), ("damaged", "config.json")
NEWER = ("newer-format", "config.json")
WEIGHTS, VOCABULARY = ("damaged", MODEL), ("damaged", "vocabulary.json")
NONE = "not-found", "checkpoints"
EVERY = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

CASES = {
    "manifest with a path up": (listing(LISTED | {"../../outside": LISTED[MODEL]}), LIST),
    "manifest with an absolute path": (listing({"/etc/passwd": LISTED[MODEL]}), LIST),
    "manifest with one file less": (listing({n: LISTED[n] for n in FILES[:2]}), LIST),
    "manifest with a name twice": (
        manifest(b'{"format":1,"files":' + json.dumps(LISTED).encode() + b',"files":{}}'),
        LIST,
    ),
    "manifest with another size": (sized(7), WEIGHTS),
    "manifest with a negative size": (sized(-1), LIST),
    "manifest with a huge size": (sized(10**30), LIST),
    "manifest with NaN": (manifest(b'{"format":NaN}'), LIST),
    "manifest 100,000 deep": (manifest(b'{"files":' * 100_000), LIST),
    "manifest in no encoding": (manifest(b"\xff" * 99), LIST),
    "manifest of 2 MiB": (manifest(b" " * 2**21), LIST),
    "manifest of the future": (manifest(b'{"format":2,"files":[]}'), ("newer-format", "00000010")),
    "manifest of no format": (manifest(b'{"files":{}}'), LIST),
    "manifest that is a link": (link(HERE + MANIFEST), ("damaged", MANIFEST)),
    "manifest that is a pipe": (instead(HERE + MANIFEST, os.mkfifo), ("damaged", MANIFEST)),
    "weights that are a link": (link(HERE + MODEL), ("damaged", MODEL)),
    "weights that are a pipe": (instead(HERE + MODEL, os.mkfifo), ("damaged", MODEL)),
    "weights that are a device": (instead(HERE + MODEL, device), ("damaged", MODEL)),
    "weights that are a folder": (instead(HERE + MODEL, os.mkdir), ("damaged", MODEL)),
    "weights that are a pickle": (
        forged(
            MODEL, b"\x80\x04\x95\x1b\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."
        ),
        WEIGHTS,
    ),
    "weights that are a zip": (forged(MODEL, b"PK\x03\x04" + bytes(60)), WEIGHTS),
    "weights that are NumPy's": (
        forged(MODEL, b"\x93NUMPY\1\0v\0{'descr':'|O'}"),
        WEIGHTS,
    ),
    "weights and a zip": (appended(b"PK\x05\x06" + bytes(18)), WEIGHTS),
    "state that is a link": (link(HERE + STATE), ("damaged", STATE)),
    "state of no arrays": (forged(STATE, b"\2\0\0\0\0\0\0\0{}"), ("bad-array", STATE)),
    "meta of a negative step": (meta('"step":10', '"step":-10'), META),
    "meta with a huge best step": (
        meta('"best":{"step":10', '"best":{"step":1' + "0" * 300),
        META,
    ),
    "meta with a place before the text": (
        meta('"position":', '"position":-'),
        META,
    ),
    "meta with codes for the terminal": (meta('"3.', r'"\u001b[31m3.'), META),
    "meta with a loss of 1e999": (
        meta('"smooth":', '"smooth":1e999,"sum":'),
        META,
    ),
    "checkpoint that is a link": (link("checkpoints/00000010"), NONE),
    "checkpoints that are a link": (link("checkpoints"), ("damaged", "checkpoints")),
    "checkpoint in Arabic digits": (renamed("٠٠٠٠٠٠١٠"), NONE),
    "checkpoint of 200 digits": (renamed("1" * 200), NONE),
    "checkpoint of another step": (renamed("00000011"), ("damaged", "00000011")),
    "width 10^9": (config('"hidden": 4', '"hidden": 1000000000'), CONFIG),
    "width 10^400": (
        config('"hidden": 4', f'"hidden": {10**400}'),
        CONFIG,
    ),
    "256 layers of 65536": (bomb, ("bad-array", MODEL)),
    "config that names a function": (
        config('"hidden": 4', '"hidden": 4, "__reduce__": "os.system"'),
        NEWER,
    ),
    "config with codes for the terminal": (
        config('"hidden": 4', r'"hidden": 4, "\u001b[31m": 1'),
        CONFIG,
    ),
    "config that names a module": (
        config('"recurrent"', '"os.system"'),
        NEWER,
    ),
    "config with NaN": (config("0.05", "NaN"), CONFIG),
    "config of another type": (config("float32", "float64"), ("bad-array", MODEL)),
    "config that is a link": (link("config.json"), ("damaged", "config.json")),
    "config that is a pipe": (instead("config.json", os.mkfifo), ("damaged", "config.json")),
    "vocabulary with a character twice": (characters(lambda c: [c[0], *c]), VOCABULARY),
    "vocabulary with half a character": (characters(lambda c: [*c, "\ud800"]), VOCABULARY),
    "vocabulary with a word": (characters(lambda c: [*c, "zz"]), VOCABULARY),
    "vocabulary with one more": (characters(lambda c: [*c, "é"]), ("bad-array", MODEL)),
    "vocabulary of all characters": (characters(lambda _: EVERY), ("bad-array", MODEL)),
    "vocabulary 900 deep": (
        characters(lambda _: json.loads("[" * 900 + "]" * 900)),
        VOCABULARY,
    ),
    "corpus with a length of 1e400": (
        edited("corpus.json", '"characters": ', '"characters": 1e400, "x":'),
        ("damaged", "corpus.json"),
    ),
    "corpus.txt that is a link": (link("corpus.txt"), ("damaged", "corpus.txt")),
    "corpus.txt that is another": (
        edited("corpus.txt", "league", "legion"),
        ("changed-text", "corpus.txt"),
    ),
}


def look(path):
    """Open a run as `sample` and `resume` do; return the code and text of what is said, or none."""
    try:
        run = Run.open(path)
        run.load_weights()
        run.checkpoint("latest")
        run.read_text()
    except CharloomError as error:
        return error.code, str(error)
    return "", ""


def mark(name):
    with contextlib.suppress(FileNotFoundError):
        os.open(name, os.O_RDONLY)


def main(folder, friendly):
    assert look(friendly) == ("", "")
    assert look(folder / "nothing there")[0] == "not-found"
    paths = sorted(folder.iterdir())
    mark(BEGIN)
    results = []
    for path in paths:
        limit_time()
        began = time.process_time()
        code, text = look(path)
        cpu = time.process_time() - began
        results.append({"name": path.name, "code": code, "text": text, "cpu": cpu})
    mark(END)
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
