"""The command line: one file a command, each imported when it is asked for.

A command parses, calls the library, and shows. `charloom --help` imports click and no more.
"""

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

COMMANDS = {  # in the order of the river; the names of files here, and of what they define
    "train": "Train a model on your text, and watch it learn.",
    "resume": "Go on with a run that was stopped, to the very same bits.",
    "sample": "Let a run write.",
    "evaluate": "Say how well a run predicts held-out text, or any other.",
    "compare": "Put runs side by side on one text, and simple baselines beside them.",
    "study": "See what a run learned: novelty, keywords, surprise, neurons.",
    "plot": "Draw the curves of runs, as PNG or SVG.",
    "report": "Write one page that shows what runs learned.",
    "export": "Write a run as an ONNX file, for other programs.",
    "runs": "List runs, or show one.",
    "replay": "Run the historic programs, their published figures beside ours.",
    "gradcheck": "Check the gradients of every cell.",
    "presets": "Show the historic programs that --preset knows.",
    "corpora": "List the texts known by name.",
}
INTERRUPTED = 128 + signal.SIGINT  # what shells report of a program that a signal ended


class _Commands(LazyGroup):
    package, known = "charloom.cli", COMMANDS

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the user can mend, or wants, ends it without a traceback."""
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except CharloomError as error:
            click.echo(f"charloom: {error}", err=True)
            raise SystemExit(error.status) from error
        except MemoryError:
            click.echo("charloom: the memory is full: take a smaller --hidden or --batch", err=True)
            ctx.exit(CharloomError.status)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            close_stdout()
            ctx.exit()
        return result


def close_stdout() -> None:
    """Send what is still to be written to a reader that has gone nowhere, and silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: Any) -> None:
    click.echo(f"charloom: {message}", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def charloom() -> None:
    """Train small language models on your own text, one character at a time.

    \b
      charloom train novel.txt --out runs/novel
      charloom sample runs/novel --prompt "It was" --temperature 0.8
    """  # noqa: D301 -- a real backspace: click leaves the lines after it as they are


def _leave(number: int, _frame: Any) -> None:
    """End as by the signal, but not before what stands open has been closed."""
    sys.exit(128 + number)


def main() -> None:
    """Run the `charloom` command; its text is UTF-8 whatever the locale."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    here = place()
    if here is None:
        charloom(prog_name="charloom")
    else:
        from charloom.cli import several

        several.run(lambda: charloom(prog_name="charloom"), here, sys.argv[1:])
