"""Run the demo in a terminal and draw what it shows at the end as docs/demo.svg.

.venv/bin/python docs/demo.py
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COMMAND = "charloom train corpus:us-constitution --minutes 0.5"
COLUMNS, ROWS = 100, 45
CODES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def main() -> None:
    """Run it in the working directory, where it leaves its run."""
    screen = shown(played(COMMAND.split()))
    console = Console(file=StringIO(), record=True, width=COLUMNS, legacy_windows=False)
    console.print(Text(f"$ {COMMAND}", "bold"))
    for line in screen:
        console.print(Text.from_ansi(line), soft_wrap=True)
    dark = TerminalTheme((41, 41, 41), (197, 200, 198), [(75, 78, 85)] * 8, None)
    path = Path(__file__).with_name("demo.svg")
    picture = console.export_svg(title="", theme=dark)
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # from elsewhere
    path.write_text(picture.replace("Fira Code", "ui-monospace"), "utf-8")


def played(command: list[str]) -> str:
    """Return all that a command writes to a terminal of COLUMNS x ROWS."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", *command])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    try:
        while piece := os.read(terminal, 2**16):
            written += piece
    except OSError:  # the command has ended
        pass
    os.waitpid(child, 0)
    return written.decode()


def shown(written: str) -> list[str]:
    """Return the lines that a terminal shows at the end, with their colours.

    Of control sequences it knows those that the live view uses: colours, F (some lines up), K and
    J (wipe what is behind). The live view always writes whole lines.
    """
    lines, row, begins = [""], 0, True
    for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\n)", written.replace("\r", "")):
        code = CODES.fullmatch(piece)
        if piece == "\n":
            row, begins = row + 1, True
            lines += [""] * (row == len(lines))
        elif code is not None and code[2] == "F":
            row, begins = max(0, row - int(code[1] or 1)), True
        elif code is not None and code[2] in "JK":
            lines[row] = "" if begins else lines[row]
            lines = lines[: row + 1] if code[2] == "J" else lines
        elif piece and (code is None or code[2] == "m"):
            lines[row] = piece if begins else lines[row] + piece
            begins = False
    return lines


if __name__ == "__main__":
    main()
