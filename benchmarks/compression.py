"""How small a text becomes, and how fast: charloom beside programs that compress.

PPMd (pyppmd), zpaq, brotli and zstandard stand there where they are installed. Sizes are of whole
files, so that nobody flatters them; each is decompressed, and must be what it was.

With a run, a text is cut: the run learns the first nine tenths, and the last one is compressed. Its
size is not all that is sent, for both sides have the run; where a file brings the network, it is.
"""

import bz2
import gzip
import importlib
import lzma
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from charloom.compression import Prior, compress, decompress
from charloom.data.text import Text
from common import Options, print_table, rates, say, spread, taking_turns, texts

PPMD_ORDER, PPMD_MEMORY = 6, 1 << 24  # pyppmd 1.3.1 cannot read back all that it writes at 8


class Program(NamedTuple):
    """A compressor and its way back."""

    name: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


def show(options: Options) -> None:
    for text in texts(options):
        compare(text, options)
    if options.text or options.tiny:
        with_a_run(text, options)


def compare(text: Text, options: Options) -> None:
    content = text.content.encode()
    rows = []
    for program in programs(len(content)):
        packed = program.pack(content)
        if program.unpack(packed) != content:
            raise AssertionError(f"{program.name} does not give back the text")
        packing, unpacking = taking_turns(
            [lambda p=program: p.pack(content), lambda p=program, z=packed: p.unpack(z)],
            options.turns,
            unmeasured=0,
        )
        nats = 8 * len(packed) * math.log(2) / len(text.content)
        speeds = [spread(rates(len(content) / 1000, t)) for t in (packing, unpacking)]
        size = f"{len(packed):,}"
        rows.append((program.name, size, f"{nats:.4f}", f"{nats / math.log(2):.4f}", *speeds))
    print_table(
        f"compression: {text.name}, {len(content):,} bytes, {options.turns} turns",
        ("", "bytes", "nats", "bits", "KB/s", "KB/s back"),
        rows,
    )


def with_a_run(text: Text, options: Options) -> None:
    """Compress the last tenth, which a run has not seen, and all of it with the network inside."""
    content = text.content
    cut = 9 * len(content) // 10
    minutes = min(options.minutes)
    with tempfile.TemporaryDirectory() as folder:
        source, run = Path(folder, "text.txt"), Path(folder, "run")
        source.write_bytes(content[:cut].encode())
        size = ["--iterations", "20", "--hidden", "8"] if options.tiny else ["--minutes", minutes]
        command = [sys.executable, "-m", "charloom", "train", source, "--out", run, *size]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        known = Prior.of_run(run)
        sides = {
            "the last tenth, from nothing": (content[cut:], None, False),
            "with the text of a run": (content[cut:], replace(known, network=None), False),
            f"with a run: {known.what}, {minutes:g} minutes": (content[cut:], known, False),
            "all of it, from nothing": (content, None, False),
            "with that network inside": (content, known, True),
        }
        rows = [
            (name, *primed(part.encode(), len(part), prior, embed))
            for name, (part, prior, embed) in sides.items()
        ]
        check_back(content[cut:].encode(), known, run)
    columns = ("", "bytes", "of them network", "nats", "bits", "seconds")
    print_table(f"compression with a run: {text.name}", columns, rows)


def primed(content: bytes, characters: int, prior: Prior | None, embed: bool) -> tuple[str, ...]:
    """Return a row: the size, what of it is a network, the loss, and the time with all reading."""
    began = time.perf_counter()
    done = compress(content, prior=prior, embed=embed)
    seconds = time.perf_counter() - began
    nats = 8 * len(done.packed) * math.log(2) / characters
    figures = f"{nats:.4f}", f"{nats / math.log(2):.4f}", f"{seconds:.1f}"
    return f"{len(done.packed):,}", f"{done.brought:,}", *figures


def check_back(content: bytes, known: Prior, run: Path) -> None:
    """See that what is compressed with a run comes back, and how fast."""
    packed = compress(content, prior=known).packed
    began = time.perf_counter()
    if decompress(packed, "it", run=str(run)) != content:
        raise AssertionError("the run does not give back the text")
    say(f"(back with the run in {time.perf_counter() - began:.1f} s, its reading included)")


def programs(size: int) -> Iterator[Program]:
    """Yield charloom, those of the standard library, and others that are installed."""
    yield Program("charloom compress", lambda c: compress(c).packed, lambda z: decompress(z, "it"))
    yield Program("gzip -9", lambda c: gzip.compress(c, 9), gzip.decompress)
    yield Program("bz2 -9", lambda c: bz2.compress(c, 9), bz2.decompress)
    yield Program("xz -9", lambda c: lzma.compress(c, preset=9), lzma.decompress)
    if zstandard := installed("zstandard"):
        pack = zstandard.ZstdCompressor(level=19).compress
        yield Program("zstd -19", pack, lambda z: zstandard.ZstdDecompressor().decompress(z))
    if brotli := installed("brotli"):
        pack = lambda c: brotli.compress(c, quality=11, lgwin=24)  # noqa: E731
        yield Program("brotli -q 11", pack, brotli.decompress)
    if pyppmd := installed("pyppmd"):
        pack = lambda c: pyppmd.compress(c, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY)  # noqa: E731
        back = lambda z: pyppmd.decompress(z, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY)  # noqa: E731
        yield Program(f"PPMd, order {PPMD_ORDER}", pack, lambda z: bytes(back(z)))
    if shutil.which("zpaq"):
        yield Program("zpaq -m5", zpaq, unzpaq)


def installed(name: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def zpaq(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "it").write_bytes(content)
        call("add", "out.zpaq", "it", "-m5", "-t1", folder=folder)
        return Path(folder, "out.zpaq").read_bytes()


def unzpaq(packed: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "out.zpaq").write_bytes(packed)
        call("extract", "out.zpaq", "-t1", folder=folder)
        return Path(folder, "it").read_bytes()


def call(*arguments: str, folder: str) -> None:
    subprocess.run(["zpaq", *arguments], cwd=folder, check=True, capture_output=True)
