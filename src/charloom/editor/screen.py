"""A draft on a terminal: its text coloured by surprise, what may come next, and the keys."""

import asyncio
import curses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, UIContent, UIControl, Window
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from charloom.data.utf8 import normalized
from charloom.editor.rows import Rows
from charloom.editor.surprise import STEPS, carried, mean_of, steps
from charloom.editor.versions import Draft
from charloom.errors import CharloomError
from charloom.files import write_output
from charloom.formatting import LN2, count, harmless
from charloom.generation.draw import filter_weights

LATER = 0.05  # seconds after a key before the text is read
SHOWN = 6  # of what may come next
ESCAPE_SECONDS = 0.05  # in which a key that begins with Esc must be complete
MARKS = {"\n": "↵", " ": "␣", "\t": "⇥"}

KEYS = (
    *(("Tab", "continue"), ("^R", "another"), ("^Z", "undo"), ("^Y", "redo")),
    *(("F7/F8", "temperature"), ("^S", "save"), ("^Q", "quit")),
)
EMPTY = "Type a beginning, or press Tab: then the model begins."

# From weak to strong, each readable on black and on white: the theme of a terminal is not known.
HOT = ("#af8787", "#d75f5f", "#d7005f", "#ff0000")
COLD = ("#8787af", "#5f87d7", "#005fff", "#0000ff")
BARE = ("", "", "", "", "", "", "underline", "underline", "reverse")  # of each step


class Screen:
    """A terminal in which someone writes with a model, until they leave.

    `name` is what the model is called, and `path` where the text is saved; `free` if nobody chose
    that name. `saved` is where it was saved last, if it was.
    """

    def __init__(
        self,
        draft: Draft,
        name: str,
        path: Path,
        free: bool,
        *,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self.draft, self.saved = draft, None if free else path
        self._name, self._path, self._free = name, path, free
        self._read, self._steps = "", np.zeros(0, np.int8)  # the text that is coloured
        self._mean, self._next = "", ""
        self._said = ""
        self._writing: Iterator[str] | None = None
        self._leaving = False  # it was told that the text is not saved
        self._shown: tuple[str, int] | None = None
        self._rows = Rows("", 80, get_cwidth)
        self._height = 1
        depth = colour_depth()
        self._palette = [*COLD[::-1], "", *HOT] if depth is ColorDepth.DEPTH_8_BIT else []
        self._changed = asyncio.Event()
        self.app: Application[None] = Application(
            Layout(self._layout()),
            key_bindings=self._keys(),
            style=Style.from_dict({"bar": "reverse", "key": "bold"}),
            color_depth=depth,
            full_screen=True,
            input=input,
            output=output,
        )
        self.app.ttimeoutlen = ESCAPE_SECONDS

    def run(self) -> None:
        """Show it until it is left."""
        self.app.run(pre_run=self._begin)

    def _begin(self) -> None:
        self.app.create_background_task(self._follow())
        self._changed.set()

    # What is shown

    def _layout(self) -> HSplit:
        def line(words: Callable[[], StyleAndTextTuples], style: str = "") -> Window:
            return Window(FormattedTextControl(words), height=1, style=style)

        keys = Window(FormattedTextControl(self._hints), height=lambda: len(self._hint_lines()))
        return HSplit(
            [
                line(self._title, "class:bar"),
                Window(_Text(self)),
                line(self._legend),
                line(lambda: [("", f" {self._next}")]),
                line(lambda: [("bold", f" {self._said}")]),
                keys,
            ]
        )

    def _width(self) -> int:
        return self.app.output.get_size().columns

    def _title(self) -> StyleAndTextTuples:
        right = f"temperature {self.draft.config.temperature:.2f} "
        left = f" {self._name}"[: max(0, self._width() - len(right) - 1)]
        return [("", left + " " * (self._width() - len(left) - len(right)) + right)]

    def _legend(self) -> StyleAndTextTuples:
        words: StyleAndTextTuples = [("", " expected ")]
        words += [(self._style(step), "■") for step in range(-STEPS, STEPS + 1)]
        used = sum(len(text) for _, text, *_ in words) + len(" surprising")
        gap = self._width() - used - len(self._mean) - 1
        return [*words, ("", " surprising"), ("", " " * gap + self._mean if gap > 1 else "")]

    def _hint_lines(self) -> list[list[tuple[str, str]]]:
        lines: list[list[tuple[str, str]]] = [[]]
        used = 0
        for key, what in KEYS:
            wide = len(key) + len(what) + 3
            if used and used + wide - 1 > self._width():
                lines.append([])
                used = 0
            lines[-1].append((key, what))
            used += wide
        return lines

    def _hints(self) -> StyleAndTextTuples:
        shown: StyleAndTextTuples = []
        for number, line in enumerate(self._hint_lines()):
            shown.append(("", "\n " if number else " "))
            for place, (key, what) in enumerate(line):
                shown += [("", "  " if place else ""), ("class:key", key), ("", f" {what}")]
        return shown

    def _style(self, step: int, is_space: bool = False) -> str:
        if not self._palette:
            return BARE[step + STEPS]
        colour = self._palette[step + STEPS]
        if is_space:  # where no ink shows a colour
            return f"bg:{colour}" if step > 0 else ""
        return f"fg:{colour}" if colour else ""

    def content(self, width: int, height: int) -> UIContent:
        """Return the rows of the text in a window of that size."""
        now = self.draft.now
        width -= 1  # for a margin
        if self._shown != (now.text, width):
            self._shown, self._rows = (now.text, width), Rows(now.text, width, _cells)
        self._height = height
        rows, shown, drawn = self._rows, _visible(now.text), self._aligned(now.text)

        def line(row: int) -> StyleAndTextTuples:
            if not now.text and not self._writing:
                return [("", " "), ("italic", EMPTY)]
            start, end = rows.starts[row], rows.ends[row]
            parts: StyleAndTextTuples = [("", " ")]
            for place in range(start, end):
                style = self._style(int(drawn[place]), now.text[place].isspace())
                parts.append((style, shown[place]))
            return [*parts, ("", " ")]  # where the cursor may be

        y, x = rows.find(now.cursor)
        return UIContent(line, len(rows), Point(x=x + 1, y=y))

    def _aligned(self, text: str) -> NDArray[np.int8]:
        """Return the step (N,) of each character; 0 for what has not been read yet."""
        if text != self._read:
            self._steps = carried(self._steps, self._read, text)
            self._read = text
        return self._steps

    # What is read

    async def _follow(self) -> None:
        """Read the text again each time that it has changed."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(LATER)
            self._changed.clear()
            draft = self.draft
            text, cursor = draft.now.text, draft.now.cursor
            nats = await asyncio.to_thread(draft.reader.read, text)
            log_probs = await asyncio.to_thread(draft.reader.next, text[:cursor])
            if draft.now.text != text:
                continue
            self._read, self._steps = text, steps(nats)
            mean, _ = mean_of(nats)
            self._mean = f"mean {mean:.2f} nats, {mean / LN2:.2f} bits" if mean else ""
            weights = filter_weights(log_probs, draft.config)
            self._next = "next  " + "  ".join(self._likeliest(weights / weights.sum()))
            self.app.invalidate()

    def _likeliest(self, shares: NDArray[np.float64]) -> Iterator[str]:
        vocabulary = self.draft.reader.model.vocabulary
        for id in np.argsort(-shares, kind="stable")[:SHOWN].tolist():
            if shares[id] >= 0.005:
                symbol = vocabulary.decode([id])
                symbol = "end" if id == vocabulary.boundary else MARKS.get(symbol, harmless(symbol))
                yield f"{symbol} {100 * shares[id]:.0f}%"

    # What is done

    def say(self, text: str) -> None:
        """Show a line below the text."""
        self._said = harmless(text)

    def _start(self, pieces: Iterator[str]) -> None:
        self._writing = pieces
        self.say("writing … Esc stops")
        self.app.create_background_task(self._write(pieces))

    async def _write(self, pieces: Iterator[str]) -> None:
        """Put the pieces into the text as they come, until they end or it is stopped."""
        began, draft = perf_counter(), self.draft
        while True:
            try:
                piece = await asyncio.to_thread(next, pieces, None)
            except CharloomError as error:
                piece = None
                self.say(str(error))
            if self._writing is not pieces:
                return
            if piece is None:
                break
            draft.add(piece)
            self._changed.set()
            self.app.invalidate()
        self._writing = None
        now = draft.now
        if now.end > now.start:
            written = count(now.end - now.start, "character")
            took = f"{written} in {perf_counter() - began:.1f} s, seed {now.seed}"
            self.say(took + self._others())
        self.app.invalidate()

    def _others(self) -> str:
        place, count = self.draft.alternative
        return f"; {place} of {count}, F5 and F6 show the others" if count > 1 else ""

    def _turn(self, number: int) -> None:
        if self.draft.turn(number):
            self.say(f"seed {self.draft.now.seed}{self._others()}")
        else:
            self.say("there is no other continuation here: ^R writes one")

    def _stop(self) -> bool:
        """Write no more; return whether it did."""
        was, self._writing = self._writing, None
        if was is not None:
            self.say("stopped")
        return was is not None

    def _save(self) -> None:
        text = self.draft.now.text
        try:
            path = write_output(self._path, f"{text}\n".encode(), free=self._free)
        except CharloomError as error:
            self.say(str(error))
            return
        self._path = self.saved = path
        self._free, self.draft.saved = False, text
        self.say(f"saved {path}")

    def _leave(self) -> None:
        if self.draft.is_saved or self._leaving:
            self._stop()
            self.app.exit()
            return
        self._leaving = True
        self.say("not saved: ^S saves, ^Q once more leaves without")

    def _keys(self) -> KeyBindings:
        keys, draft = KeyBindings(), self.draft

        def on(
            *names: str, edits: bool = True, keeps: bool = False
        ) -> Callable[[Callable[[KeyPressEvent], object]], None]:
            """Add what a key does; it stops what is being written, if it `edits`."""

            def decorate(function: Callable[[KeyPressEvent], object]) -> None:
                def handle(event: KeyPressEvent) -> None:
                    if not keeps:
                        self._leaving, self._said = False, self._said if self._writing else ""
                    if edits:
                        self._stop()
                    function(event)
                    self._changed.set()

                for name in names:
                    keys.add(name)(handle)

            return decorate

        def rows(number: int) -> None:
            row, column = self._rows.find(draft.now.cursor)
            draft.move(self._rows.place(row + number, column))

        def edge(last: bool) -> None:
            row, _ = self._rows.find(draft.now.cursor)
            draft.move(self._rows.place(row, len(draft.now.text) if last else 0))

        on("tab")(lambda _: self._start(draft.go_on()))
        on("c-z")(lambda _: self.say("" if draft.undo() else "there is nothing to undo"))
        on("c-y")(lambda _: self.say("" if draft.redo() else "there is nothing to redo"))
        on("escape", edits=False)(lambda _: self._stop())
        on("f5")(lambda _: self._turn(-1))
        on("f6")(lambda _: self._turn(1))
        on("f7", edits=False)(lambda _: draft.heat(-1))
        on("f8", edits=False)(lambda _: draft.heat(1))
        on("c-s", edits=False)(lambda _: self._save())
        on("c-q", "c-c", edits=False, keeps=True)(lambda _: self._leave())
        on("enter", "c-j")(lambda _: draft.type("\n"))
        on("backspace")(lambda _: draft.delete(1))
        on("delete")(lambda _: draft.delete(-1))
        on("left")(lambda _: draft.move(draft.now.cursor - 1))
        on("right")(lambda _: draft.move(draft.now.cursor + 1))
        on("up")(lambda _: rows(-1))
        on("down")(lambda _: rows(1))
        on("pageup")(lambda _: rows(-self._height))
        on("pagedown")(lambda _: rows(self._height))
        on("home", "c-a")(lambda _: edge(False))
        on("end", "c-e")(lambda _: edge(True))
        on("c-home")(lambda _: draft.move(0))
        on("c-end")(lambda _: draft.move(len(draft.now.text)))

        @on("c-r")
        def another(_: KeyPressEvent) -> None:
            if draft.can_write_another():
                self._start(draft.another())
            else:
                self.say("nothing was written here: Tab continues")

        @on(Keys.Any)
        def typed(event: KeyPressEvent) -> None:
            if event.data.isprintable():
                draft.type(event.data)

        @on(Keys.BracketedPaste)
        def pasted(event: KeyPressEvent) -> None:
            draft.type(normalized(event.data))

        return keys


class _Text(UIControl):
    """The text of a screen, in its window."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def create_content(self, width: int, height: int) -> UIContent:
        """Return what is shown in a window of that size."""
        return self._screen.content(width, height)

    def is_focusable(self) -> bool:
        """It has the cursor."""
        return True


def _visible(text: str) -> str:
    """Return a text of the same length, in which no character does anything to a terminal."""
    return harmless(text).replace("\t", "→")


def _cells(character: str) -> int:
    return get_cwidth(_visible(character))


def colour_depth() -> ColorDepth:
    """Return 8 bits where the terminal has 256 colours and they are wanted; else none."""
    if os.environ.get("NO_COLOR"):
        return ColorDepth.DEPTH_1_BIT
    try:
        curses.setupterm()
        colours = curses.tigetnum("colors")
    except curses.error:
        colours = 0
    return ColorDepth.DEPTH_8_BIT if colours >= 256 else ColorDepth.DEPTH_1_BIT
