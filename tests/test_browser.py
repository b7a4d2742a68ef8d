"""The report in a real browser: $CHROMIUM, or the one that is installed."""

import os
import shutil
from contextlib import contextmanager
from itertools import product

import pytest

from report_pages import EVIL, NAME, page

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
SECTIONS = (
    *("diagnosis", "curves", "comparison", "samples", "novelty", "keywords", "surprise"),
    *("neurons", "again"),
)


@pytest.fixture(scope="module")
def browser():
    """Start the browser once; skips where there is none."""
    for needed in ("jinja2", "matplotlib"):
        pytest.importorskip(needed)
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no chromium: install it, or name one in $CHROMIUM")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory, browser):
    """The report of one run, and that of three."""
    folder = tmp_path_factory.mktemp("pages")
    for name, runs in (("one.html", [NAME]), ("three.html", [NAME, "blind", "ngram"])):
        (folder / name).write_text(page(*runs), "utf-8")
    return folder


@contextmanager
def opened(browser, path, scheme="light", width=1280):
    """Open a page, and fail for a word in the console, an error, a request or a dialog."""
    heard = []
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    view = context.new_page()
    view.on("console", lambda message: heard.append(f"console: {message.text}"))
    view.on("pageerror", lambda error: heard.append(f"error: {error}"))
    view.on("request", lambda request: heard.append(f"request: {request.url}"))
    view.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    view.set_default_timeout(0)  # pytest's own limit is the only one
    view.goto(path.as_uri())
    view.wait_for_load_state("networkidle")
    yield view
    context.close()
    assert heard == [f"request: {path.as_uri()}"]


@pytest.mark.parametrize("name", ["one.html", "three.html"])
def test_the_report_fits_and_asks_nobody(browser, path, name):
    with opened(browser, path / name) as view:
        for width, scheme in product((1280, 390), ("light", "dark")):
            view.set_viewport_size({"width": width, "height": 800})
            view.emulate_media(color_scheme=scheme)
            for section in SECTIONS:
                box = view.locator(f"#{section}").bounding_box()
                assert box["height"] > 40, section
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert view.evaluate("document.body.scrollWidth") <= width
            paper, ink = (light(view, colour) for colour in ("backgroundColor", "color"))
            assert (paper > 200, ink < 80) == (scheme == "light",) * 2
            assert (paper < 60, ink > 180) == (scheme == "dark",) * 2


def light(view, of):
    """How light a colour of the page is, from 0 to 255."""
    colour = view.evaluate(f"getComputedStyle(document.body).{of}")
    numbers = [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(numbers) / len(numbers)


def test_the_curves_are_drawn_in_the_colours_of_the_page(browser, path):
    with opened(browser, path / "one.html") as view:
        for scheme in ("light", "dark"):
            view.emulate_media(color_scheme=scheme)
            ink = view.evaluate("getComputedStyle(document.body).color")
            words = view.locator("#curves svg text:visible")
            fills = {words.nth(k).evaluate("e => getComputedStyle(e).fill") for k in range(9)}
            paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
            assert fills
            assert paper not in fills
            legend = view.locator("#curves svg [id*=legend] text:visible").first
            assert legend.evaluate("e => getComputedStyle(e).fill") == ink


@pytest.mark.parametrize(("width", "kind"), [(1280, "wide"), (390, "narrow")])
def test_each_axis_has_its_picture(browser, path, width, kind):
    with opened(browser, path / "one.html", width=width) as view:
        seen = set()
        for axis in ("characters", "seconds", "steps"):
            for scale, word in (("linear", "linear"), ("log", "logarithmic")):
                view.get_by_text(axis, exact=True).first.click()
                view.get_by_text(word, exact=True).first.click()
                shown = view.locator("#curves .picture:visible")
                assert shown.count() == 1
                assert {axis, scale} <= {*shown.get_attribute("class").split()}
                pictures = shown.locator("svg:visible")
                assert pictures.count() == 1
                assert shown.locator(f".{kind} svg:visible").count() == 1
                seen.add(pictures.inner_html())
        assert len(seen) == 6


def test_curves_are_chosen_with_the_keyboard(browser, path):
    with opened(browser, path / "one.html") as view:
        view.locator("#axis-characters").focus()
        view.keyboard.press("ArrowRight")
        assert view.locator("#curves .picture.seconds.linear").is_visible()


def test_what_runs_say_is_only_shown(browser, path):
    with opened(browser, path / "three.html") as view:
        assert view.locator("img").count() == 0
        assert view.get_by_text(NAME).count() > 3
        assert EVIL in view.locator("#samples pre").first.inner_text()
        assert EVIL in view.locator("#surprise .text-view").first.inner_text()
        view.locator("#surprise .text-view i").nth(30).hover()
        assert view.locator("#surprise .card").first.is_visible()


def test_the_report_prints_without_what_is_only_for_a_screen(browser, path):
    with opened(browser, path / "one.html", "dark") as view:
        view.emulate_media(media="print")
        assert not view.locator("nav").is_visible()
        assert not view.locator(".tabs").is_visible()
        assert view.locator("#curves svg:visible").count() == 2
        assert light(view, "color") < 60
