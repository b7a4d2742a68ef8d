"""The page of `charloom replay --all`: published figures beside ours, curves, and samples."""

from collections.abc import Mapping, Sequence

from charloom.analysis.curves import Curve, Point
from charloom.report.pages import page
from charloom.report.plots.images import inline_svg
from charloom.report.plots.style import Look
from charloom.training.replay import Finished, Printed

SIZES = (("wide", 9.0, 4.0), ("narrow", 3.9, 3.2))  # inches: of a page, and of a phone


def replay_page(
    finished: Sequence[Finished],
    printed: Mapping[str, Sequence[Printed]],
    curves: Sequence[Curve],
    seed: int,
) -> str:
    """Return the page of both programs, with what each `printed`, and of runs with their curves.

    Raises CharloomError if jinja2 or matplotlib is not installed.
    """
    walks = [walk_curve(run, printed[run.program.preset]) for run in finished]
    return page(
        "replay.html",
        title="Historic programs, run again",
        seed=seed,
        finished=finished,
        walks=_pictures(walks, "walks", log=True),
        curves=curves,
        pictures=[_pictures([one], f"run-{k}") for k, one in enumerate(curves)],
    )


def walk_curve(run: Finished, printed: Sequence[Printed]) -> Curve:
    """Return the smoothed loss of a program as a curve, in nats per character."""
    T, name = run.program.T, run.program.preset
    points = (Point(p.iteration, training=p.smooth_sum / T) for p in printed if p.iteration)
    return Curve(name, name, "", tuple(points), (), ())


def _pictures(curves: Sequence[Curve], name: str, log: bool = False) -> list[tuple[str, str]]:
    """Return two pictures of the same, for a page and for a phone."""
    if not any(curve.points for curve in curves):
        return []
    label = f"Loss against steps: {', '.join(curve.name for curve in curves)}"
    return [
        (
            kind,
            inline_svg(curves, Look("steps", log=log, width=w, height=h), f"{name}-{kind}", label),
        )
        for kind, w, h in SIZES
    ]
