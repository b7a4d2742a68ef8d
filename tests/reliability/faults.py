"""Faults at single system calls of a save: kills and failing disks, by strace.

    python faults.py SCENARIO FOLDER FAULT EVERY

makes every save in a process of its own, forked from this one once all is loaded, and prints one
JSON object a line: what was injected where, what became of the process, and what is there.
"""

import ctypes
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from charloom.errors import CharloomError
from checkpoints import arrays_of, is_step, meta_of, read_newest, same_arrays, save, save_step

# What changes the disk, and what closes or opens on the way; as other machines call them too.
CALLS = (
    "openat,open,write,fsync,close,rename,renameat,renameat2,mkdir,mkdirat,rmdir,unlink,unlinkat"
)
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)


def is_again(folder):
    found = read_newest(folder)
    return same_arrays(found.weights | found.state, arrays_of(9))


def holds(step):
    return lambda folder: is_step(read_newest(folder), step)


def is_empty(folder):
    return not list(folder.glob("0*"))


def begin(folder, *steps):
    for step in steps:
        save_step(folder, step, best=min(steps), keep=2)


# name -> what was there, the save, whether the old is read, whether the new is
SCENARIOS = {
    "first": ((), lambda f: save_step(f, 5), is_empty, holds(5)),
    "over": ((3, 5), lambda f: save(f, arrays_of(9), meta_of(5), 2), holds(5), is_again),
    "back": ((5, 8), lambda f: save_step(f, 6, best=5, keep=2), holds(8), holds(6)),
    "rotating": ((3, 4, 5), lambda f: save_step(f, 6, best=6, keep=1), holds(5), holds(6)),
}


def traced(act, *options):
    """Run `act` in a fork under strace; return its exit status, what it said, and the calls."""
    say, hear = os.pipe()[::-1]
    go, start = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
        os.read(go, 1)
        try:
            act()
        except CharloomError as error:
            os.write(say, str(error).encode())
            os._exit(1)
        except BaseException as error:
            os.write(say, repr(error).encode())
            os._exit(2)
        os._exit(0)
    os.close(say)
    with tempfile.NamedTemporaryFile() as log:
        command = ["strace", "-o", log.name, "-e", f"trace=?{CALLS.replace(',', ',?')}"]
        tracer = subprocess.Popen(
            [*command, *options, "-p", str(child)], stderr=subprocess.PIPE, text=True
        )
        attached = tracer.stderr.readline()
        if "attached" not in attached:
            os.kill(child, 9)
            raise RuntimeError(attached)
        os.write(start, b"!")
        said = b"".join(iter(lambda: os.read(hear, 1 << 16), b"")).decode()
        status = os.waitpid(child, 0)[1]
        tracer.stderr.close()
        tracer.wait()
        calls = re.findall(r"^(\w+)\(", Path(log.name).read_text(), re.M)
    for descriptor in (hear, go, start):
        os.close(descriptor)
    return status, said, calls


def look(folder, scenario):
    """What is read of a folder: old, new, both or neither."""
    found = []
    for name, is_there in zip(("old", "new"), SCENARIOS[scenario][2:], strict=True):
        try:
            found += [name] * is_there(folder)
        except CharloomError as error:
            found += [] if name == "new" else [f"unloadable: {error}"]
    return " and ".join(found)


def trials(scenario, parent, fault, every):
    """Inject `fault` at every `every`-th call; yield what came of it."""
    before, act, *_ = SCENARIOS[scenario]
    template = parent / "template" / "checkpoints"
    template.parent.mkdir()
    begin(template, *before)
    kill = fault.startswith("signal=")
    counting = parent / "counting"
    shutil.copytree(template.parent, counting)
    _, said, calls = traced(lambda: act(counting / "checkpoints"))
    assert not said, said
    if not kill:  # these are errors that a disk can give
        calls = [call for call in calls if call in ("openat", "write", "fsync", "close")]
    seen = Counter()
    places = [(call, seen.update([call]) or seen[call]) for call in calls]
    for k, (call, number) in itertools.islice(enumerate(places), 0, None, every):
        folder = parent / f"{k}" / "checkpoints"
        shutil.copytree(template.parent, folder.parent)
        place = f"inject={call}:{fault}:when={number}"
        status, said, _ = traced(lambda f=folder: act(f), "-e", place)
        result = {"place": place, "of": len(places), "status": status, "said": said}
        result["found"] = look(folder, scenario)
        result["left"] = [path.name for path in folder.glob(".*")]
        act(folder)
        result["after"] = look(folder, scenario)
        result["there"] = sorted(path.name for path in folder.iterdir())
        shutil.rmtree(folder.parent)
        yield result


if __name__ == "__main__":
    scenario, parent, fault, every = sys.argv[1:]
    for result in trials(scenario, Path(parent), fault, int(every)):
        print(json.dumps(result), flush=True)
