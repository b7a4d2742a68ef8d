"""Curves -> PNG and SVG files, and SVG for a page in the page's own colours, light and dark."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

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
_VARIABLES = {
    **{getattr(_STAND_INS, name): f"var(--{name})" for name in ("paper", "ink", "faint", "line")},
    **{colour: f"var(--series-{k})" for k, colour in enumerate(_STAND_INS.series)},
}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def write_plot(path: Path, curves: Sequence[Curve], look: Look, free: bool = False) -> Path:
    """Plot curves into a file, PNG or SVG by its suffix, as `write_output` writes it.

    Raises CharloomError.
    """
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        message = f"{path} is neither .png nor .svg: choose one of these suffixes"
        raise CharloomError(message, "unsupported", path=str(path))
    content = _rendered(draw(curves, look), kind[1:], look.palette)
    mark = b"<!-- generator: charloom -->\n"  # so that nobody learns it as a text: data/utf8.py
    return write_output(path, content.replace(b"<svg ", mark + b"<svg ", 1), free)


def inline_svg(curves: Sequence[Curve], look: Look, name: str, label: str) -> str:
    """Plot curves as an element of a page; `name` tells its ids from those of other plots.

    Its colours are the variables --paper, --ink, --faint, --line and --series-0 to --series-6.
    `label` is for screen readers. Raises CharloomError.
    """
    figure = draw(curves, replace(look, palette=_STAND_INS))
    root = ElementTree.fromstring(_rendered(figure, "svg", _STAND_INS))
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{_SVG}style", f"{_SVG}metadata"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {
            key.removeprefix(_XLINK): _in_page(key, value, name) for key, value in element.items()
        }
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _in_page(key: str, value: str, name: str) -> str:
    """Return an attribute with the page's colours, and ids that no other plot has.

    What is between tags is left alone: it may be the name of a run.
    """
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"(url\(#|^#(?=\w+$))", rf"\g<1>{name}-", value)
    return re.sub("#f0[0-9a-f]{4}", lambda found: _VARIABLES.get(found[0], found[0]), value)


def _rendered(figure: "Figure", kind: str, palette: Palette) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings(), plain_style(palette):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
        names = ("Software",) if kind == "png" else ("Creator", "Date", "Format", "Type")
        metadata: Any = dict.fromkeys(names)  # so that the same rows make the same bytes
        figure.savefig(stream, format=kind, dpi=DPI, metadata=metadata)
    return stream.getvalue()
