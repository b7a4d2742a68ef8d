"""`charloom serve` under 200 clients: a server in a process of its own, and clients in this one.

One client against many: characters a second that all of them are streamed together. Then, of an
idle server, how long the first character takes, and of clients that leave, how soon their text is
no longer written. Nothing else is compared; both sides of the first row run in turn.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from common import Options, Row, by_rate, print_rows, say

CLIENTS = 200
ALONE, EACH = 40_000, 2_000  # characters of the one client, and of each of many
REQUESTS = 200  # one after the other: first characters, and clients that leave


def show(options: Options) -> None:
    if find_spec("uvicorn") is None:
        say("(the server's libraries are not installed: pip install '.[serve]')")
        return
    clients, alone, each, requests = CLIENTS, ALONE, EACH, REQUESTS
    if options.tiny:
        clients, alone, each, requests = 8, 300, 50, 5
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), options.tiny) as port:
        asyncio.run(stream(port, 10, 100))  # opens the model
        ones, many, gaps = [], [], []
        for _ in range(options.turns):
            seconds, _ = asyncio.run(stream(port, 1, alone))
            ones.append(alone / seconds)
            seconds, seen = asyncio.run(stream(port, clients, each))
            many.append(clients * each / seconds)
            gaps.append(seen)
        title = f"LSTM of 256, streamed characters/s, {options.turns} turns"
        print_rows(title, [by_rate(f"{clients} clients", many, "1 client", ones)])
        for median, longest in gaps:
            say(
                f"  of each client's waits the median is {median * 1e3:.1f} ms, the longest of all "
                f"{longest * 1e3:.1f} ms, {longest / median:.1f} times it"
            )
        first = asyncio.run(first_characters(port, requests))
        left = asyncio.run(leaving(port, requests))
        rows = [
            Row("first character, ms", [1e3 * seconds for seconds in first]),
            Row("client gone to slot free, ms", [1e3 * seconds for seconds in left]),
        ]
        print_rows(f"{requests} requests one after the other, an idle server", rows)


@contextmanager
def served(folder: Path, tiny: bool):
    """Train a network for a moment, serve it in another process, and give its port."""
    run = folder / "run"
    hidden = "16" if tiny else "256"
    charloom = [sys.executable, "-m", "charloom"]
    quiet = {"capture_output": True, "check": True}
    train = ["train", "corpus:us-constitution", "--iterations", "2", "--hidden", hidden]
    subprocess.run([*charloom, *train, "--out", run], **quiet)
    command = [*charloom, "serve", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(re.search(r":(\d+) ", server.stdout.readline())[1])
        finally:
            server.terminate()


def request(tokens: int, seed: int, stream: bool = True) -> bytes:
    body = {"model": "run", "prompt": "We", "max_tokens": tokens, "seed": seed, "stream": stream}
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    return f"{head}content-type: application/json\r\n\r\n".encode() + content


async def stream(port: int, clients: int, tokens: int) -> tuple[float, tuple[float, float]]:
    """Return how long it takes until all have their text, and the median and longest wait."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    waits: list[list[float]] = []

    async def follow(number: int) -> None:
        reader, writer = connections[number]
        writer.write(request(tokens, number))
        times, end = [time.perf_counter()], b""
        while b"[DONE]" not in end:
            data = await reader.read(2**16)
            assert data, "the connection was reset"
            times.append(time.perf_counter())
            end = end[-16:] + data
        waits.append([b - a for a, b in pairwise(times[1:])] or [0.0])
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*map(follow, range(clients)))
    seconds = time.perf_counter() - began
    every = [wait for own in waits for wait in own]
    return seconds, (statistics.median(every), max(every))


async def first_characters(port: int, requests: int) -> list[float]:
    """Return how long each request waits for its first event, on a connection that is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for number in range(requests):
        began = time.perf_counter()
        writer.write(request(1, number))
        await reader.readuntil(b"data: ")
        found.append(time.perf_counter() - began)
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    return found


async def leaving(port: int, requests: int) -> list[float]:
    """Return how long after a client has left its slot is free, as far as /metrics tells."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for number in range(requests):
        theirs, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(request(100_000, number))
        await theirs.readuntil(b"data: ")
        began = time.perf_counter()
        other.transport.abort()
        while True:
            writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head)[1])
            if b"\ncharloom_slots_used 0\n" in await reader.readexactly(length):
                break
        found.append(time.perf_counter() - began)
    writer.close()
    return found
