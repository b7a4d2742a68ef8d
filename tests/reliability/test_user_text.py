"""Section D: what users give as text, at the command line."""

import contextlib
import gzip
import hashlib
import json
import os
import pty
import re
import struct
import sys
import tempfile
import threading
import time
import unicodedata
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

from charloom.config import DataConfig
from charloom.data.split import split_text
from charloom.runs.run import Run

NGRAM = ["--model", "ngram", "--order", "2", "--sample-length", "20"]
LSTM = ["--hidden", "8", "--batch", "2", "--length", "16", "--iterations", "2"]
LSTM += ["--sample-length", "20"]
PROSE = "It was the best of times, it was the worst of times.\n" * 40
ASCII = "".join(map(chr, range(32, 127))) + "\n\té\n"


@pytest.fixture(scope="module")
def lstm(request):
    """Settings of a small network; `make torture` has it compiled, and waits for that."""
    return LSTM if request.config.getoption("--full") else [*LSTM, "--engine", "reference"]


@pytest.fixture(scope="module")
def shell(lstm):
    with open_folder() as folder, warm_shell(folder, lstm) as shell:
        yield shell


@contextlib.contextmanager
def open_folder():
    """A folder that anybody may enter: those of `tmp_path` are their owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def warm_shell(folder, lstm):
    (folder / "text").write_text((PROSE + ASCII) * 3)
    return Shell(
        folder,
        ["train", folder / "text", "--out", folder / "run", *NGRAM],
        ["train", folder / "text", "--out", folder / "lstm", *lstm],
        ["evaluate", folder / "run", folder / "text"],
        ["sample", folder / "run", "--length", "5", "--seed", "0"],
    )


# D1: 52 inputs


def png():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0\xff\xff\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def scalars(count=None):
    """Every Unicode scalar value once but U+0000, which makes a text binary; or so many."""
    codes = (code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000)
    return "".join(map(chr, codes))[:count].encode()


BORDER = b"x" * 65_534 + b"\xff\xfe" + b"y" * 65_536

CONTENTS = {
    "empty": lambda: b"",
    "one byte": lambda: b"a",
    "one character": lambda: "é".encode(),
    "shorter than a step": lambda: b"abcdefghijklmnop",
    "as long as a step": lambda: b"abcdefghijklmnopq",
    "one symbol": lambda: b"a" * 5000,
    "no newline": lambda: PROSE.replace("\n", " ").encode(),
    "only newlines": lambda: b"\n" * 3000,
    "UTF-8 with a mark": lambda: PROSE.encode("utf-8-sig"),
    "UTF-16 LE": lambda: b"\xff\xfe" + PROSE.encode("utf-16-le"),
    "UTF-16 BE": lambda: b"\xfe\xff" + PROSE.encode("utf-16-be"),
    "UTF-32 LE": lambda: b"\xff\xfe\0\0" + PROSE.encode("utf-32-le"),
    "UTF-32 BE": lambda: b"\0\0\xfe\xff" + PROSE.encode("utf-32-be"),
    "Latin-1": lambda: (PROSE + "café\n").encode("latin-1"),
    "CRLF": lambda: PROSE.replace("\n", "\r\n").encode(),
    "CR": lambda: PROSE.replace("\n", "\r").encode(),
    "mixed line ends": lambda: b"one\r\ntwo\rthree\n" * 200,
    "NUL": lambda: PROSE.encode() + b"\0" + PROSE.encode(),
    "control characters": lambda: bytes(range(1, 32)) * 40,
    "0x1A": lambda: PROSE.encode() + b"\x1a" + PROSE.encode(),
    "invalid at the start": lambda: b"\xff" + PROSE.encode(),
    "invalid in the middle": lambda: PROSE.encode() + b"\x80" + PROSE.encode(),
    "invalid at the end": lambda: PROSE.encode() + b"\xf0\x9f",
    "invalid at the border of a chunk": lambda: BORDER,
    "overlong": lambda: PROSE.encode() + b"\xc0\xaf" + PROSE.encode(),
    "a surrogate": lambda: PROSE.encode() + b"\xed\xa0\x80" + PROSE.encode(),
    "above U+10FFFF": lambda: PROSE.encode() + b"\xf4\x90\x80\x80" + PROSE.encode(),
    "emoji families": lambda: "👨‍👩‍👧‍👦 👩🏽‍🚀\n".encode() * 99,
    "flags": lambda: "🇩🇪🇫🇷🏴󠁧󠁢󠁷󠁬󠁳󠁿\n".encode() * 99,
    "combining marks": lambda: "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢\n".encode() * 99,
    "NFC and NFD": lambda: ("é" + unicodedata.normalize("NFD", "é") + "\n").encode() * 99,
    "right to left": lambda: "שלום \u202eabc\u202c عالم\u200f\u2067x\u2069\n".encode() * 99,
    "every scalar": scalars,
    "70,000 symbols": lambda: scalars(70_000),
    "PNG": png,
    "gzip": lambda: gzip.compress(PROSE.encode()),
    "ELF": lambda: Path(sys.executable).resolve().read_bytes()[:100_000],
}
PLACES = (
    "a directory", "missing", "unreadable", "a dangling link", "a FIFO", "/dev/full", "/dev/zero",
    "closed", "a terminal", "a name with spaces", "a name with a newline", "a name of bytes",
    "100 files", "growing", "cut short",
)  # fmt: skip
ENTRIES = ("train FILE", "train -", "evaluate RUN FILE", "sample --prompt, or train FOLDER")
# What must come of `train`, by file or standard input; of the others nothing is demanded.
WORKS = {
    "no newline", "UTF-8 with a mark", "CRLF", "CR", "mixed line ends", "control characters",
    "0x1A", "emoji families", "flags", "combining marks", "NFC and NFD", "right to left",
    "every scalar", "70,000 symbols", "a name with spaces", "a name with a newline", "100 files",
    "gzip",
}  # fmt: skip
REFUSED = {
    "empty", "one byte", "one character", "one symbol", "only newlines", "PNG", "ELF",
    "missing", "unreadable", "a dangling link", "/dev/full", "/dev/zero", "closed", "a terminal",
}  # fmt: skip


@dataclass
class Input:
    """One of the inputs, ready to be read: by name, as a stream, in a folder, as a prompt."""

    files: list
    stdin: object
    folder: Path
    content: bytes | None = None
    nobody: bool = False
    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def ready(name, folder):
    """Make an input, and what must happen while it is read."""
    folder.mkdir()
    path = folder / "the text.txt"
    made = Input([path], path, folder)
    if name in CONTENTS:
        made.content = CONTENTS[name]()
        path.write_bytes(made.content)
    elif name.startswith("a name"):
        what = {"spaces": "a b c", "newline": "a\nb", "bytes": os.fsdecode(b"\xff\xfe")}
        path = folder / what[name.split()[-1]]
        path.write_text(PROSE)
        made.files, made.stdin = [path], path
    elif name.startswith("/dev/"):
        path.symlink_to(name)
        made.files, made.stdin = [Path(name)], name
    else:
        SPECIAL[name](made, path)
    return made


def a_directory(made, path):
    """As standard input it would not come so far: Python itself refuses to start."""
    path.mkdir()
    made.stdin = None


def missing(made, path):
    made.stdin = None


def unreadable(made, path):
    """Root may read anything, so the command runs as nobody, who may enter these folders."""
    folder = made.cleanup.enter_context(open_folder())
    path = folder / "the text.txt"
    path.write_text(PROSE)
    path.chmod(0)
    made.files, made.folder, made.stdin, made.nobody = [path], folder, None, os.getuid() == 0


def a_dangling_link(made, path):
    path.symlink_to("nothing")
    made.stdin = None


def a_fifo(made, path):
    """Somebody writes a text into it, as often as it is opened."""
    os.mkfifo(path)

    def write(stop):
        while not stop.is_set():
            with contextlib.suppress(OSError):
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(pipe, True)
                os.write(pipe, PROSE.encode())
                os.close(pipe)
            time.sleep(0.01)

    busy(made, write)


def closed(made, path):
    made.files, made.stdin = [Path("/dev/stdin")], None


def a_terminal(made, path):
    leader, follower = pty.openpty()
    made.cleanup.callback(os.close, leader)
    made.cleanup.callback(os.close, follower)
    made.files, made.stdin = [Path(os.ttyname(follower))], os.ttyname(follower)
    path.symlink_to(os.ttyname(follower))


def a_hundred(made, path):
    made.files = [made.folder / f"{n}.txt" for n in range(100)]
    for file in made.files:
        file.write_text(PROSE)
    made.stdin = made.folder.with_name(f"{made.folder.name} together")
    made.stdin.write_text(PROSE * 100)


def growing(made, path):
    path.write_text(PROSE)

    def write(stop):
        with path.open("a") as file:
            while not stop.is_set():
                file.write(PROSE)
                file.flush()
                time.sleep(0.001)

    busy(made, write)


def cut_short(made, path):
    path.write_text(PROSE * 1000)

    def write(stop):
        while not stop.is_set():
            os.truncate(path, 5000)
            time.sleep(0.001)
            path.write_text(PROSE * 1000)

    busy(made, write)


SPECIAL = {
    "a directory": a_directory, "missing": missing, "unreadable": unreadable,
    "a dangling link": a_dangling_link, "a FIFO": a_fifo, "closed": closed,
    "a terminal": a_terminal, "100 files": a_hundred, "growing": growing, "cut short": cut_short,
}  # fmt: skip


def busy(made, work):
    """Have a thread do `work` until the input is done with."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    made.cleanup.callback(thread.join)
    made.cleanup.callback(stop.set)


def command_of(entry, made, name, shell, lstm, out):
    """The arguments and standard input of an entry point for an input, and what it goes by."""
    settings = lstm if "a step" in name else NGRAM
    if name == "every scalar":  # each of 111,206 held-out characters has 1,112,063 probabilities
        settings = [*NGRAM, "--validation", "0"]
    files = [os.fsencode(file) for file in made.files]
    if entry == "train FILE":
        return ["train", *files, "--out", out, *settings], os.devnull, made.files[0].name
    if entry == "train -":
        return ["train", "-", "--out", out, *settings], made.stdin, "standard input"
    if entry == "evaluate RUN FILE":
        return ["evaluate", shell.folder / "run", *files], os.devnull, made.files[0].name
    if made.content and len(made.content) < 2**17 and 0 not in made.content:
        run, prompt = shell.folder / "run", made.content
        return ["sample", run, "--prompt", prompt, "--length", "5"], os.devnull, "--prompt"
    return ["train", made.folder, "--out", out, *settings], os.devnull, made.folder.name


def fault(ended, entry, made, name, called, out):
    """What is wrong with how a command ended, or None."""
    output = ended.out + ended.err
    if "Traceback" in output or "Error:" in output:
        return f"traceback: {ended.err[-300:]}"
    if ended.status not in (0, 2):
        return f"status {ended.status}"
    if re.search(r"\bnan\b", output, re.IGNORECASE):
        return "shows NaN"
    if entry.startswith("train"):
        if name in WORKS and ended.status != 0:
            return f"does not work: {ended.err}"
        if name in REFUSED and ended.status != 2:
            return "is not refused"
    if ended.status == 2:
        lines = ended.err.removesuffix("\n").split("\n")
        told = [line for line in lines if line.startswith("charloom: ")]
        if lines != told or not re.search(r"[:;,] \w[^:;]{5,}$", told[-1]):
            return f"is refused in another form: {ended.err}"
        names = [called] if entry != ENTRIES[3] else [called, *(file.name for file in made.files)]
        shown = [name if name.isprintable() else repr(name)[1:-1] for name in names]
        # What is wrong with all of it may be said of the text, which can come from many files.
        whole = re.search(r"[\d,]+ characters?\b", told[-1])
        if not whole and not any(name in told[-1] for name in shown):
            return f"is refused and not named: {told[-1]}"
    elif entry.startswith("train"):
        return silent_change(ended, entry, made, name, out)
    return None


def silent_change(ended, entry, made, name, out):
    """A text that was learned is the bytes that were given, or else it is said what was done."""
    told = json.loads((out / "corpus.json").read_text())
    given = gzip.decompress(made.content) if name == "gzip" else made.content
    if given is not None and told["sha256"] != hashlib.sha256(given).hexdigest():
        changed = ("removed", "turned", "replaced", "skipped", "decoded", "converted")
        if not any(re.search(rf"\b{word}\b", ended.out + ended.err) for word in changed):
            return "was changed without a word"
    return None


@pytest.mark.reliability("D1", "52 inputs, 4 ways in: works, or status 2 and one line")
def test_each_input_works_or_is_refused_in_one_line(trials, shell, lstm, tmp_path):
    names = [*CONTENTS, *PLACES]
    assert len(names) == 52
    cases = [(name, entry) for name in names for entry in ENTRIES]
    if not trials.full:  # one way in for each input, in turn; not the largest, which take seconds
        small = [name for name in names if name not in ("every scalar", "70,000 symbols")]
        cases = [(name, ENTRIES[(k + k // 4) % 4]) for k, name in enumerate(small)]
    trials.of(len(cases), len(cases))
    faults, slowest, worked = {}, (0.0, ""), 0
    for number, (name, entry) in enumerate(cases):
        made = ready(name, tmp_path / f"in{number}")
        out = made.folder.parent / f"out{number}"
        with made.cleanup:
            arguments, stdin, called = command_of(entry, made, name, shell, lstm, out)
            ended = shell.run(*arguments, stdin=stdin, nobody=made.nobody)
        if wrong := fault(ended, entry, made, name, called, out):
            faults[name, entry] = wrong
        worked += ended.status == 0
        slowest = max(slowest, (ended.seconds, f"{name}, {entry}"))
    trials.result(
        f"{worked} worked, {len(cases) - worked - len(faults)} refused in one line, "
        f"{len(faults)} otherwise; the slowest took {slowest[0]:.1f} s ({slowest[1]})"
    )
    assert not faults, "\n".join(f"{case}: {wrong}" for case, wrong in faults.items())


def test_unreadable_is_so_for_its_permissions_alone(shell, tmp_path):
    made = Input([], None, tmp_path)
    with made.cleanup:
        unreadable(made, None)
        arguments = ["evaluate", shell.folder / "run", made.files[0]]
        assert shell.run(*arguments, nobody=made.nobody).status == 2
        made.files[0].chmod(0o644)
        assert shell.run(*arguments, nobody=made.nobody).status == 0


# D5: prompts


def described(character):
    """'é' -> "U+00E9"."""
    return f"U+{ord(character):04X}"


def random_prompt(rng, known):
    """Some characters that are known; in half of the prompts also some of all there are."""
    length = int(rng.integers(0, 12))
    drawn = [str(c) for c in rng.choice([*known], length)]
    for place in range(length) if rng.random() < 0.5 else ():
        code = int(rng.choice([rng.integers(1, 0x250), rng.integers(1, 0x110000)]))
        if rng.random() < 0.3 and not 0xD800 <= code < 0xE000:
            drawn[place] = chr(code)
    return "".join(drawn)


@pytest.mark.reliability("D5", "random prompts: written on from, or the unknown character named")
def test_any_prompt_is_written_on_from_or_its_unknown_character_named(trials, shell):
    known = set(PROSE + ASCII)
    rng, number, refused = np.random.default_rng(0), trials.of(12, 1000), 0
    for trial in range(number):
        prompt = random_prompt(rng, sorted(known))
        run = shell.folder / ("run", "lstm")[trial % 2]
        ended = shell.run("sample", run, "--length", "3", "--seed", "1", "--prompt", prompt)
        unknown = [(place, c) for place, c in enumerate(prompt, 1) if c not in known]
        if not unknown:
            assert (ended.status, ended.err) == (0, ""), prompt
            assert ended.out.startswith(prompt)
            assert len(ended.out) == len(prompt) + 3 + 1
            continue
        place, character = unknown[0]
        refused += 1
        assert (ended.status, ended.out) == (2, ""), prompt
        assert ended.err.count("\n") == 1
        assert f" {place:,} " in ended.err
        assert described(character) in ended.err
        assert repr(character) in ended.err
    trials.result(f"{number - refused} written on from, {refused} refused by name and place")
    assert 0 < refused < number


def test_bytes_that_are_no_text_are_refused_as_a_prompt(shell):
    ended = shell.run("sample", shell.folder / "run", "--prompt", b"It \xff")
    assert (ended.status, ended.out) == (2, "")
    assert " 4 " in ended.err


@pytest.mark.reliability("D5", "the empty prompt, where the text has no space and no newline")
def test_the_empty_prompt_works_without_spaces_and_newlines(trials, shell, lstm, tmp_path):
    (tmp_path / "text").write_text("abcabd" * 100)
    for settings in (NGRAM, lstm):
        run = tmp_path / settings[0]
        ended = shell.run("train", tmp_path / "text", "--out", run, *settings)
        assert ended.status == 0, ended.err
        for prompt in ([], ["--prompt", ""]):
            ended = shell.run("sample", run, "--length", "9", *prompt)
            assert re.fullmatch("[abcd]{9}\n", ended.out)
            assert (ended.status, ended.err) == (0, "")
    trials.of(4, 4)


# D6: what is written


@pytest.mark.reliability("D6", "generated characters: valid UTF-8, and no U+FFFD but the model's")
def test_what_is_written_is_utf_8(trials, shell, lstm, tmp_path):
    texts = {
        "emoji": "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁷󠁬󠁳󠁿 é e\u0301 \U0010fffd\x01\x7f\u2028\u202e שלום\n" * 20,
        "replacement": "a \ufffd b \ufffd\ufffd c\n" * 60,
    }
    number = trials.of(4000, 1_000_000)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        for settings in (NGRAM, lstm):
            run = tmp_path / f"{name}{settings[0]}"
            ended = shell.run("train", tmp_path / name, "--out", run, *settings)
            assert ended.status == 0, ended.err
            length = str(number // 4)
            # Ended.out is decoded strictly: bytes that are no UTF-8 do not come so far.
            ended = shell.run("sample", run, "--length", length, "--temperature", "2")
            assert (ended.status, ended.err) == (0, "")
            assert len(ended.out) == number // 4 + 1
            assert set(ended.out) <= set(text)
            assert ("\ufffd" in ended.out) == (name == "replacement")
    trials.result("all valid, none that the vocabulary does not have")


# D7: sizes


@pytest.mark.reliability("D7", "small texts, any share held out: no NaN, no division by 0")
def test_small_texts_and_any_share_give_no_nan(trials, shell, lstm, tmp_path):
    sizes = [*range(2, 40), 47, 63, 64, 65, 66, 128, 160, 161, 200]
    shares = ("0", "0.01", "0.1", "0.5", "0.9")
    cases = [(n, share, model) for n in sizes for share in shares for model in (NGRAM, lstm)]
    np.random.default_rng(0).shuffle(cases)
    number = trials.of(13, len(cases))
    worked = scored = 0
    for k in range(number):
        size, share, settings = cases[k]
        text, run = tmp_path / f"{k}.txt", tmp_path / f"run{k}"
        text.write_text(("ab c\n" * 100)[:size])
        ended = shell.run("train", text, "--out", run, "--validation", share, *settings)
        told = ended.out + ended.err
        assert ended.status in (0, 2), told
        if ended.status == 0:
            worked += 1
            ended = shell.run("evaluate", run)
            scored += ended.status == 0
            shown = shell.run("runs", "show", run)
            parts = Run.open(run).dataset()
            held_out = parts.validation is not None or parts.test is not None
            assert ended.status == (0 if held_out else 2), ended.err
            assert shown.status == 0, shown.err
            told += ended.out + ended.err + shown.out + shown.err
            told += (run / "metrics.jsonl").read_text()
        assert not re.search(r"\bnan\b|Traceback|Warning", told, re.IGNORECASE), told
    trials.result(f"{worked} learned, {scored} of them scored, the others refused as too small")
    assert 0 < scored < worked < number


@pytest.mark.reliability("D7", "training and held-out text never overlap: the slices themselves")
def test_training_and_held_out_text_never_overlap(trials):
    rng = np.random.default_rng(0)
    for _ in range(trials.of(500, 100_000)):
        characters, minimum = (int(n) for n in rng.integers(2, 10 ** rng.integers(1, 7, 2)))
        validation = float(rng.choice([0.0, 0.9, rng.random() * 0.9]))
        test = float(rng.choice([0.0, rng.random()])) * (0.9 - validation)
        split = split_text(characters, DataConfig(validation=validation, test=test), minimum)
        ends = [0]
        for part in (split.train, split.validation, split.test):
            if part is not None:
                assert part.start == ends[-1]  # where the one before it ends
                assert part.stop > part.start
                ends.append(part.stop)
        assert ends[-1] == characters


def test_what_is_learned_and_what_is_held_out_are_those_slices(shell, tmp_path):
    """In a text that has each character once, no character is in both."""
    (tmp_path / "text").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
    shares = ["--validation", "0.2", "--test", "0.1"]
    ended = shell.run("train", tmp_path / "text", "--out", tmp_path / "run", *NGRAM, *shares)
    assert ended.status == 0
    parts = Run.open(tmp_path / "run").dataset()
    whole = [int(i) for part in (parts.train, parts.validation, parts.test) for i in part]
    assert whole == [*range(1000)]
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [700, 200, 100]
