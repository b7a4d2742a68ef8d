"""Prompts, what is generated, and small texts, at the command line (D5 to D7)."""

import re

import numpy as np
import pytest
from shell import ASCII, NGRAM, PROSE

from charloom.config import DataConfig
from charloom.data.split import split_text
from charloom.runs.run import Run

# Prompts


def described(character):
    """'é' -> "U+00E9"."""
    return f"U+{ord(character):04X}"


def random_prompt(rng, known):
    """Some characters that are known; in half of the prompts also some of all there are."""
    length = int(rng.integers(0, 12))
    drawn = [str(c) for c in rng.choice([*known], length)]
    for place in range(length) if rng.random() < 0.5 else ():
        code = int(rng.choice([rng.integers(1, 0x250), rng.integers(1, 0x110000)]))
        if rng.random() < 0.3 and not 0xD800 <= code < 0xE000:
            drawn[place] = chr(code)
    return "".join(drawn)


@pytest.mark.reliability("D5", "random prompts: written on from, or the unknown character named")
def test_any_prompt_is_written_on_from_or_its_unknown_character_named(trials, shell):
    known = set(PROSE + ASCII)
    rng, number, refused = np.random.default_rng(0), trials.of(12, 1000), 0
    for trial in range(number):
        prompt = random_prompt(rng, sorted(known))
        run = shell.folder / ("run", "lstm")[trial % 2]
        ended = shell.run("sample", run, "--length", "3", "--seed", "1", "--prompt", prompt)
        unknown = [(place, c) for place, c in enumerate(prompt, 1) if c not in known]
        if not unknown:
            assert (ended.status, ended.err) == (0, ""), prompt
            assert ended.out.startswith(prompt)
            assert len(ended.out) == len(prompt) + 3 + 1
            continue
        place, character = unknown[0]
        refused += 1
        assert (ended.status, ended.out) == (2, ""), prompt
        assert ended.err.count("\n") == 1
        assert f" {place:,} " in ended.err
        assert described(character) in ended.err
        assert repr(character) in ended.err
    trials.result(f"{number - refused} written on from, {refused} refused by name and place")
    assert 0 < refused < number


def test_bytes_that_are_no_text_are_refused_as_a_prompt(shell):
    ended = shell.run("sample", shell.folder / "run", "--prompt", b"It \xff")
    assert (ended.status, ended.out) == (2, "")
    assert " 4 " in ended.err


@pytest.mark.reliability("D5", "the empty prompt, where the text has no space and no newline")
def test_the_empty_prompt_works_without_spaces_and_newlines(trials, shell, lstm, tmp_path):
    (tmp_path / "text").write_text("abcabd" * 100)
    for settings in (NGRAM, lstm):
        run = tmp_path / settings[0]
        ended = shell.run("train", tmp_path / "text", "--out", run, *settings)
        assert ended.status == 0, ended.err
        for prompt in ([], ["--prompt", ""]):
            ended = shell.run("sample", run, "--length", "9", *prompt)
            assert re.fullmatch("[abcd]{9}\n", ended.out)
            assert (ended.status, ended.err) == (0, "")
    trials.of(4, 4)


# What is written


@pytest.mark.reliability("D6", "generated characters: valid UTF-8, and no U+FFFD but the model's")
def test_what_is_written_is_utf_8(trials, shell, lstm, tmp_path):
    texts = {
        "emoji": "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁷󠁬󠁳󠁿 é e\u0301 \U0010fffd\x01\x7f\u2028\u202e שלום\n" * 20,
        "replacement": "a \ufffd b \ufffd\ufffd c\n" * 60,
    }
    number = trials.of(4000, 1_000_000)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        for settings in (NGRAM, lstm):
            run = tmp_path / f"{name}{settings[0]}"
            ended = shell.run("train", tmp_path / name, "--out", run, *settings)
            assert ended.status == 0, ended.err
            length = str(number // 4)
            # Ended.out is decoded strictly: bytes that are no UTF-8 do not come so far.
            ended = shell.run("sample", run, "--length", length, "--temperature", "2")
            assert (ended.status, ended.err) == (0, "")
            assert len(ended.out) == number // 4 + 1
            assert set(ended.out) <= set(text)
            assert ("\ufffd" in ended.out) == (name == "replacement")
    trials.result("all valid, none that the vocabulary does not have")


# Sizes


@pytest.mark.reliability("D7", "small texts, any share held out: no NaN, no division by 0")
def test_small_texts_and_any_share_give_no_nan(trials, shell, lstm, tmp_path):
    sizes = [*range(2, 40), 47, 63, 64, 65, 66, 128, 160, 161, 200]
    shares = ("0", "0.01", "0.1", "0.5", "0.9")
    cases = [(n, share, model) for n in sizes for share in shares for model in (NGRAM, lstm)]
    np.random.default_rng(0).shuffle(cases)
    number = trials.of(13, len(cases))
    worked = scored = 0
    for k in range(number):
        size, share, settings = cases[k]
        text, run = tmp_path / f"{k}.txt", tmp_path / f"run{k}"
        text.write_text(("ab c\n" * 100)[:size])
        ended = shell.run("train", text, "--out", run, "--validation", share, *settings)
        told = ended.out + ended.err
        assert ended.status in (0, 2), told
        if ended.status == 0:
            worked += 1
            ended = shell.run("evaluate", run)
            scored += ended.status == 0
            shown = shell.run("runs", "show", run)
            parts = Run.open(run).dataset()
            held_out = parts.validation is not None or parts.test is not None
            assert ended.status == (0 if held_out else 2), ended.err
            assert shown.status == 0, shown.err
            told += ended.out + ended.err + shown.out + shown.err
            told += (run / "metrics.jsonl").read_text()
        assert not re.search(r"\bnan\b|Traceback|Warning", told, re.IGNORECASE), told
    trials.result(f"{worked} learned, {scored} of them scored, the others refused as too small")
    assert 0 < scored < worked < number


@pytest.mark.reliability("D7", "training and held-out text never overlap: the slices themselves")
def test_training_and_held_out_text_never_overlap(trials):
    rng = np.random.default_rng(0)
    for _ in range(trials.of(500, 100_000)):
        characters, minimum = (int(n) for n in rng.integers(2, 10 ** rng.integers(1, 7, 2)))
        validation = float(rng.choice([0.0, 0.9, rng.random() * 0.9]))
        test = float(rng.choice([0.0, rng.random()])) * (0.9 - validation)
        split = split_text(characters, DataConfig(validation=validation, test=test), minimum)
        ends = [0]
        for part in (split.train, split.validation, split.test):
            if part is not None:
                assert part.start == ends[-1]  # where the one before it ends
                assert part.stop > part.start
                ends.append(part.stop)
        assert ends[-1] == characters


def test_what_is_learned_and_what_is_held_out_are_those_slices(shell, tmp_path):
    """In a text that has each character once, no character is in both."""
    (tmp_path / "text").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
    shares = ["--validation", "0.2", "--test", "0.1"]
    ended = shell.run("train", tmp_path / "text", "--out", tmp_path / "run", *NGRAM, *shares)
    assert ended.status == 0
    parts = Run.open(tmp_path / "run").dataset()
    whole = [int(i) for part in (parts.train, parts.validation, parts.test) for i in part]
    assert whole == [*range(1000)]
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [700, 200, 100]
