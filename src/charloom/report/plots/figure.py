"""Curves -> a matplotlib figure with nats on its left and bits on its right. Never pyplot."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.analysis.curves import Axis, Curve, Value, spread
from charloom.errors import CharloomError
from charloom.formatting import LN2, count, printable, short_number
from charloom.report.plots.smoothing import Line, smooth, thin
from charloom.report.plots.style import Level, Look, Palette, plain_style
from charloom.training.events import Sampled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOWER_HEIGHT = 0.55  # of the panels below the first, of its height
SAMPLES = 5  # below the curves
SAMPLE_LENGTH = 110  # characters of each
LETTER_POINTS, HANDLE_POINTS = 5.4, 50  # width in the legend: of a letter; of a line and its gaps
MARKED_EVALUATIONS = 40  # at most, for each to have a mark
SKIPPED_SHARE = 0.02  # of a linear axis: a loss there that is higher than all others is cut off
LABELS = {
    "loss": "nats per character",
    "rate": "learning rate",
    "gradient-norm": "gradient norm",
    "characters": "characters read",
    "seconds": "seconds of training",
    "steps": "steps",
}
FIELDS = {"rate": "rate", "gradient-norm": "gradient_norm"}
SUBDIVISIONS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)  # of a logarithmic axis of losses
DASHES = ("-", "--", ":", "-.")  # once all colours are used

Key = tuple[Any, str]  # a handle and its label in the legend


def draw(curves: Sequence[Curve], look: Look, levels: Sequence[Level] = ()) -> "Figure":
    """Draw curves over one another, a panel for each of `look.values`, and levels beside losses.

    What belongs to curve k has the id run-k, and to level k level-k. Raises CharloomError if
    matplotlib is not installed or there is nothing to draw.
    """
    for value in look.values:
        if not any(has_curve(curve, look.axis, value) for curve in curves):
            raise _nothing(curves, value)
    with plain_style(look.palette):
        from matplotlib.figure import Figure

        samples = spread(curves[0].samples, SAMPLES) if look.samples and len(curves) == 1 else []
        below = 0.22 * len(samples) + 0.15 if samples else 0.0
        lower = len(look.values) - 1
        figure = Figure((look.width, look.height * (1 + LOWER_HEIGHT * lower) + below))
        figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        heights = [1.0, *[LOWER_HEIGHT] * lower]
        heights += [below / (0.85 * look.height)] if samples else []
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        panels: list[Axes] = []
        for row, value in enumerate(look.values):
            panels.append(figure.add_subplot(grid[row], sharex=panels[0] if panels else None))
            _panel(panels[row], curves, value, look, levels)
            panels[row].tick_params(labelbottom=row == lower)
        panels[-1].set_xlabel(LABELS[look.axis])
        if samples:
            _mark_samples(panels[0], curves[0], samples, look)
            _write_samples(figure.add_subplot(grid[-1]), samples, look.palette)
        if not look.on_page:
            names = ", ".join(dict.fromkeys(curve.text for curve in curves))
            title = f"{count(len(curves), 'run')} on {names}"
            if len(curves) == 1:
                title = f"{curves[0].name}: {curves[0].model}, trained on {names}"
            figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
    return figure


def has_curve(curve: Curve, axis: Axis, value: Value) -> bool:
    """Return whether a curve has a line for a value."""
    fields = ("training", "held_out") if value == "loss" else (FIELDS[value],)
    return not curve.is_level and any(curve.series(axis, field)[0] for field in fields)


def _panel(
    axes: "Axes", curves: Sequence[Curve], value: Value, look: Look, levels: Sequence[Level]
) -> None:
    if look.log:
        axes.set_xscale("log")
    if look.log_y:
        axes.set_yscale("log")
    keys: list[Key] = []
    lines: list[Line] = []
    colours = look.palette.series
    for number, curve in enumerate(curves):
        before = {*axes.get_children()}
        colour, dash = colours[number % len(colours)], DASHES[number // len(colours) % len(DASHES)]
        if value == "loss":
            drawn, named = _losses(axes, curve, look, colour, dash, alone=len(curves) == 1)
        else:
            drawn, named = _one(axes, curve, value, look, colour, dash)
        lines += drawn
        keys += named
        _mark_rollbacks(axes, curve, look)
        for artist in {*axes.get_children()} - before:
            artist.set_gid(f"run-{number}")
    if value == "loss":
        lines += _levels(axes, levels, look)
    if value == "loss" and len(curves) > 1 and not look.on_page:
        (handle,) = axes.plot([], [], color=look.palette.faint, linewidth=0.9)
        keys.append((handle, "thick: validation, thin: training"))
    _limit(axes, lines, look)
    if look.log:
        _plain_logarithm(axes.xaxis, (1.0, 2.0, 5.0))
    axes.xaxis.set_major_formatter(lambda x, _: short_number(x))
    axes.set_ylabel(LABELS[value])
    if look.log_y:
        _plain_logarithm(axes.yaxis, SUBDIVISIONS if value == "loss" else (1.0,))
    if value == "loss":
        _bits(axes, look)
    if not look.on_page and (len(curves) > 1 or value == "loss"):
        _legend(axes, keys, look)


def _legend(axes: "Axes", keys: Sequence[Key], look: Look) -> None:
    """Name the lines above the axes, where no curve can be."""
    longest = max(len(label) for _, label in keys)
    columns = int(72 * look.width / (LETTER_POINTS * longest + HANDLE_POINTS))
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
        text.set_text(label)  # legend itself leaves out labels that begin with _


def _losses(
    axes: "Axes", curve: Curve, look: Look, colour: str, dash: str, alone: bool
) -> tuple[list[Line], list[Key]]:
    """Draw training and validation loss; returns the lines, and their keys.

    Both have the colour of the run, and validation loss is the strong line.
    """
    if curve.is_level:
        return _level(axes, curve, colour, dash)
    training, held_out = (_line(curve, look, field) for field in ("training", "held_out"))
    even = smooth(training)
    only = not len(held_out.x)
    keys = []
    if len(training.x):
        if alone:
            _plot(axes, training, look, color=colour, linewidth=0.8, alpha=0.2)
        alpha, width = (1.0, 1.4) if only else (0.55, 1.1)
        style = {"color": colour, "linewidth": width, "alpha": alpha, "linestyle": dash}
        handle = _plot(axes, even, look, **style)
        if alone or only:
            keys.append((handle, "training" if alone else f"{curve.name}, training only"))
    if not only:
        mark = "o" if len(held_out.x) <= MARKED_EVALUATIONS else None
        style = {"color": colour, "linewidth": 2, "linestyle": dash}
        handle = _plot(axes, held_out, look, marker=mark, markersize=3.5, **style)
        keys.append((handle, _held_out_label(curve, alone)))
        best = int(held_out.y.argmin())
        ring: Any = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.6}
        axes.plot(held_out.x[best], held_out.y[best], "o", markersize=9, clip_on=False, **ring)
    return [even, held_out], keys


def _level(axes: "Axes", curve: Curve, colour: str, dash: str) -> tuple[list[Line], list[Key]]:
    """Draw the validation loss of a model that is trained in one step, as a baseline."""
    (point,) = curve.points
    assert point.held_out is not None
    dashes = (6, 3) if dash == "-" else (2, 2)
    handle = axes.axhline(point.held_out, color=colour, linewidth=1.4, dashes=dashes)
    line = Line(np.array([math.inf]), np.array([point.held_out]))
    return [line], [(handle, _held_out_label(curve, alone=False))]


def _levels(axes: "Axes", levels: Sequence[Level], look: Look) -> list[Line]:
    """Draw losses of what is no run, the lowest named below its line, the others above theirs."""
    lowest = min(levels, key=lambda level: level.nats, default=None)
    for number, level in enumerate(levels):
        color, gid = look.palette.faint, f"level-{number}"
        axes.axhline(level.nats, color=color, linewidth=1.2, linestyle=(0, (1, 2)), gid=gid)
        below = level is lowest and len(levels) > 1
        axes.annotate(
            level.name,
            (0.995, level.nats),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, -2 if below else 2),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            color=color,
            fontsize=8,
            gid=gid,
        )
    return [Line(np.array([math.inf]), np.array([level.nats])) for level in levels]


def _held_out_label(curve: Curve, alone: bool) -> str:
    best = curve.best
    assert best is not None
    assert best.held_out is not None
    figures = f"{best.held_out:.3f} nats, {best.held_out / LN2:.3f} bits"
    if alone:
        return f"validation: {figures}, step {best.step:,}"
    return f"{curve.name}: {figures}"


def _one(
    axes: "Axes", curve: Curve, value: Value, look: Look, colour: str, dash: str
) -> tuple[list[Line], list[Key]]:
    line = _line(curve, look, FIELDS[value])
    if not len(line.x):
        return [], []
    if value == "gradient-norm":
        _plot(axes, line, look, color=colour, linewidth=0.8, alpha=0.28)
        line = smooth(line)
    return [line], [
        (_plot(axes, line, look, color=colour, linewidth=1.6, linestyle=dash), curve.name)
    ]


def _line(curve: Curve, look: Look, field: str) -> Line:
    return Line(*(np.array(values) for values in curve.series(look.axis, field)))


def _plot(axes: "Axes", line: Line, look: Look, **style: Any) -> Any:
    (handle,) = axes.plot(*thin(line, look.log), **style)
    return handle


def _limit(axes: "Axes", lines: Sequence[Line], look: Look) -> None:
    """Leave out the fall from the first losses, which would press all the rest together."""
    ends = [line.x[-1] for line in lines if len(line.x) and line.x[-1] < math.inf]
    end = max(ends, default=1.0)
    first = min((line.x[0] for line in lines if len(line.x)), default=0.0)
    begin = 0.0 if look.log else first + SKIPPED_SHARE * (end - first)
    shown = np.concatenate([line.y[line.x >= begin] for line in lines])
    low, high = float(shown.min()), float(shown.max())
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
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(10, subs=subdivisions))
    axis.set_major_formatter(lambda y, _: f"{y:g}")
    axis.set_minor_locator(NullLocator())


def _mark_rollbacks(axes: "Axes", curve: Curve, look: Look) -> None:
    """Draw a line where a run returned to a checkpoint, with half the learning rate."""
    for rollback in curve.setbacks:
        place = curve.place(look.axis, rollback.to)
        if place is not None and (place > 0 or not look.log):
            axes.axvline(place, color=look.palette.faint, linewidth=1, linestyle=(0, (1, 2)))


def _mark_samples(axes: "Axes", curve: Curve, samples: Sequence[Sampled], look: Look) -> None:
    """Number the places on the axis where samples were generated."""
    for number, sample in enumerate(samples, 1):
        place = curve.place(look.axis, sample.step)
        if place is not None:
            axes.annotate(
                str(number),
                (place, 0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="center",
                fontsize=7,
                color=look.palette.paper,
                bbox={"boxstyle": "circle,pad=0.25", "fc": look.palette.faint, "ec": "none"},
                annotation_clip=False,
                zorder=5,
            )


def _write_samples(axes: "Axes", samples: Sequence[Sampled], palette: Palette) -> None:
    """Write the beginnings of samples below each other, numbered as on the axis."""
    axes.set_axis_off()
    axes.set_ylim(len(samples) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    width = max(len(f"{sample.step:,}") for sample in samples)
    for number, sample in enumerate(samples, 1):
        words = " ".join(printable(sample.text).split())
        text = words if len(words) <= SAMPLE_LENGTH else words[: SAMPLE_LENGTH - 1] + "…"
        label = f"{number}  step {sample.step:>{width},}  "
        style: dict[str, Any] = {"family": "monospace", "fontsize": 7.5, "va": "center"}
        style["in_layout"] = False
        axes.text(0, number - 1, label, color=palette.faint, **style)
        axes.text(0.0085 * len(label), number - 1, text, color=palette.ink, **style)


def _nothing(curves: Sequence[Curve], value: Value) -> CharloomError:
    which = ", ".join(curve.name for curve in curves)
    if all(curve.is_level for curve in curves):
        message = f"{which} was trained in one step and has no curve: add a run of a network"
    else:
        what = LABELS[value] if value != "loss" else "loss"
        message = (
            f"{which}: metrics.jsonl has no {what} to plot; a network's run has losses after its "
            "first steps, and a gradient norm if --clip-norm is set"
        )
    return CharloomError(message, "unsupported", field=value)
