import errno
import io
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import DataConfig, RunConfig, TrainConfig
from charloom.data import dataset
from charloom.data.parts import File
from charloom.data.reading import Reading
from charloom.data.split import split_text
from charloom.data.text import read_text
from charloom.data.token_file import alone
from charloom.runs.run import Run
from charloom.training.planning import prepare
from expect import refused
from small_runs import new_run

TEXT = "Half a league, half a league,\nhalf a league onward.\n" * 4
SETTINGS = TrainConfig(batch=2, length=4, iterations=1)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    return path


def new(folder, *sources):
    data = DataConfig(sources=tuple(map(str, sources)))
    return new_run(folder, RunConfig(data=data, train=SETTINGS))


@pytest.fixture
def run(tmp_path, source):
    run = new(tmp_path / "run", source)
    run.dataset()
    return run


def whole(run, parts):
    return run.vocabulary.decode(np.concatenate([parts.train, parts.validation]))


def reopened(run):
    found = Run.open(run.path)
    parts = found.dataset()
    assert whole(found, parts) == TEXT
    return parts


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read, each time that they are."""
    names = []
    pieces = File.pieces
    monkeypatch.setattr(
        File, "pieces", lambda self, *rest: (names.append(self.path.name), pieces(self, *rest))[1]
    )
    return names


def test_ids_are_made_once_and_the_text_is_not_read_again(tmp_path, source, reads):
    run = new(tmp_path / "run", source)
    assert not (run.path / "ids.npy").exists()
    parts = run.dataset()
    assert reads == ["poem.txt"] * 2  # once for the characters, once for the ids
    again = reopened(run)
    assert reads == ["poem.txt"] * 2
    assert again.notes == parts.notes
    assert parts.notes == ("removed a byte-order mark", "turned 8 CRLF line ends into LF")
    assert again.train.dtype == np.uint8
    assert not again.train.flags.writeable


def test_an_open_run_does_not_check_its_ids_twice(run, monkeypatch):
    found = Run.open(run.path)
    found.dataset()
    monkeypatch.setattr(dataset, "open_ids", None)
    assert whole(found, found.dataset()) == TEXT


def test_a_file_that_was_touched_is_read_again_once(run, source, reads):
    os.utime(source)
    reopened(run)
    assert reads == ["poem.txt"]
    reopened(run)
    assert reads == ["poem.txt"]


def test_notes_on_a_text_stay_when_its_files_were_touched(tmp_path, source):
    text = read_text([str(source)])
    text = replace(text, notes=(*text.notes, "told before the training"))
    config = RunConfig(data=DataConfig(sources=(str(source),)), train=SETTINGS)
    made = new_run(tmp_path / "run", config, text)
    before = made.dataset().notes
    assert "told before the training" in before
    os.utime(source)
    assert reopened(made).notes == before


EDITS = {
    "grown": lambda data: data + b"And more.\r\n",
    "edited": lambda data: data.replace(b"onward", b"upward"),
    "cut": lambda data: data[:100],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_text_that_has_changed_does_not_change_what_was_learned(run, source, reads, edit):
    before = source.read_bytes()
    source.write_bytes(EDITS[edit](before))
    for _ in range(2):
        parts = reopened(run)
        assert parts.changed == parts.notes[-1]
        assert parts.notes[:-1] == ("removed a byte-order mark", "turned 8 CRLF line ends into LF")
        assert str(source) in parts.changed
        with pytest.warns(UserWarning, match=r"poem\.txt"):
            Run.open(run.path).parts()
    assert len(reads) == 1  # to see that it has changed
    source.write_bytes(before)
    parts = reopened(run)
    assert (parts.changed, len(parts.notes)) == ("", 2)
    Run.open(run.path).parts()


@pytest.mark.parametrize("now", [b"", b"\x89PNG\0", b"\xff"])
def test_a_text_that_is_none_any_more_is_done_without(run, source, now):
    source.write_bytes(now)
    assert str(run.path) in reopened(run).notes[-1]


@pytest.mark.parametrize("damage", ["missing", "an id"])
def test_a_text_that_has_changed_is_refused_if_its_ids_are_lost_too(run, source, damage):
    source.write_bytes(source.read_bytes() + b"more")
    path, N = run.path / "ids.npy", len(TEXT)
    data = path.read_bytes()
    path.unlink()
    if damage == "an id":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with refused("changed-text", path=str(source), characters=N + 4, learned=N) as caught:
        Run.open(run.path).dataset()
    assert all(cure in str(caught.value) for cure in (str(path), f"--from {run.path}"))


def test_a_folder_in_the_place_of_ids_is_named_and_left_alone(run):
    path = run.path / "ids.npy"
    path.unlink()
    (path / "mine").mkdir(parents=True)
    with refused("damaged", path=path):
        Run.open(run.path).dataset()
    assert (path / "mine").is_dir()


def test_a_text_that_is_gone_is_done_without(run, source):
    source.unlink()
    parts = reopened(run)
    assert parts.notes[:-1] == ("removed a byte-order mark", "turned 8 CRLF line ends into LF")
    assert str(source) in parts.notes[-1]
    (run.path / "ids.npy").write_bytes(b"")
    with refused("not-found", path=str(source)):
        Run.open(run.path).dataset()


@pytest.mark.parametrize("damage", ["cut", "an id", "link", "missing", "sums"])
def test_damaged_ids_are_made_anew(run, damage, reads):
    path = run.path / "ids.npy"
    data = path.read_bytes()
    (path.with_name("ids.json") if damage == "sums" else path).unlink()
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "an id":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "link":
        path.symlink_to("/dev/zero")
    notes = reopened(run).notes
    assert (str(path) in notes[-1]) == (damage not in ("missing", "sums"))
    assert path.read_bytes() == data
    assert not path.is_symlink()
    assert len(reads) == (1 if damage == "sums" else 2)
    assert reopened(run).notes == notes[:2]


def test_of_a_folder_all_files_are_looked_at(tmp_path, reads):
    folder = tmp_path / "poems"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text(TEXT[:100])
    (folder / "sub" / "b.txt").write_text(TEXT[100:])
    (folder / "image.png").write_bytes(b"\x89PNG\0")
    run = new(tmp_path / "run", folder)
    content = run.read_text().content
    run.dataset()
    reads.clear()
    for change in (lambda: None, (folder / ".hidden").touch):
        change()
        Run.open(run.path).dataset()
        assert reads == []
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    found = Run.open(run.path)
    assert whole(found, found.dataset()) == content
    assert set(reads) == {"a.txt", "b.txt", "image.png"}
    (folder / "c.txt").write_text("more")
    found = Run.open(run.path)
    assert whole(found, found.dataset()) == content
    assert str(folder) in found.dataset().changed


def test_a_run_of_before_reads_its_folder_in_the_order_that_it_had(tmp_path):
    folder = tmp_path / "book"
    folder.mkdir()
    for n in (1, 2, 10):
        (folder / f"ch{n}").write_text(f"{n} {TEXT}")
    early = read_text([str(folder)], reading=Reading(era="sorted"))
    config = RunConfig(data=DataConfig(sources=(str(folder),)), train=SETTINGS)
    run = new_run(tmp_path / "run", config, early)
    run.dataset()
    for damage in ("ids.json", "ids.npy"):
        (run.path / damage).unlink()
        found = Run.open(run.path)
        parts = found.dataset()
        assert not parts.changed
        assert whole(found, parts) == early.content != read_text([str(folder)]).content


PAGES = {
    "a.csv": "a,text\n" + TEXT.replace(",", ";").replace("\n", ",x\n"),
    "b.md": f"---\ntitle: x\n---\n{TEXT}",
    "c.json": '{"nbformat": 4, "cells": []}' + TEXT,
    ".git/x": "",
    ".gitignore": "d.txt",
    "d.txt": TEXT,
}


@pytest.mark.parametrize("split", ["tail", "documents"])
@pytest.mark.parametrize("source", ["", *(name for name in PAGES if name[0] != ".")])
def test_a_run_of_before_that_took_files_as_they_are_does_so_again(tmp_path, source, split):
    folder = tmp_path / "site"
    for name, content in PAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    text = str(folder / source)
    early = read_text([text], reading=Reading(era="plain"))
    data = DataConfig(sources=(text,), split=split)
    run = new_run(tmp_path / "run", RunConfig(data=data, train=SETTINGS), early)
    learned = run.read_text().content
    run.dataset()
    for damage in ("ids.json", "ids.npy"):
        (run.path / damage).unlink()
        found = Run.open(run.path)
        parts = found.dataset()
        assert not parts.changed
        assert whole(found, parts) == learned


@pytest.fixture
def piped(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    return new(tmp_path / "run", "-")


def test_the_ids_of_standard_input_are_the_text(piped):
    assert (piped.path / "ids.npy").exists()
    for _ in range(2):
        reopened(piped)
        assert Run.open(piped.path).read_text().content == TEXT
    (piped.path / "ids.json").unlink()
    reopened(piped)
    assert (piped.path / "ids.json").exists()


@pytest.mark.parametrize("damage", ["an id", "missing"])
def test_a_text_that_is_lost_is_refused(piped, damage):
    path = piped.path / "ids.npy"
    data = path.read_bytes()
    path.unlink()
    if damage == "an id":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for read in (Run.open(piped.path).dataset, Run.open(piped.path).read_text):
        with refused("damaged" if damage == "an id" else "not-found", path=str(path)):
            read()


def test_a_run_of_before_that_kept_a_copy_of_the_text_is_opened(piped):
    for name in ("ids.npy", "ids.json"):
        (piped.path / name).unlink()
    (piped.path / "corpus.txt").write_text(TEXT)
    for _ in range(2):
        assert Run.open(piped.path).read_text().content == TEXT
        reopened(piped)
        assert (piped.path / "ids.npy").exists()
    (piped.path / "corpus.txt").write_text(TEXT.upper())
    assert str(piped.path / "corpus.txt") in reopened(piped).changed
    (piped.path / "ids.npy").unlink()
    with refused("changed-text", path=str(piped.path / "corpus.txt")):
        Run.open(piped.path).dataset()


def test_a_run_in_the_folder_that_it_learns_from_does_not_read_itself(tmp_path, source):
    run = new(tmp_path / "runs" / "one", tmp_path)
    run.write_sample(1, "more text in that folder")
    reopened(run)
    (run.path.parent.parent / "poem.txt").unlink()
    reopened(run)


def test_ids_are_read_from_a_folder_that_cannot_be_written_to(run, source, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(dataset, "write_checksums", refuse)
    monkeypatch.setattr(dataset, "write_ids", refuse)
    os.utime(source)
    reopened(run)


READING = """
import sys
from charloom.runs.run import Run
parts = Run.open(sys.argv[1]).parts()
print(len(parts.train) + len(parts.validation), len(parts.notes))
"""


@pytest.mark.parametrize("damage", [False, True])
def test_ids_that_cannot_be_written_are_made_for_this_time(run, damage):
    notes = len(run.dataset().notes)
    (run.path / "ids.npy").write_bytes(b"") if damage else (run.path / "ids.npy").unlink()
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", read_only, run.path]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a folder read-only in a namespace")
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    done = subprocess.run(
        [*alone, sys.executable, "-c", READING, run.path], check=True, capture_output=True
    )
    assert done.stdout.decode() == f"{len(TEXT)} {notes + 1 + damage}\n"
    assert b"UserWarning" in done.stderr
    assert before == {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def test_on_a_full_disk_ids_are_made_for_this_time_too(run, monkeypatch):
    (run.path / "ids.npy").unlink()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reopened(run)
    assert not (run.path / "ids.npy").exists()


def test_while_another_process_makes_the_ids_nobody_else_does(tmp_path, source):
    run = new(tmp_path / "run", source)
    with alone(run.path), refused("busy", path=str(run.path)):
        run.dataset()
    run.dataset()
    with alone(run.path):
        reopened(run)


def test_a_source_whose_name_is_no_text_is_refused_before_there_is_a_folder(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_text(TEXT)
    with refused("unsupported", path=str(path)):
        new(tmp_path / "run", path)
    assert not (tmp_path / "run").exists()
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / path.name)
    reopened(new(tmp_path / "run", tmp_path / "folder"))


parts = st.floats(0, 0.45)


@given(st.integers(0, 5000), parts, parts, st.integers(3, 300))
def test_parts_follow_one_another_and_cover_the_text(characters, validation, test, minimum):
    split = split_text(characters, DataConfig(validation=validation, test=test), minimum)
    held = [part for part in (split.validation, split.test) if part is not None]
    ends = [0]
    for part in (split.train, *held):
        assert part.start == ends[-1]
        ends.append(part.stop)
    assert ends[-1] == characters
    assert all(part.stop - part.start >= 16 for part in held)
    assert not held or split.train.stop >= minimum
    left_out = 0
    for share, part in ((validation, split.validation), (test, split.test)):
        left_out += part is None and share > 0
        if part is not None:
            assert part.stop - part.start == int(characters * share)
    assert len(split.notes) == left_out


def test_the_usual_split_is_nine_tenths_and_one():
    split = split_text(1_115_394, DataConfig(), 66)
    assert split.train == slice(0, 1_003_855)
    assert split.validation == slice(1_003_855, 1_115_394)
    assert (split.test, split.notes) == (None, ())


def test_the_smallest_parts_are_sixteen_held_out_and_the_minimum_for_training():
    config = DataConfig(validation=0.16)
    assert split_text(100, config, 84).validation == slice(84, 100)
    assert split_text(100, config, 85).validation is None
    assert split_text(99, config, 3).validation is None


def test_a_text_too_short_to_split_says_so():
    split = split_text(1000, DataConfig(validation=0.01), 66)
    assert (split.train, split.validation) == (slice(0, 1000), None)
    assert all(word in split.notes[0] for word in ("validation", "1%", "1,000", "10", "16"))
    split = split_text(1000, DataConfig(validation=0.1, test=0.2), 800)
    assert (split.train, split.validation) == (slice(0, 900), slice(900, 1000))
    assert all(word in split.notes[0] for word in ("test", "700", "1,000", "800"))
    split = split_text(1000, DataConfig(validation=0.1), 1002)
    assert split.train == slice(0, 1000)
    assert all(word in split.notes[0] for word in ("validation", "900", "1,002"))


# ---- documents


@pytest.fixture
def poems(tmp_path):
    folder = tmp_path / "poems"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"Poem {number} of many.\nAll alike in length.")
    return folder


def test_a_new_run_knows_where_documents_end(tmp_path, poems):
    run = prepare([str(poems)], {"iterations": 1, "hidden": 4}, tmp_path / "run").run
    parts = run.dataset()
    assert run.config.data.boundaries
    for ids in (parts.train, parts.validation):
        assert ids[-1] == run.vocabulary.boundary == 0
    documents = run.vocabulary.utf8(parts.train).count(b"\0")
    assert documents + run.vocabulary.utf8(parts.validation).count(b"\0") == 60
    assert "\0" not in run.vocabulary.decode(parts.train)
    for name in ("ids.npy", "ids.json"):
        (run.path / name).unlink()
    again = Run.open(run.path)
    assert again.dataset().train.tolist() == parts.train.tolist()
    assert again.read_text().sha256 == run.corpus.sha256


def test_a_run_of_before_has_no_boundaries(tmp_path, poems):
    run = new(tmp_path / "run", poems)
    old = msgspec.json.decode((run.path / "config.json").read_bytes())
    del old["data"]["boundaries"]
    (run.path / "config.json").write_bytes(msgspec.json.encode(old))
    found = Run.open(run.path)
    assert not found.config.data.boundaries
    assert found.vocabulary.boundary is None
    wanted = "".join(f"Poem {n} of many.\nAll alike in length.\n" for n in range(60))
    assert whole(found, found.dataset()) == wanted.removesuffix("\n")


@pytest.mark.parametrize("split", ["tail", "lines"])
def test_a_list_of_lines_and_a_single_text_have_no_boundaries(tmp_path, poems, source, split):
    sources = [str(poems if split == "lines" else source)]
    given = {"model": "ngram", "split": split}
    run = prepare(sources, given, tmp_path / "run").run
    assert not run.config.data.boundaries
    assert run.vocabulary.boundary is None


def test_where_the_end_of_each_document_is_held_out_training_knows_how_they_begin(tmp_path):
    for number in range(4):
        text = "".join(f"{number} and line {line}.\n" for line in range(50))
        (tmp_path / f"{number}.txt").write_text(text)
    sources = [str(tmp_path / f"{number}.txt") for number in range(4)]
    run = prepare(sources, {"model": "ngram"}, tmp_path / "run").run
    train = run.vocabulary.utf8(run.dataset().train).decode().split("\0")
    assert [document[:12] for document in train] == [f"{n} and line 0" for n in range(4)] + [""]
    assert b"\0" not in run.vocabulary.utf8(run.dataset().validation)
    assert Run.open(run.path).read_text().sha256 == run.corpus.sha256
