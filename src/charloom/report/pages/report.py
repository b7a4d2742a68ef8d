"""A report -> one HTML page. The template gets words and pictures, and decides nothing."""

from collections.abc import Sequence
from itertools import product
from typing import Any, get_args

from charloom.analysis.curves import Axis, Curve, Value
from charloom.analysis.surprise import difference
from charloom.formatting import LN2, duration, printable, short_number
from charloom.progress import Tell, say_nothing
from charloom.report.contents import Report, Subject
from charloom.report.pages import page
from charloom.report.pages.neurons import neurons_view
from charloom.report.pages.surprise import surprise_view
from charloom.report.pages.tables import comparison_view, keywords_view, novelty_view
from charloom.report.plots.images import inline_svg
from charloom.report.plots.style import LIGHT, Look

WIDE, NARROW = (9.0, 4.0), (3.9, 3.2)  # inches: the figures of a page, and those of a phone


def report_page(report: Report, tell: Tell = say_nothing) -> str:
    """Return the page; raises CharloomError where jinja2 or matplotlib is not installed."""
    subjects = report.subjects
    tell("drawing the curves")
    return page(
        "report.html",
        title=_title(subjects),
        several=len(subjects) > 1,
        made=f"{report.made:%d %B %Y, %H:%M}".lstrip("0"),
        version=report.version,
        runs=[_run(subject, number) for number, subject in enumerate(subjects)],
        curves=_curves([subject.curve for subject in subjects]),
        comparison=comparison_view(
            report.comparison,
            {s.path: (s.name, _colour(number)) for number, s in enumerate(subjects)},
        ),
        surprises=_surprises(subjects),
        neurons_found=[_neurons(subject, number) for number, subject in enumerate(subjects)],
    )


def _title(subjects: Sequence[Subject]) -> str:
    if len(subjects) == 1:
        return f"What {subjects[0].name} learned"
    return f"What {len(subjects)} runs learned"


def _run(subject: Subject, number: int) -> dict[str, Any]:
    curve, best, origin = subject.curve, subject.curve.best, subject.origin
    return {
        "name": subject.name,
        "colour": _colour(number),
        "model": curve.model,
        "text": curve.text,
        "characters": origin.characters,
        "tiles": _tiles(subject),
        "nats": None if best is None else best.held_out,
        "findings": subject.findings,
        "samples": [_sample(curve, sample.step, sample.text) for sample in subject.samples],
        "wrote": subject.wrote,
        "path": subject.path,
        "novelty": novelty_view(subject.studies),
        "keywords": keywords_view(subject.studies.keywords),
        "origin": origin,
    }


def _colour(number: int) -> str:
    """The colour that a run has in the curves."""
    return f"var(--series-{number % len(LIGHT.series)})"


def _tiles(subject: Subject) -> list[tuple[str, str, str]]:
    """The figures at the top: each with its unit, and a line on what it is."""
    curve, best = subject.curve, subject.curve.best
    tiles = []
    if best is not None and best.held_out is not None:
        tiles.append((f"{best.held_out / LN2:.3f}", "bits per character", "on held-out text"))
        tiles.append((f"{best.held_out:.3f}", "nats per character", f"at step {best.step:,}"))
    if subject.parameters is not None:
        tiles.append((short_number(subject.parameters), "numbers", "that were learned"))
    last = curve.points[-1] if curve.points else None
    if last is not None and last.seconds is not None:
        steps = "1 step" if last.step == 1 else f"{last.step:,} steps"
        tiles.append((duration(last.seconds), "of training", steps))
    if last is not None and last.characters is not None:
        tiles.append((short_number(last.characters), "characters", "were read"))
    return tiles


def _surprises(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    """A view for each run; of two that have read the same text, one of both."""
    found = [(subject.name, subject.studies.surprise.found) for subject in subjects]
    read = [(name, surprise) for name, surprise in found if surprise is not None]
    if len(subjects) == len(read) == 2 and read[0][1].text == read[1][1].text:
        between = difference(read[0][1], read[1][1])
        both = f"{read[0][0]} and {read[1][0]}"
        view = surprise_view(both, subjects[0].studies.source, read, between)
        return [{"name": both, "why": "", "view": view}]
    views: list[dict[str, Any]] = []
    for number, subject in enumerate(subjects):
        part, source = subject.studies.surprise, subject.studies.source
        one = None
        if part.found is not None:
            one = surprise_view(subject.name, source, [(subject.name, part.found)])
        colour = _colour(number)
        views.append({"name": subject.name, "colour": colour, "why": part.why, "view": one})
    return views


def _neurons(subject: Subject, number: int) -> dict[str, Any]:
    part, source = subject.studies.neurons, subject.studies.source
    view = None if part.found is None else neurons_view(subject.name, source, part.found)
    return {"name": subject.name, "colour": _colour(number), "why": part.why, "view": view}


def _sample(curve: Curve, step: int, text: str) -> dict[str, Any]:
    """A sample, with the held-out loss of the look that was nearest before or at it."""
    before = [p for p in curve.points if p.step <= step and p.held_out is not None]
    nats = before[-1].held_out if before else None
    return {"step": step, "text": printable(text).strip("\n"), "nats": nats}


def _curves(curves: Sequence[Curve]) -> dict[str, Any]:
    """The pictures: losses on each axis, linear and logarithmic, then rates and norms."""
    drawn = [curve for curve in curves if not curve.is_level]
    if not any(curve.points for curve in drawn):
        return {"why": _no_curve(curves)}
    axes = [axis for axis in get_args(Axis) if any(c.series(axis, "step")[0] for c in drawn)]
    losses = [
        {
            "axis": axis,
            "scale": "log" if log else "linear",
            "pictures": _pictures(curves, axis, ("loss",), log),
        }
        for axis, log in product(axes, (False, True))
    ]
    fields: dict[Value, str] = {"rate": "rate", "gradient-norm": "gradient_norm"}
    others = tuple(
        v for v, field in fields.items() if any(c.series("steps", field)[0] for c in drawn)
    )
    return {
        "why": "",
        "axes": axes,
        "losses": losses,
        "others": _pictures(drawn, "steps", others, False) if others else [],
        "with_norm": "gradient-norm" in others,
    }


def _pictures(
    curves: Sequence[Curve], axis: Axis, values: tuple[Value, ...], log: bool
) -> list[tuple[str, str]]:
    """Two pictures of the same: one for a page's width and one for a phone's."""
    what = "Training and held-out loss" if values == ("loss",) else "Learning rate"
    label = f"{what} against {axis}: {', '.join(curve.name for curve in curves)}"
    found = []
    for kind, (width, height) in (("wide", WIDE), ("narrow", NARROW)):
        height = height if values == ("loss",) else 0.6 * height
        look = Look(axis, values, log, width=width, height=height, title=False)
        name = f"{values[0]}-{axis}-{'log' if log else 'linear'}-{kind}"
        found.append((kind, inline_svg(curves, look, name, label)))
    return found


def _no_curve(curves: Sequence[Curve]) -> str:
    if all(curve.is_level for curve in curves):
        return "An n-gram model counts its text in one step, and has no curve."
    return "No losses have been written down yet: metrics.jsonl is empty."
