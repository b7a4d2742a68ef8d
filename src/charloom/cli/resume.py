"""`charloom resume`: continue a run that was interrupted, or train it for longer."""

from pathlib import Path
from time import perf_counter

import click

from charloom.cli.options import examples
from charloom.cli.text import echo_note
from charloom.distributed import place
from charloom.errors import CharloomError


@click.command(
    epilog=examples("charloom resume runs/novel", "charloom resume runs/novel --minutes 10")
)
@click.argument("run", metavar="RUN")
@click.option(
    "--minutes",
    type=float,
    metavar="X",
    help="Train X minutes from now, even if RUN is complete.",
)
@click.option(
    "--tensorboard/--no-tensorboard",
    default=None,
    help="Write TensorBoard event files to RUN/tensorboard.  [if it exists]",
)
@click.pass_context
def resume(
    context: click.Context, run: str, minutes: float | None, tensorboard: bool | None
) -> None:
    """Continue RUN from its latest checkpoint.

    It ends where it would have ended, with the same parameters, to the last bit, as if it had
    never been interrupted; if it was given minutes, it gets the time that was left. A run that
    is complete stays as it is.

    With --minutes it is trained for longer, from the parameters that it has. The learning rate
    of a cosine or one-cycle schedule starts again at half of its peak, and falls to its end.
    """
    began = perf_counter()
    if minutes is not None and place():
        message = "a restart by torchrun would train those minutes again: resume in one process"
        raise CharloomError(message, "unsupported", field="minutes")
    from charloom.cli.plain import open_view

    with open_view() as view:
        view.status("opening the run")
        from charloom.runs.run import Run
        from charloom.training.loop import train
        from charloom.training.tensorboard import recorded

        opened = Run.open(run)
        opened.check_resumable()
        record = recording(opened.path, tensorboard)
        opened.dataset(view.status)
        events = train(opened, resume=True, began=began, minutes=minutes)
        context.exit(view.follow(recorded(events, opened.path) if record else events))


def recording(path: Path, asked: bool | None) -> bool:
    """Whether to write event files: if `asked` is None, only if the run has some already.

    Raises CharloomError if they were asked for and tensorboardX is missing.
    """
    from charloom.training.tensorboard import FOLDER, check

    if asked is False or (asked is None and not (path / FOLDER).is_dir()):
        return False
    try:
        check()
    except CharloomError as error:
        if asked:
            raise
        echo_note(f"{path / FOLDER} is not continued: {error}")
        return False
    return True
