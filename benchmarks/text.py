"""From a file to text, and from text to ids, in megabytes of UTF-8 a second.

A file is read twice, in chunks: `read_text` checks the encoding, turns line ends, takes the
SHA-256 and collects the characters; then the chunks become ids. The plain side only decodes. A
gigabyte of ASCII becomes the ids of a run, which are read back and proved, beside `wc -m`.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from charloom.data.text import Text, read_text
from charloom.data.token_file import write_ids
from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from common import Options, Row, by_rate, by_time, print_rows, rates, taking_turns, texts

GIGABYTE, TINY_BYTES = 10**9, 10**6
MOST_TURNS = 3  # with a gigabyte
BYTES = 4_000_000  # handled in a turn, in as many calls as that takes
PLAIN = "a dict and a loop"


def show(options: Options) -> None:
    rows = [row for text in texts(options) for row in compare(text, options)]
    print_rows(f"text, MB/s: 1 thread, {options.turns} turns", rows)
    size = TINY_BYTES if options.tiny else GIGABYTE
    turns = min(options.turns, MOST_TURNS)
    print_rows(f"{size:,} bytes of ASCII, seconds: {turns} turns", [large(size, turns)])


def large(size: int, turns: int) -> Row:
    """Compare the making of ids with a count of characters, on a file of so many bytes."""
    content = read_text(["corpus:us-constitution"]).content.encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        with path.open("wb") as file:
            for _ in range(-(-size // len(content))):
                file.write(content)
        command = ["wc", "-m", str(path)]
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}

        def count() -> None:
            subprocess.run(command, env=environment, check=True, capture_output=True)

        def ids() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as run:
                text = read_text([str(path)])
                vocabulary = Vocabulary.from_alphabet(text.alphabet, text.characters)
                write_ids(Path(run), text, vocabulary, text.files)

        ours, counting = taking_turns([ids, count], turns)
    return by_time("text to ids on disk, proved", ours, "wc -m", counting)


def compare(text: Text, options: Options) -> list[Row]:
    content = text.content
    size = len(content.encode())
    calls = 1 if options.tiny else max(1, BYTES // size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(content, "utf-8", newline="\n")
        sides = [
            lambda: encode(content),
            lambda: encode_plainly(content),
            lambda: encode_file(path),
            lambda: encode_plainly(path.read_text("utf-8")),
            lambda: read_text([str(path)]),
        ]
        seconds = taking_turns([repeated(side, calls) for side in sides], options.turns)
    ids, plain_ids, file, plain_file, reading = (rates(calls * size / 1e6, s) for s in seconds)
    return [
        by_rate(f"{text.name}, text to ids", ids, PLAIN, plain_ids),
        by_rate(f"{text.name}, file to ids", file, PLAIN, plain_file),
        Row(f"{text.name}, file, first reading", reading),
    ]


def encode(text: str) -> Ids:
    return Vocabulary.from_text(text).encode(text)


def encode_file(path: Path) -> list[Ids]:
    text = read_text([str(path)])
    vocabulary = Vocabulary.from_alphabet(text.alphabet, text.characters)
    return [vocabulary.encode(piece) for piece in text.pieces()]


def encode_plainly(text: str) -> list[int]:
    index = {c: i for i, c in enumerate(sorted(set(text)))}
    return [index[c] for c in text]


def repeated(side: Callable[[], object], calls: int) -> Callable[[], None]:
    def call() -> None:
        for _ in range(calls):
            side()

    return call
