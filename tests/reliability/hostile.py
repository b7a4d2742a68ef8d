"""Reads hostile headers one after the other, within bounds, and says what became of them.

    python hostile.py FOLDER CASES NUMBER

CASES holds contents of model.safetensors, each after its length in 8 bytes; NUMBER further ones
are made by harming a valid file. Each comes with a manifest that agrees. It prints one JSON object.
"""

import contextlib
import json
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import safetensors

from charloom.errors import CharloomError
from charloom.runs.checkpoint import read
from checkpoints import arrays_of, expected_of, forge, save_step

EXPECTED = expected_of(arrays_of(5))
WEIGHTS = {name: EXPECTED[name] for name in ("layer0.Wx", "head.b")}
FORBIDDEN = ("exec", "import", "pickle", "os.system", "subprocess", "socket", "compile", "ctypes")
ROOM = 64 * 2**20  # bytes, beside twice the file
PIECES = b'{ } [ ] " : , -1 0 1e9 NaN 18446744073709551615 F32 F64 BF16 dtype shape'.split()
PIECES += [b"\\ud800", b"\xff", b"\0", b" ", b"99999999"]
LENGTHS = (0, 1, 2**20, 2**63, 2**64 - 1)


def harmed(content, chance):
    """A valid file with a few bytes or words of its header changed, or its header moved."""
    header, numbers = bytearray(content[8 : 8 + _length(content)]), content[8 + _length(content) :]
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(header) + 1)
        end = start + chance.choice((0, 0, 1, 1, 2, 8))
        match chance.randrange(4):
            case 0:
                header[start:end] = chance.choice(PIECES)
            case 1:
                header[start:end] = chance.randbytes(end - start)
            case 2:
                header[start:end] = header[: chance.randrange(40)]
            case _:
                header[start:end] = str(chance.choice((0, 1, 7, 12, 48, 2**31, 2**63))).encode()
    length = len(header) if chance.random() < 0.9 else chance.choice(LENGTHS)
    return length.to_bytes(8, "little") + header + numbers


def _length(content):
    return int.from_bytes(content[:8], "little")


def is_valid(content):
    """The reference reader takes it, its header is small, and it holds what is expected."""
    if _length(content) > 2**20:
        return False
    try:
        found = dict(safetensors.deserialize(content))
    except (safetensors.SafetensorError, OverflowError, MemoryError):
        return False
    if found.keys() != WEIGHTS.keys():
        return False
    return all(
        found[name]["dtype"] == "F32"
        and tuple(found[name]["shape"]) == expected.shape
        and np.isfinite(np.frombuffer(bytes(found[name]["data"]), np.float32)).all()
        for name, expected in WEIGHTS.items()
    )


def cases(path, valid, number):
    content = path.read_bytes()
    while content:
        length = _length(content)
        yield content[8 : 8 + length]
        content = content[8 + length :]
    chance = random.Random(number)
    for _ in range(number):
        yield harmed(valid, chance)


def limit_memory(more):
    """Let the process have so many bytes of address space beside what it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))


def limit_time():
    """Let the process be killed if it computes for a minute more: what takes milliseconds hangs.

    It is its own time that counts, not that of a busy machine.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 60, most))


def main(folder, path, number):
    checkpoint = save_step(folder, 5)
    valid = (checkpoint / "model.safetensors").read_bytes()
    counts, wrong, events, watching, slowest = Counter(), [], Counter(), [False], 0.0

    def hook(event, arguments):
        if watching[0]:
            writes = event == "open" and set(str(arguments[1])) & set("wax+")
            if event.startswith(FORBIDDEN) or writes:
                events[f"{event} {arguments[0]}"] += 1

    given = list(cases(path, valid, number))
    read(checkpoint, EXPECTED)
    forge(checkpoint, "model.safetensors", b"")
    with contextlib.suppress(CharloomError):
        read(checkpoint, EXPECTED)  # what an error needs is loaded now
    sys.addaudithook(hook)
    for content in given:
        forge(checkpoint, "model.safetensors", content)
        limit_memory(2 * len(content) + ROOM)
        limit_time()
        began, watching[0] = time.process_time(), True
        try:
            read(checkpoint, EXPECTED)
            outcome = "accepted"
        except CharloomError as error:
            text = str(error)
            outcome = "memory" if "free memory" in text else "refused"
            if "\n" in text or not text.isprintable() or len(text) > 1000:
                outcome = "unprintable"
        except BaseException as error:
            outcome = f"crashed: {error!r:.200}"
        watching[0] = False
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        slowest = max(slowest, time.process_time() - began)
        counts["refused" if outcome == "refused" else "accepted"] += 1
        if outcome not in ("accepted", "refused") or (outcome == "accepted") != is_valid(content):
            wrong.append([outcome, repr(content[:200])])
    print(json.dumps({"counts": counts, "wrong": wrong[:20], "events": events, "slowest": slowest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
