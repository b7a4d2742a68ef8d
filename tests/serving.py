"""Small runs and a server for them in this process, on a free port: shared by its tests."""

import asyncio
import contextlib
import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig, replace
from charloom.data.text import read_text
from charloom.data.vocabulary import Vocabulary
from charloom.models.ngram import NgramModel
from charloom.models.weights import initial_weights
from charloom.runs.meta import Best, Meta
from charloom.runs.run import Run

httpx = pytest.importorskip("httpx")
for needed in ("starlette", "uvicorn"):
    pytest.importorskip(needed)

TEXT = "Theirs not to make reply,\nTheirs not to reason why,\nTheirs but to do and die.\n" * 9
PROMPT = "Theirs "
LONG = 100_000  # characters: more than a test waits for


def write_run(path, kind="lstm", seed=3, documents=False):
    """Write a run with a checkpoint of random weights, or of counts."""
    source = path.parent / f"{path.name}.txt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(TEXT)
    model = NgramConfig(order=4) if kind == "ngram" else ModelConfig(cell=kind, hidden=12)
    text = read_text([str(source)])
    alphabet = {*text.alphabet, *(["\0"] if documents else [])}
    vocabulary = Vocabulary.from_alphabet(alphabet, 100)
    data = DataConfig(sources=(str(source),), boundaries=documents)
    run = Run.create(path, RunConfig(model=model, data=data), vocabulary, text)
    save(run, seed)
    return run


def save(run, seed, step=1):
    """Save a checkpoint of a run, with other weights for each seed."""
    config, vocabulary = run.config, run.vocabulary
    if isinstance(config.model, NgramConfig):
        arrays = NgramModel.fit(vocabulary.encode(TEXT), vocabulary, config.model).arrays()
    else:
        arrays = initial_weights(replace(config.model, init_std=1.0), len(vocabulary), seed)
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    best = Best(step, 1.0)
    run.save(arrays, Meta(step=step, seconds=0.0, best=best, versions={}, config=config))


@contextlib.contextmanager
def serving(*sources, **settings):
    """Serve runs; gives the server, whose `url` is where it is, and `http` a client of it."""
    from charloom.serve import server as module
    from charloom.serve.models import Models

    settings = module.Settings(**{"port": 0, "grace": 0.0} | settings)
    listening = module.listen(settings)
    made, ready = [], threading.Event()

    async def run():
        made.append(module.make(Models([Path(source) for source in sources]), settings, 0))
        made[0].url = module.address(listening)
        task = asyncio.ensure_future(made[0].serve([listening]))
        while not made[0]._models.ready and not task.done():
            await asyncio.sleep(0.001)
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait()
    try:
        with httpx.Client(base_url=made[0].url, verify=False, timeout=60) as made[0].http:
            yield made[0]
    finally:
        made[0].handle_exit(15, None)
        thread.join()
        listening.close()


def post(server, body, **more):
    """Ask for a completion."""
    body = {"model": "verse", "prompt": PROMPT, **body}
    return server.http.post("/v1/completions", json=body, **more)


def text_of(server, **body):
    """The text of the one choice."""
    answer = post(server, body)
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    return choice["text"]


def events(server, **body):
    """The events of a stream, without the last, [DONE]."""
    answer = post(server, {"stream": True} | body)
    assert answer.status_code == 200, answer.text
    *told, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in told]


def stream_request(server, **body):
    """Ask for a long text on a connection of its own, and return that."""
    body = {"model": "verse", "prompt": "Theirs", "max_tokens": LONG, **body}
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    port = int(server.url.rsplit(":", 1)[1])
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    return connection


def wait(condition):
    """Wait until it holds; pytest's timeout is the only limit."""
    while not condition():
        threading.Event().wait(0.001)
