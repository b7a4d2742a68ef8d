import json
import random

import pytest
from click.testing import CliRunner

from charloom.analysis import check
from charloom.analysis.baselines import Baseline
from charloom.cli import charloom
from test_duplicates import document, edited


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("posts"), random.Random(0)
    texts = [document(rng, 120) for _ in range(30)]
    texts += [texts[3], edited(rng, texts[4], 0.05, "words")]
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(f"{text}\nThanks for reading my blog\n", "utf-8")
    return folder


def run(*args):
    result = CliRunner().invoke(charloom, ["check", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def checked(posts):
    return json.loads(run(posts, "--json"))


def test_what_is_there_twice_is_named(checked):
    assert checked["equal"] == [{"first": "3.txt", "second": "30.txt", "likeness": 1.0}]
    (near,) = checked["near"]
    assert (near["first"], near["second"]) == ("4.txt", "31.txt")
    assert checked["boilerplate"] == [{"text": "Thanks for reading my blog", "documents": 31}]
    assert len(checked["advice"]) >= 3


def test_figures(checked, posts):
    whole = "".join(path.read_text() for path in posts.iterdir())
    assert checked["characters"] == len(whole)
    assert checked["documents"] == 32
    assert checked["vocabulary"] == len(set(whole))
    assert checked["ngram"]["nats"] > 0
    assert checked["characters_a_second"] > 0


def test_a_person_reads_the_same(checked, posts):
    shown = " ".join(run(posts).split())
    for sentence in checked["advice"]:
        assert " ".join(sentence.split()) in shown
    assert f"{checked['characters']:,}" in shown
    for name, figure in checked["figures"]:
        figure = "about" if name == "an epoch" else figure  # each command measures its own speed
        assert " ".join(f"{name} {figure}".split()) in shown


def test_a_text_too_small_to_train_on_is_checked_too(tmp_path):
    (tmp_path / "a.txt").write_text("aaaaa")
    found = json.loads(run(tmp_path / "a.txt", "--json"))
    assert (found["characters"], found["characters_a_second"]) == (5, None)
    assert found["advice"]


def test_a_page_with_a_map(checked, posts, tmp_path):
    pytest.importorskip("jinja2")
    page = tmp_path / "check.html"
    run(posts, "--html", page)
    written = page.read_text("utf-8")
    assert written.count('class="copy') == written.count('title="30.txt"') + 1
    assert "Thanks for reading my blog" in written


def test_a_file_of_several_documents_is_checked_as_a_folder_of_them(posts, checked, tmp_path):
    texts = [(posts / f"{number}.txt").read_text("utf-8") for number in range(32)]
    path = tmp_path / "all.txt"
    path.write_text("<|endoftext|>\n".join(texts), "utf-8")
    found = json.loads(run(path, "--json"))
    labels = [f"{number} in {path}" for number in (4, 31)]
    assert found["equal"] == [{"first": labels[0], "second": labels[1], "likeness": 1}]
    same = ("characters", "documents", "vocabulary", "lines", "controls", "boilerplate", "held_out")
    assert {name: found[name] for name in same} == {name: checked[name] for name in same}
    assert "\\u0000" not in run(path, "--json")


@pytest.mark.parametrize("options", [(), ("--min-count", 2)])
def test_what_is_on_both_sides_of_the_split_is_what_a_run_holds_out(tmp_path, options):
    from charloom.training.planning import prepare

    rng = random.Random(1)
    texts = [document(rng, 60) + f"\nthe end of {number}\n" for number in range(60)]
    near = [edited(rng, text, 0.02, "words") for text in texts[:20]]
    path = tmp_path / "all.txt"
    path.write_text("<|endoftext|>\n".join([*texts, *near]), "utf-8")
    across = json.loads(run(path, "--json", *options))["across"]
    learned = prepare([str(path)], {"model": "ngram"}, tmp_path / "run").run
    held = learned.vocabulary.utf8(learned.dataset().validation).decode()
    split = [n for n in range(20) if (texts[n] in held) != (near[n] in held)]
    assert split
    assert sorted(int(pair["first"].split()[0]) - 1 for pair in across) == split


def test_what_is_left_out_is_not_checked(checked, posts):
    found = json.loads(run(posts, "--json", "--dedupe", "--drop-boilerplate", "--min-count", 50))
    assert (found["equal"], found["boilerplate"], found["documents"]) == ([], [], 30)
    assert [pair for pair in found["near"] if pair["likeness"] >= 0.5] == []
    assert found["vocabulary"] < checked["vocabulary"]
    assert [rare["character"] for rare in found["rare"]] == []
    assert len(found["notes"]) > len(checked["notes"])


def test_of_many_different_characters_few_are_scored(posts, monkeypatch):
    """Each costs V probabilities."""
    asked = []

    def count(train, held, vocabulary):
        asked.append(len(held))
        return [Baseline("n-gram", 1.0)]

    monkeypatch.setattr(check, "ngrams", count)
    for most in (2**28, 1000):
        monkeypatch.setattr(check, "PREDICTED", most)
        V = json.loads(run(posts, "--json"))["vocabulary"]
    assert asked[0] > asked[1] == 1000 // (V + 1)  # and the boundary
