import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expect import refused

pytest.importorskip("tokenizers")

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as TheirTokenizer

from charloom.data import subwords as subwords
from charloom.data.subwords import Subwords
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import Vocabulary

TEXT = (
    "Half a league, half a league,\nHalf a league onward,\n\nAll in the valley of Death\n"
    "Rode the six hundred. Dämmerung, 東京, naïve, €5 \U0001f600.\n"
)
END = "<|endoftext|>"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # the pattern of cl100k, Llama 3 and many since


def byte_level(before=None, **settings):
    """Return a tokenizer of GPT-2's kind, trained on TEXT; its end-of-text has id 0."""
    tokenizer = TheirTokenizer(models.BPE())
    split = pre_tokenizers.ByteLevel(**({"add_prefix_space": False} | settings))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([before, split]) if before else split
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    return tokenizer


def sentence_piece(normalizer=None, pre_tokenizer=None, **more):
    """Return a tokenizer of Llama's kind: words with a space before them, and bytes."""
    words = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁aehlofu", "▁a", "▁of"]
    model = models.BPE(
        vocab={word: place for place, word in enumerate(words)},
        merges=[("▁", "a"), ("▁", "o"), ("▁o", "f")][:1],
        unk_token="<unk>",
        byte_fallback=True,
        **more,
    )
    tokenizer = TheirTokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens(["<s>", "<unk>"])
    return tokenizer


def adapted(tokenizer, *begin):
    return Subwords.adapt(tokenizer.to_str(), begin)


GPT2 = adapted(byte_level(), 0)
LLAMAS = {
    "a normalizer": sentence_piece(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    ),
    "a pre-tokenizer": sentence_piece(pre_tokenizer=pre_tokenizers.Metaspace(split=False)),
}


@given(st.text())
def test_the_lengths_of_a_text_s_tokens_add_up_to_its_own(text):
    ids = GPT2.encode(text)
    assert GPT2.lengths[ids].sum() == GPT2.count(ids) == len(text)
    assert GPT2.decode(ids) == text


@pytest.mark.parametrize("kind", LLAMAS)
@given(text=st.text())
def test_so_they_do_where_a_space_is_put_before_the_first_word(kind, text):
    tokens = adapted(LLAMAS[kind], 1)
    text = text.replace("▁", "")
    ids = tokens.encode(text)
    assert tokens.lengths[ids].sum() == len(text)
    assert tokens.decode(ids) == text


@given(st.text(), st.lists(st.integers(1, 4)))
def test_ids_that_come_in_pieces_decode_to_whole_characters(text, sizes):
    ids, decoder, told = GPT2.encode(text), GPT2.decoder(), ""
    for size in [*sizes, len(ids)]:
        told += decoder.add(ids[:size])
        assert text.startswith(told)
        ids = ids[size:]
    assert told == text
    assert not decoder.ended


def test_a_character_waits_for_its_last_byte_and_a_stray_byte_is_told_as_such():
    ids = GPT2.encode("\U0001f600x")
    decoder = GPT2.decoder()
    assert len(ids) > 2  # no token is the whole of it
    assert [decoder.add(ids[i : i + 1]) for i in range(len(ids))][-2:] == ["\U0001f600", "x"]
    stray = GPT2.encode("馬")[:1]
    decoder = GPT2.decoder()
    assert decoder.add(stray) + decoder.add(GPT2.encode("a")) == "\ufffda"
    assert GPT2.decode(stray) == "\ufffd"


def test_a_special_token_ends_the_text_and_what_follows_is_left_out():
    decoder = GPT2.decoder()
    ids = np.concatenate([GPT2.encode("so"), [0], GPT2.encode("on")])
    assert decoder.add(ids) == "so"
    assert decoder.ended
    assert decoder.add(GPT2.encode("on")) == ""
    assert GPT2.decode(ids) == "soon"
    decoder = GPT2.decoder()
    assert decoder.add(GPT2.encode("馬")[:1]) == ""
    assert decoder.add(np.array([0])) == "\ufffd"


def test_a_text_that_spells_a_special_token_means_its_letters():
    ids = GPT2.encode(f"a{END}b")
    assert 0 not in ids
    assert GPT2.count(ids) == len(END) + 2


def test_what_a_text_begins_with():
    np.testing.assert_array_equal(GPT2.begin, [0])
    np.testing.assert_array_equal(GPT2.whole("so"), [0, *GPT2.encode("so")])
    np.testing.assert_array_equal(GPT2.prompt(""), [0])
    without = adapted(byte_level())
    assert not without.begin.size
    np.testing.assert_array_equal(without.whole("so"), without.encode("so"))
    np.testing.assert_array_equal(without.prompt(""), without.encode("\n"))
    assert GPT2.lengths[0] == 0


@pytest.mark.parametrize(
    ("candidates", "begin"),
    [([None, END, 7], 0), ([0], 0), ([7, "a", None, 50256], None), ([True], None), ([], None)],
)
def test_only_a_special_token_begins_a_text(candidates, begin):
    found = adapted(byte_level(), *candidates).begin.tolist()
    assert found == ([] if begin is None else [begin])


def test_it_says_what_it_was_made_from_and_tokenizers_opens_that_too():
    document = GPT2.to_json()
    again = Subwords.from_json(document)
    assert again == GPT2
    assert document.isascii()
    assert len(again) == len(GPT2) == byte_level().get_vocab_size()
    np.testing.assert_array_equal(again.begin, GPT2.begin)
    theirs = TheirTokenizer.from_str(document)
    assert theirs.encode(TEXT).ids == GPT2.whole(TEXT).tolist()
    assert theirs.decode(GPT2.whole(TEXT)) == TEXT


@pytest.mark.parametrize("pattern", [None, LLAMA3])
def test_a_long_text_is_encoded_in_pieces_to_the_tokens_of_the_whole(pattern, monkeypatch):
    before = pattern and pre_tokenizers.Split(Regex(pattern), "isolated")
    tokens = adapted(byte_level(before, use_regex=pattern is None), 0)
    text = TEXT * 40
    whole = tokens._tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(subwords, "_PIECE", 50)
    assert len([*subwords._pieces(text)]) > 40
    assert tokens.encode(text).tolist() == whole


def test_added_tokens_that_are_no_signs_are_text():
    tokenizer = byte_level()
    tokenizer.add_tokens(["löague"])
    tokens = adapted(tokenizer, 0)
    ids = tokens.encode("a löague é")
    assert tokens.decode(ids) == "a löague é"
    assert tokens.lengths[tokenizer.token_to_id("löague")] == len("löague")


def test_padding_cutting_and_a_leading_space_are_taken_out():
    tokenizer = byte_level(add_prefix_space=True)
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(5)
    tokens = adapted(tokenizer)
    ids = tokens.encode(TEXT)
    assert 5 < len(ids) < 50
    assert tokens.decode(ids) == TEXT


def test_a_tokenizer_that_does_not_give_the_text_back_names_the_character():
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Lowercase()
    tokens = adapted(tokenizer)
    with refused("unknown-character", character="B", position=4):
        tokens.encode("ab\nцBcd")
    assert tokens.unknown("abc") == ()
    assert tokens.unknown("abCD") == ("C", "D")


def test_a_text_of_which_the_end_is_lost_names_the_first_character_of_that():
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Strip()
    with refused("unknown-character", position=2):
        adapted(tokenizer).encode("ab \n")


def test_half_a_character_is_unknown():
    with refused("unknown-character", position=2):
        GPT2.encode("ab\ud800")


def test_ids_out_of_range_are_refused():
    for ids in ([-1], [len(GPT2)]):
        with pytest.raises(IndexError):
            GPT2.decode(ids)


PANIC = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
PANIC |= {"continuing_subword_prefix": "###"}  # longer than a token: the library panics


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"model": 1}', "[" * 10_000, json.dumps({"model": PANIC})]
)
@pytest.mark.parametrize("read", [Subwords.from_json, Subwords.adapt])
def test_what_is_no_tokenizer_is_refused_in_a_line(document, read):
    with refused("damaged"):
        read(document)


def test_what_a_document_leaves_out_is_not_there():
    document = json.loads(byte_level().to_str())
    least = {"model": document["model"], "pre_tokenizer": document["pre_tokenizer"]}
    for read in (Subwords.from_json, Subwords.adapt):
        assert read(json.dumps(least)).decode([300, 301])


def test_a_hole_among_the_ids_and_an_empty_token_end_a_text():
    document = json.loads(byte_level().to_str())
    V = len(document["model"]["vocab"])
    document["model"]["vocab"]["hole"] = V + 1
    tokens = Subwords.adapt(json.dumps(document))
    assert len(tokens) == V + 2
    assert tokens.special[V]
    assert not tokens.special[V + 1]


@pytest.mark.parametrize("kind", ["characters", "tokens"])
def test_both_alphabets_are_a_tokenizer(kind):
    alphabet: Tokenizer = GPT2 if kind == "tokens" else Vocabulary.from_text(TEXT)
    ids = alphabet.whole(TEXT)
    assert alphabet.unit == kind
    assert alphabet.utf8(ids) == TEXT.encode()
    assert alphabet.decoder().add(alphabet.encode(TEXT)) == TEXT
    assert alphabet.lengths[ids].sum() == alphabet.count(ids) == len(TEXT)
    assert alphabet.unknown(set(TEXT)) == ()
    assert len(alphabet.prompt("")) == 1
    assert len(alphabet.characters) in (0, len(alphabet))


@pytest.mark.parametrize("kind", ["characters", "tokens"])
def test_a_cut_is_found_among_the_ids_of_the_parts(kind, monkeypatch):
    monkeypatch.setattr(subwords, "_PIECE", 7)
    alphabet: Tokenizer = GPT2 if kind == "tokens" else Vocabulary.from_text(TEXT)
    parts = TEXT[:50], TEXT[50:51], TEXT[51:]
    ids = np.concatenate([alphabet.whole(part) for part in parts])
    cuts = alphabet.find(ids, (50, 51))
    assert [alphabet.decode(part) for part in np.split(ids, cuts)] == [*parts]
    for part, text in zip(np.split(ids, cuts), parts, strict=True):
        np.testing.assert_array_equal(part, alphabet.whole(text))


def changed(name, value):
    return lambda known: known.update({name: value})


def of_another_id(place):
    def change(known):
        known["model"]["vocab"][END] = place
        known["added_tokens"][0]["id"] = place

    return change


def replacing(pattern, content, times):
    part = {"type": "Replace", "pattern": pattern, "content": content}
    nested = {"type": "Sequence", "normalizers": [part] * (times // 2)}
    return {"type": "Sequence", "normalizers": [nested, nested]}


PADDING = {
    "strategy": {"Fixed": 2**20},  # which would be taken: no more is asked for here
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": END,
}
CUTTING = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
HOSTILE = {
    "an id in the millions": of_another_id(2**22),
    "filling up": changed("padding", PADDING),
    "cutting": changed("truncation", CUTTING),
    "doubling": changed("normalizer", replacing({"String": "a"}, "aa", 10)),
    "doubling between": changed("normalizer", replacing({"Regex": "b?"}, "x", 10)),
    "a beginning of many": changed("post_processor", subwords._beginning(0, END)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tokenizer_that_takes_memory_without_end_is_refused(name):
    known = json.loads(byte_level().to_str())
    HOSTILE[name](known)
    if name == "a beginning of many":
        known["post_processor"]["single"][:1] *= 2
    tracemalloc.start()
    with refused("damaged"):
        Subwords.from_json(json.dumps(known))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_normalizer_may_replace_what_models_replace():
    known = json.loads(byte_level().to_str())
    known["normalizer"] = replacing({"String": "``"}, '"', 40)
    assert Subwords.from_json(json.dumps(known)).decode(GPT2.encode("league")) == "league"
