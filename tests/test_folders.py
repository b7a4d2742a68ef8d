"""Run folders are renamed and deleted, and nothing else is."""

import os
from pathlib import Path

import pytest

from charloom.runs import folders
from charloom.runs.run import Run
from expect import refused
from small_runs import config_of, new_run, write_text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run(tmp_path / "run", config_of(write_text(tmp_path)))


def test_a_run_is_renamed_and_opens_there(run: Run, tmp_path: Path) -> None:
    new = tmp_path / "other" / "name"
    folders.move(run.path, new)
    assert Run.open(new).config == run.config
    assert not run.path.exists()


def test_a_run_is_not_moved_over_anything(run: Run, tmp_path: Path) -> None:
    new = tmp_path / "there"
    new.mkdir()
    with refused("taken", path=new):
        folders.move(run.path, new)
    assert Run.open(run.path)
    assert [*new.iterdir()] == []


def test_a_run_is_deleted_whole_or_damaged(run: Run) -> None:
    (run.path / "config.json").write_text("{")
    folders.delete(run.path)
    assert not run.path.exists()


def test_a_folder_with_more_in_it_is_not_deleted(run: Run) -> None:
    (run.path / "notes.txt").write_text("mine")
    with refused("taken", found="notes.txt"):
        folders.delete(run.path)
    assert Run.open(run.path)


@pytest.mark.parametrize("act", [folders.delete, lambda path: folders.move(path, "elsewhere")])
def test_a_run_that_is_being_trained_stays(run: Run, act) -> None:  # type: ignore[no-untyped-def]
    with run.lock(), refused("busy", path=run.path):
        act(run.path)
    assert Run.open(run.path)


def test_a_pipe_in_place_of_the_lock_is_refused_and_not_waited_for(run: Run) -> None:
    os.mkfifo(run.path / ".lock")
    with refused("damaged", path=run.path / ".lock"):
        folders.delete(run.path)
    assert Run.open(run.path)


@pytest.mark.parametrize("act", [folders.delete, lambda path: folders.move(path, "elsewhere")])
def test_what_is_no_run_stays(run: Run, tmp_path: Path, act) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "link").symlink_to(run.path)
    (tmp_path / "plain").mkdir()
    for name in ("link", "plain", "none", "brigade.txt"):
        with refused("not-found"):
            act(tmp_path / name)
    assert Run.open(tmp_path / "link")


def test_a_discarded_run_can_be_taken_back(run: Run, tmp_path: Path) -> None:
    trash = tmp_path / ".trash"
    first = folders.discard(run.path, trash)
    again = new_run(run.path, config_of(write_text(tmp_path)))
    assert [first, folders.discard(again.path, trash)] == [trash / "run", trash / "run-2"]
    assert folders.list_runs(tmp_path) == []
    folders.move(first, run.path)
    assert Run.open(run.path).config == run.config


def test_who_holds_a_run_is_known_while_it_does(run: Run) -> None:
    assert folders.holder(run.path) is None
    with run.lock():
        assert folders.holder(run.path) == os.getpid()
    assert folders.holder(run.path) is None
    (run.path / ".lock").write_text(f"{10**30}\n")  # no process
    assert folders.holder(run.path) is None
