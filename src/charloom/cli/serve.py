"""`charloom serve`: an HTTP API that OpenAI's clients speak, and a page."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charloom.cli.options import examples
from charloom.cli.text import echo, echo_note
from charloom.errors import CharloomError, needs_extra
from charloom.formatting import count

if TYPE_CHECKING:
    from charloom.serve.models import Models

KEY = "CHARLOOM_API_KEY"
LONGEST_KEY = 4096  # bytes


@click.command(
    epilog=examples(
        "charloom serve",
        "charloom serve runs/novel --port 8000",
        "curl http://127.0.0.1:8321/v1/models",
    )
)
@click.argument("runs", metavar="[RUN|FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.  [127.0.0.1]"
)
@click.option(
    "--port",
    default=8321,
    type=click.IntRange(0, 65535),
    metavar="N",
    help="0: any that is free.  [8321]",
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Clients must send the key that is in FILE, or else in ${KEY}.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name that the server may be called by, besides localhost; repeatable.",
)
@click.option(
    "--slots", default=256, type=click.IntRange(1, 4096), metavar="N", help="Texts at once.  [256]"
)
@click.option(
    "--queue",
    default=512,
    type=click.IntRange(0, 65536),
    metavar="N",
    help="Requests that wait.  [512]",
)
@click.option(
    "--grace",
    default=10.0,
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="Time that texts have to end when the server is told to.  [10]",
)
def serve(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    api_key_file: Path | None,
    hosts: tuple[str, ...],
    slots: int,
    queue: int,
    grace: float,
) -> None:
    """Serve RUNs, or all runs in a FOLDER, by default runs/, over HTTP.

    Programs that know OpenAI's API for completions can use it: their base URL is the address that
    is printed, with /v1. A run's name is that of its folder. Several requests at once are written
    side by side, and the same seed gives the same text whatever the load. A newer checkpoint of a
    run is used as soon as it is complete.

    Without a key only this machine is served. To serve others, give --host and a key; it is sent
    unencrypted, so put a server with TLS in front.
    """
    with needs_extra("serve", "serve"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    from charloom.serve import server

    settings = server.Settings(host, port, _key(api_key_file), hosts, slots, queue, grace)

    def ready(address: str, models: "Models") -> None:
        echo(f"{address} serves {count(len(models), 'run')}; the API is at {address}/v1")
        if not len(models):
            echo_note("there is no run yet: Train, on the page, or charloom train SOURCE makes one")

    server.serve(runs, settings, ready)


def _key(file: Path | None) -> str | None:
    """Return the key that clients must send; raises CharloomError."""
    key = os.environ.get(KEY, "")
    if file is not None:
        from charloom.files import read_bytes

        key = read_bytes(file, LONGEST_KEY).decode(errors="replace").strip()
        if not key:
            raise CharloomError(
                f"{file} is empty: put the key into it", "bad-setting", path=str(file)
            )
    if not key:
        return None
    if not (key.isascii() and key.isprintable() and " " not in key):
        message = "the API key must be printable ASCII without spaces: choose another"
        raise CharloomError(message, "bad-setting", field="api_key_file")
    return key
