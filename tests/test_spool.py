from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.data import spool
from charloom.data.spool import Shelf, Spool
from expect import refused

FULL = Path("/dev/full")
TEXTS = st.lists(st.lists(st.text("aé\n😀", max_size=5), max_size=3), max_size=12)


def joined(texts):
    whole = ""
    for text in filter(None, map("".join, texts)):
        whole += ("\n" if whole and not whole.endswith("\n") else "") + text
    return whole


def content(part, place=0):
    return "".join(piece for piece, _ in part.pieces(Counter(), place))


@pytest.mark.parametrize("in_memory", [3, 1000])
@pytest.mark.parametrize("many", [2, 1000])
@given(texts=TEXTS)
def test_documents_come_back_from_any_place(in_memory, many, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "IN_MEMORY", in_memory)
        patch.setattr(spool, "MANY", many)
        patch.setattr(spool, "CHUNK", 3)
        shelf = Shelf()
        parts = shelf.put((str(n), pieces) for n, pieces in enumerate(texts[:5]))
        parts += shelf.put((str(n), pieces) for n, pieces in enumerate(texts[5:], 5))
        some = [(str(n), "".join(pieces)) for n, pieces in enumerate(texts) if any(pieces)]
        assert joined([content(part)] for part in parts) == joined(texts)
        assert sum(part.documents for part in parts) == len(some)
        if many == 1000:
            assert [(part.label, content(part)) for part in parts] == some
        for part in parts:
            read = ""
            for piece, place in part.pieces(Counter()):
                read += piece
                assert read + content(part, place) == content(part)


def test_documents_that_are_many_share_parts(monkeypatch):
    monkeypatch.setattr(spool, "MANY", 10)
    parts = Shelf().put((str(n), [f"{n}"]) for n in range(1000))
    assert [part.documents for part in parts[:9]] == [1] * 9
    assert len(parts) < 80
    assert sum(part.documents for part in parts) == 1000
    assert max(part.documents for part in parts) < 120
    assert joined([content(part)] for part in parts) == "\n".join(map(str, range(1000)))


@pytest.mark.parametrize("in_memory", [3, 1000])
def test_what_raises_leaves_nothing_behind(monkeypatch, in_memory):
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    shelf = Shelf()

    def break_off():
        yield "a", ["long enough"]
        yield "b", ["x"]
        raise ZeroDivisionError

    [one] = shelf.put([("one", ["first"])])
    with pytest.raises(ZeroDivisionError):
        shelf.put(break_off())
    [two] = shelf.put([("two", ["2"])])
    assert (content(one), content(two), two.start) == ("first", "2", 5)


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(spool, "IN_MEMORY", 3)
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda **_: FULL.open("wb", 0))
    with refused("unwritable"):
        Spool().write(b"1234")


def test_a_file_that_was_cut_is_named(monkeypatch):
    monkeypatch.setattr(spool, "IN_MEMORY", 3)
    found = Spool()
    found.write(b"12345678")
    spool.os.truncate(found._descriptor, 4)
    assert found.read(0, 8) == b"1234"
    with refused("unreadable"):
        found.read(4, 4)
