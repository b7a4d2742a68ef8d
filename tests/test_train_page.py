"""The part of the page that trains: a text is sent in and checked, and a real training is begun."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from axe import serious
from charloom.config import replace
from charloom.runs.checkpoint import steps
from charloom.runs.run import Run
from charloom.serve.processes import Command, trainer_of
from charloom.serve.uploads import plain_name
from serving import TEXT, serving, wait, write_run
from small_runs import OFTEN, TRAIN, config_of, new_run, write_text
from visiting import DESKTOP, FIRST_PAINT, PHONE, looks, visited

LONG = TEXT * 12


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    with serving(folder, grace=60.0) as server:
        server.http.headers["origin"] = server.url
        server.folder = folder
        yield server


def send(server, content=LONG, name="light brigade.txt"):
    headers = {"content-type": "application/octet-stream"}
    return server.http.post(
        "/v1/charloom/texts", params={"name": name}, content=content, headers=headers
    )


def shown(server):
    answer = server.http.get("/v1/charloom/training")
    assert answer.status_code == 200, answer.text
    return answer.json()


def begin(server, **asked):
    return server.http.post("/v1/charloom/training", json=asked)


def ended(server, what):
    """Wait until a check or a training has ended."""
    going_on = ("checking", "starting", "training", "stopping")
    while (found := shown(server)[what])["state"] in going_on:
        threading.Event().wait(0.05)  # it needs the processors
    return found


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("novel.txt", "novel.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\texts\\Über das Meer.TXT", "Über das Meer.TXT"),
        ("..", "text"),
        (".hidden", "hidden"),
        ("", "text"),
        ("-rf", "rf"),
        ("a\0b\n<c>.txt", "a-b-c.txt"),
        ("x" * 300 + ".epub", "x" * 51 + ".epub"),
        ("corpus:tinyshakespeare", "corpus-tinyshakespeare"),
        ("https://example.org/a.html?b", "a.html-b"),
    ],
)
def test_a_file_has_a_plain_name(given, name):
    assert plain_name(given) == name


@pytest.mark.slow
def test_a_text_is_kept_below_the_runs_and_checked(server):
    answer = send(server, name="../../../light brigade.txt").json()["text"]
    assert (answer["name"], answer["bytes"]) == ("light brigade.txt", len(LONG))
    (kept,) = server.folder.rglob("*.txt")
    assert kept.parent.parent == server.folder / ".texts"
    assert kept.read_text() == LONG
    text = ended(server, "text")
    assert text["state"] == "checked", text
    figures = dict(text["figures"])
    assert figures["text"].startswith("light brigade.txt: 8,424 characters")
    assert text["trainable"]
    assert text["ngram"]["nats"] > 0
    assert str(server.folder) not in str(text)
    assert server.http.delete("/v1/charloom/texts").json()["text"] is None
    assert not [*server.folder.rglob("*.txt")]


@pytest.mark.slow
def test_what_cannot_be_read_is_said_in_plain_words(server):
    send(server, os.urandom(5000), "noise.bin")
    text = ended(server, "text")
    assert text["state"] == "unreadable"
    assert text["error"].startswith("noise.bin")


def test_what_is_no_text_or_no_such_request_is_refused(server):
    assert send(server, b"").status_code == 400
    assert [*(server.folder / ".texts").iterdir()] == []
    json_body = server.http.post("/v1/charloom/texts", json={"path": "/etc/passwd"})
    assert json_body.status_code == 415
    text = send(server).json()["text"]["id"]
    for asked, status in (
        ({}, 400),
        ({"text": text}, 400),
        ({"text": text, "minutes": 0}, 400),
        ({"text": text, "minutes": 1e9}, 400),
        ({"text": text, "minutes": 1, "name": "../out"}, 400),
        ({"text": text, "minutes": 1, "run": "verse"}, 400),
        ({"text": text, "minutes": 1, "path": "/"}, 400),
        ({"text": "/etc/passwd", "minutes": 1}, 404),
        ({"run": "../verse"}, 404),
    ):
        assert begin(server, **asked).status_code == status, asked
    assert server.http.delete("/v1/charloom/training").status_code == 409
    assert shown(server)["training"] is None
    assert {path.name for path in server.folder.iterdir()} == {".texts"}


def test_without_a_folder_nothing_is_trained(tmp_path):
    with serving(write_run(tmp_path / "verse").path) as server:
        server.http.headers["origin"] = server.url
        assert shown(server)["folder"] is None
        assert send(server).status_code == 409
        assert send(server).json()["error"]["code"] == "no_folder"


def test_what_a_check_advises_is_asked_of_the_training(server, monkeypatch):
    from charloom.serve import training

    begun = []

    class Quiet(Command):
        def __init__(self, arguments):
            begun.append(arguments)
            super().__init__(["--version"])

    text = send(server).json()["text"]["id"]
    monkeypatch.setattr(training, "Command", Quiet)
    begin(server, text=text, minutes=2.5, dedupe=True, fix_mojibake=True)
    (kept,) = server.folder.rglob("*.txt")
    out = str(server.folder / "light brigade")
    options = ["--minutes", "2.5", "--dedupe", "--fix-mojibake", "--out", out]
    assert begun == [["train", *options, "--", str(kept)]]


@pytest.fixture
def endless(server, tmp_path):
    """A run that ends only if it is stopped."""
    train = replace(TRAIN, iterations=10**9, dropout=0.0, learning_rate=1e-3, schedule="constant")
    watch = replace(OFTEN, evaluate_every=40, sample_every=40, checkpoint_every=80)
    config = config_of(write_text(tmp_path), train=train, watch=replace(watch, sample_length=40))
    run = new_run(server.folder / "endless", config)
    wait(lambda: "endless" in str(server.http.get("/v1/charloom/runs").json()))
    return run


@pytest.mark.slow
def test_one_training_at_a_time_is_stopped_and_resumed(server, endless):
    answer = begin(server, run="endless")
    assert answer.status_code == 200, answer.text
    for asked in ({"run": "endless"}, {"text": "none", "minutes": 1}):
        again = begin(server, **asked)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "busy")
        assert "endless is being trained" in again.json()["error"]["message"]
    wait(lambda: shown(server)["training"]["state"] == "training")
    answer = server.http.delete("/v1/charloom/training")
    assert answer.json()["training"]["state"] in ("stopping", "stopped")
    training = ended(server, "training")
    assert (training["state"], training["saved"]) == ("stopped", True)
    step = steps(endless.checkpoints)[-1]
    assert step > 0
    assert begin(server, run="endless").status_code == 200
    wait(lambda: endless.metrics()[-1].step > step)
    server.handle_exit(signal.SIGTERM, None)  # the server ends, and with it the training
    wait(lambda: server._trainer.training.command.status is not None)
    assert server._trainer.training.command.was_stopped
    assert steps(endless.checkpoints)[-1] > step


def test_a_run_that_is_trained_elsewhere_is_waited_for(server):
    run = write_run(server.folder / "verse")
    text = send(server).json()["text"]["id"]
    with run.lock():
        wait(lambda: "verse" in str(server.http.get("/v1/charloom/runs").json()))
        answer = begin(server, text=text, minutes=1)
        assert trainer_of(run.path) is None  # this process is no command that trains
        assert shown(server)["training"] is None
        assert server.http.delete("/v1/charloom/training").status_code == 409
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "busy")
    assert str(os.getpid()) in answer.json()["error"]["message"]


@contextmanager
def process(*arguments):
    """A `charloom` command of its own, which is killed in the end."""
    command = [sys.executable, "-P", "-m", "charloom", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as running:
        yield running
        running.kill()


ON_LINUX = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it cannot be told here")


@ON_LINUX
@pytest.mark.slow
def test_what_a_killed_server_trained_is_shown_and_stopped_by_the_next(server, endless):
    with process("serve", server.folder, "--port", 0) as killed:
        address = killed.stdout.readline().split()[0]
        asked = {"url": f"{address}/v1/charloom/training", "headers": {"origin": address}}
        with type(server.http)(timeout=60) as client:
            assert client.post(**asked, json={"run": "endless"}).status_code == 200
            wait(lambda: client.get(**asked).json()["training"]["state"] == "training")
        killed.kill()
    process_of_it = trainer_of(endless.path).process
    training = shown(server)["training"]
    assert (training["run"], training["state"]) == ("endless", "training")
    assert training["process"] == process_of_it
    assert training["seconds"] > 0
    answer = begin(server, run="endless")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "busy")
    other = server.http.delete("/v1/charloom/training", params={"run": "verse"})
    assert other.status_code == 409  # a page that is behind does not stop another one
    assert trainer_of(endless.path).process == process_of_it
    answer = server.http.delete("/v1/charloom/training", params={"run": "endless"})
    assert answer.json()["training"]["state"] in ("stopping", "stopped")
    assert ended(server, "training")["state"] == "stopped"
    assert trainer_of(endless.path) is None
    step = steps(endless.checkpoints)[-1]
    assert step >= endless.metrics()[-1].step  # saved where it was
    assert begin(server, run="endless").status_code == 200
    wait(lambda: endless.metrics()[-1].step > step)
    assert shown(server)["training"]["process"] is None


@ON_LINUX
@pytest.mark.slow
def test_what_a_terminal_trains_goes_on_when_the_server_ends(server, endless):
    with process("resume", endless.path) as command:
        wait(lambda: shown(server)["training"] is not None)
        server._trainer.close(0.0)
        assert trainer_of(endless.path).process == command.pid
        assert command.poll() is None


@ON_LINUX
def test_a_process_that_only_has_the_number_of_a_training_is_left_alone(server, endless):
    # `charloom train` by its words, as far as anybody can see, but the run is held by this process.
    command = [sys.executable, "-c", "input()", "charloom", "train"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as other, endless.lock():
        (endless.path / ".lock").write_text(f"{other.pid}\n")
        assert shown(server)["training"] is None
        assert server.http.delete("/v1/charloom/training").status_code == 409
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


@pytest.mark.slow
def test_a_training_that_fails_says_why(server):
    text = send(server, os.urandom(5000)).json()["text"]["id"]
    begin(server, text=text, minutes=0.1, name="short")
    training = ended(server, "training")
    assert training["state"] == "failed"
    assert training["error"]
    assert not (server.folder / "short").exists()


@pytest.mark.slow
@pytest.mark.browser
def test_a_text_is_dropped_checked_and_learned(browser, server):
    with visited(browser, f"{server.url}/train") as view:
        drop = view.locator(".drop")
        drop.wait_for()
        assert sum(len(one.body()) for one in view.loaded) <= FIRST_PAINT
        data = view.evaluate_handle(
            "text => { const data = new DataTransfer();"
            " data.items.add(new File([text], 'light brigade.txt')); return data; }",
            LONG,
        )
        drop.dispatch_event("drop", {"dataTransfer": data})
        view.locator(".found dt", has_text="vocabulary").wait_for()
        assert "n-gram" in view.locator(".found dl").inner_text()
        assert serious(view) == []
        assert view.locator(".begin .name").input_value() == "light brigade"
        view.locator(".minutes").fill("0.1")
        view.locator(".begin .name").fill("poem")
        view.get_by_role("button", name="Train", exact=True).click()
        view.locator("#live-title", has_text="poem is ready").wait_for()
        assert view.locator(".live .plot path").count() == 2
        assert len(view.locator(".written pre").inner_text()) > 10
        assert view.locator(".write").get_attribute("href") == "/?model=poem"
        assert Run.open(server.folder / "poem").final() is not None
        view.get_by_role("button", name="Another training").click()
        drop.wait_for()
    assert [
        path.name for path in server.folder.rglob("*.txt") if path.parent.parent.name == ".texts"
    ]


@pytest.mark.browser
def test_a_training_need_not_wait_for_the_check(browser, server, monkeypatch):
    from charloom.serve import training, uploads

    class Waiting(Command):
        def __init__(self, arguments):
            begun.append(arguments)
            super().__init__(["serve", str(server.folder), "--port", "0"])  # until it is ended

    begun = []
    monkeypatch.setattr(uploads, "Command", Waiting)
    with visited(browser, f"{server.url}/train") as view:
        file = {"name": "light brigade.txt", "mimeType": "text/plain", "buffer": LONG.encode()}
        view.locator(".drop input").set_input_files(file)
        view.locator(".hint", has_text="need not wait").wait_for()
        check = server._trainer.uploads.text
        assert (check.describe()["state"], len(begun)) == ("checking", 1)
        monkeypatch.setattr(training, "Command", Waiting)
        assert view.locator(".begin .name").input_value() == "light brigade"
        view.get_by_role("button", name="Train", exact=True).click()
        view.locator("#live-title", has_text="light brigade is starting").wait_for()
    assert begun[1][0] == "train"
    wait(lambda: check.describe()["state"] != "checking")  # it does not slow the training down
    server._trainer.training.command.stop()


@pytest.mark.slow
@pytest.mark.browser
def test_a_training_is_seen_stopped_and_resumed(browser, server, endless):
    with visited(browser, f"{server.url}/train?run=endless", refused=409) as view:
        view.get_by_role("button", name="Train on").click()
        view.locator("#live-title", has_text="endless is learning").wait_for()
        view.locator(".live .plot path.thick").wait_for()
        view.reload()  # it goes on
        before = view.locator(".live .plot path.thick").get_attribute("d")
        wait(lambda: view.locator(".live .plot path.thick").get_attribute("d") != before)
        assert len(view.locator(".written pre").inner_text()) > 10
        view.get_by_role("button", name="Stop").click()
        view.locator("#live-title", has_text="endless has been stopped").wait_for()
        step = steps(endless.checkpoints)[-1]
        for width in looks(view):
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(view) == []
        with endless.lock():  # somebody else trains it
            view.get_by_role("button", name="Resume").click()
            view.locator(".about", has_text=f"by process {os.getpid()}").wait_for()
        view.get_by_role("button", name="Resume").click()
        wait(lambda: endless.metrics()[-1].step > step)
        view.get_by_role("button", name="Stop").click()
        view.get_by_role("button", name="Another training").click()
        view.locator(".drop").wait_for()
        for width in (DESKTOP, PHONE):
            view.set_viewport_size({"width": width, "height": 900})
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(view) == []
    assert shown(server)["training"]["state"] == "stopped"
