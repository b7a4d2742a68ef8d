import pytest

from charloom.cli import several
from charloom.cli.several import begun
from charloom.distributed import Place
from charloom.training import settings
from charloom.training.recipe import CHOSEN
from expect import refused
from small_runs import new_run, write_text

HERE = Place(0, 2, 0, "127.0.0.1", 29500)


@pytest.fixture
def run(tmp_path):
    """A run whose settings have been chosen, but for the rate."""
    asked = configure(given(tmp_path))
    chosen = {"hidden": 8, "batch": 2, "length": 20, "dropout": 0.1, "warmup": 3, "mixture": 0.1}
    assert {*chosen, "learning_rate"} == {*CHOSEN}
    made = configure(given(tmp_path) | chosen | {"split": "documents"})
    assert made != asked
    return new_run(tmp_path / "run", made)


def configure(values):
    return settings.configure(values["sources"], {n: values[n] for n in values if n != "sources"})


def given(folder, **more):
    source = folder / "brigade.txt"
    if not source.exists():
        write_text(folder)
    return {"sources": (str(source),), "iterations": 5, "learning_rate": 0.01, **more}


def test_a_restart_takes_what_was_chosen_at_first(run, tmp_path):
    values = given(tmp_path)
    assert begun(run.path, configure(values), values).config == run.config


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"learning_rate": 0.02}, "learning-rate"),
        ({"hidden": 9}, "hidden"),
        ({"iterations": 6}, "iterations"),
        ({"model": "gru"}, "cell"),
        ({"seed": 1}, "seed"),
        ({"split": "lines"}, "split"),
        ({"sources": ("other.txt",)}, "text"),
    ],
)
def test_another_command_may_not_go_on_with_it(run, tmp_path, changed, name):
    values = given(tmp_path, **changed)
    with refused("other-settings", path=run.path, changed=[name]):
        begun(run.path, configure(values), values)


def test_the_first_start_finds_nothing(tmp_path):
    values = given(tmp_path)
    assert begun(tmp_path / "run", configure(values), values) is None


def test_the_folder_must_be_named(tmp_path):
    values = given(tmp_path)
    with refused("bad-setting", field="out"):
        begun(None, configure(values), values)


@pytest.mark.parametrize("arguments", [["presets"], ["--help"], ["runs", "train"], []])
def test_what_does_not_train_is_done_by_rank_0_alone(arguments):
    done = []
    for rank in (0, 1):
        several.run(lambda rank=rank: done.append(rank), HERE._replace(rank=rank), arguments)
    assert done == [0]
