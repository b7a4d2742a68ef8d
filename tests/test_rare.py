import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom import load, train
from charloom.analysis.comparison import compare
from charloom.analysis.inputs import candidate, excerpt
from charloom.data.rare import Replaced, without_rare
from charloom.data.text import Text, read_text
from charloom.data.utf8 import REPLACED

VERSE = "abc abc\n" * 40


@given(content=st.text("ab-]^\\é😀\n\0" + REPLACED, min_size=1), least=st.integers(0, 6))
def test_each_character_that_is_too_rare_is_replaced_and_no_other(content, least):
    text = without_rare(Text.from_string(content, "it"), least)
    rare = {c for c in content if content.count(c) < least} - {"\n", "\0", REPLACED}
    expected = "".join(REPLACED if c in rare else c for c in content)
    assert text.content == expected
    assert text.sha256 == hashlib.sha256(expected.encode()).hexdigest()
    assert text.alphabet == tuple(sorted({*expected}))
    assert bool(text.notes) == bool(rare)
    assert without_rare(text, least) is text


def test_several_parts_are_replaced_lazily_and_read_on_from_any_place(tmp_path, monkeypatch):
    monkeypatch.setattr("charloom.data.utf8.CHUNK", 9)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(VERSE + name * 3 + "éß", "utf-8")
    text = without_rare(read_text([str(tmp_path)]), 5)
    assert all(isinstance(part, Replaced) for part in text.parts)
    assert text.content.count(REPLACED) == 4
    assert "2 characters" in text.notes[-1]
    assert "4 places" in text.notes[-1]
    begun = ""
    for piece, place in text.walk():
        begun += piece
        assert begun + "".join(rest for rest, _ in text.walk(place)) == text.content


@pytest.mark.parametrize("split", ["tail", "lines"])
def test_a_run_learns_the_replacement_and_reads_other_texts_so(tmp_path: Path, split: str) -> None:
    path, out = tmp_path / "it.txt", tmp_path / "run"
    path.write_text(VERSE + "é\nß\n" + VERSE, "utf-8")
    run = train(path, out=out, model="ngram", order=2, min_count=5, split=split)
    assert run.vocabulary.characters == ("\n", " ", "a", "b", "c", REPLACED)
    (out / "ids.npy").unlink()  # so that the text is read again
    assert (
        sum(len(ids) for ids in (run.parts().train, run.parts().validation)) == len(VERSE) * 2 + 4
    )
    model = load(out)
    with pytest.warns(UserWarning, match="U\\+FFFD"):
        assert model.sample("aéñ", length=0) == f"a{REPLACED}{REPLACED}"
    (tmp_path / "other.txt").write_text("abc ö", "utf-8")
    with pytest.warns(UserWarning, match="U\\+FFFD"):
        score = model.evaluate(tmp_path / "other.txt")
    read = read_text([str(tmp_path / "other.txt")])
    [own, *_] = [e for e in compare([run], read, sampling_seconds=0).entries if e.kind == "run"]
    assert own.nats == score.nats
    assert excerpt(run, read).content == f"abc {REPLACED}"
    (tmp_path / "known.txt").write_text("abc ñ", "utf-8")
    assert candidate(str(out), str(tmp_path / "known.txt")).source == f"abc {REPLACED}"
