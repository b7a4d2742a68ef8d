"""The Python interface: a text in, a run out; a run in, a model that generates and scores out.

>>> import charloom
>>> run = charloom.train("novel.txt", iterations=20)
>>> model = charloom.load(run)
>>> text = model.sample("It was", length=300, temperature=0.8, seed=1)
>>> score = model.evaluate()
"""

import signal
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from charloom.config import DataConfig, Engine, Errors, Precision, SampleConfig
from charloom.config import replace as with_settings
from charloom.data.rare import as_learned
from charloom.data.reading import Reading
from charloom.data.text import Text, read_text
from charloom.data.token_file import map_text
from charloom.data.unknown import OnUnknown, check_known, without
from charloom.errors import CharloomError
from charloom.evaluation import Score
from charloom.evaluation import evaluate as score_ids
from charloom.formatting import model_name
from charloom.generation.sampling import generate
from charloom.models.protocols import LanguageModel
from charloom.runs.open import open_model, open_run
from charloom.runs.run import Run
from charloom.training import adaptation, loop
from charloom.training.events import Event, Finished
from charloom.training.planning import prepare

Source = str | PathLike[str]


def train(
    source: Source | Sequence[Source],
    *,
    minutes: float | None = None,
    out: Source | None = None,
    on_event: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Run:
    """Train a model on a text and return its run.

    `source` is a file, a folder or corpus:NAME, or several of them. `minutes`, 3 by default, and
    `settings` are the options of `charloom train`: model="gru", hidden=256, iterations=1000,
    start="runs/old" ...; what is not given is chosen for the text. `out` is a new folder, by
    default runs/TEXT-MODEL. Nothing is printed; `on_event` is called with each event, see
    charloom.training.events. Ctrl-C saves a checkpoint and ends early; SIGTERM and SIGHUP save one
    and then do what they would have done. Raises CharloomError.

    >>> charloom.train("novel.txt", iterations=20, hidden=32, out="runs/small")
    Run('runs/small', lstm 1 x 32, step 20)
    """
    sources = [source] if isinstance(source, str | PathLike) else source
    given = settings if minutes is None else settings | {"minutes": minutes}
    folder = None if out is None else Path(out)
    run, _, began = prepare([fspath(item) for item in sources], given, folder)
    return _follow(run, loop.train(run, began=began), on_event)


def resume(
    run: Source,
    *,
    minutes: float | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> Run:
    """Continue a run that was stopped, to the same bits as if it had not been; return it.

    With `minutes` it goes on for so many from now, even if it had ended: the learning rate of
    cosine and one-cycle starts again at half of its peak. Raises CharloomError if there is no such
    run, if its text or settings have changed, or if it is an n-gram model that is given minutes.

    >>> charloom.resume("runs/small")
    Run('runs/small', lstm 1 x 32, step 20)
    """
    run = run if isinstance(run, Run) else Run.open(run)
    return _follow(run, loop.train(run, resume=True, minutes=minutes), on_event)


def load(run: Source, engine: Engine = "auto", precision: Precision = "full") -> "Model":
    """Open the best model of a run, or a model in a folder in Hugging Face's format.

    In the `precision` "bf16" a large recurrent network predicts faster, and not quite the same.

    Raises CharloomError if it is neither, or if its files are missing or damaged.

    >>> charloom.load("runs/small")
    Model('runs/small', lstm 1 x 32)
    """
    source = open_run(run) or Path(run)
    return Model(open_model(source, engine, precision=precision), source)


class Model:
    """A trained model: it generates text, and says how well it predicts a text.

    `language_model` computes its predictions (see `charloom.models.protocols.LanguageModel`), and
    `source` is the run, or the folder in Hugging Face's format, that it was loaded from.
    """

    def __init__(self, language_model: LanguageModel, source: Run | Path) -> None:
        self.language_model, self.source = language_model, source

    def __repr__(self) -> str:
        if isinstance(self.source, Run):
            return f"Model({str(self.source.path)!r}, {model_name(self.source.config.model)})"
        vocabulary = self.language_model.vocabulary
        return f"Model({str(self.source)!r}, {len(vocabulary):,} {vocabulary.unit})"

    def sample(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        document: bool = False,
        unknown: OnUnknown = "error",
        **settings: Any,
    ) -> str:
        """Return `prompt` and `length` generated characters; see `SampleConfig` for `settings`.

        A `document` begins with the prompt, and ends where the model ends it, if that is earlier.
        CRLF in the prompt becomes LF. Raises CharloomError if the model has never seen one of its
        characters; with unknown="skip" they are left out, with a warning; and for a document, if
        it learned from a single one.

        >>> text = model.sample("It was", length=300, temperature=0.8, seed=1)
        >>> text[:6], len(text)
        ('It was', 306)
        """
        return "".join(self.stream(prompt, length, document=document, unknown=unknown, **settings))

    def stream(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        document: bool = False,
        unknown: OnUnknown = "error",
        **settings: Any,
    ) -> Iterator[str]:
        """Yield pieces of what `sample` returns, as they are generated.

        >>> for piece in model.stream("It was", length=300, seed=1):
        ...     print(piece, end="")
        It was...
        """
        config = SampleConfig(**settings)
        text = Text.prompt(prompt, "the prompt", self._own.normalize)
        text = self._as_learned(replace(text, notes=()))
        prompt = without(text.content, self._check_known(text, unknown))
        pieces = generate(self.language_model, config, prompt, length, document=document)
        return chain([prompt], pieces)

    def evaluate(
        self,
        source: Source | None = None,
        *,
        unknown: OnUnknown = "error",
        encoding: str = "utf-8",
        errors: Errors = "strict",
        adapt: bool = False,
    ) -> Score:
        """Score a text, by default the validation part of the run's own.

        `source` is a file, a folder or corpus:NAME, in that encoding; errors="replace" reads U+FFFD
        where it is not. What else is changed or left out as it is read is told in warnings. Raises
        CharloomError if the model has never seen one of its characters; with unknown="skip" they
        are left out, with a warning, too.

        With `adapt` the loss is that of learning while reading, which does not compare with
        others: see `charloom.training.adaptation`. The model stays as it is.

        >>> model.evaluate("other.txt")
        Score(nats=..., bits=..., characters=...)
        """
        vocabulary = self.language_model.vocabulary
        ids = None
        if source is not None:
            reading = Reading.of(with_settings(self._own, encoding=encoding, errors=errors))
            text = read_text([fspath(source)], reading=reading)
            asked = f"read as {encoding}"
            text = replace(text, notes=tuple(note for note in text.notes if note != asked))
            text = self._as_learned(text)
            ids = map_text(text, vocabulary, leave_out=self._check_known(text, unknown))
        elif isinstance(self.source, Run):
            ids = self.source.parts().validation
        if ids is None:
            raise CharloomError(f"{self!r} has no validation part: name a text", "no-text")
        if not adapt:
            return score_ids(self.language_model, ids)
        if not isinstance(self.source, Run):
            message = f"{self!r} is no run, of which a copy could learn: leave out adapt"
            raise CharloomError(message, "unsupported", field="adapt")
        return adaptation.evaluate(self.source, ids).score

    @property
    def _own(self) -> DataConfig:
        """How the run's own text was read."""
        return self.source.config.data if isinstance(self.source, Run) else DataConfig()

    def _as_learned(self, text: Text) -> Text:
        """Return a text with U+FFFD for what was too rare to be learned; warn of all its notes."""
        found = as_learned(text, self.language_model.vocabulary, self._own.min_count)
        for note in found.notes:
            warnings.warn(f"{text.name}: {note}", stacklevel=3)
        return found

    def _check_known(self, text: Text, unknown: OnUnknown) -> Collection[str]:
        """Return the characters of a text to leave out, with a warning; raises CharloomError."""
        found = check_known(text, self.language_model.vocabulary, text.name, unknown)
        if found is None:
            return ()
        warnings.warn(f"{text.name}: skipped {found}", stacklevel=3)
        return found.counts


def _follow(run: Run, events: Iterator[Event], on_event: Callable[[Event], object] | None) -> Run:
    came = None
    for event in events:
        if on_event is not None:
            on_event(event)
        if isinstance(event, Finished):
            came = event.signal
    if came is not None and came != signal.SIGINT:
        signal.raise_signal(came)  # to the caller's own handler, which by default ends the process
    return run
