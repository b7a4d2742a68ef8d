"""The page of `charloom serve`: what only it asks for, and the page itself in a real browser."""

import numpy as np
import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.runs.open import open_model
from serving import TEXT, post, serving, write_run
from visiting import FIRST_PAINT, visited

NAME = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_run(folder / "verse")
    write_run(folder / NAME, "ngram")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


def following(server, prompt, model="verse"):
    answer = server.http.post("/v1/charloom/next", json={"model": model, "prompt": prompt})
    assert answer.status_code == 200, answer.text
    return np.array([-np.inf if x is None else x for x in answer.json()["log_probs"]])


def test_models_are_told_with_their_characters(server, folder):
    told = server.http.get("/v1/charloom/models").json()["data"]
    assert [one["id"] for one in told] == sorted([NAME, "verse"])
    (verse,) = (one for one in told if one["id"] == "verse")
    assert tuple(verse["characters"]) == open_model(folder / "verse").vocabulary.characters
    assert verse["kind"] == "lstm 1 x 12"


@pytest.mark.parametrize("name", ["verse", NAME])
def test_all_that_may_come_next_is_what_the_model_predicts(server, folder, name):
    model, long = open_model(folder / name), TEXT * 3
    assert len(long) > 1536  # three states are kept
    for prompt in ("Theirs", long, long[:1000] + "T", long[:513], long, ""):
        ids = model.vocabulary.prompt(prompt)
        wanted = model.log_probs(ids[None], model.start(1))[0][0][-1]
        np.testing.assert_allclose(following(server, prompt, name), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"model": "verse"}', 400),
        (b'{"model": "verse", "prompt": 1}', 400),
        (b'{"model": "verse", "prompt": "Theirs", "more": 1}', 400),
        ('{"model": "verse", "prompt": "é"}'.encode(), 400),
        (b'{"model": "nobody", "prompt": ""}', 404),
        (b'{"model": "verse", "prompt": "' + b"T" * 100_001 + b'"}', 400),
    ],
)
def test_what_is_no_such_request_is_refused(server, body, status):
    headers = {"content-type": "application/json"}
    answer = server.http.post("/v1/charloom/next", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["code"]


def test_the_key_is_asked_for(folder):
    with serving(folder, key="secret") as server:
        assert server.http.get("/").status_code == 200
        assert server.http.get("/v1/charloom/models").status_code == 401
        body = {"model": "verse", "prompt": ""}
        assert server.http.post("/v1/charloom/next", json=body).status_code == 401


def test_open_starts_a_browser_at_the_page(monkeypatch, folder):
    from charloom.serve import server

    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or False)
    monkeypatch.setattr(server, "serve", lambda runs, settings, ready: ready("http://here", runs))
    result = CliRunner().invoke(cli.charloom, ["open", str(folder)])
    assert result.exit_code == 0, result.output
    assert opened == ["http://here"]
    assert "no browser" in result.output


@pytest.mark.browser
def test_one_writes_with_each_model_and_nothing_comes_from_elsewhere(browser, server):
    with visited(browser, server.url) as view:
        view.locator(".likely button").first.wait_for()
        assert sum(len(one.body()) for one in view.loaded) <= FIRST_PAINT
        for name in ("verse", NAME):
            view.locator(".models").select_option(name)
            area = view.locator("textarea")
            area.fill("Theirs ")
            view.locator(".length").fill("40")
            view.locator(".seed").fill("5")
            view.locator(".go").click()
            view.locator(".state", has_text="seed 5").wait_for()
            asked = {"model": name, "max_tokens": 40, "temperature": 0.8, "seed": 5}
            written = post(server, asked).json()["choices"][0]["text"]
            assert area.input_value() == "Theirs " + written
            view.locator(".mean", has_text="nats").wait_for()
            count = view.locator(".tree button").count()
            view.locator(".likely button").first.click()
            view.locator(".state", has_text="39 characters").wait_for()
            assert view.locator(".tree button").count() == count + 1
            view.get_by_role("button", name="Undo").click()
        assert view.locator("img").count() == 0


@pytest.mark.browser
def test_the_page_asks_for_the_key_once(browser, folder):
    with (
        serving(folder, key="secret") as server,
        visited(browser, server.url, refused=401) as view,
    ):
        view.locator(".unlock input[type=password]").fill("wrong")
        view.get_by_role("button", name="Open").click()
        view.locator(".about", has_text="key").wait_for()
        view.locator(".unlock input[type=password]").fill("secret")
        view.get_by_role("button", name="Open").click()
        view.locator(".likely button").first.wait_for()
        view.reload()
        view.locator(".likely button").first.wait_for()
