import io
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import archives
from archives import ARCHIVES, zipped
from charloom.data.packed import packing_of, unpack, unpacked_name
from charloom.data.readers import members
from charloom.data.readers.members import Members, Tar, Zip
from charloom.data.text import read_text
from charloom.errors import CharloomError
from expect import refused
from reading import damaged

zstandard = pytest.importorskip("zstandard")

TEXT = "Half a league, half a league,\nhalf a league onward.\n" * 20
PACKERS = {**archives.PACKERS, "zst": zstandard.compress}
OPENERS = {"zip": Zip, "tar": Tar}


def opened(data: bytes) -> io.BufferedIOBase:
    packing = packing_of(data)
    assert packing is not None
    return unpack(io.BytesIO(data), packing, "file", len(data))


@pytest.mark.parametrize("kind", PACKERS)
@given(places=st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(1, 300)), max_size=5))
def test_a_compressed_file_is_read_from_any_place(kind, places):
    data = TEXT.encode()
    plain = io.BytesIO(data)
    with opened(PACKERS[kind](data[:500]) + PACKERS[kind](data[500:])) as file:
        for place, size in places:
            assert file.seek(place) == place
            plain.seek(place)
            assert file.read(size) == plain.read(size)
        assert file.seek(0, io.SEEK_END) == len(data)
        assert file.seek(0) == 0
        assert file.read() == data


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_text_is_a_text_from_any_place_in_it(tmp_path, kind):
    path = tmp_path / f"poem.txt.{kind}"
    path.write_bytes(PACKERS[kind](b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()))
    text = read_text([str(path)])
    assert text.content == TEXT
    assert len(text.notes) == 2
    [part] = text.parts
    [(_, place)] = part.pieces(Counter())
    assert place == part.size
    assert list(part.pieces(Counter(), place)) == []
    assert part.size == len(TEXT) + TEXT.count("\n") + 3


@pytest.mark.parametrize("kind", PACKERS)
def test_a_file_that_is_cut_off_is_damaged(tmp_path, kind):
    path = tmp_path / "poem"
    data = PACKERS[kind](bytes(range(1, 128)) * 9)
    path.write_bytes(data[: len(data) * 2 // 3])
    with refused("damaged", path=path, why="damaged"):
        read_text([str(path)])


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_files_are_refused_or_read(kind):
    for data in damaged(PACKERS[kind](TEXT.encode()), 300):
        if packing_of(data) is not None:
            with suppress(CharloomError), opened(data) as file:
                while file.read(1000):
                    pass


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_is_stopped(monkeypatch, kind):
    monkeypatch.setattr(members, "SMALL", 10_000)
    monkeypatch.setattr(members, "RATIO", 10)
    data = PACKERS[kind](b"a" * 1_000_000)
    read = 0
    with opened(data) as file, refused("unsupported", why="too large", path="file"):
        while piece := file.read(1000):
            read += len(piece)
    assert read <= 20_000


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("posts.csv.gz", "posts.csv"),
        ("site.tgz", "site.tar"),
        ("site.tar.ZST", "site.tar"),
        ("novel.txt", "novel.txt"),
        ("", ""),
    ],
)
def test_a_name_without_its_packing(name, inner):
    assert unpacked_name(name) == inner


def members_of(kind: str, files: dict[str, bytes]) -> Members:
    return OPENERS[kind](io.BytesIO(ARCHIVES[kind](files)), "an archive")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_files_in_an_archive_are_read_by_name(kind):
    files = {"b/two": b"2" * 3000, "a": b"", "./c" if kind == "tar" else "c": b"3"}
    found = members_of(kind, files)
    assert found.names() == ("b/two", "a", "c")
    assert [(found.read(name), found.size(name)) for name in ("c", "b/two", "a")] == [
        (b"3", 1),
        (b"2" * 3000, 3000),
        (b"", 0),
    ]
    with found.open("b/two") as file:
        assert (file.seek(2990), file.read(), file.seek(1), file.read(2)) == (
            2990,
            b"2" * 10,
            1,
            b"22",
        )


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_file_in_an_archive_that_is_too_large_is_refused(monkeypatch, kind):
    monkeypatch.setattr(members, "MEMBER_BYTES", 100)
    found = members_of(kind, {"small": b"1" * 100, "large": b"1" * 101})
    assert len(found.read("small")) == 100
    for read in (found.read, found.open):
        with refused("unsupported", why="too large", path="large in an archive"):
            read("large")


def test_a_zip_archive_whose_files_overlap_is_a_bomb(monkeypatch):
    monkeypatch.setattr(members, "SMALL", 1000)
    monkeypatch.setattr(members, "RATIO", 2)
    with refused("unsupported", why="too large", path="an archive"):
        members_of("zip", {str(n): b"1" * 900 for n in range(9)})


def test_an_encrypted_file_is_named():
    data = bytearray(zipped({"a": b"1"}))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        data[data.index(mark) + (6 if mark[2] == 3 else 8)] |= 1
    with refused("unreadable", why="encrypted", path="a in it"):
        Zip(io.BytesIO(data), "it").read("a")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_too_many_files_are_refused(monkeypatch, kind):
    monkeypatch.setattr(members, "MEMBERS", 3)
    with refused("unsupported", why="too many files"):
        members_of(kind, {str(n): b"1" for n in range(9)})


@pytest.mark.parametrize("kind", ARCHIVES)
def test_damaged_archives_are_refused_or_read(kind):
    for data in damaged(ARCHIVES[kind]({"a": TEXT.encode(), "b/c": b"\0" * 100, "d": b""}), 500):
        with suppress(CharloomError):
            found = OPENERS[kind](io.BytesIO(data), "an archive")
            for name in found.names():
                found.read(name)


def test_a_folder_on_disk_has_members_too(tmp_path):
    Path(tmp_path, "a").write_bytes(b"12")
    found = members.Folder(tmp_path, ("a", "gone"))
    assert (found.names(), found.read("a")) == (("a", "gone"), b"12")
    for use in (found.read, found.open):
        with refused("unreadable", path=tmp_path / "gone"):
            use("gone")
