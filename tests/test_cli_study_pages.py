"""`charloom study surprise` and `neurons`, and their pages in a real browser."""

import base64
import json
import math
import os
import re
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

from charloom.analysis.surprise import surprise
from charloom.cli import charloom
from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig, replace
from charloom.formatting import harmless
from charloom.training.loop import train
from expect import check, error_of
from small_runs import TRAIN, config_of, new_run, played
from visiting import PHONE, visited

HOSTILE = (  # what must not leave the text: as HTML, as JSON in a script, on a terminal
    "<script>alert(1)</script> & \"Quoted 'text' of &lt;things\" -->\n"
    "</pre></div>]]> \u2028 \x1b[31m (Some [Words]; 12) {{ here }}\n"
    "A line that is much longer than the others are, and ends\n\n"
) * 6


def made(path, model):
    return new_run(
        path, RunConfig(model=model, data=DataConfig(sources=(str(path.parent / "t.txt"),)))
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a hostile text, an LSTM and an n-gram model of it, and one of another text."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "t.txt").write_text(HOSTILE, "utf-8")
    (folder / "head.txt").write_text(HOSTILE[:700], "utf-8")
    config = config_of(folder / "t.txt", train=replace(TRAIN, iterations=5, learning_rate=0.02))
    config = replace(config, data=replace(config.data, validation=0.3))
    config = replace(config, model=ModelConfig(cell="lstm", layers=2, hidden=6))
    played(folder / "run", config)
    played(folder / "gru", replace(config, model=ModelConfig(cell="gru", hidden=3)))
    list(train(made(folder / "counts", NgramConfig(order=3))))
    return folder


@pytest.fixture
def said(place, monkeypatch):
    """Return what makes a command, in the folder: standard output, of status 0 unless said."""
    monkeypatch.chdir(place)

    def call(*arguments, status=0, **options):
        result = CliRunner().invoke(charloom, [*map(str, arguments)], **options)
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    return call


@pytest.fixture
def refused(place, monkeypatch):
    """Return what expects a study to be refused in the folder, with a code and facts."""
    monkeypatch.chdir(place)

    def call(code, *arguments, **facts):
        result = CliRunner().invoke(charloom, ["study", *arguments])
        assert result.exit_code == 2, result.output
        check(error_of(result), code, **facts)

    return call


def test_the_mean_is_that_of_evaluate(said):
    for run in "run", "counts":
        (score,) = json.loads(said("evaluate", run, "t.txt", "--json"))["scores"]
        (found,) = json.loads(said("study", "surprise", run, "t.txt", "--json"))["runs"]
        for name in ("nats", "bits", "perplexity", "characters"):
            assert found[name] == pytest.approx(score[name], rel=1e-9)
        assert "".join(span["text"] for span in found["spans"]) == HOSTILE[1:]
        assert sum(span["nats"] for span in found["spans"]) == pytest.approx(
            found["nats"] * (found["characters"] - 1)
        )
        assert all(len(span["guesses"]) == 5 for span in found["spans"])


def test_without_a_text_it_is_what_the_run_held_out(said):
    (score,) = json.loads(said("evaluate", "run", "--json"))["scores"]
    document = json.loads(said("study", "surprise", "run", "--json"))
    assert document["runs"][0]["nats"] == pytest.approx(score["nats"])
    held_out = int(len(HOSTILE) * 0.3)
    assert document["text"] == f"validation part: {held_out} characters"
    about = json.loads(said("study", "surprise", "run", "--json"))
    assert about == document
    cut = json.loads(said("study", "surprise", "run", "--length", "50", "--json"))
    assert re.findall(r"\d+", cut["text"]) == ["50", str(held_out)]
    assert cut["runs"][0]["characters"] == 50


def test_a_text_can_come_from_standard_input(said):
    document = json.loads(said("study", "surprise", "run", "-", "--json", input="A line that is"))
    assert document["runs"][0]["characters"] == 14


def test_what_is_not_a_terminal_gets_digits_below_the_text_and_nothing_that_moves_a_cursor(said):
    out = said("study", "surprise", "counts", "head.txt")
    assert out.isprintable() or {c for c in out if not c.isprintable()} == {"\n"}
    lines = out.splitlines()
    below = lines[
        lines.index("<script>alert(1)</script> & \"Quoted 'text' of &lt;things\" -->") + 1
    ]
    assert re.fullmatch(r"[ 0-9]+", below)
    assert re.search(r"^ +\d\.\d\d +\d\.\d\d +\d+ +.*\[.+\]", out, re.M)
    assert re.search(r"^\d\.\d{3} nats, \d\.\d{3} bits .*\b700\b", lines[-1])


def test_on_a_terminal_the_text_is_coloured_by_its_surprise(said, monkeypatch):
    monkeypatch.setattr("charloom.cli.study.surprise.is_plain", lambda: False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = said("study", "surprise", "run", "head.txt")
    assert "\x1b[38;5;16;48;5;216m" in out  # 2.5 nats: black on orange
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "\x1b" not in plain
    assert '<script>alert(1)</script> & "Quoted' in plain
    assert "1 nats" in plain


def test_which_of_two_runs_fits_better(said):
    runs = ("study", "surprise", "counts", "head.txt", "--against", "run")
    document = json.loads(said(*runs, "--json"))
    one, other = document["runs"]
    assert (one["run"], other["run"]) == ("counts", "run")
    assert document["difference"]["nats"] == pytest.approx(other["nats"] - one["nats"])
    assert document["difference"]["nats"] > 0.5
    assert document["difference"]["better"]
    out = said(*runs)
    assert re.search(r"^counts .* run.* \d\.\d{3} nats, \d\.\d{3} bits", out, re.M)
    assert re.search(rf"^counts +{one['nats']:.4f} +{one['bits']:.4f} +700$", out, re.M)
    turned = said("study", "surprise", "run", "head.txt", "--against", "counts")
    assert turned.splitlines()[-1] == out.splitlines()[-1]


def test_what_the_other_run_may_have_learned_is_said(said):
    arguments = ("study", "surprise", "run", "--against", "counts", "--json")
    result = CliRunner().invoke(charloom, arguments)
    assert "counts" in result.stderr  # it held out a tenth
    turned = CliRunner().invoke(charloom, ["study", "surprise", "counts", "--against", "run"])
    assert (turned.exit_code, turned.stderr) == (0, "")


def test_no_shorter_word_is_cut_where_a_line_ends(said, place, monkeypatch):
    sentence = "A line that is much longer than the others are, and ends "
    (place / "words.txt").write_text(sentence * 20 + "\n")
    out = said("study", "surprise", "counts", "words.txt")
    shown = [line for line in out.splitlines()[2:] if line in sentence * 20]
    monkeypatch.setattr("charloom.cli.study.surprise.is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    narrow = said("study", "surprise", "counts", "words.txt").split("\n\n")[1].splitlines()
    for lines, width in ((shown, 96), (narrow, 50)):
        assert width - 10 < max(map(len, lines)) <= width
        assert len(lines) > 10
        assert {*" ".join(lines).split()} <= {*sentence.split(), "↵"}


def test_a_passage_of_several_lines_is_shown_in_one(said, place, monkeypatch):
    (place / "lines.txt").write_text("A line\nthat is\nlonger\nthan\nthe others\n" * 20)
    monkeypatch.setattr("charloom.cli.study.surprise.is_plain", lambda: False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    out = said("study", "surprise", "counts", "lines.txt", "--top", "3")
    rows = out.partition("  nats   bits    line\n")[2].partition("\n\n")[0].splitlines()
    assert len(rows) == 3
    assert all(re.match(r" *\d+\.\d\d +\d+\.\d\d +\d+  .*↵.*↵", row) for row in rows)


@pytest.mark.parametrize("command", ["surprise", "neurons"])
def test_mistakes_are_refused(refused, place, command):
    (place / "odd.txt").write_text("A line\nthat is µ\n", "utf-8")
    facts = {"character": "µ", "position": 15, "line": 2}
    refused("unknown-character", command, "run", "odd.txt", **facts)
    refused("unwritable", command, "run", "head.txt", "--html", "no/page.html")


def test_neurons_are_listed_with_what_they_follow(said):
    document = json.loads(said("study", "neurons", "run", "t.txt", "--top", "4", "--json"))
    assert (document["cells"], document["shows"], len(document["top"])) == (12, "tanh(c)", 4)
    first = document["top"][0]
    assert first["correlations"][first["feature"]] == first["correlation"]
    assert {gate["gate"] for gate in document["gates"]} == {"i", "f", "o"}
    assert [len(gate["cells"]) for gate in document["gates"]] == [6] * 6
    out = said("study", "neurons", "run", "t.txt", "--top", "4")
    assert {c for c in out if not c.isprintable()} == {"\n"}
    assert f"t.txt: {len(HOSTILE):,} characters" in out
    row = rf"^{first['layer']}:{first['unit']} +{first['feature']} +"
    figures = f"{first['memory']:+.3f}", f"{first['correlation']:+.3f}"
    assert re.search(row + " +".join(map(re.escape, figures)), out, re.M)
    assert re.search(r"^1 +forget +\d+% +\d+%$", out, re.M)
    assert re.search(r"^ [+-]\d\.\d\d +\d+  .*‹", out, re.M)
    assert re.search(r"^0 +reset +\d+%", said("study", "neurons", "gru", "t.txt"), re.M)


def test_neurons_on_a_terminal_are_coloured(said, monkeypatch):
    monkeypatch.setattr("charloom.cli.study.neurons.is_plain", lambda: False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = said("study", "neurons", "run", "t.txt", "--top", "2")
    assert re.search(r"\x1b\[38;5;16;48;5;\d+m", out)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", out)


def test_neurons_need_a_recurrent_network_and_text_enough(refused):
    refused("unsupported", "neurons", "counts", "t.txt", field="model")
    refused("no-text", "neurons", "run", "t.txt", "--length", "30", characters=30)


@pytest.fixture(scope="module")
def pages(place):
    """The three pages, made once: paths by name."""
    pytest.importorskip("jinja2")
    commands = {
        "surprise": ("surprise", "run", "head.txt"),
        "against": ("surprise", "counts", "head.txt", "--against", "run"),
        "neurons": ("neurons", "run", "t.txt", "--top", "3"),
    }
    here = os.getcwd()  # noqa: PTH109
    os.chdir(place)
    try:
        for name, (command, *arguments) in commands.items():
            call = ["study", command, *arguments, "--html", f"{name}.html"]
            result = CliRunner().invoke(charloom, call)
            assert result.exit_code == 0, result.output
            assert f"{name}.html" in result.stdout
    finally:
        os.chdir(here)
    return {name: place / f"{name}.html" for name in commands}


@pytest.mark.parametrize("name", ["surprise", "against", "neurons"])
def test_a_page_holds_hostile_text_as_text(pages, name):
    content = pages[name].read_text("utf-8")
    assert "<script>alert" not in content
    assert content.count("<script") == content.count("</script>") == 2  # the data, and ours
    assert "{{ here }}" in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    (data,) = re.findall(
        r'<script type="application/json" class="data">(.*?)</script>', content, re.S
    )
    assert json.loads(data)["text"].startswith("<script>alert(1)</script>")
    assert not re.search(r'(src|href)="', content)
    assert ' id="' not in content


def test_an_impossible_character_makes_a_page_whose_data_is_json(pages, place):
    from charloom.report.pages import page
    from charloom.report.pages.surprise import surprise_view
    from charloom.runs.open import open_model

    run = made(place / "chain", NgramConfig(order=3, smoothing="none"))
    list(train(run))
    found = surprise(open_model(run), "A line{")
    view = surprise_view("a text", [("chain", found)])
    content = page("surprise.html", title="Chain", view=view)
    (data,) = re.findall(
        r'<script type="application/json" class="data">(.*?)</script>', content, re.S
    )

    def refuse(constant):
        raise AssertionError(constant)

    kind, nats = json.loads(data, parse_constant=refuse)["runs"][0]["nats"]
    assert kind == "f4"
    assert np.frombuffer(base64.b64decode(nats), "<f4").tolist() == found.nats.astype("f4").tolist()
    assert math.isinf(found.nats[-1])


@pytest.fixture(scope="module")
def report(place, pages):
    """A page with both views, twice: what the macros are for."""
    from charloom.analysis.neurons import neurons
    from charloom.report.pages import environment
    from charloom.report.pages.neurons import neurons_view
    from charloom.report.pages.surprise import surprise_view
    from charloom.runs.open import open_model
    from charloom.runs.run import Run

    runs = {name: Run.open(place / name) for name in ("run", "gru")}
    found = {name: surprise(open_model(run), HOSTILE[:200]) for name, run in runs.items()}
    template = (
        '{% extends "base.html" %}'
        '{% import "_surprise.html" as surprise %}{% import "_neurons.html" as neurons %}'
        "{% block style %}{{ surprise.style() }}{{ neurons.style() }}{% endblock %}"
        "{% block body %}{% for view in first %}{{ surprise.show(view) }}{% endfor %}"
        "{% for view in second %}{{ neurons.show(view) }}{% endfor %}{% endblock %}"
        "{% block script %}{{ surprise.script() }}{{ neurons.script() }}{% endblock %}"
    )
    first = [surprise_view("a text", [(name, s)]) for name, s in found.items()]
    second = [neurons_view("a text", neurons(run, HOSTILE)) for run in runs.values()]
    path = place / "report.html"
    page = environment().from_string(template)
    path.write_text(page.render(title="Both", first=first, second=second), "utf-8")
    pages["report"] = path


@pytest.fixture
def opened(browser, pages):
    """Return what opens a page until the test ends."""
    with ExitStack() as stack:
        yield lambda name, **more: stack.enter_context(
            visited(browser, pages[name].as_uri(), **more)
        )


def overflow(page):
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def nats_on(card):
    return float(re.search(r"(\d+\.\d+) nats", card.text_content())[1])


def colours(page):
    return page.eval_on_selector_all(
        ".text-view i", "cells => cells.map(c => getComputedStyle(c).backgroundColor)"
    )


@pytest.mark.browser
@pytest.mark.parametrize("name", ["surprise", "against", "neurons"])
def test_a_page_fits_a_phone_in_light_and_in_dark(opened, name):
    page = opened(name, width=PHONE, has_touch=True, is_mobile=True)
    grounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}
    for scheme, ground in grounds.items():
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        assert overflow(page) <= 0
        page.locator(".text-view i").nth(9 if scheme == "light" else 30).tap()
        assert page.locator(".card").is_visible()
        box = page.locator(".card").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE
        assert overflow(page) <= 0


@pytest.mark.browser
def test_hovering_shows_five_guesses_and_keys_go_on_from_there(opened, place):
    from charloom.runs.open import open_model

    found = surprise(open_model(place / "run"), HOSTILE[:700])
    page = opened("surprise")
    cells, card = page.locator(".text-view i"), page.locator(".card")
    assert cells.count() == 700
    assert page.locator(".text-view").text_content() == HOSTILE[:700]
    assert not card.is_visible()
    page.locator(".text-view").focus()  # which may scroll the page below the pointer
    cells.nth(30).hover()
    assert card.is_visible()
    guesses = [c for c, _ in found.top(29)]
    shown = {"\n": "↵", " ": "␣"}
    texts = card.locator(".guess code").all_text_contents()
    assert texts[:5] == [shown.get(c, c) for c in guesses]
    assert len(texts) == 5 + (HOSTILE[30] not in guesses)  # and what came
    assert nats_on(card) == pytest.approx(found.nats[29], abs=0.01)
    assert card.locator(".came").count() == 1
    page.keyboard.press("ArrowRight")
    assert nats_on(card) == pytest.approx(found.nats[30], abs=0.01)
    page.keyboard.press("Escape")
    assert not card.is_visible()
    (worst,) = [p for p in found.passages if p == found.passages[0]]
    page.locator(".passages button").first.click()
    assert "".join(page.locator(".text-view i.found").all_text_contents()) == worst.text


@pytest.mark.browser
def test_two_runs_can_be_looked_at_one_by_one_or_as_their_difference(opened):
    page = opened("against")
    buttons = page.locator(".modes.runs button")
    assert buttons.all_text_contents() == ["difference", "counts", "run"]
    seen = []
    for k in range(3):
        buttons.nth(k).click()
        seen.append(colours(page))
        page.locator(".text-view i").nth(30).hover()
        assert (
            page.locator(".card h4").all_text_contents()
            == [["counts", "run"], ["counts"], ["run"]][k]
        )
    assert seen[0] != seen[1] != seen[2]
    assert page.locator(".text-view i.cold").count() == 0
    buttons.nth(0).click()
    assert page.locator(".text-view i.cold").count() > 0


@pytest.mark.browser
def test_words_are_coloured_by_their_sum_and_spelled_out(opened, place):
    from charloom.runs.open import open_model

    found = surprise(open_model(place / "run"), HOSTILE[:700])
    starts, nats = found.words()
    page = opened("surprise")
    page.locator(".modes.units button").nth(1).click()
    cells, card = page.locator(".text-view i"), page.locator(".card")
    assert cells.all_text_contents() == [HOSTILE[a:b] for a, b in pairwise(starts)]
    shares = cells.evaluate_all("cells => cells.map(c => +c.style.getPropertyValue('--a'))")
    assert shares == pytest.approx(np.minimum(1, nats / 12).tolist(), abs=0.002)
    cells.nth(3).hover()
    assert nats_on(card) == pytest.approx(nats[3], abs=0.01)
    spelled = card.locator(".letter code").all_text_contents()
    assert spelled == [{" ": "␣", "\n": "↵"}.get(c, c) for c in HOSTILE[starts[3] : starts[4]]]
    letters = [float(text) for text in card.locator(".letter span").all_text_contents()]
    assert sum(letters) == pytest.approx(nats[3], abs=0.1)


@pytest.mark.browser
def test_a_long_text_is_turned_page_by_page_and_no_word_is_on_two(opened, pages, place):
    from charloom.report.pages import page as made_page
    from charloom.report.pages.surprise import surprise_view
    from charloom.runs.open import open_model

    text = (HOSTILE * 15)[:14_000]
    found = surprise(open_model(place / "counts"), text)
    view = surprise_view("a text", [("counts", found)])
    pages["long"] = place / "long.html"
    pages["long"].write_text(made_page("surprise.html", title="Long", view=view), "utf-8")
    page = opened("long")
    seen = []
    for _ in range(3):
        seen.append(page.locator(".text-view").text_content())
        if len(seen) < 3:
            page.locator(".pager .on").click()
    assert "".join(seen) == text
    assert all(piece[-1].isspace() for piece in seen[:-1])
    assert page.locator(".pager .on").is_disabled()
    page.mouse.move(1, 1)  # or a character comes to lie below it
    page.locator(".text-view").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".text-view").text_content() == seen[1]
    start = found.passages[0].start
    page.locator(".passages button").first.click()
    assert "".join(page.locator("i.found").all_text_contents()) == found.passages[0].text
    assert (
        page.locator(".text-view").text_content()
        == seen[np.cumsum([len(s) for s in seen]).searchsorted(start, "right")]
    )


@pytest.mark.browser
def test_without_a_script_words_are_coloured_and_all_else_is_there(opened):
    page = opened("surprise", java_script_enabled=False)
    assert page.locator(".text-view").text_content() == harmless(HOSTILE[:700])
    words = page.locator(".text-view i")
    assert not [w for w in words.all_text_contents() if len(w.replace("·", " ").split()) > 1]
    assert len({*colours(page)}) >= 5
    assert page.locator(".passages li").count() > 3
    page = opened("neurons", java_script_enabled=False)
    assert page.locator(".drives.high li").count() == 3
    assert page.locator(".found tbody tr").count() > 5


@pytest.mark.browser
def test_the_dots_of_gates_say_whose_they_are(opened, place):
    from charloom.analysis.neurons import neurons
    from charloom.runs.run import Run

    page = opened("neurons")
    dot = page.locator(".gates svg").first.locator("circle").nth(4)
    dot.dispatch_event("pointerover")
    gate = neurons(Run.open(place / "run"), HOSTILE, top=3).states.gates[0]
    said = page.locator(".neurons .card").text_content()
    assert said.startswith(f"{gate.layer}:4: ")
    figures = [int(x) for x in re.findall(r"(\d+)%", said)]
    assert figures == [round(100 * gate.right[4]), round(100 * gate.left[4])]


@pytest.mark.browser
def test_another_cell_colours_the_text_anew(opened, place):
    page = opened("neurons")
    data = json.loads(page.locator(".data").text_content())
    cells, card, select = (page.locator(s) for s in (".text-view i", ".card", "select"))
    before = colours(page)
    says = page.locator(".says").text_content()
    assert data["cells"][data["begin"]]["name"] in says
    select.select_option(str((data["begin"] + 1) % len(data["cells"])))
    after = colours(page)
    assert before != after
    assert page.locator(".says").text_content() != says
    page.locator(".relative").check()
    assert colours(page) != after
    page.locator(".relative").uncheck()
    assert colours(page) == after
    page.locator(".on").click()
    assert colours(page) != after
    page.locator(".found button").last.click()
    name = page.locator(".found button").last.text_content()
    assert page.locator(".says b").first.text_content() == name
    assert page.locator(".drives.high li").count() == 3
    cells.nth(20).hover()
    value = page.evaluate("document.querySelector('.card b').textContent").replace("\u2212", "-")
    from charloom.analysis.neurons import neurons
    from charloom.runs.run import Run

    found = neurons(Run.open(place / "run"), HOSTILE, top=3)
    (cell,) = {c.name: c for c in found.by_feature if c.name == name}.values()
    assert float(value) == pytest.approx(float(found.values(cell)[20]), abs=0.02)
    assert card.is_visible()


@pytest.mark.browser
def test_several_views_share_a_page_and_mind_their_own_business(opened, report):
    page = opened("report")
    assert [page.locator(f"section.{name}").count() for name in ("surprise", "neurons")] == [2, 2]
    first, second = (page.locator("section.neurons").nth(k) for k in range(2))
    said = [view.locator(".says").text_content() for view in (first, second)]
    second.locator(".on").click()
    assert first.locator(".says").text_content() == said[0]
    assert second.locator(".says").text_content() != said[1]
    page.locator("section.surprise").nth(1).locator(".text-view i").nth(20).hover()
    shown = [page.locator(".surprise .card").nth(k).is_visible() for k in range(2)]
    assert shown == [False, True]
