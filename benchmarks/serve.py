"""`charloom serve` under 200 clients: a server in a process of its own, and clients in this one.

One client against many: characters a second that all of them are streamed together. Then, of an
idle server, how long the first character takes, and of clients that leave, how soon their text is
no longer written. And 200 clients' characters a second beside what transformers' `generate` gives
a GPT-2 of as many parameters with random weights, in one batch of 200, without a server or clients.
What is compared runs in turn.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from charloom.runs.run import Run
from common import Options, Row, by_rate, print_rows, rates, say, taking_turns

CLIENTS = 200
SIZES = {256: (40_000, 2_000), 512: (6_000, 500)}  # characters of one client, of each of many
GPT2 = {"n_embd": 96, "n_layer": 3, "n_head": 4}  # with 70 characters, about an LSTM of 256
GPT2_EACH = 200  # characters that are written of it: its time for each grows with those before
REQUESTS = 200  # one after the other: first characters, and clients that leave


def show(options: Options) -> None:
    if find_spec("uvicorn") is None:
        say("(the server's libraries are not installed: pip install '.[serve]')")
        return
    clients, requests = (8, 5) if options.tiny else (CLIENTS, REQUESTS)
    sizes = {16: (300, 50)} if options.tiny else SIZES
    rows, waits, alone = list[Row](), list[str](), list[Row]()
    for hidden, lengths in sizes.items():
        with tempfile.TemporaryDirectory() as folder, served(Path(folder), hidden) as port:
            asyncio.run(stream(port, 10, 100))  # opens the model
            figures, told = against_one(port, clients, *lengths, options.turns)
            rows.append(by_rate(f"LSTM {hidden}, {clients} clients", figures[1], "1", figures[0]))
            waits += [f"LSTM {hidden}: {line}" for line in told]
            if not alone and find_spec("transformers") is not None:
                rows.append(beside_gpt2(port, clients, lengths[1], options, Path(folder)))
            if not alone:
                first = asyncio.run(first_characters(port, requests))
                left = asyncio.run(leaving(port, requests))
                alone = [
                    Row("first character, ms", [1e3 * seconds for seconds in first]),
                    Row("client gone to slot free, ms", [1e3 * seconds for seconds in left]),
                ]
    print_rows(f"streamed characters/s, {options.turns} turns", rows)
    for line in waits:
        say(line)
    print_rows(f"{requests} requests one after the other, an idle server", alone)


def against_one(
    port: int, clients: int, alone: int, each: int, turns: int
) -> tuple[tuple[list[float], list[float]], list[str]]:
    """Return characters a second of one client and of many, in turn, and how long many wait."""
    ones, many, waits = list[float](), list[float](), list[str]()
    for _ in range(turns):
        seconds, _ = asyncio.run(stream(port, 1, alone))
        ones.append(alone / seconds)
        seconds, (median, longest) = asyncio.run(stream(port, clients, each))
        many.append(clients * each / seconds)
        waits.append(
            f"the median wait for a piece is {1e3 * median:.1f} ms, the longest "
            f"{1e3 * longest:.1f} ms, {longest / median:.1f} times it"
        )
    return (ones, many), waits


def beside_gpt2(port: int, clients: int, each: int, options: Options, folder: Path) -> Row:
    """Compare characters a second of many clients with those of a GPT-2 of transformers."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    run = Run.open(folder / "run")
    V, ours = len(run.vocabulary), sum(array.size for array in run.load_weights().values())
    length = 20 if options.tiny else GPT2_EACH
    sizes = {"vocab_size": V, "n_positions": length + 1, **GPT2}
    config = GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    ids = torch.zeros((clients, 1), dtype=torch.long)

    def generate() -> None:
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            min_new_tokens=length,
            max_new_tokens=length,
            pad_token_id=0,
        )

    sides = [lambda: asyncio.run(stream(port, clients, each)), generate]
    served, generated = taking_turns(sides, options.turns)
    say(f"parameters: {ours:,} of the LSTM, {model.num_parameters():,} of the GPT-2")
    return by_rate(
        f"LSTM {run.config.model.hidden}, {clients} clients",
        rates(clients * each, served),
        f"GPT-2, a batch of {clients}",
        rates(clients * length, generated),
    )


@contextmanager
def served(folder: Path, hidden: int) -> Iterator[int]:
    """Train a network for a moment, serve it in another process, and give its port."""
    run, charloom = folder / "run", [sys.executable, "-m", "charloom"]
    train = ["train", "corpus:us-constitution", "--iterations", "2", "--hidden", str(hidden)]
    subprocess.run([*charloom, *train, "--out", run], capture_output=True, check=True)
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
