"""The frame of the page's parts: a title, the way to the others, and what each has of its own.

A part is a row of PARTS, its body templates/NAME.html, and a script that begins with `enter` of
static/door.js.
"""

from html import escape
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

TEMPLATES = Path(__file__).parent / "templates"
SHARED = files("charloom").joinpath("assets", "page")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY, "cache-control": "no-cache"}


class Part(NamedTuple):
    """A part of the page: its address, its script, and what to do without scripts, as HTML."""

    title: str
    address: str
    script: str
    instead: str


PARTS = (
    Part(
        "Write",
        "/",
        "/page/served.js",
        "generate text on the command line: <code>charloom sample RUN</code>.",
    ),
    Part("Runs", "/runs", "/static/runs.js", "list them: <code>charloom runs</code>."),
    Part(
        "Train",
        "/train",
        "/static/train.js",
        "train on the command line: <code>charloom train FILE --minutes 3</code>.",
    ),
    Part(
        "Learn",
        "/learn",
        "/static/learn.js",
        "see what cells respond to on the command line: <code>charloom study neurons RUN</code>.",
    ),
)


def routes() -> list[BaseRoute]:
    """Return the routes of the parts."""
    return [Route(part.address, _shown(part)) for part in PARTS]


def _shown(part: Part):  # type: ignore[no-untyped-def]
    async def show(request: Request) -> Response:
        return HTMLResponse(render(part), headers=HEADERS)

    return show


def render(part: Part) -> str:
    """Return the page of a part."""
    body = TEMPLATES.joinpath(f"{part.title.lower()}.html").read_text("utf-8")
    places = {
        "body": body.replace("{{ write }}", SHARED.joinpath("write.html").read_text("utf-8")),
        "title": escape(part.title),
        "script": escape(part.script),
        "instead": part.instead,
        "pages": "".join(_link(one, one is part) for one in PARTS),
    }
    page = TEMPLATES.joinpath("shell.html").read_text("utf-8")
    for name, value in places.items():
        page = page.replace("{{ " + name + " }}", value)
    return page


def _link(part: Part, here: bool) -> str:
    current = ' aria-current="page"' if here else ""
    return f'<li><a href="{escape(part.address)}"{current}>{escape(part.title)}</a></li>'
