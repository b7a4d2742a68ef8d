"""Draw the figures of the documents as SVG: part of `make docs`.

Nothing is needed but Python. The paper is always light: it can be read on a dark page, too.
"""

import json
import math
from pathlib import Path

DOCS = Path(__file__).parent
INK, SOFT, PAPER, BOX = "#222222", "#666666", "#ffffff", "#eef2f7"
FORWARD, BACKWARD = "#1b5cab", "#b3420f"
REACH = 40  # characters; further back the state that a window begins with would show
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" role="img" '
    'font-family="system-ui, sans-serif" font-size="13">\n<title>{title}</title>\n'
    '<rect width="{w}" height="{h}" rx="8" fill="{paper}"/>\n'
)


def main() -> None:
    """Write each figure that is not what it should be."""
    for name, drawn in figures().items():
        path = DOCS / "figures" / f"{name}.svg"
        if not path.is_file() or path.read_text("utf-8") != drawn:
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawn, "utf-8")
            print(f"wrote docs/figures/{name}.svg")


def figures() -> dict[str, str]:
    """Return the figures by their names."""
    return {"step": step(), "reach": reach()}


class Sheet:
    """An SVG in the making."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.lines = [HEAD.format(w=width, h=height, title=title, paper=PAPER)]
        for name, colour in (("f", FORWARD), ("b", BACKWARD)):
            self.lines.append(
                f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
                f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/>'
                "</marker>\n"
            )

    def box(self, x: float, y: float, w: float, h: float, *texts: str) -> None:
        """Draw a box around its centre, with a line or two in it."""
        self.lines.append(
            f'<rect x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w:g}" height="{h:g}" rx="5" '
            f'fill="{BOX}" stroke="{SOFT}"/>\n'
        )
        for n, text in enumerate(texts):
            self.text(x, y + 5 + 17 * (n - (len(texts) - 1) / 2), text)

    def text(self, x: float, y: float, text: str, colour: str = INK, at: str = "middle") -> None:
        """Write a line."""
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.lines.append(
            f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{at}">{text}</text>\n'
        )

    def arrow(self, x: float, y: float, to_x: float, to_y: float, back: bool = False) -> None:
        """Draw an arrow, dashed if it is a gradient's."""
        colour, mark = (BACKWARD, "b") if back else (FORWARD, "f")
        dashes = ' stroke-dasharray="5 4"' if back else ""
        self.lines.append(
            f'<path d="M{x:g} {y:g}L{to_x:g} {to_y:g}" stroke="{colour}" stroke-width="1.7" '
            f'fill="none" marker-end="url(#{mark})"{dashes}/>\n'
        )

    def line(self, points: list[tuple[float, float]], colour: str) -> None:
        """Draw a line through points."""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.lines.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" fill="none"/>\n')

    def done(self) -> str:
        """Return the SVG."""
        return "".join([*self.lines, "</svg>\n"])


def step() -> str:
    """One step of training: what is computed upwards and to the right, and its gradient back."""
    sheet = Sheet(760, 520, "One step of training: shapes, forward pass and gradients")
    columns = {170: "0", 350: "1", 580: "T-1"}
    for x, t in columns.items():
        sheet.box(x, 60, 130, 44, f"-ln p[{t}][target]", "(B,)")
        sheet.box(x, 160, 130, 44, f"logits[{t}] (B, V)", "h W + b")
        sheet.box(x, 275, 130, 56, "cell", f"h[{t}] (B, H)")
        sheet.box(x - 22, 385, 86, 40, f"ids[{t}] (B,)")
        for low, high in ((247, 182), (138, 82)):
            sheet.arrow(x - 9, low, x - 9, high)
            sheet.arrow(x + 9, high, x + 9, low, back=True)
        sheet.arrow(x - 9, 365, x - 9, 303)
        sheet.text(x + 16, 216, "dh", BACKWARD, "start")
        sheet.text(x + 16, 114, "p - 1 at the target", BACKWARD, "start")
    for left, right in ((235, 285), (415, 440), (490, 515)):
        sheet.arrow(left, 267, right, 267)
        sheet.arrow(right, 285, left, 285, back=True)
    sheet.text(465, 280, "...")
    sheet.arrow(60, 275, 105, 275)
    sheet.text(58, 258, "state of the", SOFT)
    sheet.text(58, 302, "step before", SOFT)
    sheet.arrow(645, 275, 700, 275)
    sheet.text(706, 258, "to the next", SOFT)
    sheet.text(706, 302, "step: no", SOFT)
    sheet.text(706, 319, "gradient", SOFT)
    sheet.text(706, 336, "comes back", SOFT)
    for x in columns:
        sheet.arrow(x + 30, 303, x + 30, 440, back=True)
    sheet.box(
        375,
        462,
        560,
        40,
        "sums over t:  dWx (D, GH)   dWh (H, GH)   db (GH,)   dW (H, V)   db (V,)",
    )
    sheet.text(375, 507, "then: clip, optimizer, new weights, and the next T characters", SOFT)
    sheet.text(20, 30, "forward", FORWARD, "start")
    sheet.text(84, 30, "gradient", BACKWARD, "start")
    return sheet.done()


def reach() -> str:
    """How much of a loss's gradient arrives k characters back, on a logarithmic axis."""
    found = json.loads((DOCS / "data" / "walk.json").read_text("utf-8"))["reach"]
    sheet = Sheet(760, 330, "How much gradient arrives some characters back: RNN and LSTM")
    left, right, top, bottom, decades = 70, 720, 40, 270, 4

    def place(k: int, share: float) -> tuple[float, float]:
        height = max(-decades, math.log10(max(share, 1e-300))) / -decades
        return left + (right - left) * k / REACH, top + (bottom - top) * height

    for power in range(decades + 1):
        _, y = place(0, 10.0**-power)
        sheet.line([(left, y), (right, y)], "#dddddd")
        sheet.text(left - 8, y + 5, f"1e-{power}" if power else "1", SOFT, "end")
    for k in range(0, REACH + 1, 10):
        sheet.text(place(k, 1)[0], bottom + 22, f"{k}", SOFT)
    sheet.text((left + right) / 2, bottom + 46, "characters back from the loss", SOFT)
    for name, colour, title in (("rnn", BACKWARD, "RNN"), ("lstm", FORWARD, "LSTM")):
        points = [place(k, share) for k, share in enumerate(found[name][: REACH + 1])]
        inside = [point for point in points if point[1] < bottom]
        sheet.line(inside, colour)
        x, y = inside[33 if name == "lstm" else 26]
        above = name == "lstm"
        sheet.text(
            x + (8 if above else -8),
            y + (-8 if above else 18),
            title,
            colour,
            "start" if above else "end",
        )
    return sheet.done()


if __name__ == "__main__":
    main()
