"""What axe-core finds in a page that a browser shows."""

import json
from importlib.resources import files
from typing import Any

import pytest


def serious(view: Any) -> list[str]:
    """Return what axe-core finds that is serious, once nothing fades in any more."""
    view.evaluate("document.getAnimations().forEach(one => one.cancel())")
    pytest.importorskip("axe_playwright_python")
    view.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = view.evaluate(
        "axe.run({ preload: false }).then(found => JSON.stringify(found.violations))"
    )
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:100]}"
        for one in json.loads(found)
        if one["impact"] in ("serious", "critical")
    ]
