"""Marks in and below the curves: rollbacks, and samples from training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charloom.analysis.curves import Curve, Sample
from charloom.formatting import printable
from charloom.report.plots.style import Look, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAMPLE_LENGTH = 110  # characters of a sample below the curves


def mark_rollbacks(axes: "Axes", curve: Curve, look: Look) -> None:
    """Draw a line where a run returned to a checkpoint, with half the learning rate."""
    for rollback in curve.setbacks:
        place = curve.place(look.axis, rollback.to)
        if place is not None and (place > 0 or not look.log):
            axes.axvline(place, color=look.palette.faint, linewidth=1, linestyle=(0, (1, 2)))


def mark_samples(axes: "Axes", curve: Curve, samples: Sequence[Sample], look: Look) -> None:
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


def write_samples(axes: "Axes", samples: Sequence[Sample], palette: Palette) -> None:
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
