import json

import pytest
from click.testing import CliRunner

import charloom
from charloom.cli import charloom as command
from charloom.data.boundary import BOUNDARY, visible
from charloom.training.planning import prepare
from expect import refused

COMMANDS = [
    "sample RUN --seed 1 --length 300",
    "sample RUN --seed 1 --count 2 --document --json",
    "sample RUN --seed 1 --max-copy 6 --json",
    "evaluate RUN --json",
    "evaluate RUN FOLDER --json",
    "runs show RUN",
    "runs show RUN --json",
    "study surprise RUN",
    "study surprise RUN --json",
    "study surprise RUN FOLDER --json",
    "study neurons RUN --json",
    "study novelty RUN --json",
    "study keywords RUN --json",
    "compare RUN --json",
    "compare RUN --text FOLDER --json",
    "study keywords RUN --source FOLDER --human FOLDER",
    "check FOLDER --json",
    "text FOLDER",
    "text FOLDER --jsonl",
]
PAGES = [
    "study surprise RUN --html PAGE",
    "study neurons RUN --html PAGE",
    "report RUN --out PAGE",
    "check FOLDER --html PAGE",
    "plot RUN --out PAGE.svg",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("letters")
    for number in range(80):
        text = f'Letter {number}\n\nDear "reader", the sea is wide.\nYours, as ever.'
        (path / f"{number}.txt").write_text(text)
    return path


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    given = {"hidden": 8, "iterations": 3, "engine": "reference", "dtype": "float64"}
    path = tmp_path_factory.mktemp("runs") / "letters"
    charloom.train(folder, out=path, **given)
    return path


@pytest.mark.parametrize("line", COMMANDS)
def test_nobody_sees_a_boundary(line, run, folder):
    words = line.replace("RUN", str(run)).replace("FOLDER", str(folder)).split()
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
    for sign in (BOUNDARY, "\\u0000", "x00", "U+0000", "\u00b7"):
        assert sign not in result.output


@pytest.mark.parametrize("line", PAGES)
def test_nor_has_a_page_one(line, run, folder, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    words = line.replace("RUN", str(run)).replace("FOLDER", str(folder))
    result = CliRunner().invoke(command, words.replace("PAGE", str(tmp_path / "it")).split())
    assert result.exit_code == 0, result.output
    [page] = tmp_path.iterdir()
    for sign in (BOUNDARY, "\\u0000", "x00;", "U+0000", "&#0;"):
        assert sign not in page.read_text("utf-8") + result.output


def test_nor_does_the_run_write_one_for_people(run):
    for path in [*run.glob("samples/*"), run / "metrics.jsonl"]:
        assert BOUNDARY not in path.read_text("utf-8")
    assert (
        str(len(charloom.load(run).language_model.vocabulary) - 1)
        in CliRunner().invoke(command, ["runs", "show", str(run)]).output
    )


def test_a_boundary_is_shown_as_a_blank_line():
    assert visible("one\n\0two\n\0") == "one\n\ntwo\n\n"


def test_documents_from_python(folder, tmp_path):
    charloom.train(folder, model="ngram", out=tmp_path / "run")
    model = charloom.load(tmp_path / "run")
    for seed in range(5):
        text = model.sample(document=True, length=500, seed=seed)
        assert text.startswith("Letter ")
        assert text.endswith("ever.")
        assert text.count("Letter") == 1
    text = model.sample("Dear", document=True, length=500, seed=1)
    assert text.startswith("Dear")
    assert text.endswith("Yours, as ever.")
    assert "\n\nLetter" in model.sample(length=500, seed=1)
    with refused("unknown-character", character=BOUNDARY):
        model.sample("a\0")


def test_a_document_is_written_to_its_end_unless_a_length_is_given(tmp_path):
    for number in range(6):
        words = " ".join(map(str, range(100, 300)))
        (tmp_path / f"{number}.txt").write_text(f"Letter {words} Yours, as ever.")
    run = str(tmp_path / "run")
    charloom.train(tmp_path, model="ngram", order=8, out=run)
    ask = ["sample", run, "--document", "--greedy", "--json"]
    told = json.loads(CliRunner().invoke(command, ask).stdout)
    assert 500 < len(told["texts"][0]) < told["length"]
    short = json.loads(CliRunner().invoke(command, [*ask, "--length", "9"]).stdout)
    assert (short["length"], len(short["texts"][0])) == (9, 9)


def test_a_run_of_one_text_writes_no_document(tmp_path):
    (tmp_path / "text.txt").write_text("All of it is one text.\n" * 30)
    run = prepare([str(tmp_path / "text.txt")], {"model": "ngram"}, tmp_path / "run").run
    charloom.resume(run)
    with refused("unsupported", field="document"):
        charloom.load(run).sample(document=True)
    result = CliRunner().invoke(command, ["sample", str(tmp_path / "run"), "--document"])
    assert result.exit_code == 2
    assert "endoftext" in result.output


def test_labels_stand_at_the_beginning_of_a_document(tmp_path):
    rows = "".join(f"{n},Title {n},the text of it is {n}\n" for n in range(70))
    (tmp_path / "posts.csv").write_text("id,title,text\n" + rows)
    given = {"model": "ngram", "columns": ("text",), "labels": True}
    run = prepare([str(tmp_path / "posts.csv")], given, tmp_path / "run").run
    documents = run.vocabulary.utf8(run.dataset().train).decode().split(BOUNDARY)
    assert documents.pop() == ""
    assert len(documents) > 50
    assert all(document.startswith("Title ") for document in documents), json.dumps(documents[:3])
