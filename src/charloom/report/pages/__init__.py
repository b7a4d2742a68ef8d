"""Rows -> one HTML page that needs nothing else: style, script and pictures are inside.

Pages need the extra `charloom[report]`. Templates are jinja2's; what a model or a text says is
escaped, and a page that is opened asks no other machine for anything.
"""

from typing import Any

from charloom.errors import CharloomError


def page(template: str, **data: Any) -> str:
    """Render templates/`template`; raises CharloomError where jinja2 is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise CharloomError(
            "a page needs jinja2, which is not installed: pip install 'charloom[report]'"
        ) from None
    environment = Environment(
        loader=PackageLoader("charloom.report.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(data)
