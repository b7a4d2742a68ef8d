import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import SampleConfig
from charloom.data.vocabulary import UnknownCharacterError
from charloom.generation import sampling
from charloom.generation.draw import draw
from charloom.generation.sampling import generate, generate_ids, generate_many
from expect import refused
from toy_models import History, Script, WritesAtOnce

INF = math.inf


class Fast(WritesAtOnce, History):
    pass


# ---- generate_ids


def test_generate_ids_reads_each_drawn_character_before_the_next():
    model, config = History(), SampleConfig()
    uniforms = np.random.default_rng(0).random((3, 20))
    drawn, after = generate_ids(model, np.array([1, 2, 3]), model.start(3), uniforms, config)
    assert drawn.dtype == np.int32
    ids, state = np.array([1, 2, 3]), model.start(3)
    for t in range(20):
        log_probs, state = model.step(ids, state)
        ids = np.array(
            [draw(row, config, u) for row, u in zip(log_probs, uniforms[:, t], strict=True)]
        )
        np.testing.assert_array_equal(drawn[:, t], ids)
    np.testing.assert_array_equal(after, state)


def test_generate_ids_in_two_calls_is_the_same_as_in_one():
    model, config = History(), SampleConfig(top_k=5)
    ids, uniforms = np.array([1, 2]), np.random.default_rng(0).random((2, 30))
    whole, end = generate_ids(model, ids, model.start(2), uniforms, config)
    first, state = generate_ids(model, ids, model.start(2), uniforms[:, :11], config)
    second, after = generate_ids(model, first[:, -1], state, uniforms[:, 11:], config)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(after, end)


# ---- generate


def test_pieces_together_are_the_first_of_the_many():
    config = SampleConfig(seed=7, stop=("abc", "dd"))
    pieces = list(generate(History(), config, "fade", 500))
    assert len(pieces) > 1
    assert "" not in pieces
    assert "".join(pieces) == generate_many(History(), config, "fade", 500, 3)[0]


def test_a_text_does_not_depend_on_how_many_are_written_beside_it():
    texts = [generate_many(History(), SampleConfig(seed=1), "a", 300, n) for n in (1, 2, 5)]
    assert texts[0] == texts[1][:1] == texts[2][:1]
    assert texts[1] == texts[2][:2]
    assert len(set(texts[2])) == 5
    assert {len(text) for text in texts[2]} == {300}


def test_a_longer_text_begins_with_the_shorter():
    config = SampleConfig(seed=1)
    [short], [long] = (generate_many(History(), config, "a", n) for n in (37, 411))
    assert long[:37] == short
    assert len(long) == 411


def test_seeds_tell_texts_apart_and_no_seed_is_a_new_text_each_time():
    def write(seed):
        return generate_many(History(), SampleConfig(seed=seed), "a", 100)[0]

    assert write(3) == write(3)
    assert len({write(3), write(4), write(None), write(None), write(2**80)}) == 5


def test_greedy_writes_the_likeliest_each_time():
    model = History()
    [text] = generate_many(model, SampleConfig(temperature=0), "ab", 50)
    _, state = model.log_probs(model.vocabulary.encode("a")[None], model.start(1))
    ids = model.vocabulary.encode("b")
    for character in text:
        log_probs, state = model.step(ids, state)
        ids = log_probs.argmax(axis=1)
        assert model.vocabulary.decode(ids) == character


@pytest.mark.parametrize("prompt", ["a", "ab", "fade" * 3000])
def test_the_whole_prompt_is_read_once_and_in_order(prompt):
    model = History()
    state = model.start(1)
    for i in model.vocabulary.encode(prompt[:-1]):
        _, state = model.step(np.array([i]), state)
    uniforms = np.random.default_rng(5).spawn(1)[0].random((1, 40))
    last = model.vocabulary.encode(prompt[-1])
    drawn, _ = generate_ids(model, last, state, uniforms, SampleConfig())
    expected = model.vocabulary.decode(drawn[0])
    assert generate_many(model, SampleConfig(seed=5), prompt, 40) == [expected]


@pytest.mark.parametrize(
    ("characters", "beginning"), [("\n abc", "\n"), (" abc", " "), ("abc", "a"), ("z", "z")]
)
def test_an_empty_prompt_begins_a_line_or_a_word_or_with_the_first_character(characters, beginning):
    texts = [generate_many(History(characters), SampleConfig(seed=2), p) for p in ("", beginning)]
    assert texts[0] == texts[1]
    assert len(texts[0][0]) == 200


@pytest.mark.parametrize("make", [generate, generate_many])
def test_a_prompt_with_an_unknown_character_is_refused_at_once(make):
    with refused("unknown-character"):
        make(History(), SampleConfig(), "abé")


@given(prompt=st.text(max_size=20) | st.text("\n abcdef", max_size=20))
def test_no_prompt_brings_any_other_error(prompt):
    if set(prompt) <= set("\n abcdef"):
        assert len(generate_many(History(), SampleConfig(), prompt, 5)[0]) == 5
    else:
        with pytest.raises(UnknownCharacterError):
            generate_many(History(), SampleConfig(), prompt, 5)


def test_lengths_and_counts_out_of_range_are_refused_at_once():
    with refused("bad-setting", field="length"):
        generate(History(), SampleConfig(), "a", -1)
    with refused("bad-setting", field="count"):
        generate_many(History(), SampleConfig(), "a", 5, 0)


def test_length_zero_writes_nothing():
    assert list(generate(History(), SampleConfig(), "a", 0)) == []
    assert generate_many(History(), SampleConfig(), "a", 0, 3) == ["", "", ""]


def test_a_damaged_model_is_named():
    model = History()
    model.table[:] = np.nan
    with refused("bad-model"):
        generate_many(model, SampleConfig(), "a")


def test_a_model_that_draws_by_itself_gives_the_same_texts():
    config = SampleConfig(temperature=0.8, top_k=6, top_p=0.9, min_p=0.05, seed=4, stop=("fa",))
    fast = Fast()
    texts = generate_many(fast, config, "abc", 900, 4)
    assert texts == generate_many(History(), config, "abc", 900, 4)
    assert fast.calls > 1


@pytest.mark.parametrize("grow_below", [-INF, INF])
def test_the_size_of_chunks_does_not_matter(monkeypatch, grow_below):
    config = SampleConfig(seed=4, stop=("abab", "ccc"))
    texts = generate_many(History("abc"), config, "", 3000, 4)
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", grow_below)
    assert generate_many(History("abc"), config, "", 3000, 4) == texts


def test_chunks_grow_while_they_are_fast_and_stay_single_while_they_are_slow(monkeypatch):
    model = Script("abcd")
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", INF)
    sizes = [len(piece) for piece in generate(model, SampleConfig(), "", 4000)]
    assert sizes == [1, 4, 16, 64, 256, 1024, 1024, 1024, 587]
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", -INF)
    assert list(generate(model, SampleConfig(), "", 10)) == list("abcdabcdab")


# ---- stop strings


def cut(text, stops):
    """Character by character, as the definition reads."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


def test_the_text_ends_before_the_stop_string():
    config = SampleConfig(stop=("cda",))
    assert generate_many(Script("abcd"), config, "", 100) == ["ab"]
    assert "".join(generate(Script("abcd"), config, "", 100)) == "ab"


def test_the_stop_string_completed_first_counts_and_the_longest_of_those():
    assert generate_many(Script("abcd"), SampleConfig(stop=("abcd", "bc"))) == ["a"]
    assert generate_many(Script("abcd"), SampleConfig(stop=("bc", "abc"))) == [""]


def test_a_stop_string_that_is_not_complete_at_the_end_is_written():
    assert generate_many(Script("abcd"), SampleConfig(stop=("cda",)), "", 4) == ["abcd"]
    assert generate_many(Script("abcd"), SampleConfig(stop=("cda",)), "", 5) == ["ab"]


def test_the_prompt_is_no_part_of_a_stop_string():
    [text] = generate_many(Script("abcd"), SampleConfig(stop=("\na",)), "\n", 8)
    assert text == "abcdabcd"


def test_only_what_may_become_a_stop_string_is_held_back(monkeypatch):
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", -INF)
    pieces = list(generate(Script("aababc"), SampleConfig(stop=("abc",)), "", 12))
    assert pieces == ["a", "ab"]
    pieces = list(generate(Script("aabadc"), SampleConfig(stop=("abc",)), "", 7))
    assert pieces == ["a", "ab", "ad", "c", "a"]


def test_one_text_that_stops_does_not_stop_the_others():
    config = SampleConfig(seed=0, stop=("ab",))
    plain = generate_many(History("abc"), SampleConfig(seed=0), "c", 60, 8)
    texts = generate_many(History("abc"), config, "c", 60, 8)
    assert texts == [cut(text, ("ab",)) for text in plain]
    assert len(set(map(len, texts))) > 3


@pytest.mark.filterwarnings("ignore:the text will never end")
@given(
    text=st.text("ab", min_size=1, max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=6), max_size=3),
    length=st.integers(0, 60),
    grow_below=st.sampled_from([-INF, INF]),
)
def test_stop_strings_over_every_border_agree_with_the_definition(text, stops, length, grow_below):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "GROW_BELOW_SECONDS", grow_below)
        pieces = generate(Script(text), SampleConfig(stop=tuple(stops)), "", length)
        whole = "".join(itertools.islice(itertools.cycle(text), length))
        assert "".join(pieces) == cut(whole, stops)


def test_a_prompt_and_stop_strings_are_read_as_a_file_is():
    model, config = History(), SampleConfig(seed=4)
    plain = generate_many(model, config, "ab\ncd\n", 60)
    assert generate_many(model, config, "\ufeffab\r\ncd\r", 60) == plain
    (ended,) = generate_many(model, SampleConfig(seed=4, stop=("\n",)), "ab", 200)
    assert "\n" not in ended
    assert len(ended) < 200
    for stop in ("\r\n", "\r", "\ufeff\n"):
        assert generate_many(model, SampleConfig(seed=4, stop=(stop,)), "ab", 200) == [ended]


def test_a_stop_string_that_cannot_be_written_is_told_and_the_others_are_kept():
    model = History()
    (ended,) = generate_many(model, SampleConfig(seed=4, stop=("\n",)), "ab", 200)
    with pytest.warns(UserWarning, match=r"U\+0023") as told:
        found = generate_many(model, SampleConfig(seed=4, stop=("##", "\n", "a\n")), "ab", 200)
    assert (found, len(told)) == ([ended], 1)


# ---- documents


def test_a_document_ends_where_the_model_ends_it():
    model, config = Script("ab\nc\n\0de\n\0"), SampleConfig(seed=0)
    assert "".join(generate(model, config, length=30, document=True)) == "ab\nc"
    assert generate_many(model, config, length=30, count=2, document=True) == ["ab\nc"] * 2
    assert "".join(generate(model, config, length=3, document=True)) == "ab\n"
    assert "".join(generate(model, config, "\n", 30, document=True)) == "b\nc"
    assert "".join(generate(model, config, length=10)) == "ab\nc\n\nde\n\n"  # the next follows


@pytest.mark.parametrize("length", range(12))
def test_a_document_is_the_same_in_pieces_of_any_length(length, monkeypatch):
    monkeypatch.setattr(sampling, "GROW_BELOW_SECONDS", -1)  # one character at a time
    whole = "".join(generate(Script("\n\n\0"), SampleConfig(), length=length, document=True))
    assert whole == ("\n\n" if length == 2 else "\n"[:length])
    pieces = list(generate(Script("abc\n\0"), SampleConfig(), length=length, document=True))
    assert "".join(pieces) == "abc"[:length] + ("\n" if length == 4 else "")


def test_nobody_sees_a_boundary_or_writes_one():
    model = History("\0\n abcdef")
    for text in generate_many(model, SampleConfig(seed=3), length=400, count=2):
        assert "\0" not in text
        assert "\n" in text
    with refused("unknown-character", character="\0", position=1):
        generate(model, SampleConfig(), "a\0b")
    with pytest.warns(UserWarning, match="never end"):
        generate(model, SampleConfig(stop=("\0",)))


def test_a_model_of_one_text_writes_no_document():
    with refused("unsupported", field="document"):
        generate(History(), SampleConfig(), document=True)
