"""What tests do with a page in a real browser: $CHROMIUM, or the one that is installed."""

import os
import shutil
from contextlib import contextmanager
from itertools import product

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
DESKTOP, PHONE, NARROW = 1280, 390, 320
FIRST_PAINT = 100_000  # bytes of all that a page loads


@contextmanager
def visited(
    browser, address, width=DESKTOP, scheme="light", refused=0, site=None, before="", **more
):
    """Open a page; fail for a word in the console, an error, a dialog, or what is from elsewhere.

    All that it asks for begins with `site`: its server, by default, and a file asks for nothing.
    `loaded` of the view are the responses so far; `refused` is a status that may be among them.
    `before` is a script that runs before the page's own.
    """
    heard, asked, size = [], [], {"width": width, "height": 900}
    if site is None:
        site = address if address.startswith("file:") else "/".join(address.split("/")[:3])
    context = browser.new_context(color_scheme=scheme, viewport=size, **more)
    view = context.new_page()
    view.loaded = []
    view.on("console", lambda message: heard.append(message.text))
    view.on("pageerror", lambda error: heard.append(str(error)))
    view.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    view.on("request", lambda request: asked.append(request.url))
    view.on("response", lambda response: view.loaded.append(response))
    view.set_default_timeout(0)  # pytest's own limit is the only one
    if before:
        view.add_init_script(before)
    view.goto(address)
    yield view
    context.close()
    assert [text for text in heard if f"status of {refused} " not in text] == []
    assert [url for url in asked if not url.startswith(site)] == []


def looks(view):
    """Show a page on a desktop and on a phone, light and dark; yield each width."""
    for width, scheme in product((DESKTOP, PHONE), ("light", "dark")):
        view.set_viewport_size({"width": width, "height": 900})
        view.emulate_media(color_scheme=scheme)
        yield width
