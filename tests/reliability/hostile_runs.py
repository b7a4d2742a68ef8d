"""Run folders as an attacker would make them, each with what the refusal must say.

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
META, CONFIG = "meta.json is damaged", "config.json is damaged"
PLAIN = "not a plain file"
EVERY = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

CASES = {
    "manifest with a path up": (listing(LISTED | {"../../outside": LISTED[MODEL]}), "nothing else"),
    "manifest with an absolute path": (listing({"/etc/passwd": LISTED[MODEL]}), "nothing else"),
    "manifest with one file less": (listing({n: LISTED[n] for n in FILES[:2]}), "nothing else"),
    "manifest with a name twice": (
        manifest(b'{"format":1,"files":' + json.dumps(LISTED).encode() + b',"files":{}}'),
        "nothing else",
    ),
    "manifest with another size": (sized(7), "was saved with 7"),
    "manifest with a negative size": (sized(-1), f"{MANIFEST} is damaged"),
    "manifest with a huge size": (sized(10**30), f"{MANIFEST} is damaged"),
    "manifest with NaN": (manifest(b'{"format":NaN}'), f"{MANIFEST} is damaged"),
    "manifest 100,000 deep": (manifest(b'{"files":' * 100_000), f"{MANIFEST} is damaged"),
    "manifest in no encoding": (manifest(b"\xff" * 99), f"{MANIFEST} is damaged"),
    "manifest of 2 MiB": (manifest(b" " * 2**21), "larger than"),
    "manifest of the future": (manifest(b'{"format":2,"files":[]}'), "has format 2, but"),
    "manifest of no format": (manifest(b'{"files":{}}'), "missing required field `format`"),
    "manifest that is a link": (link(HERE + MANIFEST), PLAIN),
    "manifest that is a pipe": (instead(HERE + MANIFEST, os.mkfifo), PLAIN),
    "weights that are a link": (link(HERE + MODEL), PLAIN),
    "weights that are a pipe": (instead(HERE + MODEL, os.mkfifo), PLAIN),
    "weights that are a device": (instead(HERE + MODEL, device), PLAIN),
    "weights that are a folder": (instead(HERE + MODEL, os.mkdir), PLAIN),
    "weights that are a pickle": (
        forged(
            MODEL, b"\x80\x04\x95\x1b\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."
        ),
        f"{MODEL} is damaged",
    ),
    "weights that are a zip": (forged(MODEL, b"PK\x03\x04" + bytes(60)), f"{MODEL} is damaged"),
    "weights that are NumPy's": (
        forged(MODEL, b"\x93NUMPY\1\0v\0{'descr':'|O'}"),
        f"{MODEL} is damaged",
    ),
    "weights and a zip": (appended(b"PK\x05\x06" + bytes(18)), f"{MODEL} is damaged"),
    "state that is a link": (link(HERE + STATE), PLAIN),
    "state of no arrays": (forged(STATE, b"\2\0\0\0\0\0\0\0{}"), "not what the settings ask for"),
    "meta of a negative step": (meta('"step":10', '"step":-10'), META),
    "meta with a huge best step": (
        meta('"best":{"step":10', '"best":{"step":1' + "0" * 300),
        "meta",
    ),
    "meta with a place before the text": (
        meta('"position":', '"position":-'),
        "meta.json is damaged",
    ),
    "meta with codes for the terminal": (meta('"3.', r'"\u001b[31m3.'), META),
    "meta with a loss of 1e999": (
        meta('"smooth":', '"smooth":1e999,"sum":'),
        "meta.json is damaged",
    ),
    "checkpoint that is a link": (link("checkpoints/00000010"), "holds no checkpoint"),
    "checkpoints that are a link": (link("checkpoints"), "is a link"),
    "checkpoint in Arabic digits": (renamed("٠٠٠٠٠٠١٠"), "holds no checkpoint"),
    "checkpoint of 200 digits": (renamed("1" * 200), "holds no checkpoint"),
    "checkpoint of another step": (renamed("00000011"), "holds step 10"),
    "width 10^9": (config('"hidden": 4', '"hidden": 1000000000'), "at most 65536"),
    "width 10^400": (
        config('"hidden": 4', f'"hidden": {10**400}'),
        "config.json is d",
    ),
    "256 layers of 65536": (bomb, "not what the settings ask for"),
    "config that names a function": (
        config('"hidden": 4', '"hidden": 4, "__reduce__": "os.system"'),
        "unknown field `__reduce__`",
    ),
    "config with codes for the terminal": (
        config('"hidden": 4', r'"hidden": 4, "\u001b[31m": 1'),
        "unknown field `?[31m`",
    ),
    "config that names a module": (
        config('"recurrent"', '"os.system"'),
        "os.system",
    ),
    "config with NaN": (config("0.05", "NaN"), CONFIG),
    "config of another type": (config("float32", "float64"), "ask for float64"),
    "config that is a link": (link("config.json"), PLAIN),
    "config that is a pipe": (instead("config.json", os.mkfifo), PLAIN),
    "vocabulary with a character twice": (characters(lambda c: [c[0], *c]), "vocabulary.json is d"),
    "vocabulary with half a character": (characters(lambda c: [*c, "\ud800"]), "lone surrogate"),
    "vocabulary with a word": (characters(lambda c: [*c, "zz"]), "is not one character"),
    "vocabulary with one more": (characters(lambda c: [*c, "é"]), "the settings ask for"),
    "vocabulary of all characters": (characters(lambda _: EVERY), "the settings ask for"),
    "vocabulary 900 deep": (
        characters(lambda _: json.loads("[" * 900 + "]" * 900)),
        "not one char",
    ),
    "corpus with a length of 1e400": (
        edited("corpus.json", '"characters": ', '"characters": 1e400, "x":'),
        "corpus.json is damaged",
    ),
    "corpus.txt that is a link": (link("corpus.txt"), PLAIN),
    "corpus.txt that is another": (
        edited("corpus.txt", "league", "legion"),
        "is not the text",
    ),
}


def look(path):
    """Open a run as `sample` and `resume` do; return what is said, or nothing."""
    try:
        run = Run.open(path)
        run.load_weights()
        run.read_text()
    except CharloomError as error:
        return str(error)
    return ""


def mark(name):
    with contextlib.suppress(FileNotFoundError):
        os.open(name, os.O_RDONLY)


def main(folder, friendly):
    assert look(friendly) == ""
    assert "no run folder" in look(folder / "nothing there")
    paths = sorted(folder.iterdir())
    mark(BEGIN)
    results = []
    for path in paths:
        began = time.process_time()
        results.append({"name": path.name, "said": look(path), "cpu": time.process_time() - began})
    mark(END)
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
