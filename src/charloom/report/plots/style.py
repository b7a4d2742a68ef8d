"""How plots look: colours, sizes, axes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from charloom.analysis.curves import Axis, Value
from charloom.errors import needs_extra


class Palette(NamedTuple):
    """Colours of a plot; colour-blind people can tell `series` apart."""

    paper: str
    ink: str
    faint: str
    line: str
    series: tuple[str, ...]


# After Okabe & Ito 2008, "Color Universal Design", but each stands out from its paper. Grey is for
# what is no run.
LIGHT = Palette(
    paper="#ffffff",
    ink="#1d2129",
    faint="#5c6675",
    line="#dfe3e8",
    series=("#0072b2", "#d55e00", "#009e73", "#b8578f", "#6b3d00", "#3d9bd6"),
)
DARK = Palette(
    paper="#14171c",
    ink="#e4e7ec",
    faint="#98a2b3",
    line="#2f3641",
    series=("#58a6e8", "#f28b54", "#3fc49a", "#e29bc4", "#f0b840", "#9ad2f5"),
)


@dataclass(frozen=True)
class Level:
    """A loss to set beside curves, in nats per character: of what needs no training."""

    name: str
    nats: float


@dataclass(frozen=True)
class Look:
    """How a plot looks: axes, size in inches, and whether samples are below the curves.

    A page has a legend of its own, with what is switched on and off, and its text says the title.
    """

    axis: Axis = "characters"
    values: tuple[Value, ...] = ("loss",)
    log: bool = False
    log_y: bool = False
    width: float = 9.0
    height: float = 4.6
    palette: Palette = LIGHT
    samples: bool = False
    on_page: bool = False


def check() -> None:
    """Raise CharloomError if matplotlib is not installed: before the work that a plot takes."""
    with needs_extra("report", "a plot"):
        import matplotlib  # noqa: F401


@contextmanager
def plain_style(palette: Palette) -> Iterator[None]:
    """Set matplotlib's style for a while; raises CharloomError if it is not installed."""
    check()
    import matplotlib

    style: Any = {
        "font.size": 9,
        "text.parse_math": False,  # a $ in a name or a sample is a $
        "axes.edgecolor": palette.line,
        "axes.labelcolor": palette.faint,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": palette.line,
        "grid.linewidth": 0.7,
        "figure.facecolor": palette.paper,
        "text.color": palette.ink,
        "xtick.color": palette.line,
        "ytick.color": palette.line,
        "xtick.labelcolor": palette.faint,
        "ytick.labelcolor": palette.faint,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "charloom",  # so that the same rows make the same ids
    }
    with matplotlib.rc_context(style):
        yield
