"""Anything may be sent to `charloom serve`: no answer is 5xx, none is undocumented, it goes on."""

import gc
import json
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from charloom.config import SampleConfig
from charloom.generation.sampling import generate
from charloom.runs.open import open_model
from charloom.runs.run import Run
from serving import PROMPT, httpx, post, save, serving, stream_request, wait, write_run

sizes = pytest.mark.parametrize


def quick_or(quick, full):
    """So many trials in `make test`, or all of them in `make torture`."""
    return sizes("trials", [quick, pytest.param(full, marks=pytest.mark.torture)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("fuzzed") / "verse").path


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as server:
        yield server


ODD = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        5,
        16,
        10**12,
        2**63,
        -(2**63),
        0.5,
        1.0,
        -0.0,
        1e308,
        1e-308,
    ),
    *("", "a", "Theirs", "\0", "\u2028", "\ud7ff", "é", "😀" * 3, "x" * 5000, "../verse", "verse"),
    *([], [""], ["a", "b"], ["a"] * 130, [1, 2], [[1]], [None], {}, {"e": 1}, {"e": "1"}, {"": 0}),
    *({"include_usage": True}, {"include_usage": 1}, {"a": {"b": [{}]}}),
]
FIELDS = [
    *("model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "best_of"),
    *("stream", "stream_options", "stop", "seed", "logprobs", "echo", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "suffix", "user", "unknown", "", "\0"),
]


def some_body(rng):
    """A request of which some fields are anything."""
    body = {"model": "verse", "prompt": "Theirs", "max_tokens": rng.randint(0, 20), "seed": 1}
    for field in rng.sample(FIELDS, rng.randint(0, 4)):
        body[field] = rng.choice(ODD)
    return body


def damaged(content, rng):
    """Some bytes, of which a few are changed, left out or doubled."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content))
        match rng.randrange(3):
            case 0:
                content[at] = rng.randrange(256)
            case 1:
                del content[at : at + rng.randint(1, 9)]
            case 2:
                content[at:at] = content[at : at + rng.randint(1, 9)]
    return bytes(content) or b" "


def check_answer(server, documented, answer):
    """An answer is one that the description has, in the form that it says."""
    assert str(answer.status_code) in documented, (answer.status_code, answer.text)
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert {*error} == {"message", "type", "param", "code"}
        assert error["message"]
    elif answer.headers["content-type"] == "application/json":
        told = answer.json()
        assert told["choices"]
        assert told["usage"]["total_tokens"] >= told["usage"]["completion_tokens"]
    else:
        assert answer.text.endswith("data: [DONE]\n\n")


@quick_or(400, 10_000)
def test_no_request_is_answered_as_none_should_be(server, trials, capfd):
    described = server.http.get("/openapi.json").json()["paths"]
    documented = described["/v1/completions"]["post"]["responses"]
    assert not [status for status in documented if status.startswith("5") and status != "503"]
    rng, statuses = random.Random(0), []
    headers = {"content-type": "application/json"}
    for _ in range(trials):
        content = json.dumps(some_body(rng)).encode()
        if rng.random() < 0.3:
            content = damaged(content, rng)
        answer = server.http.post("/v1/completions", content=content, headers=headers)
        check_answer(server, documented, answer)
        statuses.append(answer.status_code)
    assert not [status for status in statuses if status >= 500]
    assert min(statuses.count(200), statuses.count(400)) > trials // 10
    assert server._engine.idle
    assert capfd.readouterr().err == ""


@quick_or(100, 2_000)
def test_no_bytes_on_a_connection_do_harm(server, trials, capfd):
    body = b'{"model": "verse", "max_tokens": 3, "stream": true}'
    whole = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nAccept: */*\r\nConnection: close\r\n\r\n" % len(body) + body
    )
    port, rng = int(server.url.rsplit(":", 1)[1]), random.Random(0)
    statuses = []
    for _ in range(trials):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(damaged(whole, rng))
            connection.shutdown(socket.SHUT_WR)
            told = b""
            try:
                while data := connection.recv(2**16):
                    told += data
            except ConnectionResetError:
                pass
        if told:
            statuses.append(int(re.match(rb"HTTP/1.1 (\d+)", told)[1]))
    assert not [status for status in statuses if status >= 500]
    assert server.http.get("/healthz").status_code == 200
    wait(lambda: server._engine.idle)
    assert capfd.readouterr().err == ""


@quick_or(100, 1_000)
def test_each_answer_is_of_one_checkpoint_while_others_take_its_place(tmp_path, trials):
    run = write_run(tmp_path / "verse")
    texts, stop = {}, threading.Event()

    def expect():
        return "".join(generate(open_model(run.path), SampleConfig(seed=1), PROMPT, 16))

    def replace():
        for step in range(2, 102):
            save(Run.open(run.path), seed=step, step=step)
            if stop.wait(0.01):
                return

    with serving(run.path) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("charloom.serve.models.LOOK_EVERY", 0.0)
        thread = threading.Thread(target=replace)
        thread.start()
        for _ in range(trials):
            answer = post(server, {"seed": 1})
            assert answer.status_code == 200
            told = answer.json()
            texts.setdefault(told["system_fingerprint"], set()).add(told["choices"][0]["text"])
        stop.set()
        thread.join()
        assert len(texts) > 1
        assert all(len(found) == 1 for found in texts.values())
        for _ in range(1000):
            (last,) = post(server, {"seed": 1}).json()["choices"]
            if last["text"] == expect():
                break
        assert last["text"] == expect()


def memory():
    """Bytes of this process that are its own, in memory or swapped out."""
    status = Path("/proc/self/status").read_text()
    return (
        sum(int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("RssAnon", "VmSwap")) << 10
    )


@pytest.mark.torture
def test_memory_does_not_grow_with_requests(folder):
    """10,000 requests after 1,000: streams, whole ones, errors, log-probabilities, clients gone."""
    with serving(folder) as server, ThreadPoolExecutor(4) as pool:

        def ask(number):
            rng = random.Random(number)
            prompt = "".join(rng.choices("Theirsnot omaky", k=rng.randint(1, 60)))
            body = {"prompt": prompt, "seed": number, "max_tokens": rng.randint(0, 60)}
            match number % 5:
                case 0:
                    post(server, body | {"stream": True})
                case 1:
                    post(server, body | {"logprobs": 5, "echo": True})
                case 2:
                    assert post(server, body | {"n": 0}).status_code == 400
                case 3:
                    with stream_request(server, stream=True, seed=number) as connection:
                        connection.recv(100)
                case 4:
                    post(server, body | {"n": 3, "logit_bias": {"e": 1}})

        def state():
            gc.collect()
            wait(lambda: server._engine.idle)
            return memory(), len([*Path("/proc/self/fd").iterdir()]), threading.active_count()

        [*pool.map(ask, range(1_000))]
        before, descriptors, threads = state()
        [*pool.map(ask, range(1_000, 11_000))]
        after, descriptors_after, threads_after = state()
        assert after - before < 10_000 * 1024
        assert abs(descriptors_after - descriptors) <= 4  # connections that are kept
        assert threads_after <= threads


@pytest.mark.torture
def test_a_slow_attack_keeps_nobody_from_an_answer(folder):
    """100 connections that send a byte now and then, 100 idle, 20 that read nothing."""
    with serving(folder) as server, ExitStack() as stack:
        port, stop = int(server.url.rsplit(":", 1)[1]), threading.Event()
        for seed in range(20):  # what is loaded once
            post(server, {"stream": True, "logprobs": 5, "max_tokens": 2000, "seed": seed})
        address, before = ("127.0.0.1", port), memory()
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        deaf = [
            stack.enter_context(
                stream_request(server, stream=True, logprobs=5, max_tokens=60_000, seed=n)
            )
            for n in range(20)
        ]
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 99
        gone = set()

        def attack():
            for byte in head:
                for connection in slow:
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        gone.add(connection)
                if stop.wait(0.5):
                    return

        thread = threading.Thread(target=attack)
        thread.start()
        began = time.monotonic()
        while time.monotonic() < began + 45:
            assert post(server, {"max_tokens": 20}).status_code == 200
            stop.wait(0.2)
        stop.set()
        thread.join()
        assert len(gone) == len(slow)  # after 10 seconds, whatever came by then
        for connection in idle:
            connection.settimeout(5)
            try:
                assert connection.recv(1) == b""
            except ConnectionResetError:
                continue
        assert memory() - before < 20 * 2**20
        wait(lambda: server._engine.idle)  # after 30 seconds
        assert server._engine.counts.cancelled == len(deaf)


@pytest.mark.torture
def test_texts_are_the_same_among_200_clients(folder):
    with serving(folder) as server, ThreadPoolExecutor(200) as pool:
        alone = [post(server, {"seed": n, "max_tokens": 500}).json() for n in range(200)]
        limits = httpx.Limits(max_connections=None)
        many = {"verify": False, "timeout": 600, "limits": limits}
        with httpx.Client(base_url=server.url, **many) as server.http:
            bodies = [{"seed": n, "max_tokens": 500} for n in range(200)]
            among = [*pool.map(lambda body: post(server, body).json(), bodies)]
        assert [one["choices"] for one in among] == [one["choices"] for one in alone]
