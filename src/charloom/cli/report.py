"""`charloom report`: one page with everything about runs."""

from pathlib import Path

import click

from charloom.cli.options import examples, output
from charloom.cli.text import echo_json, echo_wrote, progress


@click.command(epilog=examples("charloom report runs/gru runs/ngram"))
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@output("--out", "The page", "report.html")
@click.option("--text", metavar="FILE", help="Compare on this text, not on what was held out.")
@click.option("--json", "as_json", is_flag=True, help="Print its content as one JSON document.")
def report(runs: tuple[str, ...], out: Path | None, text: str | None, as_json: bool) -> None:
    """Write one page about RUN, or about several runs side by side.

    It begins with the verdict: which run is best, by how much, whether it beats counting, and what
    to do next. Then come a comparison with baselines, a diagnosis, learning curves, samples,
    novelty, keywords, surprise, neurons, and the command that reproduces the run. The page is one
    file that loads nothing from elsewhere, fit to be sent to anybody, read on a phone or printed.
    Writing it takes half a minute, more for a long text. Needs the extra charloom[report], but not
    for --json.
    """
    from charloom.data.reading import Reading
    from charloom.data.text import read_text
    from charloom.files import write_output
    from charloom.report.contents import document, gather
    from charloom.report.pages.report import check_report, report_page
    from charloom.runs.run import Run

    if out is not None or not as_json:
        check_report()
    opened = [Run.open(path) for path in dict.fromkeys(runs)]
    reading = Reading.like([run.config.data for run in opened])
    with progress() as (_, tell):
        found = gather(opened, None if text is None else read_text([text], tell, reading), tell)
        page = report_page(found, tell) if out is not None or not as_json else None
    if as_json:
        echo_json(document(found))
    if page is not None:
        path = write_output(out or Path("report.html"), page.encode(), free=out is None)
        if not as_json:
            echo_wrote(path)
