import random
import warnings

import pytest

from charloom import load, train
from charloom.data.inspection import inspect
from charloom.data.reading import Reading
from charloom.data.selection import Document, Selection
from charloom.data.text import read_text
from charloom.data.writing import Writing
from expect import refused
from test_duplicates import document, edited

HEAD, FOOT = "Home | Blog | About", "Share this post"


def chosen(texts, dedupe=True, drop=True):
    selection = Selection(Reading(dedupe=dedupe, drop_boilerplate=drop))
    for number, text in enumerate(texts):
        selection.add([Document(f"1 in {number}", {"source": f"{number}"}, [text])])
    return {d.label: "".join(d.pieces) for d in selection.chosen()}, selection.notes()


@pytest.fixture(scope="module")
def planted():
    """A thousand documents, 50 of which are copies or nearly, all with a head and a foot."""
    rng = random.Random(0)
    texts = [document(rng, rng.randint(40, 120)) for _ in range(950)]
    copied = rng.sample(range(950), 50)
    texts += [texts[n] if n % 2 else edited(rng, texts[n], 0.05, "words") for n in copied]
    return [f"{HEAD}\n{text}\n{FOOT}\n" for text in texts]


@pytest.mark.parametrize("name", ["all.txt", "all.jsonl"])
def test_what_is_written_has_nothing_to_leave_out(planted, name, tmp_path):
    texts = planted
    source, out = tmp_path / "source.txt", tmp_path / name
    source.write_text("<|endoftext|>\n".join(texts))
    before = inspect(read_text([str(source)], reading=Reading(boundaries=True)))
    assert len(before.equal) == sum(text in texts[:950] for text in texts[950:])
    assert {line.text for line in before.boilerplate} == {HEAD, FOOT}
    reading = Reading(dedupe=True, drop_boilerplate=True)
    writing = Writing([str(source)], reading, as_json=name.endswith("l"))
    out.write_text("".join(writing.pieces()))
    assert writing.documents == 950
    assert any("50 documents" in note and "951 in" in note for note in writing.notes)
    assert any("1,900 lines" in note for note in writing.notes)
    found = inspect(read_text([str(out)], reading=Reading(boundaries=True)))
    assert (len(found.labels), found.equal, found.boilerplate) == (950, [], [])


@pytest.mark.parametrize("boundaries", [True, False])
def test_what_is_learned_is_what_is_written(planted, tmp_path, boundaries):
    folder, out = tmp_path / "posts", tmp_path / "all.txt"
    folder.mkdir()
    for number, text in enumerate([*planted[:60], *planted[950:960], planted[0]]):
        (folder / f"{number}.txt").write_text(text)
    (folder / "more.txt").write_text("<|endoftext|>\n".join(planted[60:80]))
    reading = Reading(dedupe=True, drop_boilerplate=True, boundaries=boundaries)
    text = read_text([str(folder)], reading=reading)
    writing = Writing([str(folder)], reading)
    out.write_text("".join(writing.pieces()))
    written = read_text([str(out)], reading=Reading(boundaries=True))
    if boundaries:
        assert text.content == written.content
        assert set(writing.notes) == set(text.notes)
    else:  # what is in a file is one document, whatever it says
        assert "<|endoftext|>" in text.content
    assert HEAD not in text.content
    assert text.content.count(planted[0].split("\n")[1]) == 1
    begun, (_, place) = "", next(text.walk())
    begun = text.content[: -len("".join(piece for piece, _ in text.walk(place)))]
    assert begun == next(text.walk())[0]


def test_a_text_of_nothing_but_boilerplate_is_refused(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.txt").write_text(f"{HEAD}\n" * number + f"{FOOT}\n")
    with refused("no-text"):
        read_text([str(tmp_path)], reading=Reading(drop_boilerplate=True))


def test_a_run_keeps_what_it_leaves_out_and_reads_other_texts_so(planted, tmp_path):
    folder, out = tmp_path / "posts", tmp_path / "run"
    folder.mkdir()
    for number, text in enumerate([*planted[:60], planted[0]]):
        (folder / f"{number}.txt").write_text(text)
    run = train(folder, out=out, model="ngram", order=3, dedupe=True, drop_boilerplate=True)
    assert (run.config.data.dedupe, run.config.data.drop_boilerplate) == (True, True)
    (out / "ids.npy").unlink()
    parts = run.parts()
    learned = [run.vocabulary.decode(ids) for ids in (parts.train, parts.validation)]
    assert sum("".join(learned).count(text.split("\n")[1]) for text in planted[:60]) == 60
    assert HEAD not in "".join(learned)
    written = tmp_path / "written.txt"
    written.write_text("".join(Writing([str(folder)], Reading.of(run.config.data)).pieces()))
    model = load(out)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = model.evaluate(folder).characters
    assert sum("left out" in str(warning.message) for warning in told) == 2
    assert found == model.evaluate(written).characters < sum(map(len, planted[:60]))


def test_each_is_left_out_only_if_asked_for(planted):
    texts = planted[:20] + planted[:1]
    left, notes = chosen(texts, drop=False)
    assert ([*left.values()], len(notes)) == (texts[:20], 1)
    left, notes = chosen(texts, dedupe=False)
    assert len(left) == 21
    assert all(HEAD not in text and FOOT not in text for text in left.values())
    assert len(notes) == 1
    left, notes = chosen(texts[:3], drop=False)
    assert ([*left.values()], notes) == (texts[:3], [])


def test_what_lines_hid_is_found_too():
    rng = random.Random(1)
    ends = [f"{FOOT}\n" + "".join(f"more of it {i}\n" for i in range(n)) for n in range(5, 9)]
    same = document(rng, 60)
    texts = [f"{document(rng, 60)}\n{ends[n % 4]}" for n in range(40)]
    texts += [f"{same}\n{end}" for end in ends] + [FOOT]
    left, notes = chosen(texts)
    assert len(left) == 41
    assert all("more" not in text for text in left.values())
    assert len(notes) == 3  # copies, lines, and a document that was nothing else


def test_a_source_that_cannot_be_read_adds_nothing():
    selection = Selection(Reading(dedupe=True))
    selection.add([Document("1 in a", {"source": "a"}, ["one"])])

    def broken():
        yield Document("1 in b", {"source": "b"}, ["two"])
        raise OSError

    with pytest.raises(OSError):
        selection.add(broken())
    selection.add([Document("1 in c", {"source": "c"}, ["one"]), Document("2 in c", {}, ["three"])])
    assert {d.label: "".join(d.pieces) for d in selection.chosen()} == {
        "a": "one",
        "2 in c": "three",
    }
    assert "1 in c of a" in selection.notes()[0]
