import errno
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from charloom.data import token_file as ids_module
from charloom.data.text import Text, read_text
from charloom.data.token_file import Form, Sums, alone, map_text, open_ids, write_ids
from charloom.data.vocabulary import UnknownCharacterError, Vocabulary
from charloom.errors import CharloomError

CONTENT = "Größe, 漢字 and 😀\n" * 50


def form_of(text: Text) -> Form:
    return Form(Vocabulary(text.alphabet), text.characters, text.sha256)


@pytest.fixture
def text():
    return Text.from_string(CONTENT, "poem")


@pytest.fixture
def form(text):
    return form_of(text)


@pytest.fixture
def folder(tmp_path, text, form):
    write_ids(tmp_path, form, text, ())
    return tmp_path


@pytest.mark.parametrize(
    ("V", "dtype"),
    [(2, "uint8"), (256, "uint8"), (257, "uint16"), (2**16, "uint16"), (2**16 + 1, "int32")],
)
def test_the_file_is_an_array_that_numpy_opens_in_the_smallest_type(tmp_path, V, dtype):
    content = "".join(map(chr, range(0x10000, 0x10000 + V)))[::-1]
    text = Text.from_string(content, "")
    form = form_of(text)
    ids = write_ids(tmp_path, form, text, ())
    loaded = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert ids.dtype == loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, np.arange(V)[::-1])
    np.testing.assert_array_equal(ids, loaded)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.json", "ids.npy"]
    np.save(tmp_path / "numpy.npy", loaded)
    assert (tmp_path / "numpy.npy").read_bytes() == (tmp_path / "ids.npy").read_bytes()


def test_ids_are_found_again_and_cannot_be_written_to(folder, form):
    found = open_ids(folder, form)
    assert form.vocabulary.decode(found.ids) == CONTENT
    assert found.sums == Sums(found.sha256, (), (), form.alphabet)
    with pytest.raises(ValueError, match="read-only"):
        found.ids[0] = 1
    assert open_ids(folder / "..", form) is None


def test_ids_that_are_gone_from_the_folder_stay_mapped(folder, form):
    ids = open_ids(folder, form).ids
    (folder / "ids.npy").unlink()
    assert form.vocabulary.decode(ids) == CONTENT


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
def test_damaged_ids_are_seen_before_they_are_used(folder, form, how, without_sums):
    harm(folder / "ids.npy", how)
    if without_sums:
        (folder / "ids.json").unlink()
    with pytest.raises(CharloomError, match=r"ids\.npy"):
        open_ids(folder, form)


@pytest.mark.parametrize("how", ["cut", "zeros", "link", "pipe", "folder"])
def test_without_its_sums_whole_ids_prove_themselves_by_the_text_they_decode_to(folder, form, how):
    harm(folder / "ids.json", how)
    found = open_ids(folder, form)
    assert found.sums is None
    assert form.vocabulary.decode(found.ids) == CONTENT


def begin(folder: Path, form: Form, text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ids up to a mark and some pieces more, as a kill would leave them."""
    encode, pieces = Vocabulary.encode, iter(range(7))

    def failing(vocabulary: Vocabulary, piece: str) -> object:
        if next(pieces, None) is None:
            raise KeyboardInterrupt
        return encode(vocabulary, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "encode", failing)
        with pytest.raises(KeyboardInterrupt):
            write_ids(folder, form, text, ())


@pytest.fixture
def begun(tmp_path, text, form, monkeypatch):
    monkeypatch.setattr("charloom.data.sources.CHUNK", 10)
    monkeypatch.setattr(ids_module, "MARK", 30)
    begin(tmp_path, form, text, monkeypatch)
    assert (tmp_path / ".ids.mark").exists()
    return tmp_path


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pieces: list[str] = []
    encode = Vocabulary.encode
    monkeypatch.setattr(
        Vocabulary, "encode", lambda self, piece: (pieces.append(piece), encode(self, piece))[1]
    )
    return pieces


def test_what_was_begun_is_gone_on_with(begun, text, form, monkeypatch):
    pieces = encoded(monkeypatch)
    ids = write_ids(begun, form, text, ())
    assert form.vocabulary.decode(ids) == CONTENT
    assert "".join(pieces) == CONTENT[60:]
    assert sorted(path.name for path in begun.iterdir()) == ["ids.json", "ids.npy"]


@pytest.mark.parametrize(
    "how", ["cut", "an id", "link", "pipe", "gone", "another text", "shorter text"]
)
def test_what_was_begun_and_is_damaged_is_begun_anew(begun, text, form, how, monkeypatch):
    new = begun / ".ids.npy.new"
    if how == "gone":
        new.unlink()
    elif how == "cut":
        os.truncate(new, 187)  # the header and 59 ids
    elif how == "an id":
        data = new.read_bytes()
        new.write_bytes(data[:150] + bytes([data[150] ^ 1]) + data[151:])
    elif "text" in how:
        text = Text.from_string(CONTENT[::-1] if how == "another text" else CONTENT[:50], "")
        form = form_of(text)
    else:
        harm(new, how)
    pieces = encoded(monkeypatch)
    ids = write_ids(begun, form, text, ())
    assert form.vocabulary.decode(ids) == text.content
    assert form.vocabulary.decode(open_ids(begun, form).ids) == text.content
    assert "".join(pieces).endswith(text.content)


@pytest.mark.parametrize(
    "document", [b"", b"{", b'{"written": -1}', b"[" * 10**5, bytes(200), None]
)
def test_a_damaged_mark_is_passed_over(begun, text, form, document):
    mark = begun / ".ids.mark"
    if document is None:
        known = msgspec.json.decode(mark.read_bytes())
        document = msgspec.json.encode(known | {"written": -(2**40), "place": [9, 9, "x"]})
    mark.write_bytes(document)
    assert form.vocabulary.decode(write_ids(begun, form, text, ())) == CONTENT


@pytest.mark.parametrize("place", [[0, 5, "x"], [0, -7, "x"], [1, 0, "\n"], [-1, 0, "\n"]])
def test_a_mark_that_lies_about_its_place_makes_no_other_text(begun, text, form, place):
    mark = begun / ".ids.mark"
    known = msgspec.json.decode(mark.read_bytes())
    mark.write_bytes(msgspec.json.encode(known | {"place": place}))
    assert form.vocabulary.decode(write_ids(begun, form, text, ())) == CONTENT


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_an_error_of_one_line_and_leaves_nothing(
    folder, form, text, call, monkeypatch
):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace = Path.replace

    def full(path: object, target: object = None) -> object:
        if call == "fsync" or target == folder / "ids.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, full)
        with pytest.raises(CharloomError, match=r"ids\.npy.*No space left") as caught:
            write_ids(folder, form, text, ())
    assert f"{form.size:,} bytes" in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_ids(folder, form, text, ())


def test_a_text_that_is_another_by_now_gets_no_name(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text("abcabc")
    text = read_text([str(path)])
    status = path.stat()
    path.write_text("abcabb")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # unseen by size and time
    with pytest.raises(CharloomError, match=r"poem\.txt changed while it was read"):
        write_ids(tmp_path, form_of(text), text, ())
    assert not (tmp_path / "ids.npy").exists()


def test_two_processes_do_not_make_the_same_ids(tmp_path):
    with alone(tmp_path), pytest.raises(CharloomError, match="another process"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_a_text_is_mapped_from_a_file_without_a_name(tmp_path, text, form, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert form.vocabulary.decode(map_text(text, form.vocabulary)) == CONTENT
    assert not list(tmp_path.iterdir())


def test_an_unknown_character_is_told_with_its_place_in_the_whole_text(monkeypatch):
    monkeypatch.setattr("charloom.data.sources.CHUNK", 4)
    with pytest.raises(UnknownCharacterError) as caught:
        map_text(Text.from_string("abababababcab", ""), Vocabulary.from_text("ab"))
    assert (caught.value.character, caught.value.position) == ("c", 10)


def test_a_long_text_tells_how_far_it_has_come(text, form, monkeypatch):
    monkeypatch.setattr("charloom.data.sources.CHUNK", 300)
    monkeypatch.setattr("charloom.progress.PAUSE", 0.0)
    said: list[str] = []
    map_text(text, form.vocabulary, said.append)
    assert said == []
    monkeypatch.setattr("charloom.progress.LONG", 0)
    map_text(text, form.vocabulary, said.append)
    assert said[0] == "encoding the text: 0 MB of 0 MB"
    assert len(said) == 3


class Killed(BaseException):
    pass


@pytest.mark.parametrize("before", ["nothing", "ids", "damaged ids"])
def test_whenever_it_is_killed_the_ids_are_whole_or_not_there_and_are_made_after(
    tmp_path, text, form, before, monkeypatch
):
    monkeypatch.setattr("charloom.data.sources.CHUNK", 100)
    monkeypatch.setattr(ids_module, "MARK", 200)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only the power's loss needs it
    for last in range(100):
        folder = tmp_path / f"{last}"
        folder.mkdir()
        if before != "nothing":
            write_ids(folder, form, text, ())
        if before == "damaged ids":
            harm(folder / "ids.npy", "an id")
        done = killed_after(last, folder, form, text, monkeypatch)
        try:
            found = open_ids(folder, form)
        except CharloomError:
            assert before == "damaged ids"
            found = None
        assert found is None or form.vocabulary.decode(found.ids) == CONTENT
        assert found is not None or before != "ids"
        assert form.vocabulary.decode(write_ids(folder, form, text, ())) == CONTENT
        assert open_ids(folder, form).sums is not None
        assert sorted(path.name for path in folder.iterdir()) == ["ids.json", "ids.npy"]
        if done:
            break
    assert 20 < last < 100


def killed_after(
    calls: int, folder: Path, form: Form, text: Text, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Make the ids until so many calls have changed something; whether that was all of them."""
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
            write_ids(folder, form, text, ())
        except Killed:
            return False
    return True


def test_what_a_name_or_a_mark_stands_for_is_on_the_disk_before_it(
    tmp_path, text, form, monkeypatch
):
    monkeypatch.setattr("charloom.data.sources.CHUNK", 100)
    monkeypatch.setattr(ids_module, "MARK", 300)
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
    write_ids(tmp_path, form, text, ())
    named = [number for number, (what, *_) in enumerate(calls) if what == "name"]
    assert [calls[n][1] for n in named] == [*[".ids.mark"] * 2, "ids.json", "ids.npy"]
    for n in named:
        assert calls[n + 1][:2] == ("sync", tmp_path.name)
    sizes = [size for what, name, size in calls if (what, name) == ("sync", ".ids.npy.new")]
    assert sizes == [128 + 300, 128 + 600, form.size]
    order = [name for what, name, _ in calls if what == "sync"]
    assert order.index(".ids.npy.new") < order.index("..ids.mark.new")
    assert calls.index(("sync", ".ids.npy.new", form.size)) < named[-1]
