"""Saves on a disk that fills up, in a small file system of its own.

    unshare --map-root-user --mount python full_disk.py FOLDER NUMBER

mounts a tmpfs at FOLDER, which only this process sees, and saves NUMBER times beside an old
checkpoint, each time with a page less in use. Every second time the look at the free space is
deceived, as by a program that fills the disk meanwhile. Prints one JSON object a line.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from charloom.errors import CharloomError
from charloom.files import write_file
from charloom.runs import checkpoint
from charloom.runs.checkpoint import read_newest
from checkpoints import expected_of, meta_of, save

PAGE = 4096
ARRAYS = {
    "layer0.Wx": np.random.default_rng(0).normal(size=PAGE * 3),
    "optimizer.m.layer0.Wx": np.random.default_rng(1).normal(size=PAGE * 3),
}


def save_with(folder, blocks, deceived):
    """Save with so many pages free; return what was said, and what is there."""
    filler = folder.parent / "filler"
    filler.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    filler.write_bytes(b"x" * (free - PAGE * blocks))
    true, answers, written = shutil.disk_usage(folder), [], []

    def write(path, blocks):
        written.append(path.name)
        return write_file(path, blocks)

    def usage(path):
        answers.append(path)
        return true._replace(free=2**40) if deceived and len(answers) == 1 else true

    facts = {}
    with patch.object(shutil, "disk_usage", usage), patch.object(checkpoint, "write_file", write):
        try:
            save(folder, ARRAYS, meta_of(6), 1)
        except CharloomError as error:
            facts = {"code": error.code} | {k: error.facts[k] for k in ("needed", "free")}
    found = read_newest(folder, expected_of(ARRAYS))
    same = all(
        array.tobytes() == ARRAYS[name].tobytes()
        for name, array in (found.weights | found.state).items()
    )
    return {
        "facts": facts,
        "free": true.free,
        "deceived": deceived,
        "written": written,
        "step": found.meta.step,
        "same": same,
        "there": sorted(path.name for path in folder.iterdir()),
    }


def main(mount, number):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], check=True)
    folder = mount / "checkpoints"
    save(folder, ARRAYS, meta_of(5), 1)
    needed = sum(path.stat().st_size for path in folder.rglob("*.*"))
    for k in range(number):
        blocks = k * (needed // PAGE) // number
        print(json.dumps(save_with(folder, blocks, bool(k % 2))), flush=True)
    with contextlib.suppress(FileNotFoundError):
        (mount / "filler").unlink()
    save(folder, ARRAYS, meta_of(6), 1)
    print(json.dumps({"mended": read_newest(folder, expected_of(ARRAYS)).meta.step}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
