"""Curves -> PNG and SVG files, and SVG for a page in the page's own colours, light and dark."""

import json
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
from charloom.report.plots.style import LIGHT, Level, Look, Palette, plain_style

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


def inline_svg(
    curves: Sequence[Curve], look: Look, name: str, label: str, levels: Sequence[Level] = ()
) -> str:
    """Plot curves as an element of a page; `name` tells its ids from those of other plots.

    Its colours are the variables --paper, --ink, --faint, --line and --series-0 to --series-5, and
    what belongs to curve or level k has the class run-k or level-k. Its attribute data-panels says,
    for each of `look.values`, where on the picture which range of values is. `label` is for screen
    readers. Raises CharloomError.
    """
    look = replace(look, palette=_STAND_INS, on_page=True)
    figure = draw(curves, look, levels)
    root = ElementTree.fromstring(_rendered(figure, "svg", _STAND_INS))
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{_SVG}style", f"{_SVG}metadata"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        pairs = (_in_page(element.tag, *pair, name) for pair in element.items())
        element.attrib = {key: value for key, value in pairs if value}
    del root.attrib["width"], root.attrib["height"]
    panels = json.dumps(_panels(figure, look))
    root.attrib |= {"role": "img", "aria-label": label, "data-panels": panels}
    return ElementTree.tostring(root, encoding="unicode")


def _in_page(tag: str, key: str, value: str, name: str) -> tuple[str, str]:
    """Return an attribute as the page has it, with its colours, and ids that no other plot has.

    An empty one is of no use there. What is between tags is left alone: it may be a run's name.
    """
    if key == "id" and tag == "g":
        return "class", value if value.startswith(("run-", "level-")) else ""
    if key == "id":
        return key, f"{name}-{value}"
    value = re.sub(r"(url\(#|^#(?=\w+$))", rf"\g<1>{name}-", value)
    value = re.sub("#f0[0-9a-f]{4}", lambda found: _VARIABLES.get(found[0], found[0]), value)
    return key.removeprefix(_XLINK), re.sub("font-family: [^;]*; ", "", value)


def _panels(figure: "Figure", look: Look) -> list[dict[str, Any]]:
    """Return where each panel is in the units of the picture, and the values at its edges."""
    width, height = 72 * figure.get_size_inches()
    found = []
    for axes, value in zip(figure.axes, look.values, strict=True):
        box = axes.get_position()
        found.append(
            {
                "value": value,
                "box": [round(x, 2) for x in (width * box.x0, height * (1 - box.y1))]
                + [round(x, 2) for x in (width * box.width, height * box.height)],
                "x": [float(x) for x in axes.get_xlim()],
                "y": [float(y) for y in axes.get_ylim()],
            }
        )
    return found


def _rendered(figure: "Figure", kind: str, palette: Palette) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings(), plain_style(palette):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
        names = ("Software",) if kind == "png" else ("Creator", "Date", "Format", "Type")
        metadata: Any = dict.fromkeys(names)  # so that the same rows make the same bytes
        if kind == "png":
            figure.savefig(stream, format=kind, dpi=DPI, metadata=metadata)
        else:  # which savefig draws twice, for the layout
            from matplotlib.backends.backend_svg import FigureCanvasSVG

            canvas: Any = FigureCanvasSVG(figure)
            canvas.print_svg(stream, metadata=metadata)
    return stream.getvalue()
