"""`charloom runs`: which loss of a run is shown, and as what."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from charloom.cli import charloom
from charloom.config import DataConfig, NgramConfig, RunConfig
from charloom.evaluation import evaluate
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.loop import train
from small_runs import new_run

ONCE = "".join(f"{n} to the power of {n} is {n**n}\n" for n in range(60))
TEXTS = {"once": (ONCE, 0.1), "twice": (ONCE * 2, 0.1), "all": (ONCE, 0.0)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three n-gram models: of a text, of one that is there twice, and of all of the first."""
    folder = tmp_path_factory.mktemp("home")
    for name, (content, validation) in TEXTS.items():
        path = folder / f"{name}.txt"
        path.write_text(content)
        data = DataConfig(sources=(str(path),), validation=validation)
        list(train(new_run(folder / name, RunConfig(model=NgramConfig(order=6), data=data))))
    return folder


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(charloom, ["runs", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def rows(home: Path, *options: str) -> dict[str, Any]:
    listed = json.loads(shown(str(home), "--json", *options))
    return {Path(row["run"]).name: row for row in listed}


def test_a_loss_on_training_text_is_shown_as_that(home: Path) -> None:
    run = Run.open(home / "all")
    nats = evaluate(open_model(run), run.parts().train).nats
    row = rows(home)["all"]
    assert row["validation"] is None
    assert row["training"]["nats"] == pytest.approx(nats)
    printed = shown(str(home))
    (line,) = (line for line in printed.splitlines() if line.startswith(str(home / "all")))
    assert f"{nats:.4f} (training)" in line
    assert printed.count("(training)") == 2  # once it is explained
    (line,) = (line for line in shown("show", str(home / "all")).splitlines() if "loss  " in line)
    assert f"{nats:.3f} nats" in line
    assert "training text" in line


def test_only_losses_that_predict_are_the_lowest(home: Path) -> None:
    found = rows(home, "--sort", "loss")
    assert [*found] == ["once", "twice", "all"]
    assert found["twice"]["validation"] < found["once"]["validation"]
    assert found["all"]["training"]["nats"] < found["once"]["validation"]


def test_a_loss_that_measures_memory_is_told_wherever_it_is_shown(home: Path) -> None:
    assert [row["repeated"] for row in rows(home).values()] == [0.0, 0.0, 1.0]
    printed = shown(str(home))
    (line,) = (line for line in printed.splitlines() if line.startswith(str(home / "twice")))
    assert re.search(r"\d (\+\S+ )?\(memory\)", line)
    assert printed.count("(memory)") == 2
    one, two = (shown("show", str(home / name)) for name in ("once", "twice"))
    (line,) = (line for line in two.splitlines() if line.startswith("validation "))
    assert line.endswith("; all of that part is in the training part, too")
    assert "measures memory" in two
    assert "memory" not in one
    assert "too" not in one


def test_a_list_without_such_runs_explains_nothing(home: Path) -> None:
    printed = shown(str(home / "once"))
    assert "(" not in printed


def test_a_loss_on_training_text_has_its_text_beside_it_if_others_have(home: Path) -> None:
    one, two, three = (line.split()[1] for line in shown(str(home)).splitlines()[1:4])
    assert (one, two, three) == ("all.txt", "once.txt", "twice.txt")
