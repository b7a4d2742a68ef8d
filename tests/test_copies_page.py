"""Copies in *Write* of the served page, the limit to them, and its seeds, in a real browser."""

import pytest

from charloom.analysis.inputs import training_text
from charloom.analysis.novelty import copied
from charloom.runs.run import Run
from serving import post, serving, write_run
from visiting import NARROW, PHONE, visited

pytestmark = pytest.mark.browser
SEED = 2**53 + 1  # as a number of a page it would be 2^53


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("copies") / "verse", "ngram").path


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


def written(view, **settings):
    """What the page writes after "Theirs "."""
    view.locator("textarea").fill("Theirs ")
    for name, value in settings.items():
        view.locator(f".{name.replace('_', '-')}").fill(str(value))
    view.locator(".go").click()
    view.locator(".go:not(.busy)").wait_for()
    view.locator(".state", has_text="seed").wait_for()
    return view.locator("textarea").input_value()


def test_copied_passages_are_marked_with_their_place_in_the_source(browser, server, folder):
    source = training_text(Run.open(folder))
    with visited(browser, server.url) as view:
        text = written(view, length=150, seed=1)
        view.locator(".copies li").first.wait_for()
        found = [*copied(text, source)]
        assert found
        marked = view.locator(".paint i.copy")
        places = marked.evaluate_all("all => all.map(e => [...e.parentNode.children].indexOf(e))")
        assert places == [n for copy in found for n in range(copy.start, copy.start + copy.length)]
        rows = view.locator(".copies li")
        assert rows.locator("mark").all_inner_texts() == [
            copy.passage.replace("\n", "↵") for copy in found
        ]
        assert rows.locator("button").all_inner_texts() == [f"line {copy.line}" for copy in found]
        rows.locator("button").last.click()
        chosen = "e => e.value.slice(e.selectionStart, e.selectionEnd)"
        assert view.locator("textarea").evaluate(chosen) == found[-1].passage
        view.locator("textarea").fill("Theirs aside, nothing of it is known.")
        view.locator(".copied-words", has_text="No passage").wait_for()
        assert marked.count() == 0


def test_a_text_keeps_to_the_copy_limit(browser, server, folder):
    source = training_text(Run.open(folder))
    with visited(browser, server.url) as view:
        text = written(view, length=120, seed=2, max_copy=9)
        asked = {"max_tokens": 120, "temperature": 0.8, "seed": 2, "max_copy": 9}
        assert text == "Theirs " + post(server, asked).json()["choices"][0]["text"]
        assert not any(text[n : n + 10] in source for n in range(len(text) - 9))


def test_a_seed_is_not_rounded_and_what_is_none_is_refused(browser, server):
    with visited(browser, server.url) as view:
        text = written(view, length=60, seed=SEED)
        assert f"seed {SEED}" in view.locator(".state").inner_text()
        asked = {"max_tokens": 60, "temperature": 0.8, "seed": SEED}
        assert text == "Theirs " + post(server, asked).json()["choices"][0]["text"]
        for none in (2**63, "1.5", "-1", "seed"):
            view.locator(".seed").fill(str(none))
            view.locator(".go").click()
            view.locator(".state", has_text="A seed is a whole number").wait_for()
            assert view.locator("textarea").input_value() == text
            view.locator("textarea").press_sequentially("T")  # what was said goes
            view.keyboard.press("Backspace")
            view.locator(".state", has_text="A seed").wait_for(state="detached")


@pytest.mark.parametrize(("width", "rows"), [(PHONE, [5]), (NARROW, [1, 4])])
def test_buttons_stand_in_whole_rows_on_a_phone(browser, server, width, rows):
    with visited(browser, server.url, width=width) as view:
        view.locator(".likely button").first.wait_for()
        tops = [button.bounding_box()["y"] for button in view.locator(".tools button").all()]
        assert [tops.count(top) for top in sorted({*tops})] == rows
        assert view.evaluate("document.documentElement.scrollWidth") <= width
