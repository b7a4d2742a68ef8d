"""A report -> one HTML page. The template gets rows and pictures, and decides nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np

from charloom import __version__
from charloom.analysis.comparison import Comparison, verdict
from charloom.analysis.curves import Axis, Curve, Point, Value
from charloom.analysis.novelty import MARKED_LENGTH, SHOWN_LENGTHS, Copy
from charloom.analysis.novelty import verdict as novelty_verdict
from charloom.analysis.surprise import difference
from charloom.formatting import LN2, count, duration, short_number, whole_words
from charloom.progress import Tell, say_nothing
from charloom.report.contents import Report, Subject, Writing
from charloom.report.pages import check as check_page
from charloom.report.pages import page
from charloom.report.pages.neurons import neurons_view
from charloom.report.pages.surprise import surprise_view
from charloom.report.plots.figure import has_curve
from charloom.report.plots.images import inline_svg
from charloom.report.plots.smoothing import Line, smooth
from charloom.report.plots.style import LIGHT, Level, Look
from charloom.report.plots.style import check as check_plot
from charloom.training.advice import Finding

WIDE, NARROW = (9.0, 4.0), (3.9, 3.2)  # inches: the figures of a page, and those of a phone
POINTS = 400  # of a curve, at most, whose values are shown
AROUND = 60  # characters of the source, before a copied passage and after it
NEURONS_LENGTH = 6_000  # characters that the page has with every cell's value
Marked = tuple[Subject, Mapping[str, Any]]  # a run and its colour
TITLES = {  # of the sections, in their order
    "verdict": "Verdict",
    "comparison": "Comparison",
    "diagnosis": "Diagnosis",
    "curves": "Learning curves",
    "samples": "Samples",
    "novelty": "Novelty",
    "keywords": "Keywords",
    "surprise": "Surprise",
    "neurons": "Neurons",
    "again": "Reproduction",
}


def check_report() -> None:
    """Raise CharloomError if jinja2 or matplotlib is not installed."""
    check_page()
    check_plot()


def report_page(report: Report, tell: Tell = say_nothing) -> str:
    """Return the page; raises CharloomError as `check_report` does."""
    subjects, compared = report.subjects, report.comparison.found
    losses = {subject.name: _loss(subject, report) for subject in subjects}
    runs = [(subject, _mark(k)) for k, subject in enumerate(subjects)]
    tell("plotting the curves")
    curves = _curves([subject.curve for subject in subjects], _levels(report), losses)
    left_out = set() if curves else {"curves"}
    if not any(s.neurons.found or s.neurons.why for s in subjects):
        left_out |= {"neurons"}
    return page(
        "report.html",
        title=f"Report on {subjects[0].name if len(subjects) == 1 else f'{len(subjects)} runs'}",
        made=f"{report.made:%d %B %Y, %H:%M}".lstrip("0"),
        version=__version__,
        sections={name: title for name, title in TITLES.items() if name not in left_out},
        runs=runs,
        tiles=_tiles(subjects[0], losses[subjects[0].name]) if len(subjects) == 1 else [],
        losses=losses,
        mixed=[s.name for s in subjects if s.curve.final and s.curve.final.mixture],
        drawn_of_part=any(_is_other(s.curve.best, losses[s.name]) for s in subjects),
        texts=dict.fromkeys(
            f"{s.curve.text} ({count(s.origin.characters, 'character')})" for s in subjects
        ),
        judged=verdict(compared) if compared else None,
        best=report.best,
        next=_next(report),
        nats_at=_nats_at,
        curves=curves,
        comparison=report.comparison,
        apart=report.apart,
        marks={subject.name: mark for subject, mark in runs},
        notes=_notes(compared) if compared else [],
        worst=_worst(compared) if compared else None,
        lengths=SHOWN_LENGTHS,
        novelty_verdict=novelty_verdict,
        marked=_marked,
        least=MARKED_LENGTH,
        surprises=_surprises(runs),
        neurons_views=[
            (s, mark, s.neurons.then(partial(neurons_view, _label(s), length=NEURONS_LENGTH)))
            for s, mark in runs
            if s.neurons.found or s.neurons.why
        ],
    )


def _mark(number: int) -> dict[str, Any]:
    """Return the colour of a run, the same everywhere, and whether another has it already."""
    colours = len(LIGHT.series)
    return {"colour": f"var(--series-{number % colours})", "again": number >= colours}


class Loss(NamedTuple):
    """A validation loss in nats per character, and what was scored to know it."""

    nats: float
    of: str


def _loss(subject: Subject, report: Report) -> Loss | None:
    """Return the validation loss of a run, the same figure wherever the page tells it.

    It is of all of the validation part if that was scored for the comparison or when the run
    ended; else it is what the run itself measured.
    """
    found, final, best = report.comparison.found, subject.curve.final, subject.curve.best
    if found is not None and found.part == "validation":
        for entry in found.static:
            if entry.kind == "run" and entry.name == subject.name:
                return Loss(entry.nats, f"all {count(found.characters, 'character')}")
    if final is not None and final.held_out:
        score = final.score
        whole = f"all {count(score.characters, 'character')}"
        part = score.whole and f"{score.characters:,} of {count(score.whole, 'character')}"
        return Loss(score.nats, part or whole)
    if best is None or best.held_out is None:
        return None
    return Loss(best.held_out, f"by the evaluation at step {best.step:,}")


def _tiles(subject: Subject, loss: Loss | None) -> list[tuple[str, str, str]]:
    """Return the figures at the top, each with its unit, and a line on what it is."""
    points, final = subject.curve.points, subject.curve.final
    tiles = []
    if loss is None and final is not None:  # nothing was held out
        tiles.append((f"{final.score.nats:.3f}", "nats per character", "on the training text"))
    if loss is not None:
        tiles.append((f"{loss.nats:.3f}", "nats per character", "validation loss"))
        tiles.append((f"{loss.nats / LN2:.3f}", "bits per character", loss.of))
    if subject.parameters is not None:
        tiles.append((short_number(subject.parameters), "parameters", "weights and biases"))
    if points and points[-1].seconds is not None:
        steps = count(points[-1].step, "step")
        tiles.append((duration(points[-1].seconds), "training time", steps))
    if points and points[-1].characters is not None:
        tiles.append((short_number(points[-1].characters), "characters read", "during training"))
    return tiles


def _next(report: Report) -> Finding | None:
    """Return what to do next, which is said of the best run or of the only one."""
    subject = report.best or report.subjects[0]
    if not subject.findings.found or (report.best is None and len(report.subjects) > 1):
        return None
    return subject.findings.found[0]


def _nats_at(curve: Curve, step: int) -> float | None:
    """Return the validation loss of the last evaluation up to a step."""
    before = [p.held_out for p in curve.points if p.step <= step and p.held_out is not None]
    return before[-1] if before else None


def _notes(found: Comparison) -> list[str]:
    return [*found.notes, *(f"{u.name} cannot read this text: {u.why}" for u in found.unread)]


def _worst(found: Comparison) -> float:
    """Return the loss that the longest bar stands for."""
    return max((e.nats for e in found.entries if math.isfinite(e.nats)), default=1.0)


def _levels(report: Report) -> list[Level]:
    """Return the best n-gram model and bz2, if all curves are of the text that they are on."""
    found = report.comparison.found
    curves = [subject.curve for subject in report.subjects if subject.curve.best is not None]
    counted = any(curve.is_level for curve in curves)  # then a run is the line
    if found is None or found.part != "validation":
        finals = {c.final.counted if c.final else None for c in curves if not c.is_level}
        ngram = finals.pop() if len(finals) == 1 and not counted else None
        return [Level(f"n-gram, order {ngram.order}", ngram.score.nats)] if ngram else []
    compared = {entry.name for entry in found.entries if entry.kind == "run"}
    if not {curve.name for curve in curves} <= compared:
        return []
    beside = [entry for entry in found.entries if entry.kind == "baseline"]
    wanted = ("bz2",) if counted else ("n-gram", "bz2")
    chosen = [next((e for e in beside if e.name.startswith(name)), None) for name in wanted]
    return [Level(entry.name, entry.nats) for entry in chosen if entry is not None]


def _is_other(best: Point | None, loss: Loss | None) -> bool:
    """Whether the lowest point of a curve is another figure than the run's loss."""
    if best is None or best.held_out is None or loss is None:
        return False
    return f"{best.held_out:.3f}" != f"{loss.nats:.3f}"


def _marked(writing: Writing, source: str) -> dict[str, Any]:
    """Return a generated text as pieces, each with the number of its copy or 0, and the copies."""
    _, end = whole_words(writing.text + "-", 0, len(writing.text))
    pieces: list[tuple[str, int]] = []
    place, copies = 0, [copy for copy in writing.copies if copy.start < end]
    for number, copy in enumerate(copies, 1):
        passage = writing.text[copy.start : min(end, copy.start + copy.length)]
        start = copy.start + len(passage) - len(passage.lstrip())
        pieces += [(writing.text[place:start], 0), (passage.strip(), number)]
        place = start + len(passage.strip())
    return {
        "pieces": [piece for piece in (*pieces, (writing.text[place:end], 0)) if piece[0]],
        "copies": [_from(copy, source) for copy in copies],
        "share": sum(copy.length for copy in writing.copies) / max(1, len(writing.text)),
    }


def _from(copy: Copy, source: str) -> dict[str, Any]:
    """Return where a copied passage comes from, with what is around it there."""
    start, end = copy.offset, copy.offset + copy.length
    low, _ = whole_words(source, max(0, start - AROUND), start)
    _, high = whole_words(source, end, min(len(source), end + AROUND))
    return {"found": copy, "before": source[low:start], "after": source[end:high]}


def _surprises(runs: Sequence[Marked]) -> list[dict[str, Any]]:
    """Return a view for the runs that have read the same text, of two with their difference."""
    groups: dict[str, list[Marked]] = {}
    for subject, mark in runs:
        read = subject.surprise
        groups.setdefault(read.found.text if read.found else read.why, []).append((subject, mark))
    views = []
    for group in groups.values():
        found = [(s.name, s.surprise.found) for s, _ in group if s.surprise.found]
        apart = difference(found[0][1], found[1][1]) if len(found) == 2 else None
        first, _ = group[0]
        view = surprise_view(_label(first), found, apart) if found else None
        views.append({"runs": group, "why": first.surprise.why, "view": view})
    return views


def _label(subject: Subject) -> str:
    return subject.read.found.label if subject.read.found else ""


def _curves(
    curves: Sequence[Curve], levels: Sequence[Level], losses: Mapping[str, Loss | None]
) -> dict[str, Any] | None:
    """Return the pictures: losses on each axis, linear and logarithmic, then rates and norms.

    None for n-gram models alone, which are trained in one step.
    """
    drawn = [curve for curve in curves if not curve.is_level]
    if not drawn:
        return None
    if not any(curve.points for curve in drawn):
        return {"why": "There are no losses yet: metrics.jsonl is empty."}
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
                "pictures": _pictures(curves, axis, ["loss"], log, levels),
            }
            for axis, log in product(axes, (False, True))
        ],
        "others": _pictures(curves, "steps", others, False) if others else [],
        "with_norm": "gradient-norm" in others,
        "choices": [*(f"axis-{axis}" for axis in axes), "scale-linear", "scale-log"],
        "lines": [f"run-{k}" for k in range(len(curves))]
        + [f"level-{k}" for k in range(len(levels))],
        "levels": levels,
        "data": {
            "runs": [
                {
                    "name": c.name,
                    "level": loss.nats if c.is_level and (loss := losses[c.name]) else None,
                    "points": [] if c.is_level else [*_points(c)],
                }
                for c in curves
            ],
            "levels": [{"name": level.name, "nats": level.nats} for level in levels],
        },
    }


def _points(curve: Curve) -> Iterator[dict[str, float | None]]:
    """Yield what is said where one points at a curve: its evaluations, or some of all lines."""
    known = [point for point in curve.points if point.training is not None]
    even = smooth(Line(*(np.array(v) for v in curve.series("steps", "training"))))
    training = dict(zip((point.step for point in known), even.y.tolist(), strict=True))
    shown = [p for p in curve.points if p.held_out is not None] or list(curve.points)
    best = curve.best
    for number, point in enumerate(shown):
        if number % (1 + len(shown) // POINTS) == 0 or point in (best, shown[-1]):
            yield {
                "steps": point.step,
                "characters": point.characters,
                "seconds": point.seconds,
                "validation": point.held_out,
                "training": training.get(point.step),
                "rate": point.rate,
                "gradient-norm": point.gradient_norm,
            }


def _pictures(
    curves: Sequence[Curve],
    axis: Axis,
    values: Sequence[Value],
    log: bool,
    levels: Sequence[Level] = (),
) -> list[tuple[str, str]]:
    """Return two pictures of the same: one for a page's width and one for a phone's."""
    losses = values == ["loss"]
    what = "Training and validation loss" if losses else "Learning rate"
    label = f"{what} against {axis}: {', '.join(curve.name for curve in curves)}"
    found = []
    for kind, (width, height) in (("wide", WIDE), ("narrow", NARROW)):
        height = height if losses else 0.6 * height
        look = Look(axis, tuple(values), log, width=width, height=height)
        name = f"{values[0]}-{axis}-{'log' if log else 'linear'}-{kind}"
        found.append((kind, inline_svg(curves, look, name, label, levels)))
    return found
