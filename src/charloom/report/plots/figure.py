"""Curves -> a matplotlib figure, with nats at its left and bits at its right. Never pyplot."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charloom.analysis.curves import Axis, Curve, Value, spread
from charloom.errors import CharloomError
from charloom.formatting import LN2, count
from charloom.report.plots.annotations import mark_samples, mark_setbacks, strip
from charloom.report.plots.smoothing import Line, outline, smooth
from charloom.report.plots.style import Look, plain_style, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWER = 0.55  # height of the panels below the first, of its own
STRIP = 5  # samples in the strip below a plot
LETTER, HANDLE = 5.4, 50  # points: of a letter in the legend, and of a line and gap beside it
MARKED = 40  # looks at held-out text, up to which each has a mark
SKIP = 0.02  # of a linear axis: what is higher there than anywhere after is cut off
LABELS = {
    "loss": "nats per character",
    "rate": "learning rate",
    "gradient-norm": "gradient norm",
    "characters": "characters read",
    "seconds": "seconds of training",
    "steps": "steps",
}
FIELDS = {"rate": "rate", "gradient-norm": "gradient_norm"}
SUBDIVISIONS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)  # where an axis has no power of ten
DASHES = ("-", "--", ":", "-.")  # once all colours are taken


def draw(curves: Sequence[Curve], look: Look) -> "Figure":
    """Draw curves over one another, a panel for each of `look.values`.

    Raises CharloomError where matplotlib is not installed or there is nothing to draw.
    """
    for value in look.values:
        if not any(_has(curve, look.axis, value) for curve in curves):
            raise CharloomError(_nothing(curves, value))
    with plain_style(look.palette):
        from matplotlib.figure import Figure

        samples = spread(curves[0].samples, STRIP) if look.strip and len(curves) == 1 else []
        below = 0.22 * len(samples) + 0.15 if samples else 0.0
        panels = len(look.values)
        figure = Figure((look.width, look.height * (1 + LOWER * (panels - 1)) + below))
        figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        heights = [1.0] + [LOWER] * (panels - 1)
        heights += [below / (0.85 * look.height)] if samples else []
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        first: Axes | None = None
        for row, value in enumerate(look.values):
            axes = figure.add_subplot(grid[row], sharex=first)
            first = first or axes
            _panel(axes, curves, value, look)
            axes.tick_params(labelbottom=row == panels - 1)
            if row == panels - 1:
                axes.set_xlabel(LABELS[look.axis])
        assert first is not None
        if samples:
            mark_samples(first, curves[0], samples, look)
            strip(figure.add_subplot(grid[panels]), samples, look.palette)
        if look.title:
            figure.suptitle(_title(curves), x=0.012, ha="left", fontsize=11, fontweight="bold")
    return figure


def _panel(axes: "Axes", curves: Sequence[Curve], value: Value, look: Look) -> None:
    if look.log:
        axes.set_xscale("log")
    if look.log_y:
        axes.set_yscale("log")
    keys: list[tuple[Any, str]] = []
    lines: list[Line] = []
    for number, curve in enumerate(curves):
        colour = look.palette.series[number % len(look.palette.series)]
        dash = DASHES[number // len(look.palette.series) % len(DASHES)]
        if value == "loss":
            drawn, named = _losses(axes, curve, look, colour, dash, alone=len(curves) == 1)
        else:
            drawn, named = _one(axes, curve, value, look, colour, dash)
        lines += drawn
        keys += named
    if value == "loss" and len(curves) > 1:
        (thin,) = axes.plot([], [], color=look.palette.faint, linewidth=0.9)
        keys.append((thin, "thin: on training text"))
    _limit(axes, lines, look)
    if look.log:
        _plain_logarithm(axes.xaxis, (1.0, 2.0, 5.0))
    axes.xaxis.set_major_formatter(thousands())
    axes.set_ylabel(LABELS[value])
    if look.log_y:
        _plain_logarithm(axes.yaxis, SUBDIVISIONS if value == "loss" else (1.0,))
    if value == "loss":
        _bits(axes, look)
    for curve in curves:
        mark_setbacks(axes, curve, look)
    if len(curves) > 1 or value == "loss":
        _legend(axes, keys, look)


def _legend(axes: "Axes", keys: Sequence[tuple[Any, str]], look: Look) -> None:
    """Name the lines above the axes, where no curve can be."""
    longest = max(len(label) for _, label in keys)
    columns = int(72 * look.width / (LETTER * longest + HANDLE))
    legend = axes.legend(
        [handle for handle, _ in keys],
        ["x"] * len(keys),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        borderpad=0,
        handlelength=1.6,
        ncols=max(1, min(len(keys), columns)),
    )
    for text, (_, label) in zip(legend.get_texts(), keys, strict=True):
        text.set_text(label)  # legend itself passes over labels with _ before them


def _losses(
    axes: "Axes", curve: Curve, look: Look, colour: str, dash: str, alone: bool
) -> tuple[list[Line], list[tuple[Any, str]]]:
    """Draw training and held-out loss; returns what was drawn, and handles with their names.

    One run has a colour for each of the two. Several have one each, and held-out loss is the
    strong line.
    """
    if curve.is_level:
        return _level(axes, curve, colour, dash)
    training = Line(*curve.series(look.axis, "training"))
    held_out = Line(*curve.series(look.axis, "held_out"))
    even = smooth(training)
    strong = look.palette.series[1] if alone else colour
    keys = []
    if training.x:
        weak = 1.0 if alone or not held_out.x else 0.5
        if alone:
            raw = outline(training, look.log)
            axes.plot(raw.x, raw.y, color=colour, linewidth=0.8, alpha=0.28)
        thin = outline(even, look.log)
        (handle,) = axes.plot(
            thin.x, thin.y, color=colour, linewidth=0.9 + 0.5 * alone, alpha=weak, linestyle=dash
        )
        if alone or not held_out.x:
            keys.append((handle, "training" if alone else f"{curve.name}, training alone"))
    if held_out.x:
        shown = outline(held_out, look.log)
        mark = "o" if len(held_out.x) <= MARKED else None
        (handle,) = axes.plot(
            shown.x, shown.y, color=strong, linewidth=2, linestyle=dash, marker=mark, markersize=3.5
        )
        keys.append((handle, _held_out_label(curve, alone)))
        _mark_best(axes, curve, look, strong)
    return [even, held_out], keys


def _level(
    axes: "Axes", curve: Curve, colour: str, dash: str
) -> tuple[list[Line], list[tuple[Any, str]]]:
    """Draw the held-out loss of a model that learns in one step, as the others' mark to beat."""
    (point,) = curve.points
    assert point.held_out is not None
    handle = axes.axhline(
        point.held_out, color=colour, linewidth=1.4, dashes=(6, 3) if dash == "-" else (2, 2)
    )
    return [Line([math.inf], [point.held_out])], [(handle, _held_out_label(curve, alone=False))]


def _held_out_label(curve: Curve, alone: bool) -> str:
    best = curve.best
    assert best is not None
    assert best.held_out is not None
    figures = f"{best.held_out:.3f} nats, {best.held_out / LN2:.3f} bits"
    if alone:
        return f"held-out, best {figures}, step {best.step:,}"
    return f"{curve.name}: {figures}"


def _mark_best(axes: "Axes", curve: Curve, look: Look, colour: str) -> None:
    best = curve.best
    assert best is not None
    place = curve.place(look.axis, best.step)
    if place is not None and best.held_out is not None:
        axes.plot(
            [place],
            [best.held_out],
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.6,
            clip_on=False,
        )


def _one(
    axes: "Axes", curve: Curve, value: Value, look: Look, colour: str, dash: str
) -> tuple[list[Line], list[tuple[Any, str]]]:
    line = Line(*curve.series(look.axis, FIELDS[value]))
    if not line.x:
        return [], []
    even = line
    if value == "gradient-norm":
        raw = outline(line, look.log)
        axes.plot(raw.x, raw.y, color=colour, linewidth=0.8, alpha=0.28)
        even = smooth(line)
    thin = outline(even, look.log)
    (handle,) = axes.plot(thin.x, thin.y, color=colour, linewidth=1.6, linestyle=dash)
    return [even], [(handle, curve.name)]


def _limit(axes: "Axes", lines: Sequence[Line], look: Look) -> None:
    """Leave out the fall from the first losses, which would press all the rest together."""
    end = max((x for line in lines for x in line.x[-1:] if x < math.inf), default=1.0)
    first = min((line.x[0] for line in lines if line.x), default=0.0)
    begin = 0.0 if look.log else first + SKIP * (end - first)
    shown = [y for line in lines for x, y in zip(line.x, line.y, strict=True) if x >= begin]
    low, high = min(shown), max(shown)
    if not look.log_y:
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room if low > room else 0.0, high + room)
    if not look.log:
        axes.set_xlim(0, end * 1.01)


def _bits(axes: "Axes", look: Look) -> None:
    both: Any = (lambda nats: nats / LN2, lambda bits: bits * LN2)
    right = axes.secondary_yaxis("right", functions=both)
    right.set_ylabel("bits per character", color=look.palette.faint)
    right.spines["right"].set_visible(False)
    right.tick_params(size=0, which="both", labelcolor=look.palette.faint)
    if look.log_y:
        _plain_logarithm(right.yaxis, SUBDIVISIONS)


def _plain_logarithm(axis: Any, subdivisions: Sequence[float]) -> None:
    """Write 1.5, 2, 3 or 0.01, 0.1 beside a logarithmic axis, not powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(10, subs=subdivisions))
    axis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.set_minor_locator(NullLocator())


def _title(curves: Sequence[Curve]) -> str:
    if len(curves) == 1:
        return f"{curves[0].name}: {curves[0].model}, on {curves[0].text}"
    texts = [*dict.fromkeys(curve.text for curve in curves)]
    return f"{count(len(curves), 'run')} on {', '.join(texts)}"


def _has(curve: Curve, axis: Axis, value: Value) -> bool:
    fields = ("training", "held_out") if value == "loss" else (FIELDS[value],)
    return not curve.is_level and any(curve.series(axis, field)[0] for field in fields)


def _nothing(curves: Sequence[Curve], value: Value) -> str:
    which = ", ".join(curve.name for curve in curves)
    if all(curve.is_level for curve in curves):
        return f"{which} learned in one step, and has no curve: name a run of a network beside it"
    what = LABELS[value] if value != "loss" else "loss"
    return (
        f"{which}: metrics.jsonl holds no {what} that could be drawn; the run of a network has "
        "losses after its first steps, and a gradient norm where --clip-norm is set"
    )
