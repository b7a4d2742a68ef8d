"""A real browser that visits a served page: $CHROMIUM, or the one that is installed."""

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
DESKTOP, PHONE = 1280, 390
FIRST_PAINT = 100_000  # bytes of all that a page loads


@pytest.fixture(scope="module")
def browser():
    """Start the browser once; skips where there is none."""
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no chromium: install it, or name one in $CHROMIUM")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@contextmanager
def visited(browser, address, width=DESKTOP, scheme="light", refused=0, **more):
    """Open a page; fail for a word in the console, an error, a dialog, or what is from elsewhere.

    `loaded` of the view are the responses so far; `refused` is a status that may be among them.
    """
    heard, size = [], {"width": width, "height": 900}
    site = "/".join(address.split("/")[:3])
    context = browser.new_context(color_scheme=scheme, viewport=size, **more)
    view = context.new_page()
    view.loaded = []
    view.on("console", lambda message: heard.append(message.text))
    view.on("pageerror", lambda error: heard.append(str(error)))
    view.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    view.on("response", lambda response: view.loaded.append(response))
    view.set_default_timeout(0)  # pytest's own limit is the only one
    view.goto(address)
    yield view
    context.close()
    assert [text for text in heard if f"status of {refused} " not in text] == []
    assert all(one.url.startswith(site) for one in view.loaded)
