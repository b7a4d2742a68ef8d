"""Every input that a person may give, at every way in (D1): it works, or is refused in one line."""

import gzip
import hashlib
import json
import os
import re

import pytest
from inputs import CONTENTS, PLACES, Input, ready, unreadable
from shell import NGRAM, open_folder

# FILE is all files of an input or, of several, the first where one is asked for; FOLDER is the one
# that they are in; - is the input as standard input. SETTINGS are those of a run that is soon done.
WAYS = (
    "train FILE --out OUT SETTINGS",
    "train - --out OUT SETTINGS",
    "train FOLDER --out OUT SETTINGS",
    "train FILE --out OUT SETTINGS --plain",
    "train FILE --out OUT SETTINGS --errors replace --min-count 2 --normalize NFC --fix-mojibake",
    "train FILE --out OUT SETTINGS --encoding cp1252",
    "train FILE --out OUT --from LSTM SMALL",
    "text FILE",
    "text -",
    "text FOLDER --jsonl",
    "text FILE --dedupe --drop-boilerplate",
    "check FILE",
    "check - --json",
    "evaluate RUN FILE --unknown skip --json",
    "evaluate LSTM - --unknown skip --json",
    "evaluate RUN FILE",
    "compare RUN LSTM --text FILE --json",
    "compare RUN --text - --json",
    "report RUN --text FILE --json",
    "sample RUN --length 5 --prompt-file FILE",
    "sample LSTM --length 5 --unknown skip --prompt-file FILE",
    "sample RUN --length 5 --unknown skip --prompt -",
    "study surprise RUN FILE --json",
    "study surprise LSTM - --against RUN --json",
    "study neurons LSTM FILE --json",
    "study novelty FILE --source TEXT",
    "study novelty RUN --source FILE --human TEXT",
    "study novelty - --source TEXT --human TEXT",
    "study keywords FILE --source TEXT --json",
    "study keywords RUN --source FILE",
    "study keywords RUN --against FILE --human TEXT",
    "python train FILE OUT SETTINGS",
    "python evaluate RUN FILE",
    "train FILE --out OUT SETTINGS --unit byte",
    "train - --out OUT SETTINGS --unit byte",
    "evaluate BYTES FILE --json",
    "compare BYTES RUN --text FILE --json",
    "sample BYTES --length 5 --prompt-file FILE",
    "study surprise BYTES FILE --json",
    "python evaluate BYTES FILE",
)
ONE = {"sample", "compare", "report", "study", "python"}  # they take one file
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
CHANGED = ("removed", "turned", "replaced", "skipped", "decoded", "read as", "left out", "became")
CHANGED += ("normalized", "each byte")
LARGE = {"every scalar", "70,000 symbols"}  # they take seconds


def arguments(way, made, name, shell, lstm, out):
    """The command that a way in is for an input."""
    words = way.split()
    # Each character that is scored has 1,112,063 probabilities, and takes 10 ms.
    settings = ["--validation", "0.0001"] if name == "every scalar" else []
    stands_for = {
        "FILE": [os.fsencode(file) for file in made.files][: 1 if words[0] in ONE else None],
        "FOLDER": [made.folder],
        "OUT": [out],
        "RUN": [shell.folder / "run"],
        "LSTM": [shell.folder / "lstm"],
        "BYTES": [shell.folder / "bytes"],
        "TEXT": [shell.folder / "text"],
        "SETTINGS": [*(lstm if "a step" in name else NGRAM), *settings],
        "SMALL": lstm[lstm.index("--batch") :],
    }
    return [found for word in words for found in stands_for.get(word, [word])]


def fault(ended, way, made, name, out):
    """What is wrong with how a command ended, or None."""
    output = ended.out + ended.err
    if "Traceback" in output or "Error:" in output:
        return f"traceback: {ended.err[-300:]}"
    if ended.status not in (0, 2):
        return f"status {ended.status}"
    if re.search(r"\bnan\b", output, re.IGNORECASE):
        return "shows NaN"
    if way in WAYS[:3]:
        if name in WORKS and ended.status != 0:
            return f"does not work: {ended.err}"
        if name in REFUSED and ended.status != 2:
            return "is not refused"
    if ended.status == 0:
        return silent_change(ended, way, made, name, out)
    if "\0" in output:
        return "shows a boundary"
    lines = ended.err.removesuffix("\n").split("\n")
    told = [line for line in lines if line.startswith("charloom: ")]
    if lines != told or not re.search(r"[:;,] \w[^:;]{5,}$", told[-1]):
        return f"is refused in another form: {ended.err}"
    called = ["standard input"] if " - " in f"{way} " else [file.name for file in made.files[:1]]
    if "FOLDER" in way:
        called = [made.folder.name, *(file.name for file in made.files)]
    called = [name if name.isprintable() else repr(name)[1:-1] for name in called]
    # What is wrong with all of it may be said of the text, which can come from many files.
    whole = re.search(
        r"[\d,]+ (character|byte)s?\b|: a text (of|without) |: out of memory: ", told[-1]
    )
    if not whole and not any(name in told[-1] for name in called):
        return f"is refused and not named: {told[-1]}"
    return None


def silent_change(ended, way, made, name, out):
    """A text that was read is the one that was given, or else it is said what was done."""
    if made.content is None or "--against FILE" in way or "novelty" in way or "keywords" in way:
        return None
    given = gzip.decompress(made.content) if name == "gzip" else made.content
    words = way.split()
    if "OUT" in words:
        found = json.loads((out / "corpus.json").read_text())["sha256"]
        same = found == hashlib.sha256(given).hexdigest()
    elif "--json" in words:
        found = characters(json.loads(ended.out))
        same = found in (None, len(given.decode(errors="replace")))
    elif words[0] in ("text", "sample"):
        found = ended.out.encode()
        same = "--jsonl" in words or found.startswith(given.removesuffix(b"\n"))
    else:
        found = re.search(r"characters=(\d+)", ended.out)
        same = found is None or int(found[1]) == len(given.decode(errors="replace"))
    if not same and not re.search(rf"\b({'|'.join(CHANGED)})\b", ended.out + ended.err):
        return "was changed without a word"
    return None


def characters(told):
    """How many characters were read, as a JSON document says, if it does."""
    places = told, told.get("comparison"), *told.get("scores", ()), *told.get("runs", ())
    return next((p["characters"] for p in places if p and "characters" in p), None)


@pytest.mark.slow
@pytest.mark.reliability("D1", "52 inputs, 40 ways in: works, or status 2 and one line")
def test_each_input_works_or_is_refused_in_one_line(trials, shell, lstm, tmp_path):
    names = [*CONTENTS, *PLACES]
    assert len(names) == 52
    cases = [(name, way) for name in names for way in WAYS]
    if not trials.full:  # one way in for each input, in turn
        small = [name for name in names if name not in LARGE]
        cases = [(name, WAYS[(7 * k) % len(WAYS)]) for k, name in enumerate(small)]
    trials.of(len(cases), len(cases))
    faults, slowest, worked = {}, (0.0, ""), 0
    for number, (name, way) in enumerate(cases):
        made = ready(name, tmp_path / f"in{number}")
        out = tmp_path / f"out{number}"
        if made.nobody:  # who may not write there
            out = made.cleanup.enter_context(open_folder(0o777)) / "out"
        stdin = made.stdin if " - " in f"{way} " else os.devnull
        with made.cleanup:
            command = arguments(way, made, name, shell, lstm, out)
            ended = shell.run(*command, stdin=stdin, nobody=made.nobody)
        if wrong := fault(ended, way, made, name, out):
            faults[name, way] = wrong
        worked += ended.status == 0
        slowest = max(slowest, (ended.seconds, f"{name}, {way}"))
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
