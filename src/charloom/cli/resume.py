"""`charloom resume`: go on with a run that was stopped."""

from pathlib import Path
from time import perf_counter

import click

from charloom.errors import CharloomError


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--tensorboard/--no-tensorboard",
    default=None,
    help="Write event files into RUN/tensorboard.  [if it is there]",
)
@click.pass_context
def resume(context: click.Context, run: str, tensorboard: bool | None) -> None:
    """Go on with RUN from its newest whole checkpoint.

    It ends where it was going to end, with the same weights to the last bit as if it had
    never stopped; one with minutes has what is left of them. A run that has ended is left as
    it is.
    """
    began = perf_counter()
    from charloom.cli.plain import open_view

    with open_view() as view:
        view.status("opening the run")
        from charloom.runs.run import Run
        from charloom.training.loop import train
        from charloom.training.tensorboard import recorded

        opened = Run.open(run)
        record = recording(opened.path, tensorboard)
        opened.prepare(view.status)
        events = train(opened, resume=True, began=began)
        context.exit(view.follow(recorded(events, opened.path) if record else events))


def recording(path: Path, asked: bool | None) -> bool:
    """Whether to write event files: where nobody says, if there are some already.

    Then a tensorboardX that is missing stops nobody from going on; raises CharloomError where
    they were asked for.
    """
    from charloom.training.tensorboard import FOLDER, check

    if asked is False or (asked is None and not (path / FOLDER).is_dir()):
        return False
    try:
        check()
    except CharloomError as error:
        if asked:
            raise
        click.echo(f"charloom: {path / FOLDER} is not gone on with: {error}", err=True)
        return False
    return True
