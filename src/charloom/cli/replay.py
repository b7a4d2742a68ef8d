"""`charloom replay`: the historic runs again, beside their published figures."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import get_args

import click

from charloom.cli.options import examples, output
from charloom.cli.text import (
    echo,
    echo_json,
    echo_wrote,
    fill,
    progress,
    table,
)
from charloom.config import Engine
from charloom.formatting import duration
from charloom.training import replay as library
from charloom.training.events import Event, Progress
from charloom.training.events import Finished as End
from charloom.training.replay import Figure, Finished, Printed, Program, Speed, Walks

PROGRESS_LINES = 10  # for each program
ITERATIONS = 100_000
TOLD_SECONDS = 30.0  # between two lines of progress that no terminal shows
FOLDER = Path("runs", "replay")


@click.command(epilog=examples("charloom replay", "charloom replay --all"))
@click.option(
    "--iterations",
    type=click.IntRange(1),
    metavar="N",
    help=f"Steps of each program.  [{ITERATIONS}; with --all as many as were published]",
)
@click.option(
    "--all",
    "whole",
    is_flag=True,
    help="Both as far as their last published figure, then the runs of three later presets, and "
    "write a page.",
)
@output("--out", "With --all: the page", "replay.html")
@click.option(
    "--engine",
    type=click.Choice(get_args(Engine)),
    default="auto",
    metavar="NAME",
    help="auto, compiled, torch or reference.  [auto]",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Draws the initial weights.  [0]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(
    iterations: int | None, whole: bool, out: Path | None, engine: Engine, seed: int, as_json: bool
) -> None:
    """Repeat the published runs of min-char-rnn and min-char-lstm.

    Both are trained on the whole Constitution, as they were then, and their published smoothed
    loss is shown beside ours. Then the reference and the compiled engine are timed in turns.

    With --all, min-char-lstm makes its 10 million iterations, which takes 20 to 35 minutes of one
    core; then min-char-lstm-mod-2, char-rnn and torch-rnn of 2 x 1024 are trained in
    runs/replay, the last of which takes as long or longer without a GPU. Stopped there, it writes
    the page as far as it came. Called again, it goes on where it was stopped, at any time, to the
    same bits. Needs the extra charloom[report].
    """
    if whole:
        if as_json:
            raise click.UsageError("--all writes a page, not --json: leave one of them out")
        _replay_whole(iterations, out, engine, seed)
        return
    if out is not None:
        raise click.UsageError("--out is for --all")
    iterations = iterations or ITERATIONS
    finished: list[Finished] = []
    speeds: list[Speed] = []
    name, line_every = "", max(1, iterations // PROGRESS_LINES // 100) * 100
    with progress() as (write, tell):
        for event in library.replay(iterations, engine, seed):
            match event:
                case Program():
                    name = event.preset
                case Printed():
                    line = _progress(event, name, iterations)
                    tell(line)
                    if event.iteration % line_every == 0:
                        write(line)
                case Finished():
                    finished.append(event)
                    tell("comparing the speed of both engines")
                case Speed():
                    speeds.append(event)
    if as_json:
        timed = [asdict(speed) | {"ratio": speed.ratio} for speed in speeds]
        echo_json({"seed": seed, "iterations": iterations, "runs": finished, "speeds": timed})
    else:
        _show(finished, speeds, seed)


def _replay_whole(iterations: int | None, out: Path | None, engine: Engine, seed: int) -> None:
    """Run everything, and write the page; if a signal ends a run, of as much as there is."""
    from charloom.analysis.curves import curve
    from charloom.files import write_output
    from charloom.report.pages.replay import replay_page
    from charloom.report.plots.style import check

    check()
    walked = library.kept_walks(FOLDER, iterations, engine, seed)
    curves, interrupted = [], False
    with progress(TOLD_SECONDS) as (_, tell):
        if walked is None:
            walked = _walk(iterations, engine, seed, tell)
            library.keep_walks(FOLDER, walked)
        for run, events in library.replay_curves(FOLDER, iterations, engine, seed):
            try:
                _follow(run.path.name, events, tell)
            except KeyboardInterrupt:
                interrupted = True
            curves.append(curve(run))
            if interrupted:
                break
        page = replay_page(walked.runs, walked.printed, curves, seed)
    path = write_output(out or Path("replay.html"), page.encode(), free=out is None)
    echo_wrote(path)
    if interrupted:
        raise KeyboardInterrupt


def _walk(iterations: int | None, engine: Engine, seed: int, tell: Callable[[str], None]) -> Walks:
    """Run both programs as far as their last figure, and keep some points of what they print."""
    finished: list[Finished] = []
    printed: dict[str, list[Printed]] = {}
    for event in library.replay_whole(FOLDER, iterations, engine, seed):
        match event:
            case Program():
                name = event.preset
                last = max(library.PUBLISHED[name]) + 1
                total = min(last, iterations or last)
                every = max(1, total // library.PRINT_EVERY // library.POINTS) * library.PRINT_EVERY
                printed[name] = []
            case Printed():
                tell(_progress(event, name, total))
                if event.iteration % every == 0:
                    printed[name].append(event)
            case Finished():
                finished.append(event)
    return Walks(seed, iterations, engine, tuple(finished), printed)


def _follow(name: str, events: Iterator[Event], tell: Callable[[str], None]) -> None:
    """Follow a run to its end; raises KeyboardInterrupt if a signal ended it."""
    for event in events:
        if isinstance(event, Progress):
            left = "" if event.left is None else f", {duration(event.left)} left"
            tell(f"{name} step {event.step:,} of {event.total:,}: loss {event.loss:.3f}{left}")
        elif isinstance(event, End) and event.reason == "interrupted":
            raise KeyboardInterrupt


def _progress(printed: Printed, name: str, iterations: int) -> str:
    n, seconds = printed.iteration, printed.seconds
    left = f", {duration(seconds * (iterations - n) / n)} left" if n else ""
    loss = f"summed loss {printed.smooth_sum:.2f}, {seconds:.1f} s{left}"
    return f"{name} iteration {n:,} of {iterations:,}: {loss}"


def _show(finished: list[Finished], speeds: list[Speed], seed: int) -> None:
    rows = [(run.program.preset, *_figure(figure)) for run in finished for figure in run.figures]
    times = [
        (s.preset, *(f"{median(t):,.0f}" for t in (s.reference, s.compiled)), f"{s.ratio:.1f}")
        for s in speeds
    ]
    echo(fill("Smoothed loss, summed over the characters of a step") + "\n")
    echo(table(("", "iteration", "published", "charloom", "seconds"), rows))
    echo("\n" + fill(_note([run.program for run in finished], seed)) + "\n")
    echo(fill(f"Time of one step, median of {len(speeds[0].ratios)} alternating turns") + "\n")
    echo(table(("", "reference, µs", "compiled, µs", "times faster"), times))


def _figure(figure: Figure) -> tuple[str, ...]:
    ours = ("not reached", "")
    if figure.printed is not None:
        ours = (f"{figure.printed.smooth_sum:.4f}", f"{figure.printed.seconds:.1f}")
    return f"{figure.iteration:,}", f"{figure.published:.4f}", *ours


def _note(programs: list[Program], seed: int) -> str:
    first, lengths = programs[0], " and ".join(str(program.T) for program in programs)
    return (
        f"The historic programs print the loss summed over the {lengths} characters of a step, "
        "smoothed by 0.999 and 0.001; divided by those characters, it is nats per character. They "
        f"were trained on an edition of about 45,110 characters; this one has {first.N:,}, "
        f"{first.V} of them different. They had no seed; this is seed {seed}, and figures differ "
        f"from seed to seed. Engine: {first.engine}, {first.dtype}."
    )
