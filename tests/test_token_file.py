import errno
import hashlib
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from charloom.data import token_file
from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.text import Text, read_text
from charloom.data.token_file import (
    Checksums,
    alone,
    alphabet_sha256,
    map_text,
    open_ids,
    write_ids,
)
from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from charloom.errors import CharloomError
from expect import refused

CONTENT = "Größe, 漢字 and 😀\n" * 50


POEM = Text.from_string(CONTENT, "poem")
LETTERS = Vocabulary(POEM.alphabet)
SIZE = 128 + len(CONTENT)


def write(folder: Path, text: Text = POEM) -> np.ndarray:
    return write_ids(folder, text, Vocabulary(text.alphabet), ())


def found(folder: Path, text: Text = POEM) -> tuple[np.ndarray, Checksums] | None:
    return open_ids(folder, Vocabulary(text.alphabet), text.sha256)


def holds(folder: Path, text: Text = POEM) -> bool:
    """Whether the folder has the ids of a text."""
    ids, _ = found(folder, text)
    return Vocabulary(text.alphabet).decode(ids) == text.content


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("V", "dtype"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (2**16, "uint16"), (2**16 + 1, "int32")],
)
def test_the_file_is_an_array_that_numpy_opens_in_the_smallest_type(tmp_path, V, dtype):
    content = "".join(map(chr, range(0x10000, 0x10000 + V)))[::-1]
    ids = write(tmp_path, Text.from_string(content, ""))
    loaded = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert ids.dtype == loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, np.arange(V)[::-1])
    np.testing.assert_array_equal(ids, loaded)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.json", "ids.npy"]
    np.save(tmp_path / "numpy.npy", loaded)
    assert (tmp_path / "numpy.npy").read_bytes() == (tmp_path / "ids.npy").read_bytes()


def test_ids_are_found_again_and_cannot_be_written_to(folder):
    ids, checksums = found(folder)
    assert LETTERS.decode(ids) == CONTENT
    digest = hashlib.sha256((folder / "ids.npy").read_bytes()).hexdigest()
    assert checksums == Checksums(digest, (), (), alphabet_sha256(LETTERS))
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
    assert found(folder / "..") is None


def test_ids_that_are_gone_from_the_folder_stay_mapped(folder):
    ids, _ = found(folder)
    (folder / "ids.npy").unlink()
    assert LETTERS.decode(ids) == CONTENT


def harm(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    match how:
        case "cut":
            path.write_bytes(data[:-9])
        case "longer":
            path.write_bytes(data + b"\0")
        case "header":
            path.write_bytes(data.replace(b"False", b"True ", 1))
        case "an id":
            path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "no id":
            path.write_bytes(data[:-2] + b"\xff\xff")
        case "zeros":
            path.write_bytes(bytes(len(data)))
        case "link":
            path.with_name("outside").write_bytes(data)
            path.symlink_to("outside")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()


@pytest.mark.parametrize("without_sums", [False, True])
@pytest.mark.parametrize(
    "how", ["cut", "longer", "header", "an id", "no id", "zeros", "link", "pipe", "folder"]
)
def test_damaged_ids_are_seen_before_they_are_used(folder, how, without_sums):
    harm(folder / "ids.npy", how)
    if without_sums:
        (folder / "ids.json").unlink()
    with refused("damaged", path=str(folder / "ids.npy")):
        found(folder)


@pytest.mark.parametrize("how", ["cut", "zeros", "link", "pipe", "folder"])
def test_without_checksums_ids_prove_themselves_by_the_text_they_decode_to(folder, how):
    harm(folder / "ids.json", how)
    ids, checksums = found(folder)
    assert checksums.vocabulary == ""
    assert LETTERS.decode(ids) == CONTENT


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The ids up to a mark and some pieces more, as a kill leaves them."""
    monkeypatch.setattr("charloom.data.parts.CHUNK", 10)
    monkeypatch.setattr(token_file, "MARK", 30)
    encode, pieces = Vocabulary.encode, iter(range(7))

    def failing(vocabulary: Vocabulary, piece: str) -> object:
        if next(pieces, None) is None:
            raise KeyboardInterrupt
        return encode(vocabulary, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "encode", failing)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path)
    assert (tmp_path / ".ids.mark").exists()
    return tmp_path


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pieces: list[str] = []
    encode = Vocabulary.encode
    monkeypatch.setattr(
        Vocabulary, "encode", lambda self, piece: (pieces.append(piece), encode(self, piece))[1]
    )
    return pieces


def test_what_was_begun_is_gone_on_with(begun, monkeypatch):
    pieces = encoded(monkeypatch)
    assert LETTERS.decode(write(begun)) == CONTENT
    assert "".join(pieces) == CONTENT[60:]
    assert sorted(path.name for path in begun.iterdir()) == ["ids.json", "ids.npy"]


@pytest.mark.parametrize("pieces", range(2, 40, 6))
def test_bytes_that_were_begun_are_gone_on_with(tmp_path, pieces, monkeypatch):
    monkeypatch.setattr("charloom.data.parts.CHUNK", 10)
    monkeypatch.setattr(token_file, "MARK", 30)
    whole, left = ByteVocabulary.whole, iter(range(pieces))

    def failing(vocabulary: ByteVocabulary, piece: str) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return whole(vocabulary, piece)

    with monkeypatch.context() as patch:
        patch.setattr(ByteVocabulary, "whole", failing)
        with pytest.raises(KeyboardInterrupt):
            write_ids(tmp_path, POEM, ByteVocabulary(), ())
    ids = write_ids(tmp_path, POEM, ByteVocabulary(), ())
    assert bytes(ids.astype(np.uint8)) == CONTENT.encode()


@pytest.mark.parametrize(
    "how", ["cut", "an id", "no id", "link", "pipe", "gone", "another text", "shorter text"]
)
def test_what_was_begun_and_is_damaged_is_begun_anew(begun, how, monkeypatch):
    new, text = begun / ".ids.npy.new", POEM
    data = new.read_bytes()
    if how == "gone":
        new.unlink()
    elif how == "cut":
        os.truncate(new, 187)  # the header and 59 ids
    elif how in ("an id", "no id"):
        changed = data[150] ^ 1 if how == "an id" else 255
        new.write_bytes(data[:150] + bytes([changed]) + data[151:])
    elif "text" in how:
        text = Text.from_string(CONTENT[::-1] if how == "another text" else CONTENT[:50], "")
    else:
        harm(new, how)
    pieces = encoded(monkeypatch)
    assert Vocabulary(text.alphabet).decode(write(begun, text)) == text.content
    assert holds(begun, text)
    assert "".join(pieces).endswith(text.content)


@pytest.mark.parametrize("document", [b"", b"{", b'{"ids": -1}', b"[" * 10**5, bytes(200), None])
def test_a_damaged_mark_is_passed_over(begun, document):
    mark = begun / ".ids.mark"
    if document is None:
        known = msgspec.json.decode(mark.read_bytes())
        document = msgspec.json.encode(known | {"ids": -(2**40), "place": [9, 9, "x"]})
    mark.write_bytes(document)
    assert LETTERS.decode(write(begun)) == CONTENT


@pytest.mark.parametrize("place", [[0, 5, "x"], [0, -7, "x"], [1, 0, "\n"], [-1, 0, "\n"]])
def test_a_mark_that_lies_about_its_place_makes_no_other_text(begun, place):
    mark = begun / ".ids.mark"
    known = msgspec.json.decode(mark.read_bytes())
    mark.write_bytes(msgspec.json.encode(known | {"place": place}))
    assert LETTERS.decode(write(begun)) == CONTENT


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(folder, call, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace = Path.replace

    def full(path: object, target: object = None) -> object:
        if call == "fsync" or target == folder / "ids.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, full)
        with refused("unwritable", path=str(folder / "ids.npy")):
            write(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write(folder)


def test_a_text_that_is_another_by_now_gets_no_name(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("abcabc")
    text = read_text([str(path)])
    status = path.stat()
    path.write_text("abcabb")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # unseen by size and time
    with refused("changed-text", path="poem.txt"):
        write(tmp_path, text)
    with refused("changed-text", path="poem.txt"):
        map_text(text, Vocabulary(text.alphabet))
    assert not (tmp_path / "ids.npy").exists()


def test_two_processes_do_not_write_the_same_ids(tmp_path):
    with alone(tmp_path), refused("busy", path=str(tmp_path)), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_a_text_is_mapped_from_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert LETTERS.decode(map_text(POEM, LETTERS)) == CONTENT
    assert not list(tmp_path.iterdir())


def test_an_unknown_character_is_told_with_its_place_in_the_whole_text(monkeypatch):
    monkeypatch.setattr("charloom.data.parts.CHUNK", 4)
    with refused("unknown-character", character="c", position=10) as caught:
        map_text(Text.from_string("abababababcab", ""), Vocabulary.from_text("ab"))
    assert type(caught.value) is UnknownCharacterError


def test_a_long_text_tells_how_far_it_has_come(monkeypatch):
    monkeypatch.setattr("charloom.data.parts.CHUNK", 300)
    monkeypatch.setattr("charloom.progress.TELL_SECONDS", 0.0)
    said: list[str] = []
    map_text(POEM, LETTERS, said.append)
    assert said == []
    monkeypatch.setattr("charloom.progress.LONG_BYTES", 0)
    map_text(POEM, LETTERS, said.append)
    assert len(said) == 3


class Killed(BaseException):
    pass


@pytest.mark.parametrize("before", ["nothing", "ids", "damaged ids"])
def test_whenever_it_is_killed_the_ids_are_whole_or_not_there_and_are_written_after(
    tmp_path, before, monkeypatch
):
    monkeypatch.setattr("charloom.data.parts.CHUNK", 100)
    monkeypatch.setattr(token_file, "MARK", 200)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only the power's loss needs it
    for last in range(100):
        folder = tmp_path / f"{last}"
        folder.mkdir()
        if before != "nothing":
            write(folder)
        if before == "damaged ids":
            harm(folder / "ids.npy", "an id")
        done = killed_after(last, folder, monkeypatch)
        try:
            ids = found(folder)
        except CharloomError:
            assert before == "damaged ids"
            ids = None
        assert ids is None or LETTERS.decode(ids[0]) == CONTENT
        assert ids is not None or before != "ids"
        assert LETTERS.decode(write(folder)) == CONTENT
        assert found(folder)[1].vocabulary
        assert sorted(path.name for path in folder.iterdir()) == ["ids.json", "ids.npy"]
        if done:
            break
    assert 15 < last < 100


def killed_after(calls: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Write the ids until so many calls have changed something; whether that was all of them."""
    left = iter(range(calls))

    def counting(call):
        def counted(*arguments, **rest):
            if next(left, None) is None:
                raise Killed
            return call(*arguments, **rest)

        return counted

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "unlink", "open"):
            patch.setattr(os, name, counting(getattr(os, name)))
        try:
            write(folder)
        except Killed:
            return False
    return True


def test_what_a_name_or_a_mark_stands_for_is_on_the_disk_before_it(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.parts.CHUNK", 100)
    monkeypatch.setattr(token_file, "MARK", 300)
    calls: list[tuple[str, str, int]] = []  # what, of which file, of what size
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor):
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        calls.append(("sync", name, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replacing(old, new):
        calls.append(("name", Path(new).name, Path(old).stat().st_size))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    write(tmp_path)
    named = [number for number, (what, *_) in enumerate(calls) if what == "name"]
    assert [calls[n][1] for n in named] == [*[".ids.mark"] * 2, "ids.json", "ids.npy"]
    for n in named:
        assert calls[n + 1][:2] == ("sync", tmp_path.name)
    sizes = [size for what, name, size in calls if (what, name) == ("sync", ".ids.npy.new")]
    assert sizes == [128 + 300, 128 + 600, SIZE]
    order = [name for what, name, _ in calls if what == "sync"]
    assert order.index(".ids.npy.new") < order.index("..ids.mark.new")
    assert calls.index(("sync", ".ids.npy.new", SIZE)) < named[-1]
