"""Rows in; HTML pages out that need nothing else: style, script and pictures are inside.

Pages need the extra `charloom[report]`. Templates are jinja2's; text of a model or a user is
escaped, and an open page asks no other machine for anything.
"""

import base64
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charloom.errors import needs_extra
from charloom.formatting import LN2, duration, harmless, percent, printable, short_number

if TYPE_CHECKING:
    from jinja2 import Environment


def check() -> None:
    """Raise CharloomError if jinja2 is not installed: before the work that a page takes."""
    with needs_extra("report", "a page"):
        import jinja2  # noqa: F401


def page(template: str, **data: Any) -> str:
    """Render templates/`template`; raises CharloomError if jinja2 is not installed."""
    return environment().get_template(template).render(data)


def packed(values: NDArray[Any]) -> list[str]:
    """Return numbers for a script, in few characters: their type, and base64 of their bytes."""
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return [values.dtype.str[1:], base64.b64encode(content.tobytes()).decode("ascii")]


def environment() -> "Environment":
    """Return jinja2 with charloom's templates and filters; raises as `page` does."""
    check()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("charloom.report.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    found.filters |= {
        "commas": "{:,}".format,
        "decimals": lambda value, digits: f"{value:.{digits}f}",
        "signed": _signed,
        "bits": lambda nats: nats / LN2,
        "percent": percent,
        "short": lambda value: "" if value is None else short_number(value),
        "duration": lambda seconds: "" if seconds is None else duration(seconds),
        "printable": printable,
    }
    found.globals["look"] = files("charloom").joinpath("assets/page/look.css").read_text("utf-8")
    return found


def _visible(value: Any) -> Any:
    """Return what a template prints: text of others hides nothing and turns no direction."""
    return harmless(value) if type(value) is str else value


def _signed(value: float) -> str:
    """Return a correlation with its sign; U+2212 is as wide as a plus."""
    return f"{value:+.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0.00"
