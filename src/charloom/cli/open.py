"""`charloom open`: the page of `charloom serve`, in the browser of this machine."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charloom.cli.options import examples
from charloom.cli.text import echo, echo_note
from charloom.errors import needs_extra

if TYPE_CHECKING:
    from charloom.serve.models import Models


@click.command("open", epilog=examples("charloom open", "charloom open runs/novel"))
@click.argument("runs", metavar="[RUN|FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0: any that is free.  [0]")
def open(runs: tuple[Path, ...], port: int) -> None:
    """Open a page to write with RUNS, or with all runs in a FOLDER, by default runs/.

    The page goes on with a text where the cursor is, colours each character by how surprising it
    was, shows what else was likely, and keeps every branch. It is on this machine only, and there
    until Ctrl-C.
    """
    with needs_extra("serve", "the page"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    from charloom.serve import server

    def ready(address: str, models: "Models") -> None:
        echo(f"The page is at {address} until Ctrl-C.")
        if not len(models):
            echo_note("there is no run yet: Train, on the page, or charloom train SOURCE makes one")
        if not webbrowser.open(address):
            echo_note("no browser could be started: open the address in one")

    server.serve(runs, server.Settings(port=port), ready)
