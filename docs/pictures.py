"""Make the pictures of README and documents from what the program shows: `make pictures`.

    python docs/pictures.py [NAME ...]

A picture of a terminal is what a command shows at its end, drawn by rich; one of a page is that
page in chromium, light and dark, in few colours so that it stays small; curves are the plot itself.
Two networks are trained for it on the Constitution, some minutes in all.
"""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FOLDER = Path(__file__).parent / "pictures"
LARGEST = 60_000  # bytes of a picture
SOURCE = "corpus:us-constitution"
COMMAND = f"charloom train {SOURCE} --minutes 0.5"
COLUMNS, ROWS = 100, 45
CODES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
WIDTH, SCALE, COLOURS = 900, 2, 32  # of a page: CSS pixels, pixels for each, colours
STEPS = 1500
TRAIN = f"train {SOURCE} --iterations {STEPS} --hidden 128 --mixture 0 --seed 1"
PROMPT = "The President shall "


def main(names: list[str]) -> None:
    """Make the pictures that are named, or all."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in names or PICTURES:
            PICTURES[name]()
    for path in sorted(FOLDER.iterdir()):
        if path.stat().st_size > LARGEST:
            sys.exit(f"{path.name} is larger than {LARGEST:,} bytes: {path.stat().st_size:,}")


# A terminal


def demo() -> None:
    """What `make demo` shows at its end."""
    screen = shown(played(COMMAND.split()))
    console = Console(file=StringIO(), record=True, width=COLUMNS, legacy_windows=False)
    console.print(Text(f"$ {COMMAND}", "bold"))
    for line in screen:
        console.print(Text.from_ansi(line), soft_wrap=True)
    dark = TerminalTheme((41, 41, 41), (197, 200, 198), [(75, 78, 85)] * 8, None)
    picture = console.export_svg(title="", theme=dark)
    picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)  # from elsewhere
    keep("demo.svg", picture.replace("Fira Code", "ui-monospace").encode())


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


# Curves and pages


def curves() -> None:
    """The loss of two kinds of network, as `charloom plot` draws it."""
    from charloom.analysis.curves import curve
    from charloom.report.plots.images import write_plot
    from charloom.report.plots.style import DARK, LIGHT, Look

    found = [curve(trained(kind)) for kind in ("lstm", "rnn")]
    for scheme, palette in (("light", LIGHT), ("dark", DARK)):
        write_plot(FOLDER / f"curves-{scheme}.svg", found, Look(palette=palette, height=3.6))


def surprise() -> None:
    """The page of `charloom study surprise`."""
    charloom(f"study surprise {trained('lstm').path} --html page.html")
    photographed("surprise", 560)


def neurons() -> None:
    """The page of `charloom study neurons`."""
    charloom(f"study neurons {trained('lstm').path} --html page.html")
    photographed("neurons", 560)


def page() -> None:
    """The page of `charloom export --html`, when it has written."""
    charloom(f"export {trained('lstm').path} --html --out page.html")
    photographed("page", 450, write)


def write(view: Any) -> None:
    """Let the page go on with a prompt."""
    view.locator("textarea").fill(PROMPT)
    view.locator(".seed").fill("1")
    view.locator(".length").fill("250")
    view.get_by_role("button", name="Continue").click()
    view.locator(".state", has_text="characters in").wait_for()
    view.locator(".mean", has_text="nats").wait_for()


PICTURES = {made.__name__: made for made in (demo, curves, surprise, neurons, page)}


def trained(kind: str) -> Any:
    """Return the run of a network, which is trained when it is first asked for."""
    from charloom.runs.run import Run

    path = Path("runs", kind)
    if not path.exists():
        charloom(f"{TRAIN} --model {kind} --out {path}")
    return Run.open(path)


def charloom(line: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "charloom", *line.split()], check=True)


def photographed(name: str, height: int, act: Callable[[Any], None] = lambda _: None) -> None:
    """Keep the top of page.html as a browser shows it, light and dark, once it has been used."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            view = browser.new_page(
                color_scheme=scheme,
                viewport={"width": WIDTH, "height": height},
                device_scale_factor=SCALE,
            )
            view.goto(Path("page.html").absolute().as_uri())
            act(view)
            keep(f"{name}-{scheme}.png", small(view.screenshot()))
        browser.close()


def small(picture: bytes) -> bytes:
    """Return a PNG in few colours."""
    from PIL import Image  # matplotlib needs it, too

    packed = BytesIO()
    colours = (
        Image.open(BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    )
    colours.save(packed, "PNG", optimize=True)
    return packed.getvalue()


def keep(name: str, content: bytes) -> None:
    """Write a picture, and say how large it is."""
    (FOLDER / name).write_bytes(content)
    print(f"wrote docs/pictures/{name}, {len(content):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
