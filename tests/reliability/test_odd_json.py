"""Documents of a run folder that are valid JSON, with a field of another type or size."""

import json
import math
import random
import shutil
import warnings
from copy import deepcopy

import pytest
from click.testing import CliRunner

from charloom import cli
from charloom.analysis.comparison import compare
from charloom.analysis.diagnosis import diagnose
from charloom.config import NgramConfig, replace
from charloom.errors import CharloomError
from charloom.report.reproduction import origin
from charloom.runs.open import open_run
from charloom.runs.run import Run
from charloom.training.loop import train
from checkpoints import forge
from expect import error_of
from small_runs import config_of, played, stopped, write_text

VALUES = (
    *(None, True, -1, 0, 1, 1.5, 1e308, -1e308, 10**18, 10**30, math.nan, math.inf),
    *("", "x", "\x1b[31m", "\0", "\ud800", "../../etc/passwd", "x" * 9999),
    *([], [1], ["a"], [[[]]], {}, {"a": 1}, {"step": 1}),
)
FILES = ("config.json", "corpus.json", "vocabulary.json", "ids.json", "metrics.jsonl", "final.json")
SAVED = ("meta.json", "MANIFEST.json")
COMMANDS = (
    ("runs", "{0}"),
    ("runs", "show", "{0}"),
    ("runs", "show", "{0}", "--json"),
    ("sample", "{0}", "--length", "3"),
    ("evaluate", "{0}"),
    ("plot", "{0}", "--json"),
    ("study", "surprise", "{0}", "--length", "20"),
    ("study", "novelty", "{0}", "--length", "20"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    config = config_of(write_text(folder))
    ngram = replace(config, model=NgramConfig(order=3))
    return stopped(folder / "lstm", config, 10), played(folder / "ngram", ngram)


def places(document, path=()):
    """Yield the way to each value in a document."""
    yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from places(value, (*path, name))
    elif isinstance(document, list):
        for number, value in enumerate(document[:3]):
            yield from places(value, (*path, number))


def changed(document, chance):
    """Return a document of which one value is another, is missing or is new, and what was done."""
    path, value = chance.choice([*places(document)]), chance.choice(VALUES)
    if not path:
        return value, f"{value!r:.40}"
    document = deepcopy(document)
    *way, last = path
    parent = document
    for name in way:
        parent = parent[name]
    match chance.randrange(6):
        case 0:
            del parent[last]
            return document, f"no {path}"
        case 1 if isinstance(parent, dict):
            parent["new"] = value
            return document, f"new beside {path}: {value!r:.40}"
    parent[last] = value
    return document, f"{path} is {value!r:.40}"


def harm(path, chance):
    """Change one field of one document of a run; return what was done."""
    checkpoint = chance.choice(sorted((path / "checkpoints").iterdir()))
    files = [path / name for name in FILES] + [checkpoint / name for name in SAVED]
    file = chance.choice([file for file in files if file.exists()])
    first, *rest = file.read_text().split("\n") if file.suffix == ".jsonl" else [file.read_text()]
    document, what = changed(json.loads(first), chance)
    text = "\n".join([json.dumps(document), *rest])
    if file.name == "meta.json":
        forge(checkpoint, file.name, text.encode())
    else:
        file.write_text(text)
    return f"{file.name}: {what}"


def read_with_the_library(path):
    """Do what takes a command long."""
    run = Run.open(path)
    diagnose(run)
    origin(run)
    compare([open_run(path) or path], sampling_seconds=0)
    for _ in zip(range(3), train(run, resume=True), strict=False):
        pass


@pytest.mark.slow
@pytest.mark.reliability("A11", "JSON of a run with a field of another type: read or refused")
def test_odd_fields_are_read_or_refused_by_every_command(runs, tmp_path, trials):
    refused = 0
    for trial in range(trials.of(15, 2000)):
        chance = random.Random(trial)
        path = tmp_path / "run"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(chance.choice(runs).path, path)
        what = harm(path, chance)
        said = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for command in COMMANDS:
                arguments = [word.format(path) for word in command]
                result = CliRunner().invoke(cli.charloom, arguments)
                if result.exit_code:
                    assert error_of(result) is not None, (trial, what, command, result.exception)
                    said.add(error_of(result).code)
            try:
                read_with_the_library(path)
            except CharloomError as error:
                said.add(error.code)
            except Exception as error:
                raise AssertionError((trial, what)) from error
        refused += bool(said)
    trials.result(f"{refused:,} refused with a code, the others read; 0 tracebacks")
