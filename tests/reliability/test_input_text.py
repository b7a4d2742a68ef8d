"""Input text: read in chunks, kept as ids, and every byte accounted for (D2 to D4)."""

import hashlib
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.data import utf8 as decoding
from charloom.data.text import read_text
from charloom.data.token_file import map_text
from charloom.data.utf8 import Changes, decode
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError

MARK = "\ufeff"
PACKED = ("PK\x03\x04", "%PDF-")  # such files are refused, whatever follows

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.lists(
    st.sampled_from(["\r\n", "\r", "\n", MARK, *"aé€😀"]) | characters, min_size=1, max_size=30
).map("".join)


def learned(content):
    """The policy: one mark at the start of a file goes, CRLF and lone CR become LF."""
    return content.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n")


def there_and_back(sources, expected, data):
    text = read_text(sources)
    assert text.characters == len(expected)
    assert text.sha256 == hashlib.sha256(expected.encode()).hexdigest()
    vocabulary = Vocabulary(text.alphabet)
    assert vocabulary.decode(map_text(text, vocabulary)).encode() == expected.encode()
    pieces = [*text.walk()]
    number = data.draw(st.integers(0, len(pieces) - 1))
    head = "".join(piece for piece, _ in pieces[: number + 1])
    rest = "".join(piece for piece, _ in text.walk(pieces[number][1]))
    assert head + rest == expected


@pytest.mark.reliability("D2", "text to ids and back, in chunks of 1 to 7 and 65,536 ± 1 bytes")
def test_every_byte_comes_back(trials, tmp_path, monkeypatch):
    examples, compared, turned = trials.of(40, 10_000), 0, 0

    @settings(
        max_examples=examples,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(texts, min_size=1, max_size=2), st.booleans(), st.integers(-8, 8), st.data())
    def check(contents, marked, shift, data):
        nonlocal compared, turned
        for chunks, padding in ([*range(1, 8)], 0), ([2**16 - 1], 2**16), ([2**16 + 1], 2**16):
            padding = "x" * max(0, padding + shift) if padding else ""
            whole = [MARK * marked + padding + content for content in contents]
            if not all(map(learned, whole)) or any(part.startswith(PACKED) for part in whole):
                continue
            sources = [str(tmp_path / f"{number}") for number in range(len(whole))]
            for source, content in zip(sources, whole, strict=True):
                Path(source).write_bytes(content.encode())
            *first, last = map(learned, whole)
            ended = [part if part.endswith("\n") else part + "\n" for part in first]
            expected = "".join([*ended, last])
            for chunk in chunks:
                monkeypatch.setattr(decoding, "CHUNK", chunk)
                there_and_back(sources, expected, data)
                compared += 1
                turned += "\r\n" in "".join(contents)

    check()
    assert turned > 0.1 * compared, "texts without CRLF show little"
    trials.result(f"{compared:,} of {compared:,} round trips byte-exact, one mark and CR aside")


SEEDS = [
    "Größe\r\n".encode(),
    "naïve €5 — 漢字かな\n".encode(),
    "😀👩‍👩‍👧‍👦🇩🇪 e\u0301\r".encode(),
    b"plain\nlines\r\nof\rtext",
    "\ufeffmarked \ufeff".encode(),
    "\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff".encode(),
]
BROKEN = [
    b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xa0", b"\xf4\x90\x80\x80", b"\xf0\x9f", b"\xf0\x9f\x98",
    b"\xe2\x82", b"\xc3", b"\x80", b"\xbf\xbf", b"\xfe", b"\xff", b"\xf8\x88\x80\x80\x80",
    b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\0", b"\r", b"\r\n", b"\xef\xbb\xbf",
]  # fmt: skip


def mutated(rng):
    data = bytearray(b"".join(rng.choices(SEEDS, k=rng.randint(1, 4))))
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[place:place] = rng.choice(BROKEN)
            case 1:
                del data[place : place + rng.randint(1, 3)]
            case 2:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 3:
                del data[place:]
            case 4:
                data[place:place] = data[: rng.randrange(8)]
    return bytes(data)


def by_the_whole(data):
    """What Python says of all the bytes at once: the text, or facts about why it is none."""
    if data.startswith(tuple(decoding._MARKS)):
        return {"why": "not UTF-8"}
    if data.startswith(tuple(decoding._PACKED)):
        return {"why": "not text"}
    if 0 in data:
        return {"why": "not text", "offset": data.index(0), "byte": 0}
    try:
        text = learned(data.decode())
    except UnicodeDecodeError as error:
        line = learned("." + data[: error.start].decode()).count("\n") + 1
        return {"offset": error.start, "line": line, "byte": data[error.start]}
    return text or {"why": "empty"}


@pytest.mark.reliability("D3", "mutated UTF-8: the chunked reader against whole-file decoding")
def test_the_reader_agrees_with_whole_file_decoding(trials, monkeypatch):
    rng = random.Random(4)
    count, bad = trials.of(2_000, 100_000), 0
    for _ in range(count):
        data, chunk = mutated(rng), rng.choice([1, 2, 3, 4, 5, 6, 7, 16, 64])
        monkeypatch.setattr(decoding, "CHUNK", chunk)
        expected = by_the_whole(data)
        try:
            found = "".join(piece for piece, _ in decode(io.BytesIO(data), "x", Changes()))
        except CharloomError as error:
            bad, facts = bad + 1, error.facts
            found = {name: facts[name] for name in expected if name in facts}
        assert found == expected, (data, chunk)
    assert 0.2 < bad / count < 0.8
    trials.result(f"{count - bad:,} the same text, {bad:,} the same offset, line and byte")


DRIVER = """
import os, signal, sys
from charloom import cli, progress
from charloom.data import utf8 as decoding
from charloom.data import token_file as ids
from charloom.training import cadence
chunk, mark, death = (int(argument) for argument in sys.argv[1:4])
decoding.CHUNK, ids.CHUNK, ids.MARK = chunk, chunk, mark
cadence.COUNTED_CHARACTERS = min(chunk, cadence.COUNTED_CHARACTERS)
move, first = progress.Meter.move, True

def moved(meter, done):
    global first
    move(meter, done)
    if meter._what == "encoding the text":
        if first:
            print("first bytes encoded:", done, flush=True)
        first = False
        if 0 < death <= done:
            os.kill(os.getpid(), signal.SIGKILL)

progress.Meter.move = moved
sys.argv[1:] = sys.argv[4:]
cli.main()
"""


class Started:
    """A charloom of its own: what it printed, and the memory it took."""

    def __init__(self, chunk, mark, *arguments, death=0):
        self.peak = 0
        command = [sys.executable, "-c", DRIVER, *map(str, (chunk, mark, death, *arguments))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            reader = threading.Thread(target=lambda: setattr(self, "out", process.stdout.read()))
            reader.start()
            while process.poll() is None:
                self.peak = max(self.peak, memory(process.pid))
                time.sleep(0.01)
            reader.join()
        self.status, self.said = process.returncode, self.out.decode()


def memory(pid):
    """Bytes that cannot be had back from a file: RssAnon + VmSwap."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * sum(map(int, re.findall(r"^(?:RssAnon|VmSwap):\s+(\d+)", status, re.M)))


SETTINGS = [
    *("--iterations", 3, "--hidden", 16, "--batch", 8, "--length", 32, "--evaluate-every", 0),
    *("--engine", "reference", "--sample-length", 20),
]
BODY = "It was a dark and stormy night; темно и бурно 漢字 😀 e\u0301\n" + "".join(
    map(chr, range(0x4E00, 0x4E00 + 300))
)


def big_text(path, size, body):
    """Write blocks of one length, each with its number; return how many."""
    count = size // (len(body.encode()) + 10)
    with path.open("wb") as file:
        for number in range(count):
            file.write(f"{number:09d}\n{body}".encode())
    return count


def check_windows(run, body, count, windows):
    """Compare windows of the ids, opened without charloom, with what the text was made of."""
    ids = np.load(run / "ids.npy", mmap_mode="r")
    alphabet, block = np.array(json.loads((run / "vocabulary.json").read_text())), len(body) + 10
    assert (ids.dtype, ids.shape) == (np.uint16, (count * block,))
    rng = random.Random(0)
    for _ in range(windows):
        start = rng.randrange(len(ids) - 600)
        first = start // block
        there = "".join(f"{first + n:09d}\n{body}" for n in range(2))[start - first * block :][:600]
        assert "".join(alphabet[ids[start : start + 600]]) == there


def learns_big_text(trials, tmp_path, size, chunk, mark, room):
    """Kill it twice while it makes the ids, let it finish, and begin again with the ids there."""
    text, small, run = tmp_path / "big.txt", tmp_path / "small.txt", tmp_path / "run"
    body = BODY * (chunk // len(BODY.encode()))
    count = big_text(text, size, body)
    big_text(small, 16 * chunk, body)
    flags = [*SETTINGS, "--out"]
    usual = Started(chunk, mark, "train", small, *flags, tmp_path / "small")
    assert usual.status == 0, usual.said
    ids_size = 2 * count * (len(body) + 10)
    tries = [Started(chunk, mark, "train", text, *flags, run, death=int(0.4 * ids_size))]
    tries.append(Started(chunk, mark, "resume", run, death=int(0.8 * ids_size)))
    tries.append(Started(chunk, mark, "resume", run))
    assert [one.status for one in tries] == [-signal.SIGKILL, -signal.SIGKILL, 0], tries[-1].said
    firsts = [int(re.search(r"first bytes encoded: (\d+)", one.said)[1]) for one in tries]
    for first, share in zip(firsts, (0, 0.4, 0.8), strict=True):  # no more than a mark is lost
        assert share * ids_size - 2 * mark < first < share * ids_size + 4 * chunk
    assert mark < 0.4 * ids_size / 2
    check_windows(run, body, count, 1_000)
    for path in [*(run / "checkpoints").iterdir(), run / "metrics.jsonl"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = Started(chunk, mark, "resume", run)
    assert again.status == 0, again.said
    assert "first bytes encoded" not in again.said
    peak = max(one.peak for one in [*tries, again])
    trials.result(
        f"peak {peak / 2**20:.0f} MiB of {text.stat().st_size / 1e6:,.0f} MB; 2 of 2 kills gone on "
        "from; 1,000 of 1,000 windows"
    )
    assert peak < room(usual.peak)


@pytest.mark.reliability("D4", "8 MB within little more memory than 128 KB take")
def test_a_longer_text_takes_no_more_memory(trials, tmp_path):
    trials.of(1, 1)
    learns_big_text(trials, tmp_path, 8_000_000, 2**13, 2**18, lambda usual: usual + 2**23)


@pytest.mark.torture
@pytest.mark.reliability("D4", "1 GB within 512 MiB, its ids made once")
def test_a_text_of_1_gb_trains_within_512_mib(trials, tmp_path):
    trials.of(1, 1)
    learns_big_text(trials, tmp_path, 10**9, 2**20, 2**26, lambda _: 2**29)
    for name in ("big.txt", "run/ids.npy"):
        (tmp_path / name).unlink()
