"""The part of the page with all runs: what the server tells and does, and the page in a browser."""

import json
import math
import os
import shutil
from importlib.resources import files

import pytest

import serving as small
from axe import serious
from charloom.analysis.baselines import compressor
from charloom.runs import folders
from charloom.runs.metrics import Line
from charloom.runs.run import Run
from serving import serving, wait, write_run
from visiting import FIRST_PAINT, NARROW, looks, visited

NAME = "<img src=x onerror=alert(1)>"
LOSSES = [(20, 2.5, None), (40, 2.0, 2.1), (60, 1.5, 1.75), (80, 1.25, 1.9)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Some runs, of which each test takes a copy."""
    folder = tmp_path_factory.mktemp("made")
    monkeypatch = pytest.MonkeyPatch()
    text = files("charloom").joinpath("assets", "us-constitution.txt").read_text("utf-8")
    monkeypatch.setattr(small, "TEXT", text[:9000])  # enough to hold some of it out
    for name, kind in (("verse", "lstm"), (NAME, "gru"), ("below/counts", "ngram")):
        run = write_run(folder / name, kind)
        for number, (step, loss, held) in enumerate(LOSSES):
            known = {} if held is None else {"validation": held}
            seconds = 2.5 * (number + 1)
            run.append_metrics(
                Line(step=step, characters=step * 100, seconds=seconds, loss=loss, **known)
            )
    (write_run(folder / "broken").path / "vocabulary.json").write_text("{")
    monkeypatch.undo()
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "runs")


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        server.http.headers["origin"] = server.url
        yield server


def listed(server):
    answer = server.http.get("/v1/charloom/runs")
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(told):
    return [row["id"] for row in told["data"]]


def test_each_run_is_told_with_its_figures(server, folder):
    rows = {row["id"]: row for row in listed(server)["data"]}
    assert [*rows] == sorted([NAME, "below/counts", "broken", "verse"])
    verse = rows["verse"]
    assert (verse["model"], verse["parameters"]) == (
        "lstm 1 x 12",
        Run.open(folder / "verse").parameters,
    )
    assert (verse["nats"], verse["bits"]) == (1.75, pytest.approx(1.75 / math.log(2)))
    assert (verse["measured"], verse["provisional"]) == ("validation", True)
    assert (verse["steps"], verse["seconds"], verse["state"]) == (80, 10.0, "stopped")
    assert rows["broken"]["state"] == "damaged"
    assert "vocabulary.json" in rows["broken"]["error"]
    with Run.open(folder / "verse").lock():
        (verse,) = (row for row in listed(server)["data"] if row["id"] == "verse")
        assert (verse["state"], verse["process"]) == ("training", os.getpid())


def test_a_row_follows_its_run(server, folder):
    listed(server)
    Run.open(folder / "verse").append_metrics(Line(step=100, seconds=99.0, validation=1.0))
    (verse,) = (row for row in listed(server)["data"] if row["id"] == "verse")
    assert (verse["steps"], verse["seconds"], verse["nats"]) == (100, 99.0, 1.0)


def test_a_curve_is_told_once_and_then_what_is_new(server, folder):
    def curve(since=""):
        answer = server.http.get("/v1/charloom/curves/verse", params={"since": since})
        assert answer.status_code == 200, answer.text
        return answer.json()

    points = [[s, 100 * s, 2.5 * (n + 1), loss, v] for n, (s, loss, v) in enumerate(LOSSES)]
    first = curve()
    assert (first["points"], first["whole"]) == (points, True)
    assert curve(first["cursor"])["points"] == []
    run = Run.open(folder / "verse")
    run.append_metrics(Line(step=100, loss=1.0, validation=math.inf))
    second = curve(first["cursor"])
    assert (second["points"], second["whole"]) == ([[100, None, None, 1.0, None]], False)
    run.truncate_metrics(40)  # training went back
    third = curve(second["cursor"])
    assert (third["points"], third["whole"]) == (points[:2], True)
    for odd in ("-", "x-9", f"{third['cursor']}9", third["cursor"].partition("-")[0] + "-²"):
        assert curve(odd)["points"][:1] in ([], points[:1])


def test_a_long_curve_is_thinned_and_keeps_what_was_held_out(folder):
    lines = [
        {"step": n, "loss": 1.0} | ({"validation": 2.0} if n % 700 == 0 else {})
        for n in range(9001)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "verse" / "metrics.jsonl").write_text(content)
    with serving(folder) as server:
        points = server.http.get("/v1/charloom/curves/verse").json()["points"]
    assert len(points) < 2100
    assert [p[0] for p in points if p[4] is not None] == [*range(0, 9001, 700)]
    assert (points[0][0], points[-1][0]) == (0, 9000)


def test_simple_models_are_told_beside_it(server, folder):
    run = Run.open(folder / "verse")
    parts = run.dataset()
    text = [run.vocabulary.decode(ids) for ids in (parts.train, parts.validation)]
    nats = compressor("bz2", *text).nats
    assert nats > 0
    found = server.http.get("/v1/charloom/levels/verse").json()["data"]
    assert found == [{"name": "bz2, which learns while it reads", "nats": nats}]


def test_a_run_is_renamed(server, folder):
    answer = server.http.post("/v1/charloom/runs/below/counts", json={"name": "grams 2"})
    assert names(answer.json()) == sorted([NAME, "below/grams 2", "broken", "verse"])
    assert Run.open(folder / "below" / "grams 2")
    assert "below/grams 2" in [one["id"] for one in server.http.get("/v1/models").json()["data"]]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(
            ("../out", 400),
            ("a/b", 400),
            (".hidden", 400),
            ("", 400),
            ("x" * 90, 400),
            ("a\nb", 400),
        ),
        *(("-o", 400), ("a\\b", 400), ("..", 400), (" ", 400), ("con.", 400), ("broken", 409)),
    ],
)
def test_a_name_leads_nowhere_else(server, folder, name, status):
    before = sorted(folder.parent.rglob("*"))
    answer = server.http.post("/v1/charloom/runs/verse", json={"name": name})
    assert (answer.status_code, names(listed(server))) == (
        status,
        sorted([NAME, "below/counts", "broken", "verse"]),
    )
    assert [p for p in sorted(folder.parent.rglob("*")) if p.name != ".lock"] == before


@pytest.mark.parametrize(
    "name", ["none", "..", "../runs/verse", "below", "%2e%2e", "verse/checkpoints", ""]
)
def test_only_runs_of_the_table_are_changed(server, folder, name):
    for method, what in (("POST", "runs"), ("DELETE", "runs"), ("POST", "trash")):
        body = {"json": {"name": "x"}} if method == "POST" else {}
        answer = server.http.request(
            method, f"/v1/charloom/{what}/{name.replace('..', '%2e%2e')}", **body
        )
        assert answer.status_code in (404, 405), answer.text
    assert len(names(listed(server))) == 4


def test_a_deleted_run_is_in_the_trash_and_comes_back(server, folder):
    for run in ("below/counts", "verse", "broken"):
        answer = server.http.delete(f"/v1/charloom/runs/{run}")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["moved"], told["trash_folder"]) == (run, str(folder / ".trash"))
        assert run not in names(told)
        assert folders.check_is_run(folder / ".trash" / run) is None
    assert told["trash"] == ["below/counts", "broken", "verse"]
    answer = server.http.post("/v1/charloom/trash/below/counts", json={})
    assert names(answer.json()) == sorted([NAME, "below/counts"])
    assert Run.open(folder / "below" / "counts")
    write_run(folder / "verse")
    answer = server.http.post("/v1/charloom/trash/verse", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "taken")


def test_a_run_that_is_being_trained_stays(server, folder):
    with Run.open(folder / "verse").lock():
        for method, body in (("POST", {"json": {"name": "other"}}), ("DELETE", {})):
            answer = server.http.request(method, "/v1/charloom/runs/verse", **body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "busy")
    assert "verse" in names(listed(server))


def test_a_run_that_was_named_stays_as_it_is(folder):
    with serving(folder / "verse") as server:
        server.http.headers["origin"] = server.url
        assert server.http.delete("/v1/charloom/runs/verse").status_code == 409
        assert [row["movable"] for row in listed(server)["data"]] == [False]


@pytest.mark.browser
def test_runs_are_sorted_renamed_deleted_and_put_back(browser, server, folder):
    with visited(browser, f"{server.url}/runs", refused=409) as view:
        rows = view.locator("tbody tr .name")
        rows.nth(3).wait_for()
        assert rows.all_text_contents() == [NAME, "below/counts", "broken", "verse"]
        assert sum(len(one.body()) for one in view.loaded) <= FIRST_PAINT
        view.get_by_role("button", name="Size").click()
        assert rows.all_text_contents()[:2] == [NAME, "verse"]  # 1.6k, 2.0k, and two without
        view.get_by_role("button", name="Size").click()
        assert rows.all_text_contents()[:2] == ["verse", NAME]
        assert view.locator("th[aria-sort=descending]").inner_text().startswith("Size")

        view.get_by_role("button", name="Rename verse").click()
        view.keyboard.type("poem")
        view.keyboard.press("Enter")
        view.locator(".done", has_text="verse is now called poem").wait_for()
        assert Run.open(folder / "poem")
        view.get_by_role("button", name="Rename poem").click()
        view.keyboard.type("broken")
        view.keyboard.press("Enter")
        view.locator(".done", has_text="exists").wait_for()
        view.keyboard.press("Escape")

        view.get_by_role("button", name="Delete poem").click()
        view.locator(".done", has_text=str(folder / ".trash" / "poem")).wait_for()
        assert Run.open(folder / ".trash" / "poem")
        assert rows.count() == 3
        view.keyboard.press("Enter")  # on the button that puts it back
        view.locator(".done", has_text="poem is back").wait_for()
        assert rows.count() == 4
        assert view.locator(".trash").is_hidden()
        assert view.locator("main img").count() == 0


@pytest.mark.browser
def test_curves_are_shown_and_grow_while_a_run_trains(browser, server, folder):
    run = Run.open(folder / "verse")
    with visited(browser, f"{server.url}/runs") as view, run.lock():
        view.locator(".plot path.thick").nth(2).wait_for()
        view.locator("text.level", has_text="bz2").wait_for()
        for other in (NAME, "below/counts"):
            view.get_by_label(f"Show the curve of {other}").uncheck()
        path = view.locator(".plot path.thick")
        wait(lambda: path.count() == 1)
        before = path.get_attribute("d")
        view.locator(".plot").focus()
        view.keyboard.press("End")
        assert "validation 1.900 (2.741 bits), training 1.250" in view.locator(".tip").inner_text()
        view.keyboard.press("ArrowLeft")
        assert "validation 1.750" in view.locator(".tip").inner_text()
        run.append_metrics(
            Line(step=100, characters=10_000, seconds=12.0, loss=1.0, validation=1.5)
        )
        wait(lambda: path.get_attribute("d").count("L") == before.count("L") + 1)
        view.locator("tr", has_text="verse").locator(".nats", has_text="1.500").wait_for()
        assert view.locator("tr", has_text="verse").locator(".state").inner_text() == "training"
        view.locator(".axis").select_option("seconds")
        view.locator(".plot .labels text", has_text="0:12").wait_for()
        assert "lowest 1.500" in view.locator(".plot").get_attribute("aria-label")


@pytest.mark.browser
def test_the_page_fits_and_everybody_can_use_it(browser, server):
    with visited(browser, f"{server.url}/runs") as view:
        view.locator(".plot path.thick").first.wait_for()
        for width in looks(view):
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(view) == []
        view.set_viewport_size({"width": NARROW, "height": 900})
        assert view.evaluate("document.documentElement.scrollWidth") <= NARROW


@pytest.mark.browser
@pytest.mark.parametrize("part", ["", "runs", "train"])
def test_without_scripts_the_page_says_what_to_do(browser, server, part):
    with visited(browser, f"{server.url}/{part}", java_script_enabled=False) as view:
        assert "charloom" in view.locator("noscript p code").inner_text()
        assert view.locator("nav a").first.is_visible()
