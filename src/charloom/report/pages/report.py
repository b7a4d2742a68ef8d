"""A report -> one HTML page. The template gets rows and pictures, and decides nothing."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, get_args

from charloom import __version__
from charloom.analysis.comparison import Comparison, verdict
from charloom.analysis.curves import Axis, Curve, Value
from charloom.analysis.novelty import SHOWN_LENGTHS
from charloom.analysis.novelty import verdict as novelty_verdict
from charloom.analysis.surprise import difference
from charloom.formatting import LN2, count, duration, short_number
from charloom.progress import Tell, say_nothing
from charloom.report.contents import Report, Subject
from charloom.report.pages import check as check_page
from charloom.report.pages import page
from charloom.report.pages.neurons import neurons_view
from charloom.report.pages.surprise import surprise_view
from charloom.report.plots.figure import has_curve
from charloom.report.plots.images import inline_svg
from charloom.report.plots.style import LIGHT, Look
from charloom.report.plots.style import check as check_plot

WIDE, NARROW = (9.0, 4.0), (3.9, 3.2)  # inches: the figures of a page, and those of a phone


def check_report() -> None:
    """Raise CharloomError if jinja2 or matplotlib is not installed."""
    check_page()
    check_plot()


def report_page(report: Report, tell: Tell = say_nothing) -> str:
    """Return the page; raises CharloomError as `check_report` does."""
    subjects = report.subjects
    colours = [f"var(--series-{k % len(LIGHT.series)})" for k in range(len(subjects))]
    tell("plotting the curves")
    return page(
        "report.html",
        title=f"Report on {subjects[0].name if len(subjects) == 1 else f'{len(subjects)} runs'}",
        made=f"{report.made:%d %B %Y, %H:%M}".lstrip("0"),
        version=__version__,
        runs=list(zip(subjects, colours, strict=True)),
        tiles={subject.path: _tiles(subject) for subject in subjects},
        nats_at=_nats_at,
        curves=_curves([subject.curve for subject in subjects]),
        comparison=report.comparison,
        compared=report.comparison.then(lambda c: _compared(c, subjects, colours)).found,
        lengths=SHOWN_LENGTHS,
        novelty_verdict=novelty_verdict,
        surprises=_surprises(subjects, colours),
        neurons_view=neurons_view,
    )


def _tiles(subject: Subject) -> list[tuple[str, str, str]]:
    """Return the figures at the top, each with its unit, and a line on what it is."""
    points, best = subject.curve.points, subject.curve.best
    tiles = []
    if best is not None and best.held_out is not None:
        tiles.append((f"{best.held_out / LN2:.3f}", "bits per character", "validation loss"))
        tiles.append((f"{best.held_out:.3f}", "nats per character", f"best, at step {best.step:,}"))
    if subject.parameters is not None:
        tiles.append((short_number(subject.parameters), "parameters", "weights and biases"))
    if points and points[-1].seconds is not None:
        steps = count(points[-1].step, "step")
        tiles.append((duration(points[-1].seconds), "training time", steps))
    if points and points[-1].characters is not None:
        tiles.append((short_number(points[-1].characters), "characters read", "during training"))
    return tiles


def _nats_at(curve: Curve, step: int) -> float | None:
    """Return the validation loss of the last evaluation up to a step."""
    before = [p.held_out for p in curve.points if p.step <= step and p.held_out is not None]
    return before[-1] if before else None


def _compared(
    found: Comparison, subjects: Sequence[Subject], colours: Sequence[str]
) -> dict[str, Any]:
    """Return what the page shows beside the entries of a comparison."""
    unread = [f"{u.name} cannot read this text: {u.why}" for u in found.unread]
    return {
        "colours": {s.name: colour for s, colour in zip(subjects, colours, strict=True)},
        "verdict": verdict(found),
        "notes": [*found.notes, *unread],
        "worst": max((e.bits for e in found.entries if math.isfinite(e.bits)), default=1.0),
    }


def _surprises(subjects: Sequence[Subject], colours: Sequence[str]) -> list[dict[str, Any]]:
    """Return a view for each run; for two that have read the same text, one of both."""
    found = [subject.surprise.found for subject in subjects]
    read = [(s.name, f) for s, f in zip(subjects, found, strict=True) if f is not None]
    if len(subjects) == len(read) == 2 and read[0][1].text == read[1][1].text:
        view = surprise_view(_label(subjects[0]), read, difference(read[0][1], read[1][1]))
        return [{"name": " and ".join(name for name, _ in read), "why": "", "view": view}]
    return [
        {
            "name": subject.name,
            "colour": colour,
            "why": subject.surprise.why,
            "view": one and surprise_view(_label(subject), [(subject.name, one)]),
        }
        for subject, colour, one in zip(subjects, colours, found, strict=True)
    ]


def _label(subject: Subject) -> str:
    assert subject.read.found is not None
    return subject.read.found.label


def _curves(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return the pictures: losses on each axis, linear and logarithmic, then rates and norms."""
    drawn = [curve for curve in curves if not curve.is_level]
    if not any(curve.points for curve in drawn):
        counted = all(curve.is_level for curve in curves)
        return {
            "why": "An n-gram model is trained in one step and has no curve."
            if counted
            else "There are no losses yet: metrics.jsonl is empty."
        }
    axes = [axis for axis in get_args(Axis) if any(c.series(axis, "step")[0] for c in drawn)]
    others: list[Value] = ["rate", "gradient-norm"]
    others = [value for value in others if any(has_curve(c, "steps", value) for c in drawn)]
    return {
        "why": "",
        "axes": axes,
        "losses": [
            {
                "axis": axis,
                "scale": "log" if log else "linear",
                "pictures": _pictures(curves, axis, ["loss"], log),
            }
            for axis, log in product(axes, (False, True))
        ],
        "others": _pictures(drawn, "steps", others, False) if others else [],
        "with_norm": "gradient-norm" in others,
    }


def _pictures(
    curves: Sequence[Curve], axis: Axis, values: Sequence[Value], log: bool
) -> list[tuple[str, str]]:
    """Return two pictures of the same: one for a page's width and one for a phone's."""
    losses = values == ["loss"]
    what = "Training and validation loss" if losses else "Learning rate"
    label = f"{what} against {axis}: {', '.join(curve.name for curve in curves)}"
    found = []
    for kind, (width, height) in (("wide", WIDE), ("narrow", NARROW)):
        height = height if losses else 0.6 * height
        look = Look(axis, tuple(values), log, width=width, height=height, title=False)
        name = f"{values[0]}-{axis}-{'log' if log else 'linear'}-{kind}"
        found.append((kind, inline_svg(curves, look, name, label)))
    return found
