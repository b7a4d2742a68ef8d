"""Command-line arguments in; calls to the library, and their results on a terminal, out.

One file a command, imported when it is asked for: `charloom --help` imports click alone.
"""

import errno
import io
import os
import signal
import sys
import warnings
from typing import Any

import click

from charloom import __version__
from charloom.cli.lazy import LazyGroup
from charloom.distributed import place
from charloom.errors import CharloomError

SECTIONS = {  # in the order of use; each is the name of a file here and of a function in it
    "Train a model": {
        "train": "Train a model on your text.",
        "resume": "Continue an interrupted run, exactly as if it had not stopped.",
        "check": "Check a text before training on it.",
        "text": "Write out what would be trained on, from files of any kind.",
        "corpora": "List the texts that are known by name.",
    },
    "Use it": {
        "sample": "Generate text with a run.",
        "write": "Write with a run, in a terminal.",
        "open": "Open a page to write with runs, in the browser.",
        "serve": "Serve runs over HTTP, to OpenAI's clients and a page.",
        "evaluate": "Measure how well a run predicts a text.",
        "import": "Make a run of a model of another program.",
        "export": "Export a run for a browser, ONNX, PyTorch, NumPy, KenLM.",
        "compress": "Compress a file with a model that learns while it reads.",
        "decompress": "Decompress what compress wrote.",
    },
    "See what it learned": {
        "runs": "List, show, rename and delete runs.",
        "compare": "Compare runs and simple baselines on one text.",
        "study": "See what a run learned: novelty, keywords, surprise, neurons.",
        "plot": "Plot the loss of runs as PNG or SVG.",
        "report": "Write an HTML page that shows what runs learned.",
    },
    "Historic programs": {
        "presets": "Show the historic programs for --preset.",
        "replay": "Repeat published runs of historic programs.",
        "gradcheck": "Check the gradients of every cell numerically.",
    },
}
# That are not named as their command: text.py is what prints, and import is a word of Python.
MODULES = {"text": "texts", "import": "import_"}
INTERRUPTED_STATUS = 128 + signal.SIGINT  # what shells report of a program that a signal ended


class _Commands(LazyGroup):
    package, sections, modules = "charloom.cli", SECTIONS, MODULES

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program; a full disk below standard output, in --help too, ends it in a line."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename is not None:
                raise
            close_stdout()
            _note(f"cannot write the output ({error.strerror}): free some space")
            raise SystemExit(CharloomError.status) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; end it without a traceback if it is the user who can act."""
        warnings.showwarning = lambda message, *_: _note(message)
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except CharloomError as error:
            _note(error)
            raise SystemExit(error.status) from error
        except MemoryError:
            trains = ctx.invoked_subcommand in ("train", "resume")
            cure = "use a smaller --hidden or --batch" if trains else "give a shorter text"
            _note(f"out of memory: {cure}")
            ctx.exit(CharloomError.status)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED_STATUS)
        except BrokenPipeError:
            close_stdout()
            ctx.exit()
        return result


def close_stdout() -> None:
    """Discard, silently, what is still to be written, as nobody can read it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _note(text: object) -> None:
    from charloom.cli.text import echo_note

    echo_note(text)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def charloom() -> None:
    """Train small language models on your own text, one character at a time.

    \b
      charloom train novel.txt --out runs/novel
      charloom sample runs/novel --prompt "It was"

    `charloom COMMAND --help` says more of each. For completion with the Tab key, add the output
    of this to ~/.bashrc (for zsh or fish, that name in place of bash):

    \b
      _CHARLOOM_COMPLETE=bash_source charloom
    """  # noqa: D301 -- a real backspace: click leaves the lines after it as they are


def main() -> None:
    """Run the `charloom` command; its output is UTF-8 in any locale.

    Threads of PyTorch's that spin for milliseconds while they wait take ten times as long on a
    machine that is busy; those that sleep at once, three times on one that is not (LOG.md). What
    is between the two can be asked for in the environment alone, and before PyTorch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # closes what is open
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # before and after training none is to be saved
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    here = place()
    if here is None:
        charloom(prog_name="charloom")
    else:
        from charloom.cli import several

        several.run(lambda: charloom(prog_name="charloom"), here, sys.argv[1:])
