"""Faults at single system calls of a save: kills and failing disks, by strace.

    python faults.py SCENARIO FOLDER FAULT EVERY

makes every save in a process of its own, forked from this one once all is loaded, and prints one
JSON object a line: what was injected where, what became of the process, and what is there.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from charloom.errors import CharloomError
from checkpoints import arrays_of, is_step, meta_of, read_newest, same_arrays, save, save_step

# What changes the disk, and what closes or opens on the way; as other machines call them too.
CALLS = (
    "openat,open,write,fsync,close,rename,renameat,renameat2,mkdir,mkdirat,rmdir,unlink,unlinkat"
)
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)


class Scenario(NamedTuple):
    """A save: what is there before, the step saved over or after it, and what keeps it apart."""

    before: tuple[int, ...]
    old: int | None  # the newest before
    new: int
    arrays: dict  # of the new one
    best: int
    keep: int

    def begin(self, folder):
        for step in self.before:
            save_step(folder, step, best=min(self.before), keep=2)

    def act(self, folder):
        save(folder, self.arrays, meta_of(self.new, self.best), self.keep)

    def look(self, folder):
        """Say what is read of a folder: "old", "new", or what is wrong."""
        if self.old is None and not list(folder.glob("0*")):
            return "old"
        try:
            found = read_newest(folder)
        except CharloomError as error:
            return f"unloadable: {error}"
        if found.meta.step == self.new and same_arrays(found.weights | found.state, self.arrays):
            return "new"
        return "old" if is_step(found, self.old) else f"mixed: {found}"


SCENARIOS = {
    "first": Scenario((), None, 5, arrays_of(5), best=5, keep=2),
    "over": Scenario((3, 5), 5, 5, arrays_of(9), best=3, keep=2),
    "back": Scenario((5, 8), 8, 6, arrays_of(6), best=5, keep=2),
    "rotating": Scenario((4, 5), 5, 6, arrays_of(6), best=6, keep=1),
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
            os.write(say, error.code.encode())
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


def trials(scenario, parent, fault, every):
    """Inject `fault` at every `every`-th call and the last; yield what came of it."""
    scenario = SCENARIOS[scenario]
    template = parent / "template" / "checkpoints"
    template.parent.mkdir()
    scenario.begin(template)
    kill = fault.startswith("signal=")
    counting = parent / "counting"
    shutil.copytree(template.parent, counting)
    _, said, calls = traced(lambda: scenario.act(counting / "checkpoints"))
    assert not said, said
    if not kill:  # these are errors that a disk can give
        calls = [call for call in calls if call in ("openat", "write", "fsync", "close")]
    seen = Counter()
    places = [(call, seen.update([call]) or seen[call]) for call in calls]
    for k in sorted({*range(0, len(places), every), len(places) - 1}):
        call, number = places[k]
        folder = parent / f"{k}" / "checkpoints"
        shutil.copytree(template.parent, folder.parent)
        place = f"inject={call}:{fault}:when={number}"
        status, said, _ = traced(lambda f=folder: scenario.act(f), "-e", place)
        result = {"place": place, "of": len(places), "status": status, "said": said}
        result["found"] = scenario.look(folder)
        result["left"] = [path.name for path in folder.glob(".*")]
        scenario.act(folder)
        result["after"] = scenario.look(folder)
        result["there"] = sorted(path.name for path in folder.iterdir())
        shutil.rmtree(folder.parent)
        yield result


if __name__ == "__main__":
    scenario, parent, fault, every = sys.argv[1:]
    for result in trials(scenario, Path(parent), fault, int(every)):
        print(json.dumps(result), flush=True)
