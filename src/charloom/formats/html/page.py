"""The page's files in; one HTML file out, in which all of them are.

Its scripts are ES modules without names in common, so that they can stand in one. What is known of
a model is data in the page, never markup, and the policy of the page allows this one script and
this one style by their hashes, and no connection.
"""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

from charloom.formats.html.contents import Packed
from charloom.formatting import harmless

_IMPORT = re.compile(r"^import .* from \"\./(.*)\";\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *// .*\n|^$\n", re.MULTILINE)


def asset(name: str) -> str:
    """Return a file of the page."""
    return files("charloom").joinpath("assets", "page", name).read_text("utf-8")


def bundle(entry: str) -> str:
    """Return a module and all that it imports as one, without comments that have a line."""
    found: dict[str, str] = {}

    def add(name: str) -> None:
        text = asset(name)
        for other in _IMPORT.findall(text):
            if other not in found:
                add(other)
        text = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)
        found[name] = _COMMENT.sub("", text)

    add(entry)
    return "".join(found.values())


def page(title: str, about: dict[str, Any], packed: Packed) -> str:
    """Return the page of a model; `about` is what model.js and engine.js take."""
    style, script = asset("look.css") + asset("page.css"), bundle("file.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}' 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'"
    )
    values = {
        "title": html.escape(harmless(title)),
        "policy": policy,
        "style": style,
        "write": asset("write.html"),
        "about": _data(about | {"arrays": packed.arrays}),
        "packed": packed.text,
        "script": script,
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: values[found[1]], asset("file.html"))


def _data(value: Any) -> str:
    """Return JSON that ends no element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
