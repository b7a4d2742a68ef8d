"""Files that are compressed and decompressed: the same bytes, or a refusal."""

import hashlib
import os
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from charloom import cli
from charloom.compression import compress, decompress
from charloom.compression.container import MAGIC
from charloom.compression.plain import Header
from charloom.errors import CharloomError
from expect import error_of, refused

VERSE = "The wind blew cold; the wind blew long.\nAnd cold and long the night was: O! 1,000 ♥\n"
START = struct.Struct("<4sBI")


def unpacked(packed: bytes) -> bytes:
    return decompress(packed, "it.clm")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        b"\0",
        b"\xff",
        b"aaaa" * 5000,
        b"ab" * 9000,
        bytes(range(256)) * 3,
        VERSE.encode(),
        VERSE.encode("utf-16"),
        "\ufeffa\r\nb\rc\n".encode(),
        "".join(map(chr, range(0x4E00, 0x5200))).encode(),
        "👩‍👩‍👧‍👦 e\u0301 \U0010ffff".encode(),
        b"cut in a character \xe2\x82",
        random.Random(1).randbytes(3000),
    ],
    ids=lambda content: f"{len(content)} {content[:6]!r}",
)
def test_every_byte_comes_back(content: bytes) -> None:
    assert unpacked(compress(content).packed) == content


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_come_back(content: bytes) -> None:
    assert unpacked(compress(content).packed) == content


def test_a_text_is_counted_in_characters_and_other_bytes_in_bytes() -> None:
    text, other = compress("♥é".encode()), compress(b"\xe2\x99\xa5\xe9")
    assert (text.symbols, text.is_text) == (2, True)
    assert (other.symbols, other.is_text) == (4, False)


def test_a_loss_is_the_whole_file_s() -> None:
    done = compress(VERSE.encode() * 20)
    assert done.nats == pytest.approx(
        len(done.packed) * 8 * 0.6931471805599453 / (20 * len(VERSE)), rel=1e-12
    )
    assert len(done.packed) < 300


def test_the_same_bytes_give_the_same_file_on_every_machine() -> None:
    """One that was written on another processor, and by an earlier version, is decompressed."""
    packed = compress(VERSE.encode() * 20).packed
    assert hashlib.sha256(packed).hexdigest()[:16] == "3961bf57815fe714"


def test_a_file_that_is_cut_short_or_has_more_is_refused() -> None:
    packed = compress(VERSE.encode()).packed
    for size in range(len(packed)):
        with pytest.raises(CharloomError) as caught:
            unpacked(packed[:size])
        assert caught.value.code in ("damaged", "bad-setting")
    with refused("damaged", path="it.clm"):
        unpacked(packed + b"\0")


def trials(request: pytest.FixtureRequest, usual: int, full: int) -> int:
    return full if request.config.getoption("--full") else usual


@pytest.mark.reliability
def test_no_damaged_file_is_decoded_wrongly(request: pytest.FixtureRequest) -> None:
    """Even if its checksum is right: what was changed then may have decided nothing."""
    rng, content = random.Random(0), VERSE.encode() * 5
    packed = compress(content).packed
    count = trials(request, 300, 10_000)
    survived = 0
    for number in range(count):
        other = bytearray(packed)
        for _ in range(rng.choice((1, 2, 20))):
            other[rng.randrange(len(other))] ^= 1 << rng.randrange(8)
        if number % 2:
            other[:9] = START.pack(MAGIC, 1, zlib.crc32(other[9:]))
        found = None
        with suppress(CharloomError):
            found = unpacked(bytes(other))
        assert found in (None, content)
        survived += found is not None
    assert survived < count / 4


@pytest.mark.reliability
def test_random_texts_come_back(request: pytest.FixtureRequest) -> None:
    rng = random.Random(0)
    for _ in range(trials(request, 50, 1000)):
        V = rng.choice((1, 2, 3, 30, 256, 2000))
        text = "".join(chr(0x20 + rng.randrange(V)) for _ in range(rng.randrange(3000)))
        content = text.encode(rng.choice(("utf-8", "utf-16-le", "utf-8")), "surrogatepass")
        assert unpacked(compress(content).packed) == content


@pytest.mark.reliability
def test_files_of_python_come_back(request: pytest.FixtureRequest) -> None:
    """Source and byte code, tables, and what else is there."""
    files = [path for path in Path(os.__file__).parent.glob("*/*") if path.is_file()]
    small = sorted(path for path in files if path.stat().st_size < 30_000)
    for path in random.Random(0).sample(small, trials(request, 8, 300)):
        content = path.read_bytes()
        assert unpacked(compress(content).packed) == content


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 2**31 - 1},
        {"count": 0},
        {"lengths": [0, 0, 3]},
        {"lengths": [0] * 80 + [4]},
        {"lengths": [4]},
        {"symbols": "abc"},
        {"symbols": ""},
        {"symbols": "aabb"},
        {"digest": b""},
        {"is_text": False, "symbols": "ab♥d"},
    ],
    ids=str,
)
def test_a_header_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    fields = {"is_text": True, "count": 9, "lengths": [0, 0, 4], "symbols": "abcd"}
    fields |= {"digest": hashlib.sha256(b"abcdabcda").digest()[:16]} | changes
    head = msgspec.msgpack.encode(Header(**fields))
    rest = struct.pack("<I", len(head)) + head + b"code"
    with refused("damaged", path="it.clm"):
        unpacked(START.pack(MAGIC, 1, zlib.crc32(rest)) + rest)


def test_a_newer_file_and_another_kind_of_file_are_told_apart() -> None:
    packed = compress(b"text").packed
    with refused("newer-format", found=3):
        unpacked(packed[:4] + b"\3" + packed[5:])
    with refused("bad-setting", path="it.clm"):
        unpacked(b"PK\3\4" + packed[4:])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "novel.txt").write_bytes(VERSE.encode() * 30)
    return tmp_path


def charloom(*arguments: str, status: int = 0):
    result = CliRunner().invoke(cli.charloom, arguments)
    assert result.exit_code == status, result.output
    return result


def test_a_file_is_compressed_and_decompressed(here: Path) -> None:
    said = charloom("compress", "novel.txt", "-o", "novel.clm").stdout
    size = (here / "novel.clm").stat().st_size
    assert f"{size} bytes for {30 * len(VERSE.encode()):,} bytes" in said
    assert f"{8 * size / (30 * len(VERSE)):.3f} bits per character" in said
    charloom("decompress", "novel.clm", "-o", "again.txt")
    assert (here / "again.txt").read_bytes() == (here / "novel.txt").read_bytes()


def test_of_a_damaged_file_nothing_is_written(here: Path) -> None:
    charloom("compress", "novel.txt", "-o", "novel.clm")
    content = (here / "novel.clm").read_bytes()
    (here / "novel.clm").write_bytes(content[:-1])
    result = charloom("decompress", "novel.clm", "-o", "again.txt", status=2)
    assert error_of(result).code == "damaged"
    assert {path.name for path in here.iterdir()} == {"novel.txt", "novel.clm"}


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_what_cannot_be_read_or_written_is_said(here: Path, command: str) -> None:
    for name in ("nowhere", "."):
        result = charloom(command, name, "-o", "out", status=2)
        assert error_of(result).code == "unreadable"
    result = charloom(command, "novel.txt", "-o", "nowhere/out", status=2)
    assert error_of(result).code == "unwritable"
    charloom(command, "novel.txt", status=2)  # without -o


def test_an_empty_file_has_no_loss(here: Path) -> None:
    (here / "empty").touch()
    assert "nats" not in charloom("compress", "empty", "-o", "empty.clm").stdout
    charloom("decompress", "empty.clm", "-o", "again")
    assert (here / "again").read_bytes() == b""
