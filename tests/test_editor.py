"""`charloom write`: a text, its versions and its surprise, and the terminal that shows them."""

import asyncio
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from charloom import cli
from charloom.config import SampleConfig
from charloom.editor.reader import EVERY, Reader
from charloom.editor.rows import Rows
from charloom.editor.surprise import FURTHEST, STEPS, carried, steps
from charloom.editor.versions import Draft
from charloom.errors import CharloomError
from charloom.generation.sampling import generate
from serving import PROMPT, write_run
from toy_models import History, Script

LETTERS = "abcdef \n"
texts = st.text(LETTERS + "∞", max_size=60)


def draft_of(model=None, text="", seed=1, length=20, **settings):
    reader = Reader(model or History())
    return Draft(reader, text, SampleConfig(**{"temperature": 0.8} | settings), length, seed)


def surprise_of(model, text):
    """What the reader should find, by one reading of the whole text."""
    known = [place for place, c in enumerate(text) if c in model.vocabulary.characters]
    nats = np.full(len(text), np.nan)
    if known:
        ids = model.vocabulary.encode("".join(text[place] for place in known))
        log_probs, _ = model.log_probs(ids[None], model.start(1))
        nats[known[1:]] = -log_probs[0, np.arange(len(ids) - 1), ids[1:]]
    return nats


# What it makes of a text


@given(st.lists(texts, max_size=6), st.integers(1, 9))
def test_a_text_that_changes_is_read_as_one_that_does_not(read, every):
    model = History()
    reader = Reader(model)
    reader._every = every
    for text in read:
        np.testing.assert_allclose(reader.read(text), surprise_of(model, text))
        for end in (0, len(text) // 2, len(text)):
            ids = model.vocabulary.prompt(reader.known(text[:end]))
            wanted = model.log_probs(ids[None], model.start(1))[0][0, -1]
            np.testing.assert_allclose(reader.next(text[:end]), wanted)


def test_only_what_has_changed_is_read_again():
    counted = []

    class Counting(History):
        def log_probs(self, ids, state):
            counted.append(ids.shape[1])
            return super().log_probs(ids, state)

    reader = Reader(Counting())
    reader.read("abc" * EVERY)
    assert sum(counted) == 3 * EVERY
    counted.clear()
    reader.read("abc" * EVERY + "d")
    assert sum(counted) <= EVERY
    counted.clear()
    reader.read("abc" * EVERY)
    assert not counted


def test_a_model_of_others_than_characters_is_refused():
    model = History()
    model.vocabulary = type("Bytes", (), {"unit": "bytes"})()
    with pytest.raises(CharloomError, match="bytes"):
        Reader(model)


def test_the_scale_is_that_of_the_page():
    nats = np.array([np.nan, 1.0, 2.0, 3.0, 40.0, np.inf, *[2.0] * 20])
    finite = nats[np.isfinite(nats)]
    away = (nats - finite.mean()) / finite.std()
    wanted = np.rint(STEPS * np.clip(away, -FURTHEST, FURTHEST) / FURTHEST)
    wanted[0] = 0
    assert steps(nats).tolist() == wanted.tolist()
    assert steps(nats)[5] == STEPS
    assert steps(np.array([1.0, np.nan])).tolist() == [0, 0]
    assert steps(np.empty(0)).size == 0


@given(texts, texts, texts, texts)
def test_colours_stay_where_the_text_is_the_same(begin, out, into, end):
    before, after = begin + out + end, begin + into + end
    found = carried(np.ones(len(before), np.int8), before, after)
    assert len(found) == len(after)
    assert found[: len(begin)].all()
    assert found[len(after) - len(end) :].all()


# Its versions


def test_what_is_written_is_the_samplers_text():
    draft = draft_of(text="abc fed")
    draft.move(3)
    for piece in draft.go_on():
        draft.add(piece)
    config = SampleConfig(temperature=0.8, seed=1)
    written = "".join(generate(History(), config, "abc", 20))
    assert draft.now.text == f"abc{written} fed"
    assert draft.now.cursor == 23


def test_another_takes_the_place_of_what_was_written_and_undo_brings_it_back():
    draft = draft_of(text="abc fed")
    draft.move(3)
    assert not draft.can_write_another()
    found = []
    for write in (draft.go_on, draft.another, draft.another):
        for piece in write():
            draft.add(piece)
        found.append(draft.now.text)
    assert len({*found}) == 3
    assert all(text.startswith("abc") and text.endswith(" fed") for text in found)
    assert {len(text) for text in found} == {27}
    for text in (found[1], found[0], "abc fed"):
        assert draft.undo()
        assert draft.now.text == text
    assert not draft.undo()
    assert draft.redo()
    assert draft.now.text == found[0]
    assert draft_of(seed=None).go_on() is not None


def test_each_continuation_of_a_text_is_found_again():
    draft = draft_of(text="abc fed")
    draft.move(3)
    assert not draft.turn(1)
    found = []
    for write in (draft.go_on, draft.another, draft.another):
        for piece in write():
            draft.add(piece)
        found.append(draft.now.text)
        assert draft.alternative == (len(found), len(found))
    draft.undo()
    draft.undo()
    assert draft.alternative == (1, 3)
    draft.type("e")  # of which undo alone would not come back
    assert not draft.turn(1)
    draft.undo()
    for number, which in ((1, 1), (1, 2), (1, 0), (-1, 2)):
        assert draft.turn(number)
        assert draft.now.text == found[which]
        assert draft.alternative == (which + 1, 3)
        assert draft.now.cursor == 23
    draft.undo()
    assert draft.now.text == found[0]
    for piece in draft.another():  # beside the others
        draft.add(piece)
    assert draft.alternative == (4, 4)


@given(st.lists(st.sampled_from([*LETTERS, "back", "delete", "left", "write", "another"])))
def test_every_version_comes_back(keys):
    draft = draft_of(length=3)
    shown = [draft.now.text]
    for key in keys:
        match key:
            case "back" | "delete":
                draft.delete(1 if key == "back" else -1)
            case "left":
                draft.move(draft.now.cursor - 1)
            case "write" | "another":
                if key == "write" or draft.can_write_another():
                    for piece in draft.go_on() if key == "write" else draft.another():
                        draft.add(piece)
            case _:
                draft.type(key)
        assert 0 <= draft.now.cursor <= len(draft.now.text)
        shown.append(draft.now.text)
    back = [draft.now.text]
    while draft.undo():
        back.append(draft.now.text)
    assert back[-1] == ""
    assert {*back} <= {*shown}
    while draft.redo():
        pass
    assert draft.now.text == shown[-1]


def test_each_word_is_undone_by_itself():
    draft = draft_of()
    for key in "ab cd\nef":
        draft.type(key)
    found = [draft.now.text]
    while draft.undo():
        found.append(draft.now.text)
    assert found == ["ab cd\nef", "ab cd\n", "ab ", ""]


def test_the_temperature_has_bounds():
    draft = draft_of()
    draft.heat(1)
    assert draft.config.temperature == 0.85
    draft.heat(-100)
    assert draft.config.temperature == 0
    draft.heat(100)
    assert draft.config.temperature == 2


def test_characters_that_are_unknown_are_passed_over():
    draft = draft_of(text="ab∞")
    for piece in draft.go_on():
        draft.add(piece)
    config = SampleConfig(temperature=0.8, seed=1)
    assert draft.now.text == "ab∞" + "".join(generate(History(), config, "ab", 20))


# Its rows


@given(st.text("ab \n世", max_size=80), st.integers(2, 12))
def test_rows_fit_and_hold_the_whole_text(text, width):
    def cells(character):
        return 2 if character == "世" else 1

    rows = Rows(text, width, cells)
    for row in range(len(rows)):
        start, end = rows.starts[row], rows.ends[row]
        own = text[start:end]
        assert "\n" not in own
        assert sum(map(cells, own)) <= width
        assert sum(map(cells, own.removesuffix(" "))) < width or len(own) == 1
    between = zip(rows.ends, rows.starts[1:], strict=False)
    assert all(text[end:start] in ("", "\n") for end, start in between)
    assert (rows.starts[0], rows.ends[-1]) == (0, len(text))
    for place in range(len(text) + 1):
        row, column = rows.find(place)
        assert rows.place(row, column) == place


def test_no_word_is_cut_that_fits():
    rows = Rows("the quick brown fox\njumps over", 11, lambda _: 1)
    assert [*zip(rows.starts, rows.ends, strict=True)] == [(0, 10), (10, 19), (20, 30)]


# Its terminal


@pytest.fixture
def screen_of(tmp_path):
    prompt_toolkit = pytest.importorskip("prompt_toolkit")
    from prompt_toolkit.input import create_pipe_input

    from charloom.editor.screen import Screen

    with create_pipe_input() as keys:

        def make(draft, free=False):
            output = prompt_toolkit.output.DummyOutput()
            path = tmp_path / "novel.txt"
            return Screen(draft, "novel", path, free, input=keys, output=output), keys

        yield make


def press(screen, keys, *steps):
    """Press keys, each time until what is waited for is so."""

    async def drive():
        running = asyncio.create_task(screen.app.run_async(pre_run=screen._begin))
        for pressed, until in steps:
            keys.send_text(pressed)
            while not until():
                await asyncio.sleep(0.001)
        if not screen.app.future.done():
            screen.app.exit()
        await running

    asyncio.run(drive())


TAB, CTRL_Q, CTRL_R, CTRL_S, CTRL_Y, CTRL_Z = "\t", "\x11", "\x12", "\x13", "\x19", "\x1a"
F5, F6, F7, F8 = "\x1b[15~", "\x1b[17~", "\x1b[18~", "\x1b[19~"
LEFT, UP, DOWN = "\x1b[D", "\x1b[A", "\x1b[B"


def test_keys_type_continue_write_another_undo_and_redo(screen_of):
    draft = draft_of()
    screen, keys = screen_of(draft)
    found = []

    def written():
        done = screen._writing is None and len(draft.now.text) == 22
        if done and draft.now.text not in found:
            found.append(draft.now.text)
            return True
        return False

    press(
        screen,
        keys,
        ("ab", lambda: draft.now.text == "ab"),
        (TAB, written),
        (CTRL_R, written),
        (F5, lambda: draft.now.text == found[0]),
        (F6, lambda: draft.now.text == found[1]),
        (CTRL_Z * 2, lambda: draft.now.text == found[1]),
        (CTRL_Z, lambda: draft.now.text == found[0]),
        (CTRL_Z, lambda: draft.now.text == "ab"),
        (CTRL_Y, lambda: draft.now.text == found[0]),
        ("\x7f" * 3, lambda: draft.now.text == found[0][:-3]),
        (LEFT + "\r", lambda: draft.now.text == found[0][:-4] + "\n" + found[0][-4]),
    )
    assert found[0].startswith("ab")
    assert found[0] != found[1]


@pytest.mark.parametrize("coloured", [True, False])
def test_what_is_read_is_coloured(screen_of, monkeypatch, coloured):
    from prompt_toolkit.output import ColorDepth

    depth = ColorDepth.DEPTH_8_BIT if coloured else ColorDepth.DEPTH_1_BIT
    monkeypatch.setattr("charloom.editor.screen.colour_depth", lambda: depth)
    draft = draft_of(History(sharpness=3.0), text="fade bed abcdef dab" * 5)
    screen, keys = screen_of(draft)
    press(screen, keys, ("", lambda: screen._mean))
    content = screen.content(80, 19)
    parts = [part for row in range(content.line_count) for part in content.get_line(row)[1:-1]]
    assert "".join(text for _, text in parts) == draft.now.text
    shown = [style for style, text in parts for _ in text]
    wanted = steps(surprise_of(draft.reader.model, draft.now.text)).tolist()
    assert len({*wanted}) > 3
    pairs = zip(wanted, draft.now.text, strict=True)
    assert shown == [screen._style(step, c.isspace()) for step, c in pairs]
    assert any("fg:" in style for style in shown) == coloured
    assert screen._style(STEPS, True).startswith("bg:") == coloured
    assert any(style in ("underline", "reverse") for style in shown) != coloured


def test_what_may_come_next_is_shown_where_the_cursor_is(screen_of):
    draft = draft_of(Script("ab c"), text="ab cab c")
    screen, keys = screen_of(draft)
    press(
        screen,
        keys,
        ("", lambda: screen._next == "next  c 100%"),
        (LEFT, lambda: screen._next == "next  ␣ 100%"),
    )


def test_the_temperature_changes_what_may_come_next(screen_of):
    draft = draft_of(text="abc")
    screen, keys = screen_of(draft)
    shown = []

    def changed():
        if screen._next and screen._next not in shown:
            shown.append(screen._next)
            return True
        return False

    press(screen, keys, ("", changed), (F7 * 16, changed), (F8 * 40, changed))
    assert draft.config.temperature == 2
    assert shown[1].endswith(" 100%")
    assert len(shown[2].split("%")) == 7


def test_a_text_is_saved_and_is_not_left_unsaved_by_one_key(screen_of, tmp_path):
    draft = draft_of()
    screen, keys = screen_of(draft, free=True)
    (tmp_path / "novel.txt").write_text("another's")
    press(
        screen,
        keys,
        ("ab", lambda: draft.now.text == "ab"),
        (CTRL_Q, lambda: "not saved" in screen._said),
        ("c", lambda: draft.now.text == "abc" and not screen._said),
        (CTRL_S, lambda: draft.is_saved),
        (CTRL_Q, lambda: screen.app.future.done()),
    )
    assert screen.saved == tmp_path / "novel-2.txt"
    assert screen.saved.read_text() == "abc\n"


def test_a_key_stops_what_is_written(screen_of):
    draft = draft_of(length=10**6)
    screen, keys = screen_of(draft)
    press(
        screen,
        keys,
        (TAB, lambda: draft.now.text),
        ("\x1b", lambda: screen._writing is None),
        (TAB, lambda: screen._writing is not None),
        ("!", lambda: draft.now.how == "typed"),
    )
    assert screen._writing is None
    assert draft.now.text.endswith("!")


def test_rows_are_moved_in(screen_of):
    draft = draft_of(text="abc\nab\nabcdef")
    screen, keys = screen_of(draft)
    screen.content(80, 19)
    press(
        screen,
        keys,
        (UP, lambda: draft.now.cursor == 6),
        (UP, lambda: draft.now.cursor == 2),
        (DOWN + "\x1b[F", lambda: draft.now.cursor == 6),
        ("\x1b[H", lambda: draft.now.cursor == 4),
        ("\x1b[5~", lambda: draft.now.cursor == 0),
    )


def test_what_is_pasted_is_typed_and_cannot_press_keys(screen_of):
    draft = draft_of()
    screen, keys = screen_of(draft)
    press(screen, keys, ("\x1b[200~a\r\nb\t\x11c\x1b[201~", lambda: draft.now.text.endswith("c")))
    assert draft.now.text == "a\nb\t\x11c"
    shown = "".join(text for row in (0, 1) for _, text in screen.content(80, 19).get_line(row))
    assert shown.isprintable()


@pytest.mark.parametrize("width", [40, 80])
def test_keys_are_shown_in_lines_that_fit(screen_of, width, monkeypatch):
    screen, _ = screen_of(draft_of())
    monkeypatch.setattr(screen, "_width", lambda: width)
    lines = "".join(text for _, text in screen._hints()).split("\n")
    assert len(lines) == (1 if width == 80 else 3)
    assert max(map(len, lines)) <= width
    for shown in (screen._title(), screen._legend()):
        assert sum(len(text) for _, text in shown) <= width


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"TERM": "vt100"}, False),
        ({"TERM": "no-such-terminal"}, False),
    ],
)
def test_colours_are_used_where_there_are_256(environment, colours):
    pytest.importorskip("prompt_toolkit")
    script = "from charloom.editor.screen import colour_depth; print(colour_depth().value)"
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env | environment, capture_output=True, text=True
    )
    assert done.stdout == ("DEPTH_8_BIT\n" if colours else "DEPTH_1_BIT\n"), done.stderr


def test_without_a_terminal_it_says_what_writes(tmp_path):
    pytest.importorskip("prompt_toolkit")
    done = CliRunner().invoke(cli.charloom, ["write", str(tmp_path)])
    assert done.exit_code == 2
    assert "charloom sample" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("colour", [True, False])
def test_it_works_in_a_terminal(tmp_path, colour):
    """The command itself, on a pseudo-terminal of 80 columns and 24 rows."""
    pytest.importorskip("prompt_toolkit")
    run = write_run(tmp_path / "verse").path
    file = tmp_path / "poem.txt"
    file.write_text(PROMPT + "\n")
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "charloom", "write", run, file, "--seed", "5", "-n", "60"]
    env = os.environ | {"TERM": "xterm-256color"} | ({} if colour else {"NO_COLOR": "1"})
    told = b""

    def until(condition, key=b""):
        """Take what it draws, and press a key again and again, until something is so."""
        nonlocal told
        while not condition():
            os.write(ours, key)
            if select.select([ours], [], [], 0.05)[0]:
                told += os.read(ours, 2**16)

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        until(lambda: b"redo" in told)
        os.write(ours, TAB.encode())
        until(lambda: len(file.read_text()) == len(PROMPT) + 61, CTRL_S.encode())
        until(lambda: process.poll() is not None, CTRL_Q.encode())
        until(lambda: b"wrote" in told)
        assert process.wait() == 0
    assert b"temperature 0.80" in told
    assert b"\x1b[0;38;5;" in told or not colour
    assert b";38;5;" not in told or colour
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    from charloom.runs.open import open_model

    config = SampleConfig(temperature=0.8, seed=5)
    # A file's last line end is none of the text.
    written = "".join(generate(open_model(run), config, PROMPT, 60))
    assert file.read_text() == f"{PROMPT}{written}\n"
