"""`charloom serve` with many clients, clients that leave, and its end."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from charloom.config import SampleConfig
from charloom.models.lanes import Rules
from charloom.serve.engine import Closed, Engine, Full
from charloom.serve.jobs import Failed, Job, Prompt
from charloom.serve.texts import Reader, alike, read
from serving import LONG, events, httpx, post, serving, stream_request, wait, write_run
from toy_models import History, WritesAtOnce


class Gate(History):
    """A model that writes when it is told to, so that no test depends on speed."""

    def __init__(self):
        super().__init__()
        self.steps, self.asked = 0, 0
        self.changed = threading.Condition()

    def step(self, ids, state):
        with self.changed:
            self.asked += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.steps > 0)
            self.steps -= 1
        return super().step(ids, state)

    def let(self, steps):
        with self.changed:
            self.steps += steps
            self.changed.notify_all()

    def await_step(self, number):
        """Wait until that many steps were asked for."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked >= number, 60)


def job_of(model, tokens=10, lanes=1, seed=1):
    """A job, and the pieces of it as they come."""
    told = []
    ids = model.vocabulary.prompt("")
    prompts = [Prompt("", ids, 0)]
    config = SampleConfig(seed=seed)
    rules = Rules.of(config, len(model.vocabulary))
    job = Job(model, prompts, lanes, tokens, config, rules, None, None, False, told.extend)
    return job, told


@contextmanager
def engine_of(slots=4, queue=2):
    engine = Engine(slots, queue)
    try:
        yield engine
    finally:
        engine.close()


def ended(told):
    return any(isinstance(piece, Failed) or piece.ended for piece in told)


def test_jobs_begin_in_their_order_and_the_queue_has_an_end():
    model = Gate()
    with engine_of(slots=1, queue=3) as engine:
        jobs = [job_of(model, 1, seed=seed) for seed in range(5)]
        order = []
        for number, (job, told) in enumerate(jobs[:4]):
            job.deliver = lambda pieces, n=number, told=told: (order.append(n), told.extend(pieces))
            engine.submit(job)
            if number == 0:
                model.await_step(1)
        with pytest.raises(Full):
            engine.submit(jobs[4][0])
        model.let(4)
        wait(lambda: engine.idle)
        assert order == [0, 1, 2, 3]
        assert engine.used == 0


class Breaks(Gate):
    """A model that cannot read a prompt of more than one id."""

    def log_probs(self, ids, state):
        raise ValueError


def test_a_prompt_that_fails_takes_no_other_text_with_it():
    model = Breaks()
    with engine_of(slots=6, queue=4) as engine:
        jobs = [job_of(model, 3, seed=seed) for seed in range(4)]
        lengths = [1, 3, 4]  # read in three calls
        jobs[2][0].prompts[:] = [Prompt("", np.zeros(n, np.int32), 0) for n in lengths]
        jobs[2][0].left = jobs[2][0].lanes
        engine.submit(jobs[0][0])
        model.await_step(1)
        for job, _ in jobs[1:]:  # the engine finds them at once
            engine.submit(job)
        model.let(10**9)
        wait(lambda: engine.idle)
        told = [pieces for _, pieces in jobs]
        assert [type(piece) for piece in told[2]] == [Failed]
        for pieces in told[:2] + told[3:]:
            assert len("".join(piece.text for piece in pieces)) == 3
            assert sum(piece.ended is not None for piece in pieces) == 1
        assert engine.counts.failed == 1
        assert engine.used == 0


class ManyLanes(WritesAtOnce, History):
    """A model that writes lanes side by side."""


def test_prompts_are_read_together_if_one_call_stays_small():
    model = ManyLanes([*map(chr, range(2**14))])  # so that a call gives 128 ids at most
    jobs = [job_of(model)[0] for _ in range(102)]
    for number, job in enumerate(jobs):
        job.prompts[0] = Prompt("", np.zeros(3 if number < 100 else 2, np.int32), 0)
    calls = alike([Reader(job, 0) for job in jobs])
    assert [len(readers) for readers in calls] == [64, 36, 2]
    assert [read(readers) for readers in calls] == [128, 72, 2]
    assert not any(reader.left for readers in calls for reader in readers)


def test_a_cancelled_job_is_not_written_on_and_one_that_waits_never_begins():
    model = Gate()
    with engine_of(slots=1, queue=3) as engine:
        (first, told), (second, never), (third, last) = (job_of(model) for _ in range(3))
        engine.submit(first)
        engine.submit(second)
        engine.submit(third)
        model.await_step(1)
        engine.cancel(second)
        engine.cancel(first)
        model.let(1)  # the step that had begun
        model.await_step(2)
        assert engine.counts.written == 1
        assert not never
        model.let(100)
        wait(lambda: ended(last))
        assert not ended(told)
        assert engine.counts.cancelled == 2
        wait(lambda: engine.used == 0)


def test_a_text_waits_for_a_client_that_takes_nothing_while_others_go_on(monkeypatch):
    from charloom.serve import engine as module

    monkeypatch.setattr(module, "BACKLOG", 1000)
    model = History()
    with engine_of(slots=3) as engine:
        slow, told = job_of(model, 3 * module.BACKLOG)
        engine.submit(slow)
        wait(lambda: slow.waiting > module.BACKLOG)
        quick, its = job_of(model, 50)
        engine.submit(quick)
        wait(lambda: ended(its))
        assert slow.waiting < module.BACKLOG + 100
        assert not ended(told)
        while not ended(told):
            engine.taken(slow, slow.waiting)
            threading.Event().wait(0.001)
        text = "".join(piece.text for piece in told)
    assert len(text) == 3 * module.BACKLOG


def test_a_model_that_fails_ends_its_texts_alone():
    class Broken(History):
        def step(self, ids, state):
            raise OSError

    with engine_of() as engine:
        job, told = job_of(Broken())
        engine.submit(job)
        wait(lambda: ended(told))
        assert isinstance(told[0], Failed)
        other, its = job_of(History())
        engine.submit(other)
        wait(lambda: ended(its))
        assert engine.used == 0


def test_a_closed_engine_takes_nothing_and_fails_what_there_is():
    model = Gate()
    engine = Engine(1, 4)
    first, told = job_of(model)
    second, its = job_of(model)
    engine.submit(first)
    engine.submit(second)
    model.await_step(1)
    engine.refuse()
    with pytest.raises(Closed):
        engine.submit(job_of(model)[0])
    model.let(100)
    engine.close()
    assert ended(told)
    assert isinstance(its[-1], Failed) or its[-1].ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("loaded") / "verse").path


def test_of_many_clients_each_gets_a_whole_answer_or_is_told_when_to_come_again(folder):
    with serving(folder, slots=4, queue=16) as server, ThreadPoolExecutor(60) as pool:
        answers = [*pool.map(lambda seed: post(server, {"seed": seed}), range(200))]
        refused = [answer for answer in answers if answer.status_code == 429]
        served = [answer for answer in answers if answer.status_code == 200]
        assert len(refused) + len(served) == 200
        assert len(served) >= 20
        for answer in served:
            assert len(answer.json()["choices"][0]["text"]) == 16
        for answer in refused:
            assert 1 <= int(answer.headers["retry-after"]) <= 120
            assert answer.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("trials", [60, pytest.param(200, marks=pytest.mark.torture)])
def test_nothing_is_written_for_a_client_that_has_gone(folder, trials):
    """Streams and whole answers; clients that close, reset and half-close."""
    with serving(folder, slots=8) as server:
        engine = server._engine
        for trial in range(trials):
            connection = stream_request(server, seed=trial, stream=bool(trial % 2))
            if trial % 2:
                assert connection.recv(100)
            else:
                wait(lambda: engine.used)
            if trial % 3 == 0:
                connection.shutdown(socket.SHUT_WR)
            elif trial % 3 == 1:
                linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if trial % 3:
                connection.close()
            wait(lambda: engine.idle)
            connection.close()
            before = engine.counts.written
            assert engine.used == 0
            assert engine.counts.written == before
        assert engine.counts.cancelled == trials


def test_a_request_that_waits_is_dropped_with_its_client(folder):
    with serving(folder, slots=1) as server:
        engine = server._engine
        first = stream_request(server, stream=True)
        wait(lambda: engine.used)
        second = stream_request(server, stream=True)
        wait(lambda: engine.queued)
        second.close()
        wait(lambda: not engine.queued)
        assert engine.counts.cancelled == 1
        first.close()
        wait(lambda: engine.idle)


def test_while_texts_end_what_is_new_is_refused(folder):
    with serving(folder, grace=60.0) as server:
        engine = server._engine
        with stream_request(server, stream=True):
            wait(lambda: engine.used)
            server.handle_exit(signal.SIGTERM, None)
            wait(lambda: engine._closed)
            answer = post(server, {})
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
            assert int(answer.headers["retry-after"]) > 0


def test_streams_of_many_clients_at_once_are_all_whole(folder):
    with serving(folder) as server, ThreadPoolExecutor(50) as pool:
        limits = httpx.Limits(max_connections=None)
        many = {"verify": False, "timeout": 60, "limits": limits}
        with httpx.Client(base_url=server.url, **many) as server.http:
            told = [*pool.map(lambda seed: events(server, seed=seed, max_tokens=200), range(50))]
        for one in told:
            text = "".join(event["choices"][0]["text"] for event in one)
            assert len(text) == 200


@contextmanager
def process(folder, *options, **environment):
    """The command itself, in a process; gives it and its port."""
    command = [sys.executable, "-m", "charloom", "serve", folder, "--port", "0", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | environment, **pipes) as server:
        try:
            line = server.stdout.readline()
            server.url = re.search(r"http://\S+", line)[0]
            while httpx.get(f"{server.url}/healthz").status_code != 200:  # it opens its runs
                time.sleep(0.01)
            yield server
        finally:
            if server.poll() is None:
                server.kill()


@pytest.mark.slow
def test_it_ends_with_status_0_and_lets_texts_end_first(folder):
    with process(folder, "--grace", "60") as server:
        streams = [stream_request(server, max_tokens=3000, stream=True, seed=n) for n in range(10)]
        for stream in streams:
            assert stream.recv(15) == b"HTTP/1.1 200 OK"
        server.send_signal(signal.SIGTERM)
        for stream in streams:
            with stream:
                told = b""
                while data := stream.recv(2**16):
                    told += data
                assert b"data: [DONE]" in told
        assert server.wait() == 0
        assert server.stderr.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_grace_it_ends_at_once_and_says_so_in_the_streams(folder, number):
    with process(folder, "--grace", "0", CHARLOOM_API_KEY="secret-key") as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 401
        headers = {"authorization": "Bearer secret-key"}
        body = {"model": "verse", "stream": True, "max_tokens": LONG}
        url = f"{server.url}/v1/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
            pieces = answer.iter_lines()
            assert next(pieces).startswith("data: ")
            server.send_signal(number)
            *_, last = filter(None, pieces)
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
        assert server.wait() == 0
        assert "secret-key" not in server.stdout.read() + server.stderr.read()


def test_a_slow_head_or_body_is_given_up(folder, monkeypatch):
    from charloom.serve import guard
    from charloom.serve import server as module

    monkeypatch.setattr(module, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    with serving(folder) as server:
        port = int(server.url.rsplit(":", 1)[1])
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        head += b"Content-Type: application/json\r\n\r\n"
        for begun, answer in ((b"", b""), (b"GET / HT", b""), (head, b"HTTP/1.1 408")):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(begun)
                told = b""
                try:
                    while data := connection.recv(2**16):
                        told += data
                except ConnectionResetError:
                    pass
                assert told.startswith(answer)
                assert bool(told) == bool(answer)


def test_a_client_that_reads_nothing_is_given_up(folder, monkeypatch, caplog):
    from charloom.serve import guard

    monkeypatch.setattr(guard, "SEND_SECONDS", 0.2)
    with serving(folder) as server:
        engine = server._engine
        with stream_request(server, stream=True, logprobs=5, max_tokens=60_000, seed=1):
            wait(lambda: engine.used)
            wait(lambda: engine.idle)
            assert engine.counts.cancelled == 1
            server.http.close()
            wait(lambda: not server.server_state.connections)
        assert not caplog.records


def test_the_loop_has_no_task_left(folder):
    with serving(folder) as server:

        async def tasks():
            return len(asyncio.all_tasks())

        def count():
            server.http.close()
            wait(lambda: not server.server_state.connections)
            return asyncio.run_coroutine_threadsafe(tasks(), server._loop).result()

        before = count()
        with httpx.Client(base_url=server.url, verify=False, timeout=60) as server.http:
            for seed in range(20):
                post(server, {"seed": seed, "stream": bool(seed % 2), "max_tokens": 5})
        assert count() == before
