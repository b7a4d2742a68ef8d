"""What is held out of a text: its end, or documents or lines that are drawn."""

import io
import random
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import DataConfig, NgramConfig, RunConfig, TrainConfig, replace
from charloom.data import split as module
from charloom.data.parts import Excerpts, InMemory
from charloom.data.split import arrange, split_text, usual_split
from charloom.data.text import Layout, Text, read_text
from charloom.runs.run import Run
from charloom.training.planning import prepare
from small_runs import new_run, play

CORPUS = "Once more unto the breach, dear friends, once more;\nor close the wall up.\n"


def sentence(seed: int, words: int = 40) -> str:
    """A line of words that no other seed gives."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(words)) + "\n"


def folder_of(path: Path, contents: dict[str, str]) -> Text:
    path.mkdir(exist_ok=True)
    for name, content in contents.items():
        (path / name).write_text(content)
    return read_text([str(path)])


def parts_of(text: Text, config: DataConfig) -> tuple[str, str, str]:
    """What a text is as training, validation and test part."""
    split = split_text(text.characters, config, 1, text.layout)
    empty = slice(0, 0)
    content = text.content
    return content[split.train], content[split.validation or empty], content[split.test or empty]


DOCUMENTS = DataConfig(split="documents")
LINES = DataConfig(split="lines")


def test_of_a_plain_text_the_end_is_held_out_as_it_was(tmp_path):
    text = Text.from_string(CORPUS * 20, "x")
    assert usual_split(text) == "tail"
    for config in (DataConfig(), DataConfig(split="documents", validation=0.0)):
        assert arrange(text, config) is text


def test_of_few_documents_the_end_of_each_is_held_out(tmp_path):
    contents = {
        name: "".join(sentence(n) for n in range(s, s + 20)) for name, s in [("a", 0), ("b", 50)]
    }
    text = folder_of(tmp_path / "two", contents)
    assert usual_split(text) == "documents"
    arranged = arrange(text, DOCUMENTS)
    train, validation, _ = parts_of(arranged, DOCUMENTS)
    for content in contents.values():
        lines = content.splitlines(keepends=True)
        assert "".join(lines[:18]) in train
        assert "".join(lines[18:]) in validation
    assert len(train) + len(validation) == text.characters
    assert arranged.layout == Layout(len(validation), 0, "documents", 2)
    assert arranged.files == text.files
    assert arrange(arranged, DOCUMENTS) is arranged


def test_a_document_without_line_ends_is_cut_at_its_share(tmp_path):
    text = folder_of(tmp_path / "two", {"a": "ab" * 500, "b": "cd" * 500})
    train, validation, test = parts_of(
        arrange(text, config := DataConfig(split="documents", test=0.2)), config
    )
    assert train == "ab" * 350 + "\n" + "cd" * 350
    assert (validation, test) == (
        "\n" + "ab" * 50 + "\n" + "cd" * 50,
        "\n" + "ab" * 100 + "\n" + "cd" * 100,
    )


@pytest.fixture
def posts(tmp_path):
    """Eighty posts, the last ten of which are in another alphabet."""
    return {
        f"post{n}.txt": sentence(n, 30 + n % 7).upper() if n >= 70 else sentence(n, 30 + n % 7)
        for n in range(80)
    }


@pytest.mark.parametrize("test", [0.0, 0.2])
def test_of_many_documents_some_are_drawn_whole(tmp_path, posts, test):
    config = replace(DOCUMENTS, test=test)
    text = folder_of(tmp_path / "posts", posts)
    arranged = arrange(text, config)
    parts = parts_of(arranged, config)
    found = [[name for name, content in posts.items() if content in part] for part in parts]
    assert sorted(chain.from_iterable(found)) == sorted(posts)
    assert sum(map(len, parts)) == text.characters
    for part, share in zip(parts, (0.9 - test, 0.1, test), strict=True):
        assert len(part) == pytest.approx(share * text.characters, rel=0.25)
    assert [posts[name] for name in found[0]] == [part + "\n" for part in parts[0].splitlines()]
    assert found[0] == [name for name in posts if name in found[0]], "in their order"
    layout = arranged.layout
    assert (layout.whole, layout.drawn) == (80, len(found[1]) + len(found[2]))
    assert (layout.validation, layout.test) == (len(parts[1]), len(parts[2]))


def drawn(text: Text, config: DataConfig, posts: dict[str, str]) -> set[str]:
    _, validation, _ = parts_of(arrange(text, config), config)
    return {name for name, content in posts.items() if content in validation}


def test_the_seed_draws_and_neither_names_nor_order_do(tmp_path, posts):
    text = folder_of(tmp_path / "posts", posts)
    held = drawn(text, DOCUMENTS, posts)
    assert held == drawn(text, DOCUMENTS, posts)
    assert held != drawn(text, replace(DOCUMENTS, split_seed=1), posts)
    renamed = {f"{n}.md": content for n, content in enumerate(reversed(posts.values()))}
    again = folder_of(tmp_path / "renamed", renamed)
    assert held == drawn(again, DOCUMENTS, posts)


def test_a_folder_that_has_grown_holds_out_much_the_same(tmp_path, posts):
    before = drawn(folder_of(tmp_path / "posts", posts), DOCUMENTS, posts)
    grown = posts | {f"a{n}": sentence(1000 + n, 33) for n in range(8)}
    after = drawn(folder_of(tmp_path / "posts", grown), DOCUMENTS, posts)
    assert len(before & after) >= len(before) - 2


def test_one_long_document_among_many_is_not_all_that_is_held_out(tmp_path, posts):
    for seed in range(8):
        config = replace(DOCUMENTS, split_seed=seed)
        long = "".join(sentence(n) for n in range(2000, 2060))
        text = folder_of(tmp_path / "posts", posts | {"novel": long})
        layout = arrange(text, config).layout
        assert layout.validation == pytest.approx(0.1 * text.characters, rel=0.25)


def test_copies_of_a_document_are_on_the_same_side_and_told(tmp_path, posts):
    copies = {f"copy of {name}": content for name, content in posts.items()}
    text = folder_of(tmp_path / "posts", posts | copies)
    for seed in range(3):
        config = replace(DOCUMENTS, split_seed=seed)
        arranged = arrange(text, config)
        train, validation, _ = parts_of(arranged, config)
        assert {*train.splitlines()}.isdisjoint(validation.splitlines())
        assert len(arranged.notes) == len(text.notes) + 1
        assert "copy of post0.txt" in arranged.notes[-1]


def test_lines_that_training_has_too_are_known_of_the_layout():
    names = [f"{sentence(n)[:20]}{n}" for n in range(300)]
    for times in (1, 2):
        arranged = arrange(Text.from_string("\n".join(names * times), "x"), LINES)
        assert (arranged.layout.known > 0.7) is (times > 1)
        assert len(arranged.notes) == (times > 1)


SEPARATED = [
    ("<|endoftext|>", "<|endoftext|>"),
    ("<|endoftext|>\n", "<|endoftext|>"),
    ("---\n", "---"),
    ("***\n", "***"),
    ("%\n", "%"),
    ("\n", "blank lines"),
]


@pytest.mark.parametrize(("end", "name"), SEPARATED)
@pytest.mark.parametrize("chunk", [7, 2**20])
def test_documents_of_one_file_end_with_a_separator(tmp_path, end, name, chunk, monkeypatch):
    monkeypatch.setattr("charloom.data.parts.CHUNK", chunk)
    contents = [sentence(n, 5) + sentence(n + 100, 5) for n in range(60)]
    text = Text.from_string(end.join(contents), "x")
    assert usual_split(text) == ("documents" if "end" in end else "tail")
    arranged = arrange(text, DOCUMENTS)
    train, validation, _ = parts_of(arranged, DOCUMENTS)
    held = [content for content in contents if content in validation]
    assert [content for content in contents if content in train] == [
        c for c in contents if c not in held
    ]
    layout = arranged.layout
    assert (layout.whole, layout.drawn, layout.separator) == (60, len(held), name)
    assert 4 <= len(held) <= 8
    assert arranged.sha256 == arrange(text, DOCUMENTS).sha256


def test_where_pieces_are_cut_does_not_matter(monkeypatch):
    content = "".join(sentence(n, n % 4) + "\n" * (n % 3) for n in range(300))
    found = set()
    for chunk in (3, 10, 2**20):
        monkeypatch.setattr("charloom.data.parts.CHUNK", chunk)
        for least in (1, 50):
            monkeypatch.setattr(module, "MOST_PIECES", len(content) // least)
            for config in (DOCUMENTS, LINES):
                arranged = arrange(Text.from_string(content, "x"), config)
                found.add((least, config.split, arranged.sha256, arranged.layout.validation))
    assert len(found) == 4


def test_one_document_is_split_at_its_end():
    text = Text.from_string("word " * 300, "x")
    assert arrange(text, DOCUMENTS) is text
    assert arrange(text, LINES) is text


def test_documents_of_which_the_share_is_no_character_are_split_at_their_end():
    text = Text.from_string("\n\n".join(sentence(n, 5) for n in range(100)), "x")
    assert arrange(text, replace(DOCUMENTS, validation=0.02)) is text
    assert arrange(text, replace(DOCUMENTS, validation=0.06)) is not text


def test_few_documents_of_one_file_have_the_end_of_each_held_out():
    contents = ["".join(sentence(n + m, 4) for m in range(20)) for n in (0, 100, 200)]
    arranged = arrange(Text.from_string("\n---\n".join(contents), "x"), DOCUMENTS)
    assert (arranged.layout.whole, arranged.layout.drawn) == (3, None)
    _, validation, _ = parts_of(arranged, DOCUMENTS)
    for content in contents:
        assert content.splitlines()[-1] in validation
        assert content.splitlines()[-3] not in validation


def test_lines_are_drawn_from_all_of_a_list():
    lines = [f"{n:05}\n" for n in range(1000)]
    arranged = arrange(Text.from_string("".join(lines), "x"), LINES)
    train, validation, _ = parts_of(arranged, LINES)
    assert sorted(train.splitlines() + validation.splitlines()) == "".join(lines).splitlines()
    assert len(validation.splitlines()) == arranged.layout.drawn == 100
    held = [int(line) for line in validation.splitlines()]
    assert held == sorted(held)
    assert all(2 <= sum(low <= n < low + 100 for n in held) <= 22 for low in range(0, 1000, 100))


def test_lines_that_are_there_twice_are_told():
    names = [f"name{n:04}\n" for n in range(500)]
    arranged = arrange(Text.from_string("".join(names * 2), "x"), LINES)
    assert len(arranged.notes) == 1
    assert arrange(Text.from_string("".join(names), "x"), LINES).notes == ()


def test_the_last_line_may_lack_its_end():
    arranged = arrange(Text.from_string("\n".join(f"{n:03}" for n in range(300)), "x"), LINES)
    train, validation, _ = parts_of(arranged, LINES)
    assert len((train + validation).split()) == 300


@given(st.lists(st.text("ab\n", max_size=9), min_size=1, max_size=9), st.data())
def test_excerpts_are_ranges_of_a_part_from_any_place_on(pieces, data):
    content = "".join(pieces) + "x"
    ends = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    bounds = [pair for pair in zip(ends[::2], ends[1::2], strict=False) if pair[0] < pair[1]]
    bounds = bounds or [(0, len(content))]
    starts, stops = np.array(bounds, np.int64).T

    class Cut(InMemory):
        def pieces(self, changes, place=0):
            at = 0
            for piece in (*pieces, "x"):
                at += len(piece)
                if piece:
                    yield piece, at

    part = Excerpts(Cut(content), starts, stops)
    expected = "".join(content[a:b] for a, b in bounds)
    read = [*part.pieces(Counter())]
    assert "".join(text for text, _ in read) == expected
    assert part.size == len(expected)
    for _, place in read:
        assert "".join(text for text, _ in part.pieces(Counter(), place)) == expected[place:]


RUN = RunConfig(model=NgramConfig(order=3), train=TrainConfig(batch=2, length=4, iterations=1))


@pytest.mark.parametrize("config", [DOCUMENTS, LINES])
def test_a_run_reads_its_text_again_in_the_order_in_which_it_learned_it(tmp_path, posts, config):
    folder_of(tmp_path / "posts", posts)
    config = replace(config, sources=(str(tmp_path / "posts"),))
    run = new_run(tmp_path / "run", replace(RUN, data=config))
    before = run.dataset()
    (run.path / "ids.npy").unlink()
    found = Run.open(run.path)
    after = found.dataset()
    assert found.config.data.split == config.split
    assert found.corpus.layout == run.corpus.layout
    for one, other in ((before.train, after.train), (before.validation, after.validation)):
        np.testing.assert_array_equal(one, other)
    assert len(after.validation) == run.corpus.layout.validation
    assert not after.changed
    (tmp_path / "posts" / "post0.txt").write_text("other")
    assert Run.open(run.path).dataset().changed


def test_half_written_ids_of_drawn_lines_are_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.utf8.CHUNK", 50)
    monkeypatch.setattr("charloom.data.token_file.MARK", 100)
    path = tmp_path / "list"
    path.write_text("".join(f"{n:05}\n" for n in range(1000)))
    config = replace(RUN, data=replace(LINES, sources=(str(path),)))
    whole = new_run(tmp_path / "whole", config).dataset()
    run = new_run(tmp_path / "run", config)
    vocabulary, left = type(run.vocabulary), iter(range(30))
    encode = vocabulary.whole

    def failing(self, text):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(vocabulary, "whole", failing)
        with pytest.raises(KeyboardInterrupt):
            run.dataset()
    assert (run.path / ".ids.mark").exists()
    begun = []
    monkeypatch.setattr(
        vocabulary, "whole", lambda self, text: begun.append(text) or encode(self, text)
    )
    parts = Run.open(run.path).dataset()
    assert 0 < sum(map(len, begun)) < 5500
    np.testing.assert_array_equal(parts.train, whole.train)
    np.testing.assert_array_equal(parts.validation, whole.validation)


def test_a_run_chooses_documents_for_several_texts_and_keeps_what_is_given(tmp_path, posts):
    folder_of(tmp_path / "posts", posts)
    source, given = str(tmp_path / "posts"), {"model": "ngram", "order": 3}
    run = prepare([source], given, tmp_path / "run").run
    assert (run.config.data.split, run.corpus.layout.whole) == ("documents", 80)
    run = prepare([source], given | {"split": "tail"}, tmp_path / "tail").run
    assert (run.config.data.split, run.corpus.layout) == ("tail", None)
    run = prepare([source], given | {"split": "lines"}, tmp_path / "lines").run
    assert run.corpus.layout.kind == "lines"
    one = str(tmp_path / "posts" / "post0.txt")
    assert prepare([one], given, tmp_path / "one").run.config.data.split == "tail"


def test_a_run_that_begins_with_another_on_the_same_text_holds_out_the_same(tmp_path, posts):
    folder_of(tmp_path / "posts", posts)
    source, small = str(tmp_path / "posts"), {"iterations": 1, "hidden": 4, "engine": "reference"}
    given = small | {"split": "documents", "split_seed": 5}
    old = prepare([source], given, tmp_path / "old").run
    play(old)
    begun = {"iterations": 1, "start": str(old.path), "engine": "reference"}
    new = prepare([source], begun, tmp_path / "new").run
    assert new.corpus.sha256 == old.corpus.sha256
    assert new.config.data == old.config.data


def test_standard_input_is_split_by_its_separators(tmp_path, monkeypatch):
    content = "<|endoftext|>".join(sentence(n, 5) for n in range(60))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    run = prepare(["-"], {"model": "ngram", "order": 3}, tmp_path / "run").run
    assert run.corpus.layout.separator == "<|endoftext|>"
    parts = Run.open(run.path).dataset()
    assert len(parts.validation) == run.corpus.layout.validation


def test_a_test_part_that_is_left_out_goes_to_validation_if_it_was_put_behind_it():
    layout = Layout(100, 8, "documents", 50, 6)
    split = split_text(1000, DataConfig(split="documents", test=0.01), 1, layout)
    assert (split.validation, split.test) == (slice(892, 1000), None)
    assert len(split.notes) == 1
    split = split_text(1000, DataConfig(split="documents", test=0.01), 950, layout)
    assert (split.train, split.validation, split.test) == (slice(0, 1000), None, None)


def test_documents_that_share_a_part_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.spool.MANY", 20)
    lines = tmp_path / "posts.csv"
    lines.write_text("n,text\n" + "".join(f"{n},post number {n} says this\n" for n in range(400)))
    text = read_text([str(lines)])
    assert 20 < len(text.parts) < 200
    arranged = arrange(text, DataConfig(split="documents"))
    assert arranged.layout is not None
    assert arranged.layout.whole == 400
    assert 20 <= arranged.layout.drawn <= 60
    assert sorted(arranged.content.split("\n")) == sorted(text.content.split("\n"))
