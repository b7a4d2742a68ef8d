"""The report in a real browser."""

import json
import math
from itertools import product

import pytest

from report_pages import EVIL, NAME, page, report
from visiting import DESKTOP, PHONE, visited

pytestmark = pytest.mark.browser
CLICKS = 10  # at most, on one link


@pytest.fixture(scope="module")
def path(tmp_path_factory, browser):
    """Reports: of one run, of three, and of one that only counts."""
    for needed in ("jinja2", "matplotlib"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("pages")
    reports = {"one": [NAME], "three": [NAME, "blind", "ngram"], "ngram": ["ngram"]}
    for name, runs in reports.items():
        (folder / f"{name}.html").write_text(page(*runs, drawn=True), "utf-8")
    return folder


def opened(browser, path, scheme="light", width=DESKTOP, **more):
    return visited(browser, path.as_uri(), width, scheme, **more)


@pytest.mark.parametrize("name", ["one.html", "three.html", "ngram.html"])
def test_the_report_fits_and_asks_nobody(browser, path, name):
    with opened(browser, path / name) as view:
        view.wait_for_load_state("networkidle")
        for width, scheme in product((DESKTOP, PHONE), ("light", "dark")):
            view.set_viewport_size({"width": width, "height": 800})
            view.emulate_media(color_scheme=scheme)
            for section in view.locator("main > section").all():
                assert section.bounding_box()["height"] > 40
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert view.evaluate("document.body.scrollWidth") <= width
            # Nothing but the contents is wider than what it is in.
            wide = view.locator("main *").evaluate_all(
                "all => all.filter(e => getComputedStyle(e).overflowX != 'visible' &&"
                " e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"
            )
            assert wide == []
            paper, ink = (light(view, colour) for colour in ("backgroundColor", "color"))
            assert (paper > 200, ink < 80) == (scheme == "light",) * 2
            assert (paper < 60, ink > 180) == (scheme == "dark",) * 2


def test_what_a_model_does_not_have_is_neither_shown_nor_in_the_contents(browser, path):
    with opened(browser, path / "ngram.html") as view:
        for name in ("curves", "neurons"):
            assert view.locator(f"#{name}").count() == 0
            assert view.locator(f"nav a[href='#{name}']").count() == 0


def in_sight(heading) -> bool:
    try:
        heading.to_be_in_viewport(timeout=20_000)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_contents_stay_in_sight_and_say_where_one_is(browser, path, width):
    expect = pytest.importorskip("playwright.sync_api").expect
    with opened(browser, path / "one.html", width=width) as view:
        contents, current = view.locator("nav.contents"), view.locator("nav [aria-current]")
        assert current.text_content() == "Verdict"
        for link in contents.locator("a").all():
            name = link.get_attribute("href")
            heading = view.locator(f"{name} h2")
            assert heading.text_content() == link.text_content()
            for _ in range(CLICKS):  # one may come while the page is being laid out
                link.click()
                if in_sight(expect(heading)):
                    break
            expect(heading).to_be_in_viewport()
            assert contents.bounding_box()["y"] >= 0
            box = heading.bounding_box()
            if width == PHONE:  # the contents are above, and hide no heading
                under = contents.bounding_box()
                assert box["y"] >= under["y"] + under["height"]
        expect(current).to_have_text("Reproduction", timeout=600_000)


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
            fills = {*words.evaluate_all("all => all.map(e => getComputedStyle(e).fill)")}
            paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
            assert fills
            assert paper not in fills
            key = view.locator("#curves .keys label").first
            assert key.evaluate("e => getComputedStyle(e).color") == ink


@pytest.mark.parametrize(("width", "kind"), [(DESKTOP, "wide"), (PHONE, "narrow")])
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


def test_pointing_at_a_curve_shows_what_was_measured_there(browser, path):
    known = report(NAME).subjects[0].curve
    measured = {p.step: p.held_out for p in known.points if p.held_out is not None}
    with opened(browser, path / "one.html") as view:
        view.get_by_text("steps", exact=True).first.click()
        svg = view.locator("#curves .picture svg:visible")
        (panel,) = json.loads(svg.get_attribute("data-panels"))
        box, tip = svg.bounding_box(), view.locator("#curves .tip").first
        scale = box["width"] / svg.evaluate("e => e.viewBox.baseVal.width")
        left, top, width, height = (scale * length for length in panel["box"])
        assert not tip.is_visible()
        for step, nats in measured.items():
            share = (step - panel["x"][0]) / (panel["x"][1] - panel["x"][0])
            view.mouse.move(box["x"] + left + share * width + 1, box["y"] + top + height / 2)
            assert tip.is_visible()
            said = tip.inner_text()
            assert f"step {step}" in said
            assert f"{nats:.3f}" in said
            assert f"{nats / math.log(2):.3f}" in said
            assert "bz2" in said
            line = view.locator("#curves .crosshair").first.bounding_box()
            assert abs(line["x"] - (box["x"] + left + share * width)) < 2
        view.mouse.move(5, 5)
        assert not tip.is_visible()


def test_the_keyboard_goes_from_evaluation_to_evaluation(browser, path):
    known = report(NAME).subjects[0].curve
    with opened(browser, path / "one.html") as view:
        view.locator("#curves .figures").first.focus()
        tip, seen = view.locator("#curves .tip").first, []
        for _ in range(3):
            view.keyboard.press("ArrowRight")
            seen.append(tip.locator("p").inner_text())
        scored = [p.characters for p in known.points if p.held_out is not None]
        assert seen == [f"{round(x):,} characters read" for x in scored[:3]]
        view.keyboard.press("End")
        assert tip.locator("p").inner_text() == f"{round(scored[-1]):,} characters read"
        view.keyboard.press("Escape")
        assert not tip.is_visible()


def shown(view, line):
    return view.locator(f"#curves svg:visible .{line}").evaluate_all(
        "all => all.filter(e => getComputedStyle(e).display != 'none').length"
    )


@pytest.mark.parametrize("script", [True, False])
def test_a_run_is_switched_off_and_on_in_every_picture(browser, path, script):
    with opened(browser, path / "three.html", java_script_enabled=script) as view:
        keys = view.locator("#curves .keys label")
        assert keys.count() == 4  # three runs and bz2
        for k, line in enumerate(("run-0", "run-1", "run-2", "level-0")):
            before = shown(view, line)
            assert before > 0
            keys.nth(k).click()
            assert shown(view, line) == 0
            assert (
                keys.nth(k).evaluate("e => getComputedStyle(e).textDecorationLine")
                == "line-through"
            )
            view.get_by_text("steps", exact=True).first.click()
            assert shown(view, line) == 0
            view.get_by_text("characters", exact=True).first.click()
            keys.nth(k).click()
            assert shown(view, line) == before
        if script:
            keys.nth(0).click()
            view.locator("#curves .figures").first.hover()
            assert NAME not in view.locator("#curves .tip").first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_run_has_one_colour_everywhere(browser, path, scheme):
    background = "all => all.map(e => getComputedStyle(e).backgroundColor)"
    before = "all => all.map(e => getComputedStyle(e, '::before').backgroundColor)"
    stroke = "all => all.map(e => getComputedStyle(e).stroke)"
    with opened(browser, path / "three.html", scheme) as view:
        seen = []
        for k, name in enumerate((NAME, "blind", "ngram")):
            bars = view.locator("#novelty .beside > div").nth(k).locator(".bar")
            colours = {
                *view.locator(".of", has_text=name).evaluate_all(before),
                *view.locator(f"#curves svg .run-{k} path").evaluate_all(stroke),
                *view.locator("tr.run", has_text=name).locator(".bar").evaluate_all(background),
                *bars.evaluate_all(background),
            }
            assert len(colours) == 1, name
            seen += colours
        assert len({*seen}) == 3


def test_a_copied_passage_is_marked_and_says_where_it_comes_from(browser, path):
    with opened(browser, path / "ngram.html") as view:
        figure = view.locator("#samples figure", has=view.locator("mark")).first
        first = figure.locator("mark").first
        assert first.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
        assert "line" in first.get_attribute("title")
        sources = figure.locator(".sources li")
        assert not sources.first.is_visible()
        figure.locator("summary").click()
        assert sources.count() == figure.locator("pre mark").count()
        assert first.text_content() in sources.first.locator("mark").text_content()


def test_without_a_script_all_that_is_essential_is_there(browser, path):
    with opened(browser, path / "three.html", java_script_enabled=False) as view:
        assert view.locator("#verdict .verdict").is_visible()
        assert view.locator("#comparison tbody tr").count() > 10
        assert view.locator("#curves .picture svg:visible").count() == 1
        assert view.locator("#samples pre:visible").count() == 6
        assert len(view.locator("#surprise .text-view").inner_text()) > 500
        assert view.locator("#surprise .passages li").count() > 3
        assert view.locator("#neurons tbody tr").count() > 3


def test_what_runs_say_is_only_shown(browser, path):
    with opened(browser, path / "three.html") as view:
        assert view.locator("img").count() == 0
        assert view.get_by_text(NAME).count() > 3
        assert EVIL in view.locator("#samples .learning pre").first.text_content()
        assert EVIL in view.locator("#surprise .text-view").first.inner_text()
        view.locator("#surprise .text-view i").nth(30).hover()
        assert view.locator("#surprise .card").first.is_visible()


def test_the_report_prints_without_what_is_only_for_a_screen(browser, path):
    with opened(browser, path / "one.html", "dark", width=PHONE) as view:
        view.evaluate("dispatchEvent(new Event('beforeprint'))")
        view.emulate_media(media="print")
        for hidden in ("nav", ".tabs", ".controls button", ".controls select", ".pager"):
            assert view.locator(f"{hidden}:visible").count() == 0, hidden
        assert view.locator("#curves svg:visible").count() == 2
        assert view.locator("#curves .keys label:visible").count() == 3
        assert view.locator("#neurons .found td button:visible").count() > 3  # a cell's name
        assert light(view, "color") < 60
        assert light(view, "backgroundColor") > 200
        assert view.locator(".learning pre:visible").count() > 2  # what was folded is open
        for text in view.locator(".text-view").all():
            assert text.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
        assert len(view.pdf()) > 10_000
