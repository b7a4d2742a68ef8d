"""`charloom study novelty`, `charloom study keywords` and `charloom sample --max-copy`."""

import json
import re

import pytest
from click.testing import CliRunner

from charloom.analysis.inputs import candidate, excerpt, generated, held_out_text, training_text
from charloom.cli import charloom
from charloom.config import DataConfig, NgramConfig, RunConfig
from charloom.data.known_texts import load_corpus
from charloom.data.text import Text
from charloom.runs.run import Run
from charloom.training.loop import train
from expect import check, error_of
from small_runs import new_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A Markov chain of order 8, which copies a lot."""
    config = RunConfig(
        model=NgramConfig(order=8, smoothing="none"),
        data=DataConfig(sources=("corpus:us-constitution",)),
    )
    made = new_run(tmp_path_factory.mktemp("runs") / "markov", config)
    list(train(made))
    return str(made.path)


def call(*arguments):
    return CliRunner().invoke(charloom, [str(a) for a in arguments])


def document(*arguments):
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# ---- analysis/inputs.py


def test_the_parts_of_a_run_make_its_text(run):
    opened = Run.open(run)
    training, held_out = training_text(opened), held_out_text(opened)
    assert training + held_out == load_corpus("us-constitution")
    assert len(held_out) == 4_522


@pytest.mark.parametrize("length", [50, 77, 3999, 4_521])
def test_about_so_many_characters_end_with_a_word(run, length):
    held_out = held_out_text(Run.open(run))
    for text in (None, Text.from_string(held_out, "text")):
        exact = excerpt(Run.open(run), text, length).content
        about = excerpt(Run.open(run), text, length, about=True).content
        assert exact == held_out[:length]
        assert exact.startswith(about)
        assert {*about.split()} <= {*held_out.split()}
        assert length - len(about) < 15
    assert excerpt(Run.open(run), None, 10**6, about=True).content == held_out


def test_what_a_run_writes_depends_on_the_seed_alone(run):
    texts = [generated(Run.open(run), 300, seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 300


def test_a_run_writes_as_much_as_it_held_out(run):
    found = candidate(run)
    assert len(found.text) == len(found.human) == 4_522
    assert found.seed == 0
    other = candidate(run, length=50, seed=3)
    assert other.text == generated(run, 50, 3)


def test_named_texts_take_the_place_of_a_runs_own(run, tmp_path):
    (tmp_path / "s").write_text("to be")
    (tmp_path / "h").write_text("or not")
    found = candidate(run, str(tmp_path / "s"), str(tmp_path / "h"), length=9)
    assert (found.source, found.human, len(found.text)) == ("to be", "or not", 9)


# ---- novelty


def test_a_markov_chain_of_order_8_copies_more_than_people_do(run):
    found = document("study", "novelty", run)
    new = found["novelty"]["text"]["new"]
    assert new[:8] == [0] * 8  # each character follows seven that it followed in the source
    assert new[9] < 0.2 < found["novelty"]["human"]["new"][9]
    assert found["copies_more"] is True
    assert 10 in found["more_at"]
    copy = found["novelty"]["copies"][0]
    assert load_corpus("us-constitution")[copy["offset"] :].startswith(copy["passage"])
    done = call("study", "novelty", run)
    assert done.exit_code == 0
    assert f"line {copy['line']:,}" in done.stdout
    share = 100 * (1 - found["novelty"]["text"]["new"][9])
    assert f"{share:.1f}%" in done.stdout.splitlines()[-1]


def test_a_text_with_nothing_in_common(tmp_path):
    for name, text in {"text": "xyz" * 40, "source": "abc" * 40, "human": "uvw" * 40}.items():
        (tmp_path / name).write_text(text)
    arguments = ("study", "novelty", tmp_path / "text", "--source", tmp_path / "source")
    found = document(*arguments)
    assert found["novelty"]["copies"] == []
    assert found["novelty"]["human"] is found["copies_more"] is None
    assert " | " not in call(*arguments).stdout  # no passage
    assert document(*arguments, "--human", tmp_path / "human")["copies_more"] is False


def test_one_long_copy_is_told_with_its_marks_made_visible(tmp_path):
    human = "".join(map(chr, range(0x4E00, 0x4E00 + 2_000)))
    planted = "A plain passage that\x1b[31m people wrote\nand somebody copied whole, word for word."
    (tmp_path / "source").write_text("First line.\n" + planted + human[::-1])
    (tmp_path / "text").write_text(planted + human)
    (tmp_path / "human").write_text(human)
    names = [tmp_path / name for name in ("text", "source", "human")]
    done = call("study", "novelty", names[0], "--source", names[1], "--human", names[2])
    assert re.search(rf"^{len(planted)} .*\b0\b.*\b12\b.*\b2\b", done.stdout, re.M)
    assert "  | A plain passage that·[31m people wrote\n  | and somebody" in done.stdout
    assert "\x1b" not in done.stdout
    assert re.findall(r"\d+", done.stdout.splitlines()[-1]) == [str(len(planted)), "1"]


@pytest.mark.parametrize("command", ["novelty", "keywords"])
def test_a_text_needs_a_source(command):
    done = call("study", command, "corpus:us-constitution")
    assert done.exit_code == 2
    check(error_of(done), "no-text")


@pytest.mark.parametrize("command", ["novelty", "keywords"])
def test_what_is_not_there_is_named(command, tmp_path):
    done = call("study", command, tmp_path / "nothing", "--source", "corpus:us-constitution")
    assert done.exit_code == 2
    check(error_of(done), "not-found")
    check(error_of(call("study", command, tmp_path / "nothing")), "not-found")


# ---- keywords


def test_keywords_of_a_run(run):
    found = document("study", "keywords", run, "--top", 5)["keywords"]
    assert found["source_words"] == 6_822
    assert [row["word"] for row in found["kept"]][:2] == ["shall", "states"]
    assert len(found["kept"]) == 5
    assert found["new_share"] < found["human_new_share"]
    done = call("study", "keywords", run, "--top", 5)
    assert "house of representatives" in done.stdout
    assert done.stderr == ""
    assert f"{100 * found['new_share']:.1f}%" in done.stdout


def test_keywords_of_another_language_are_doubted(tmp_path):
    (tmp_path / "t").write_text("der Mann und die Frau sehen das Meer " * 30)
    done = call("study", "keywords", tmp_path / "t", "--source", tmp_path / "t")
    assert done.exit_code == 0
    assert "--against FILE" in done.stderr
    against = ("--against", "corpus:us-constitution")
    done = call("study", "keywords", tmp_path / "t", "--source", tmp_path / "t", *against)
    assert done.stderr == ""
    assert "us-constitution" in done.stdout


# ---- sample --max-copy


def test_a_sample_has_no_longer_copy_and_says_how_often_it_stepped_in(run):
    source = training_text(Run.open(run))
    done = call("sample", run, "--seed", 1, "--length", 200, "--max-copy", 14)
    text = done.stdout[:-1]
    assert done.exit_code == 0
    assert text
    assert not any(text[i : i + 15] in source for i in range(len(text) - 14))
    again = document("sample", run, "--seed", 1, "--length", 200, "--max-copy", 14)
    assert again["texts"] == [text]
    assert again["max_copy"]["characters"] == 14
    assert re.findall(r"\d+", done.stderr)[:2] == ["14", str(again["max_copy"]["redrawn"])]


def test_a_sample_that_cannot_go_on_says_so(run):
    prompt = "We the People of the United States"
    arguments = ("sample", run, "--prompt", prompt, "--max-copy", 12, "--greedy")
    done = call(*arguments)
    assert done.exit_code == 0
    assert done.stdout == prompt + "\n"
    assert re.findall(r"\d+", done.stderr) == ["12", "0", "1"]
    done = call(*arguments, "--count", 2)
    assert re.findall(r"\d+", done.stderr)[-3:] == ["12", "0", "2"]
    assert document(*arguments)["max_copy"] == {"characters": 12, "redrawn": 0, "ended": 1}


def test_without_the_limit_nothing_is_said(run):
    done = call("sample", run, "--seed", 1, "--length", 20)
    assert done.stderr == ""
    assert "max_copy" not in document("sample", run, "--seed", 1, "--length", 20)


def test_a_folder_of_texts_with_a_config_is_a_text(tmp_path):
    """It was taken for a run by that one name."""
    (tmp_path / "config.json").write_text('{"theme": "dark"}')
    (tmp_path / "poem.txt").write_text("to be or not to be")
    found = candidate(str(tmp_path), source="corpus:us-constitution")
    assert found.text == '{"theme": "dark"}\nto be or not to be'
    assert found.seed is None


def test_limits_that_cannot_be_are_refused(run, tmp_path):
    done = call("sample", run, "--max-copy", 0)
    assert done.exit_code == 2
    check(error_of(done), "bad-setting")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    done = call("sample", tmp_path, "--max-copy", 5)
    assert done.exit_code == 2
    check(error_of(done), "bad-setting", field="max_copy")
