"""`charloom report`: one page that shows what runs learned."""

from pathlib import Path

import click

from charloom.cli.plot import free_file
from charloom.cli.text import echo_json
from charloom.errors import CharloomError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [report.html]"
)
@click.option("--json", "as_json", is_flag=True, help="Print what it shows as one JSON document.")
def report(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write one page that shows what RUN learned, or several side by side.

    Curves, diagnosis, samples, and how to make the run again. The page needs nothing else, and
    no network: it can be sent to anybody. Needs the extra charloom[report], but for --json.
    """
    from charloom.files import replace_file
    from charloom.report import gather, report_page
    from charloom.report.gathering import document
    from charloom.run import Run

    found = gather([Run.open(path) for path in dict.fromkeys(runs)], _tell)
    if as_json:
        echo_json(document(found))
    if out is not None or not as_json:
        path = out or free_file("report.html")
        content = report_page(found, _tell).encode()
        try:
            replace_file(path, content)
        except OSError as error:
            raise CharloomError(f"cannot write {path} ({error.strerror}): mend that") from None
        if not as_json:
            click.echo(f"wrote {path}")


def _tell(what: str) -> None:
    click.echo(f"{what} ...", err=True)
