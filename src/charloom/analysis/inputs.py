"""What an analysis reads: a run's training text, its held-out text, what it generates, a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from charloom.config import SampleConfig
from charloom.data.boundary import readable, visible
from charloom.data.dataset import split_of
from charloom.data.learned import kind_of_folder
from charloom.data.rare import as_learned
from charloom.data.reading import Reading
from charloom.data.sources import is_special
from charloom.data.split import held_out_words
from charloom.data.suffix_array import LARGEST
from charloom.data.text import Text, read_text
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.data.unknown import check_known
from charloom.errors import CharloomError
from charloom.formatting import extent, printable, whole_words
from charloom.generation.sampling import generate
from charloom.runs.open import is_pretrained, open_model, open_run
from charloom.runs.run import Run

Part = Literal["validation", "test"]
GENERATED = 20_000  # characters that a run generates at most, if no length is asked for
FEWEST_GENERATED = 2_000


class HeldOut(NamedTuple):
    """A text to score; `part` says which part of the runs' own it is, None for another text."""

    content: str
    name: str
    part: Part | None


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a text; `label` says which text it is of, and how much of it.

    `held_out` says that it is a run's own, `notes` what was noticed when a file was read.
    """

    content: str
    label: str
    held_out: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A text with the source it may be copied from; `human` is text by people, "" for none.

    `human` was not learned from. `seed` is the one that a model generated the text with for this
    analysis, None for any other text; the names are for display.
    """

    name: str
    text: str
    source_name: str
    source: str
    human: str
    seed: int | None
    notes: tuple[str, ...]


def decode(tokenizer: Tokenizer, ids: Ids) -> str:
    """Return the text of ids (N,), for a model to read: with boundaries, if it has some.

    U+FFFD stands for a character that a token cuts in two.
    """
    return tokenizer.utf8(ids).decode(errors="replace")


def training_text(run: Run) -> str:
    """Return the part of its text that a run learns from; raises CharloomError if too long."""
    ids = run.parts().train
    characters = run.vocabulary.count(ids)
    if characters > LARGEST:
        message = (
            f"{run.path} was trained on {characters:,} characters, and at most {LARGEST:,} can be "
            "searched for copies: name a part of its text with --source"
        )
        raise CharloomError(message, "unsupported", characters=characters, most=LARGEST)
    return run.vocabulary.decode(ids)


def copied_from(run: Run | None, name: str) -> str:
    """Return the text that a limit to copying keeps the model `name` from copying.

    `run` is None for a model that is no run. Raises CharloomError if it has no training text, or
    is no model of characters, or as `training_text` does.
    """
    if run is None or not run.corpus.characters:
        message = f"a limit to copying needs a training text, and {name} has none: leave it out"
        raise CharloomError(message, "bad-setting", field="max_copy")
    if (unit := run.vocabulary.unit) != "characters":
        message = (
            f"a limit to copying is for models of characters, and {name} has {unit}: leave it out"
        )
        raise CharloomError(message, "bad-setting", field="max_copy")
    return training_text(run)


def held_out_text(run: Run) -> str:
    """Return what was held out of training, validation and test part; "" if nothing was."""
    parts = run.parts()
    held_out = (part for part in (parts.validation, parts.test) if part is not None)
    return "".join(map(run.vocabulary.decode, held_out))


def shared_held_out(runs: Sequence[Run]) -> HeldOut:
    """Return the text that all runs held out; raises CharloomError if it is not the same one.

    That is the test part if there is one, which decided nothing about them, and else the
    validation part, which decided which of their checkpoints is the best.
    """
    if not runs:
        message = "a pretrained model has no text of its own: name one with --text FILE"
        raise CharloomError(message, "no-text")
    first = runs[0]
    for run in runs[1:]:
        _check_same_text(first, run)
    parts = first.parts()
    part: Part = "validation" if parts.test is None else "test"
    ids = parts.validation if parts.test is None else parts.test
    if ids is None:
        raise _nothing_held_out(first, "--text FILE")
    return HeldOut(decode(first.vocabulary, ids), first.corpus.name, part)


def excerpt(
    run: Run | None, text: Text | None = None, length: int | None = None, about: bool = False
) -> Excerpt:
    """Return the first `length` characters of a text, or of what a run held out of training.

    If it is `about` so many, the last one ends a word, if there are words. What it held out is its
    validation part, or its test part if it has no other. Raises CharloomError if there is neither.
    """
    if text is not None:
        if run is not None:
            text = as_learned(text, run.vocabulary, run.config.data.min_count)
        content = text.content if length is None else text.head(length + 1)
        content = _first(content, length, about)
        label = extent(printable(text.name), len(content), text.characters)
        return Excerpt(content, label, notes=text.notes)
    if run is None:
        raise CharloomError("a pretrained model has no text of its own: name a TEXT", "no-text")
    parts = run.parts()
    part: Part = "validation" if parts.validation is not None else "test"
    ids = parts.validation if parts.validation is not None else parts.test
    if ids is None:
        raise _nothing_held_out(run, "a TEXT")
    whole = decode(run.vocabulary, ids)
    content = _first(whole, length, about)
    return Excerpt(content, extent(f"{part} part", len(content), len(whole)), held_out=True)


def _first(text: str, length: int | None, about: bool) -> str:
    """Return the first characters of a longer text, or all of it."""
    if length is None or length >= len(text):
        return text
    return text[: whole_words(text, 0, length)[1] if about else length]


def may_have_trained_on(run: Run | None, other: Run) -> bool:
    """Return whether a run may have been trained on what the other one held out."""
    if run is None or run.corpus.sha256 != other.corpus.sha256:
        return True
    held_out, others = (r.config.data.validation + r.config.data.test for r in (run, other))
    return held_out < others


def check_readable(name: str, tokenizer: Tokenizer, text: str) -> None:
    """Raises CharloomError that names what of the text the model `name` has never seen."""
    content = Text.from_string(readable(text, tokenizer), name)
    check_known(content, tokenizer, f"{name} cannot read the text")


def generated(
    run: Run | str | Path, length: int = GENERATED, seed: int = 0, temperature: float = 1.0
) -> str:
    """Return text that the best model of a run, or of a Hugging Face folder, generates."""
    config = SampleConfig(seed=seed, temperature=temperature)
    return "".join(generate(open_model(run), config, length=length))


def candidate(
    name: str,
    source: str | None = None,
    human: str | None = None,
    length: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Candidate:
    """Return the text of RUN|TEXT with its source; `source` and `human` name texts to use instead.

    A run generates `length` characters, by default as many as there are of human text, between
    2,000 and 20,000. Its source is its training part; human text is what it held out. For a
    text, or a folder in Hugging Face's format, the source must be named. Raises CharloomError.
    """
    is_text = is_special(name) or not (kind_of_folder(Path(name)) or is_pretrained(name))
    run = None if is_text else open_run(name)
    if run is None and source is None and (not is_text or is_special(name) or Path(name).exists()):
        kind = "a text" if is_text else "a model without a text of its own"
        raise CharloomError(f"{name} is {kind}: name its source with --source", "no-text")
    notes: list[str] = []

    def content(name: str) -> str:
        data = [] if run is None else [run.config.data]
        text = read_text([name], reading=Reading.like(data))
        if run is not None:
            text = as_learned(text, run.vocabulary, run.config.data.min_count)
        notes.extend(text.notes)
        return visible(text.content)

    own = content(name) if is_text else None
    if source is not None:
        source_text, source_name = content(source), source
    else:
        assert run is not None
        source_text, source_name = training_text(run), f"the training part of {run.corpus.name}"
    human_text = content(human) if human is not None else held_out_text(run) if run else ""
    if own is not None:
        return Candidate(name, own, source_name, source_text, human_text, None, tuple(notes))
    if length is None:
        length = min(GENERATED, max(FEWEST_GENERATED, len(human_text) or GENERATED))
    text = generated(run or name, length, seed, temperature)
    return Candidate(name, text, source_name, source_text, human_text, seed, tuple(notes))


def _nothing_held_out(run: Run, instead: str) -> CharloomError:
    message = f"{run.path} held no text out of training: name {instead}"
    return CharloomError(message, "no-text", path=str(run.path))


def _check_same_text(one: Run, other: Run) -> None:
    """Raises CharloomError, saying how they differ, if two runs held out different texts."""
    runs = one, other
    cuts = [split_of(run.corpus, run.config) for run in runs]
    splits = [(cut.train, cut.validation, cut.test) for cut in cuts]
    same = one.corpus.sha256 == other.corpus.sha256
    if same and splits[0] == splits[1]:
        return
    if same:
        field = "split"
        texts = [f"the first {train.stop:,} characters of it" for train, *_ in splits]
    elif one.corpus.sources == other.corpus.sources and (one.corpus.layout or other.corpus.layout):
        field = "split"
        held_out = [held_out_words(run.config.data, run.corpus.layout) for run in runs]
        texts = [f"all of {one.corpus.name} but {words}" for words in held_out]
    else:
        field = "text"
        texts = [
            f"{run.corpus.name} (SHA-256 {run.corpus.sha256[:8]})"
            if run.corpus.characters
            else "a text that it does not have"
            for run in runs
        ]
    trained = ", ".join(f"{run.path} on {text}" for run, text in zip(runs, texts, strict=True))
    raise CharloomError(
        f"these runs held out different texts, as they were trained on different ones: {trained}; "
        "name one text for all of them with --text FILE",
        "changed-text",
        field=field,
        paths=tuple(str(run.path) for run in runs),
    )
