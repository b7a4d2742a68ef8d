"""What studies of copying and of words read: a text, its source, and human text beside them."""

from dataclasses import dataclass
from pathlib import Path

from charloom.config import SampleConfig
from charloom.data.suffix_array import LARGEST
from charloom.data.text import read_text
from charloom.errors import CharloomError
from charloom.generation.sampling import generate
from charloom.runs.open import is_pretrained, open_model
from charloom.runs.run import Run

LENGTH = 20_000  # characters that a run writes, at most, where none are asked for
SHORTEST = 2_000  # and at least


@dataclass(frozen=True)
class Material:
    """A text with its source; `human` is text by people that is not in the source, "" for none.

    `written` says that a model wrote the text for this, with `seed`; the names are for display.
    """

    name: str
    text: str
    source_name: str
    source: str
    human: str
    written: bool
    seed: int | None
    notes: tuple[str, ...]


def training_text(run: Run) -> str:
    """Return the part of its text that a run learns from; raises CharloomError if too long."""
    ids = run.dataset().train
    characters = run.vocabulary.count(ids)
    if characters > LARGEST:
        raise CharloomError(
            f"{run.path} learned from {characters:,} characters, and {LARGEST:,} at most can be "
            "searched for copies: name a part of its text with --source"
        )
    return run.vocabulary.decode(ids)


def held_out_text(run: Run) -> str:
    """Return what was held out of training, validation and test; "" where nothing was."""
    parts = run.dataset()
    held_out = (part for part in (parts.validation, parts.test) if part is not None)
    return "".join(map(run.vocabulary.decode, held_out))


def generated(
    run: Run | str | Path, length: int = LENGTH, seed: int = 0, temperature: float = 1.0
) -> str:
    """Let the best model of a run, or of a folder in Hugging Face's format, write."""
    config = SampleConfig(seed=seed, temperature=temperature)
    return "".join(generate(open_model(run), config, length=length))


def is_model(name: str) -> bool:
    """Whether this names a run, or a model in a folder; else it is taken for a text."""
    return not name.startswith("corpus:") and Path(name, "config.json").is_file()


def gather(
    name: str,
    source: str | None = None,
    human: str | None = None,
    length: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
) -> Material:
    """Find what a study of RUN|TEXT needs; `source` and `human` name texts to take instead.

    A run is let write: `length` characters, or as many as human text is at hand, from 2,000 to
    20,000. Its source is its training part; human text is what it held out. For a text, or a
    folder in Hugging Face's format, the source must be named. Raises CharloomError.
    """
    if not is_model(name):
        known = name == "-" or name.startswith("corpus:") or Path(name).exists()
        if source is None and known:
            raise CharloomError(
                f"{name} is a text: name the text that it may be copied from with --source"
            )
        names = [part for part in (name, source, human) if part is not None]
        texts = [read_text([part]) for part in names]  # names what is not there
        assert source is not None
        notes = tuple(note for text in texts for note in text.notes)
        text, origin, *people = (text.content for text in texts)
        held = "".join(people)
        return Material(name, text, source, origin, held, False, None, notes)
    run = None if is_pretrained(name) else Run.open(name)
    if run is None and source is None:
        raise CharloomError(f"{name} is a model without a text of its own: name one with --source")
    named = [None if part is None else read_text([part]) for part in (source, human)]
    notes = tuple(note for text in named if text for note in text.notes)
    origin = named[0].content if named[0] else training_text(_known(run))
    held = named[1].content if named[1] else held_out_text(run) if run else ""
    if length is None:
        length = min(LENGTH, max(SHORTEST, len(held))) if held else LENGTH
    text = generated(run or name, length, seed, temperature)
    source_name = source or f"the training part of {_known(run).corpus.name}"
    return Material(name, text, source_name, origin, held, True, seed, notes)


def _known(run: Run | None) -> Run:
    assert run is not None
    return run
