import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom.cli import charloom
from charloom.config import RunConfig
from charloom.data.reading import Reading
from charloom.runs.run import Run
from expect import check, error_of

CSV = "title,text\nOne,first line\nTwo,second line\n"
MANY = "title,body,more\n" + "".join(f"T{n},text number {n} of many,m{n}\n" for n in range(40))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("posts").mkdir()
    Path("posts/a.csv").write_text(CSV)
    Path("posts/b.txt").write_text("third\r\n")
    return tmp_path


def run(*arguments):
    return CliRunner(capture="fd").invoke(charloom, [*map(str, arguments)])


def test_a_text_goes_to_standard_output_and_notes_beside_it():
    result = run("text", "posts")
    assert result.stdout == ("first line\n<|endoftext|>\nsecond line\n<|endoftext|>\nthird\n")
    assert result.stderr.count("charloom: ") == result.stderr.count("\n") >= 3


@pytest.mark.parametrize("options", [("-o", "all.jsonl"), ("--jsonl", "-o", "all"), ("--jsonl",)])
def test_json_lines_are_written(options):
    result = run("text", "posts", *options)
    assert result.exit_code == 0
    content = result.stdout if len(options) == 1 else Path(options[-1]).read_text()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["text"] for line in lines] == ["first line", "second line", "third\n"]
    assert lines[0]["title"] == "One"


def test_a_file_is_replaced_whole_or_not_at_all():
    Path("all.txt").write_text("before")
    Path("bad").write_bytes(b"good\n" * 99_999 + b"\xff")
    check(error_of(run("text", "posts", "bad", "-o", "all.txt")), "not-text", path="bad")
    assert Path("all.txt").read_text() == "before"
    assert run("text", "posts", "-o", "all.txt").exit_code == 0
    assert Path("all.txt").read_text().endswith("third\n")
    assert not [path for path in Path().iterdir() if "charloom" in path.name]


def test_options_say_what_is_read():
    assert run("text", "posts", "--include", "*.txt").stdout == "third\n"
    assert run("text", "posts", "--exclude", "*.txt", "--column", "title").stdout == (
        "One\n<|endoftext|>\nTwo\n"
    )
    assert run("text", "posts/a.csv", "--plain").stdout == CSV
    check(error_of(run("text", "posts", "--encoding", "nothing")), "bad-setting")


def test_a_run_keeps_how_its_text_was_read_and_reads_others_so():
    Path("posts/many.csv").write_text(MANY)
    options = ("--include", "many.csv", "--column", "body", "--model", "ngram", "--out", "run")
    result = run("train", "posts", *options)
    assert result.exit_code == 0, result.output
    found = Run.open("run")
    assert found.config.data.include == ("many.csv",)
    assert found.config.data.columns == ("body",)
    expected = "".join(f"text number {n} of many" for n in range(40))
    content = found.read_text().content.translate({0: None, 10: None})  # a line, a boundary
    assert sorted(content) == sorted(expected)
    Path("other.csv").write_text("more,body\nzzz,text number 3 of many\n")
    result = run("evaluate", "run", "other.csv", "--json")
    assert json.loads(result.stdout)["scores"][0]["characters"] == len("text number 3 of many")
    assert Reading.like([found.config.data]).include == ("many.csv",)


def test_early_settings_of_a_run_are_read_as_before():
    config = RunConfig()
    assert Reading.of(config.data) == Reading()


def test_copies_and_lines_of_many_documents_are_left_out():
    for n in range(6):
        Path(f"posts/{n}.txt").write_text(f"post {n % 5}\nAll rights reserved.\n")
    result = run("text", "posts", "--include", "*.txt", "--dedupe", "--drop-boilerplate")
    said = [*(f"post {n}\n" for n in range(5)), "third\n"]
    assert result.stdout == "<|endoftext|>\n".join(said)
    assert "5.txt of 0.txt" in result.stderr
    assert "'All rights reserved.'" in result.stderr
