"""`charloom resume`: go on with a run that was stopped."""

from time import perf_counter

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.pass_context
def resume(context: click.Context, run: str) -> None:
    """Go on with RUN from its newest whole checkpoint.

    It ends where it was going to end, with the same weights to the last bit as if it had
    never stopped; one with minutes has what is left of them. A run that has ended is left as
    it is.
    """
    began = perf_counter()
    from charloom.cli.view import open_view

    with open_view() as view:
        view.status("opening the run")
        from charloom.run import Run
        from charloom.training import train

        opened = Run.open(run)
        opened.prepare(view.status)
        context.exit(view.follow(train(opened, resume=True, began=began)))
