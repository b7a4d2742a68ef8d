import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from charloom.config import DataConfig, ModelConfig, NgramConfig, RunConfig, TrainConfig
from charloom.data.text import read_text
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.runs.folders import list_runs
from charloom.runs.meta import Best, Meta
from charloom.runs.metrics import Line
from charloom.runs.run import Corpus, Run
from charloom.runs.tensors import expected_arrays
from expect import refused

TEXT = "Half a league, half a league,\nhalf a league onward.\n" * 4


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "poem.txt"
    path.write_text(TEXT)
    return path


def new(folder, *sources, **settings):
    config = RunConfig(data=DataConfig(sources=tuple(map(str, sources))), **settings)
    text = read_text(config.data.sources)
    return Run.create(folder, config, Vocabulary.from_text(text.content), text)


@pytest.fixture
def run(tmp_path, source):
    return new(tmp_path / "run", source)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def meta(step, best=None):
    return Meta(step=step, seconds=0, best=best and Best(best, 1.0), versions={})


def save(run, step, best=None):
    expected = expected_arrays(run.config, len(run.vocabulary))
    arrays = {name: np.full(e.shape, step, e.dtypes[0]) for name, e in expected.items()}
    return run.save(arrays, meta(step, best))


# ---- made and found again


@pytest.mark.parametrize("model", [ModelConfig(cell="gru", init_std=0.01), NgramConfig(order=3)])
def test_a_run_is_found_again_as_it_was_made(tmp_path, source, model):
    made = new(tmp_path / "a" / "run", source, model=model, train=TrainConfig(clip_norm=0.1))
    found = Run.open(tmp_path / "a" / "run")
    assert found.config == made.config
    assert found.vocabulary == made.vocabulary
    assert found.corpus == made.corpus
    assert found.corpus == Corpus(
        "poem.txt", (str(source),), len(TEXT), hashlib.sha256(TEXT.encode()).hexdigest()
    )
    assert found.read_text().content == TEXT


def test_a_run_of_many_files_is_found_again(tmp_path, source):
    deep = tmp_path.joinpath("a" * 250, "b" * 250, "c" * 250, "d" * 250, "e" * 250)
    deep.mkdir(parents=True)
    names = [source.rename(deep / "poem.txt")] * 900  # as long as the names of 15,000 usual ones
    path = new(tmp_path / "run", *names, model=NgramConfig()).path
    assert (path / "config.json").stat().st_size > 2**20
    found = Run.open(path)
    found.dataset()
    expected = expected_arrays(found.config, 2)
    found.save(
        {name: np.zeros([n or 1 for n in it.shape], it.dtypes[0]) for name, it in expected.items()},
        Meta(step=1, seconds=0, best=None, versions={}, config=found.config),
    )
    assert found.checkpoint().meta.config == found.config
    names[0].write_text(TEXT + "x")
    assert len(Run.open(path).dataset().changed) < 10_000


def test_what_could_not_be_read_again_is_refused_before_there_is_a_folder(
    tmp_path, source, monkeypatch
):
    monkeypatch.setattr("charloom.files.LARGEST_JSON", 30_000)
    with refused("unsupported", file="corpus.json"):
        new(tmp_path / "run", *[source] * 1_000)
    assert not (tmp_path / "run").exists()


def test_of_too_many_files_the_ids_are_trusted_and_the_files_not_compared(tmp_path, monkeypatch):
    (tmp_path / "poems").mkdir()
    for number in range(100):
        (tmp_path / "poems" / f"{number}.txt").write_text(TEXT)
    run = new(tmp_path / "run", tmp_path / "poems")
    monkeypatch.setattr("charloom.files.LARGEST_JSON", 5_000)
    run.dataset()
    monkeypatch.setattr("charloom.data.dataset.read_text", None)
    assert Run.open(run.path).dataset().train.size
    assert (run.path / "ids.json").stat().st_size < 5_000


def test_the_folder_is_plain_json_and_folders(run):
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints",
        "config.json",
        "corpus.json",
        "samples",
        "vocabulary.json",
    ]
    config = json.loads((run.path / "config.json").read_text())
    assert config["model"]["cell"] == "lstm"
    assert json.loads((run.path / "vocabulary.json").read_text()) == sorted(set(TEXT))


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("model", "cell", "mgu"),
        ("model", "kind", "mamba"),
        ("model", "gate", "hard-sigmoid-1/7"),
        ("train", "warmth", 3),
    ],
)
def test_what_a_newer_version_has_is_named_and_not_called_damaged(run, place, name, value):
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    config[place][name] = value
    path.write_text(json.dumps(config))
    with refused("newer-format", path=path, found=name if name == "warmth" else value):
        Run.open(run.path)
    config[place] = 3
    path.write_text(json.dumps(config))
    with refused("damaged", path=path):
        Run.open(run.path)


def test_an_empty_folder_can_be_used(tmp_path, source):
    (tmp_path / "run").mkdir()
    new(tmp_path / "run", source)
    assert Run.open(tmp_path / "run").corpus.characters == len(TEXT)


def test_a_second_run_in_the_same_folder_is_refused_and_nothing_is_lost(run, source):
    save(run, 3)
    run.append_metrics(Line(step=3))
    before = contents(run.path)
    with refused("taken", path=run.path):
        new(run.path, source)
    assert contents(run.path) == before


def test_what_a_kill_left_of_a_beginning_is_no_run_and_gives_way_to_one(tmp_path, source):
    whole = new(tmp_path / "whole", source)
    for name in ("config.json", ".config.json.new"):
        begun = tmp_path / f"begun{name}"
        shutil.copytree(whole.path, begun)
        (begun / "config.json").rename(begun / name)
        (begun / "config.json").unlink(missing_ok=True)
        with refused("not-found", path=begun):
            Run.open(begun)
        new(begun, source)
        assert Run.open(begun).config == whole.config
    (begun / "config.json").unlink()
    (begun / "samples" / "mine.txt").write_text("mine")
    with refused("unwritable", path=begun):
        new(begun, source)
    assert (begun / "samples" / "mine.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_refused_and_nothing_is_lost(tmp_path, source):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("dear")
    with refused("taken", path=tmp_path / "mine"):
        new(tmp_path / "mine", source)
    assert contents(tmp_path / "mine") == {"letters.txt": b"dear"}


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("poem.txt", "taken"),
        ("lost", "taken"),
        ("poem.txt/run", "unwritable"),
        ("x" * 300, "unwritable"),
    ],
)
def test_a_path_that_can_be_no_folder_is_an_error_of_one_line(tmp_path, source, where, code):
    (tmp_path / "lost").symlink_to("nowhere")
    with refused(code, path=tmp_path / where):
        new(tmp_path / where, source)
    assert source.read_text() == TEXT


CREATE = """
import sys
from charloom.config import DataConfig, RunConfig
from charloom.data.text import read_text
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.runs import run as module

folder, source, stop = sys.argv[1:]
write_file = module.write_file

def write_and_wait(path, blocks):
    found = write_file(path, blocks)
    if path.name == stop:
        print("half", flush=True)
        sys.stdin.readline()
    return found

module.write_file = write_and_wait
config = RunConfig(data=DataConfig(sources=(source,)))
text = read_text(config.data.sources)
print("ready", flush=True)
sys.stdin.readline()
try:
    module.Run.create(folder, config, Vocabulary.from_text(text.content), text)
except CharloomError as error:
    print(error.code, flush=True)
else:
    print("created", flush=True)
"""


class Creator:
    """Another process that creates a run, and waits where it is told to."""

    def __init__(self, folder, source, stop=""):
        command = [sys.executable, "-c", CREATE, *map(str, (folder, source, stop))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self):
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(tmp_path):
    """Another text, of other characters."""
    path = tmp_path / "other.txt"
    path.write_text("0123456789\n" * 30)
    return path


@pytest.mark.parametrize("stop", ["vocabulary.json", "corpus.json"])
def test_a_run_that_another_process_is_creating_is_left_alone(tmp_path, source, other, stop):
    folder = tmp_path / "run"
    with Creator(folder, other, stop) as creator:
        creator.go()
        assert creator.said() == "half"
        before = contents(folder)
        with refused("busy", path=folder):
            new(folder, source)
        assert contents(folder) == before
        creator.go()
        assert creator.said() == "created"
    assert Run.open(folder).read_text().content == other.read_text()
    with refused("taken", path=folder):
        new(folder, source)


def test_what_a_killed_process_left_gives_way(tmp_path, source, other):
    folder = tmp_path / "run"
    with Creator(folder, other, "corpus.json") as creator:
        creator.go()
        assert creator.said() == "half"
    new(folder, source)
    assert Run.open(folder).read_text().content == TEXT


def test_of_several_that_create_a_run_at_once_one_does_and_it_is_whole(tmp_path, source, other):
    folder = tmp_path / "run"
    sources = (source, other, source, other)
    with ExitStack() as stack:
        creators = [stack.enter_context(Creator(folder, path)) for path in sources]
        for creator in creators:
            creator.go()
        said = [creator.said() for creator in creators]
    assert said.count("created") == 1
    assert {*said} <= {"created", "busy", "taken"}
    found = Run.open(folder)
    expected = sources[said.index("created")]
    assert found.config.data.sources == (str(expected),)
    assert found.read_text().content == expected.read_text()
    assert found.dataset().train.max() < len(found.vocabulary)


# ---- damage


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "corpus.json"])
@pytest.mark.parametrize("harm", ["cut", "emptied", "zeroed", "other JSON", "link", "missing"])
def test_each_damaged_file_is_named(run, tmp_path, name, harm):
    path = run.path / name
    content = path.read_bytes()
    changed = {"cut": content[:-9], "emptied": b"", "zeroed": bytes(99), "other JSON": b'{"a":[1]}'}
    path.unlink()
    if harm in changed:
        path.write_bytes(changed[harm])
    elif harm == "link":
        (tmp_path / "outside").write_bytes(content)
        path.symlink_to(tmp_path / "outside")
    code = "not-found" if harm == "missing" else "damaged"
    missing = harm == "missing" and name == "config.json"  # without it, there is no run
    with refused(code, path=run.path if missing else path):
        Run.open(run.path)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"hidden": 128', '"hidden": 1000000000', "damaged"),
        ('"hidden": 128', '"hidden": 128, "__reduce__": "os.system"', "newer-format"),
        ('"hidden": 128', '"hidden": "128"', "damaged"),
        ('"kind": "recurrent"', '"kind": "os.system"', "newer-format"),
        ('"learning_rate": 0.003', '"learning_rate": NaN', "damaged"),
        ('"keep": 2', '"keep": 0', "damaged"),
    ],
)
def test_settings_out_of_their_range_are_refused_before_anything_is_made(run, old, new, code):
    path = run.path / "config.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with refused(code, path=path):
        Run.open(run.path)


@pytest.mark.parametrize("characters", [["b", "a"], ["a", "a"], ["ab"], ["\ud800"], [1], {"a": 1}])
def test_a_vocabulary_that_is_none_is_refused(run, characters):
    (run.path / "vocabulary.json").write_text(json.dumps(characters))
    with refused("damaged", path=run.path / "vocabulary.json"):
        Run.open(run.path)


def test_what_is_no_run_folder_says_so(tmp_path):
    with refused("not-found", path=tmp_path / "nowhere"):
        Run.open(tmp_path / "nowhere")
    with refused("not-found", path=tmp_path):
        Run.open(tmp_path)


# ---- samples


def test_samples_are_files_by_step_and_generated_text_is_gathered_with_the_time(run):
    path = run.write_sample(12, "Cannon to right\n")
    assert path == run.path / "samples" / "00000012.txt"
    assert path.read_bytes() == b"Cannon to right\n"
    assert run.write_sample("best", "Cannon").name == "best.txt"
    assert run.best_sample() is None  # the run has not ended
    run.append_generated(12, 1.25, "of them,")
    run.append_generated(13, 1.0, "é")
    text = (run.path / "samples" / "generated.txt").read_text("utf-8")
    stamp = r"---- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d, step "
    pattern = rf"{stamp}12, loss 1\.250000 ----\nof them,\n\n{stamp}13, loss 1\.000000 ----\né\n\n"
    assert re.fullmatch(pattern, text)


# ---- checkpoints


def test_the_best_the_latest_and_any_step_can_be_asked_for(run):
    for step in (1, 2, 3, 4):
        save(run, step, best=min(step, 2))
    assert run.checkpoint().meta.step == 2
    assert run.checkpoint("latest").meta.step == 4
    assert run.checkpoint(3).meta.step == 3
    assert run.load_weights("latest")["head.b"].max() == 4
    assert run.load_weights()["head.b"].max() == 2
    with refused("not-found", step=1, found=[2, 3, 4]):
        run.load_weights(1)


def test_without_a_best_the_latest_is_taken(run):
    save(run, 1)
    save(run, 2)
    assert run.checkpoint("best").meta.step == 2


def test_a_damaged_best_gives_way_to_the_latest_with_a_warning(run):
    for step in (1, 2, 3):
        path = save(run, step, best=1)
    (path.parent / "00000001" / "meta.json").write_bytes(b"{}")
    with pytest.warns(UserWarning, match="00000001.*00000003"):
        assert run.load_weights()["head.b"].max() == 3
    with refused("damaged", path=path.parent / "00000001" / "meta.json"):
        run.load_weights(1)


def test_a_damaged_latest_gives_way_with_a_warning(run):
    save(run, 1)
    (save(run, 2) / "MANIFEST.json").unlink()
    with pytest.warns(UserWarning, match="00000002.*00000001"):
        assert run.load_weights("latest")["head.b"].max() == 1


def test_a_run_that_has_saved_nothing_says_so(run):
    with refused("not-found", path=run.checkpoints):
        run.load_weights()


# ---- the text, read again


def test_a_relative_source_is_found_from_any_working_directory(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new("run", "poem.txt")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Run.open("../run").read_text().content == TEXT


@pytest.mark.parametrize("changed", [TEXT + "x", "h" + TEXT[1:]])
def test_a_text_that_has_changed_is_refused(run, source, changed):
    source.write_text(changed)
    with pytest.raises(CharloomError) as caught:
        Run.open(run.path).read_text()
    assert str(source) in str(caught.value)


def test_a_text_that_is_gone_is_named_with_where_its_place_stands(run, source):
    source.unlink()
    with pytest.raises(CharloomError) as caught:
        Run.open(run.path).read_text()
    assert str(source) in str(caught.value)
    assert str(run.path / "corpus.json") in str(caught.value)


def test_a_text_from_standard_input_is_kept(tmp_path, monkeypatch):
    document = b"\xef\xbb\xbf\xef\xbb\xbfone\r\ntwo\n"  # two marks: the second is part of the text
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(document)))
    run = new(tmp_path / "run", "-")
    first = run.read_text()
    again = Run.open(run.path).read_text()
    assert again.content == first.content == "\ufeffone\ntwo\n"
    assert again.sha256 == first.sha256
    assert again.name == "standard input"
    (run.path / "ids.npy").write_bytes(b"\xff")
    with pytest.raises(CharloomError) as caught:
        Run.open(run.path).read_text()
    assert str(run.path / "ids.npy") in str(caught.value)


def test_a_run_inside_the_folder_that_it_learns_from_keeps_the_text(tmp_path, source):
    run = new(tmp_path / "runs" / "one", tmp_path)
    run.write_sample(1, "more text in that folder")
    assert Run.open(run.path).read_text().content == TEXT


def test_the_parts_are_the_text_cut_as_the_settings_say(tmp_path, source):
    run = new(tmp_path / "run", source, train=TrainConfig(batch=2, length=4))
    parts = run.dataset()
    held_out = int(0.1 * len(TEXT))
    assert run.vocabulary.decode(parts.train) == TEXT[:-held_out]
    assert run.vocabulary.decode(parts.validation) == TEXT[-held_out:]
    assert parts.test is None


# ---- one trainer at a time


LOCK = """
import sys
from charloom.runs.run import Run
with Run.open(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_trainer_is_refused_until_the_first_is_gone_even_by_kill(run):
    first = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout.readline() == "locked\n"
        with refused("busy", path=run.path, process=f"{first.pid}"), run.lock():
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    with run.lock():
        assert (run.path / ".lock").read_text() == f"{os.getpid()}\n"
    with run.lock():
        pass


def test_a_full_disk_keeps_nobody_from_the_lock(run):
    (run.path / ".lock").write_bytes(b"\x1b[31mme")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # Python ignores SIGXFSZ
    try:
        with run.lock(), refused("busy", process="unknown"), Run.open(run.path).lock():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with run.lock(), refused("busy", process=f"{os.getpid()}"), Run.open(run.path).lock():
        pass


@pytest.mark.parametrize(
    "name", [".lock", "metrics.jsonl", "samples/generated.txt", "samples", "checkpoints"]
)
def test_nothing_is_written_through_a_link_out_of_the_folder(run, tmp_path, name):
    outside = tmp_path / "outside"
    path = run.path / name
    if path.is_dir():
        path.rmdir()
        outside.mkdir()
    else:
        outside.write_text("mine")
    path.symlink_to(outside)
    with refused("damaged", path=path), run.lock():
        pass
    assert outside.is_dir() or outside.read_text() == "mine"


def test_a_pipe_in_place_of_the_metrics_is_not_waited_for(run):
    os.mkfifo(run.path / "metrics.jsonl")
    with refused("damaged", path=run.path / "metrics.jsonl"), run.lock():
        pass


# ---- power cuts


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc/self/fd")
def test_a_run_and_its_metrics_are_on_the_disk_before_what_relies_on_them(
    tmp_path, source, monkeypatch
):
    synced = []
    fsync = os.fsync

    def recording_fsync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    run = new(tmp_path / "run", source)
    names = ["vocabulary.json", "corpus.json", ".config.json.new"]
    assert synced == [*names, "run", tmp_path.name]
    run.append_metrics(Line(step=1))
    synced.clear()
    save(run, 1)
    assert synced[:2] == ["metrics.jsonl", "model.safetensors"]


# ---- lists of runs


def test_runs_are_listed_wherever_they_lie_and_damaged_ones_too(tmp_path, source):
    new(tmp_path / "b", source)
    new(tmp_path / "a" / "deep", source)
    (tmp_path / "b" / "config.json").write_text("{")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    assert list_runs(tmp_path) == [tmp_path / "a" / "deep", tmp_path / "b"]
    assert list_runs(tmp_path / "b") == [tmp_path / "b"]
    with refused("not-found", path=tmp_path / "nowhere"):
        list_runs(tmp_path / "nowhere")
