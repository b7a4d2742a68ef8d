"""Curves -> PNG and SVG files, and SVG for a page in the page's own colours, light and dark."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.analysis.curves import Curve
from charloom.errors import CharloomError
from charloom.files import write_output
from charloom.report.plots.figure import draw
from charloom.report.plots.style import LIGHT, Look, Palette, plain_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
_STAND_INS = Palette(  # for the variables of a page, which has other colours in the dark
    paper="#f00001",
    ink="#f00002",
    faint="#f00003",
    line="#f00004",
    series=tuple(f"#f0001{k}" for k in range(len(LIGHT.series))),
)


def write_plot(path: Path, curves: Sequence[Curve], look: Look) -> None:
    """Plot curves into a file, PNG or SVG by its suffix; raises CharloomError."""
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        message = f"{path} is neither .png nor .svg: choose one of these suffixes"
        raise CharloomError(message, "unsupported", path=str(path))
    content = _rendered(draw(curves, look), kind[1:], look.palette)
    write_output(path, content)


def inline_svg(curves: Sequence[Curve], look: Look, name: str, label: str) -> str:
    """Plot curves as an element of a page; `name` tells its ids from those of other plots.

    Its colours are the variables --paper, --ink, --faint, --line and --series-0 to --series-6.
    `label` is for screen readers. Raises CharloomError.
    """
    figure = draw(curves, replace(look, palette=_STAND_INS))
    text = _rendered(figure, "svg", _STAND_INS).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>|<defs>\s*</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    for size in ("width", "height"):
        text = re.sub(rf'(<svg [^>]*?){size}="[^"]*"', r"\g<1>", text, count=1)
    for field in ("paper", "ink", "faint", "line"):
        text = text.replace(getattr(_STAND_INS, field), f"var(--{field})")
    for k, colour in enumerate(_STAND_INS.series):
        text = text.replace(colour, f"var(--series-{k})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _rendered(figure: "Figure", kind: str, palette: Palette) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings(), plain_style(palette):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
        names = ("Software",) if kind == "png" else ("Creator", "Date", "Format", "Type")
        metadata: Any = dict.fromkeys(names)  # so that the same rows make the same bytes
        figure.savefig(stream, format=kind, dpi=DPI, metadata=metadata)
    return stream.getvalue()
