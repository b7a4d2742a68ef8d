"""Screens in a narrow terminal: nothing is broken in the middle of a word or a figure."""

import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from charloom import cli
from charloom.cli import text as module
from charloom.cli.study import neurons, surprise
from charloom.cli.text import breaks, fill, labelled, table, wrapped
from test_cli import TINY, charloom, here, place  # noqa: F401 -- fixtures

HELP = ["", *(name for known in cli.SECTIONS.values() for name in known)]
HELP += ["study novelty", "runs list", "runs rm"]
SCREENS = [
    *("presets", "presets char-rnn", "corpora", "runs .", "runs show run", "runs show counts"),
    *("compare run counts", "evaluate run", "evaluate counts novel.txt"),
    *("study novelty counts --length 500", "study keywords counts --length 500"),
    *("study surprise run", "study surprise run --against counts", "study neurons run"),
    f"train novel.txt --dry-run --iterations 5 {' '.join(TINY)}",
    f"train novel.txt --dry-run --iterations 5 --preset char-rnn --length 16 {' '.join(TINY)}",
]


@pytest.fixture(params=[50, 80])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A terminal of so many columns."""
    for one in (module, neurons, surprise):
        monkeypatch.setattr(one, "is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.mark.parametrize("screen", SCREENS)
def test_no_line_is_longer_than_the_terminal_is_wide(
    here: Path,  # noqa: F811
    terminal: int,
    capfd: pytest.CaptureFixture[str],
    screen: str,
) -> None:
    printed = charloom(*screen.split()).stdout or capfd.readouterr().out
    lines = [Text.from_ansi(line).plain for line in printed.splitlines()]
    assert lines
    long = [line for line in lines if cell_len(line) > terminal]
    assert [line for line in long if len(line.split()) > 1] == []  # a path stays whole


@pytest.mark.parametrize("command", HELP)
@pytest.mark.parametrize("columns", [50, 80])
def test_no_line_of_help_is_longer_than_the_terminal_is_wide(command: str, columns: int) -> None:
    ask = [*command.split(), "--help"]
    shown = CliRunner().invoke(cli.charloom, ask, terminal_width=columns).stdout
    assert shown.startswith("Usage: ")
    assert [line for line in shown.splitlines() if len(line) > columns] == []


ROWS = [("runs/war-and-peace-lstm", "lstm 1 x 384", "4,072", "1.1840"), ("日本", "gru", "7", "2.5")]
HEADER = ("run", "model", "steps", "validation nats")


@pytest.mark.parametrize("columns", range(8, 70))
def test_every_cell_of_a_table_can_be_read_at_any_width(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(module, "is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = Text.from_ansi(table(HEADER, ROWS, left=2)).plain
    for figure in ("4,072", "1.1840", "7", "2.5", "日本"):
        assert re.search(rf"(?<![\w,.]){re.escape(figure)}(?![\w,.])", shown)
    letters = {*"".join(shown.split())}
    assert {*"".join(cell for row in ROWS for cell in row)} - {" "} <= letters
    if columns >= 30:
        assert max(map(cell_len, shown.splitlines())) <= columns


def test_a_long_text_continues_below_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", "30")
    lines = labelled([("text", "one two three four five six seven"), ("n", "1")])
    assert lines == ["text  one two three four five\n      six seven", "n     1"]
    long = labelled([("charloom sample runs/novel-2", "generates text")], indent=2)
    assert long == ["  charloom sample runs/novel-2", "      generates text"]


@given(st.text("ab \n日é", max_size=60), st.integers(2, 12))
def test_a_text_is_broken_where_it_must_be_and_nothing_of_it_is_lost(text: str, width: int) -> None:
    pieces = [text[start:end] for start, end in breaks(text, width)]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(cell_len(piece) <= width for piece in pieces)
    kept = Counter(" ".join(pieces).split())
    whole = Counter(word for word in text.split() if cell_len(word) <= width)
    assert whole <= kept  # none that fits is cut in two
    assert len(pieces) >= text.count("\n") + 1
    assert len(pieces) == text.count("\n") + 1 or max(map(cell_len, text.split("\n"))) > width


def test_a_text_keeps_its_lines_and_elsewhere_they_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "We the People of the United States,\n\n  in Order"
    assert wrapped(text) == text
    assert wrapped(text, "| ", 20) == "| We the People of\n| the United States,\n|\n|   in Order"
    monkeypatch.setattr(module, "is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped(text) == "We the People of the\nUnited States,\n\n  in Order"


def test_prose_keeps_its_words_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_plain", lambda: False)
    path = "/" + "x" * 200
    assert path in fill(f"saved to {path} and read back").splitlines()
