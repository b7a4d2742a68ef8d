#!/usr/bin/env bash
# rnnlm 0.1.1, which trains and evaluates on the lines of a text: it counts the bytes of lines whose ends are read as one character, then seeks
# by that count. When lines end with CR LF, the n-th after the first starts n bytes too early, so most of what it learns, and takes its
# perplexity of, is ends of lines or nothing. It also keeps the offsets in a file beside the text for good: a text that has changed since
# is cut where lines of the old one started, and lines that it has more are not seen.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rnnlm==0.1.1 simple-sentencepiece==0.14 importlib_resources==7.1.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'P'
from pathlib import Path

from rnnlm.dataset import RNNLMDataset

LINES = ["the first line of it", "the second is here", "a third", "and the fourth of them", "the fifth", "a sixth one"]
CHANGED = ["another first line of it", *LINES[1:], "and a seventh"]


def seen(name, lines, end):
    """What the data set gives as the lines of a file."""
    Path(name).write_bytes("".join(line + end for line in lines).encode())
    data = RNNLMDataset(name)
    return [data[i] for i in range(len(data))]


unix, dos, changed = seen("unix.txt", LINES, "\n"), seen("dos.txt", LINES, "\r\n"), seen("unix.txt", CHANGED, "\n")
print("lines that end with LF:   ", unix)
print("lines that end with CR LF:", dos)
print("the first one lengthened, one more:", changed)
assert unix == LINES and seen("new.txt", CHANGED, "\n") == CHANGED, "rnnlm has changed"
assert dos == ["the first line of it", "", "", "d", "em", "fth"], "CR LF counts now"
assert changed == ["another first line of it", "it", "ere", "ird", "hem", "fth"], "offsets are found anew now"
P
