"""Runs -> everything that a report says of them, as plain rows; what is missing says why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from charloom import __version__
from charloom.analysis.activations import is_recurrent
from charloom.analysis.comparison import Comparison, compare, verdict
from charloom.analysis.curves import Curve, curve, names, spread
from charloom.analysis.diagnosis import diagnose
from charloom.analysis.inputs import (
    Candidate,
    Excerpt,
    candidate,
    excerpt,
    generated,
    shared_held_out,
)
from charloom.analysis.keywords import Keywords, keywords
from charloom.analysis.neurons import Neurons, neurons
from charloom.analysis.novelty import Copy, Novelty, copied, novelty
from charloom.analysis.surprise import Surprise, surprise
from charloom.data.text import Text
from charloom.errors import CharloomError
from charloom.formatting import printable
from charloom.progress import Tell, say_nothing
from charloom.report.reproduction import Origin, origin
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.advice import Finding
from charloom.training.events import Sampled
from charloom.training.scoring import TEMPERATURE

T = TypeVar("T")
S = TypeVar("S")
READ_LENGTH = 12_000  # characters that surprise and neurons are shown on
KEYWORDS = 12  # in each list
SAMPLES = 6  # of a run, from its training
WRITTEN_LENGTH = 800  # characters that the best checkpoint of a run generates
TEMPERATURES = (TEMPERATURE, 1.0)  # at each of these
SEED = 0  # the one of `study novelty`: so its text begins with the one at temperature 1


@dataclass(frozen=True)
class Section(Generic[T]):
    """What was found, or, if that is None, `why` nothing was; empty if there is nothing to find.

    An n-gram model has no neurons.
    """

    found: T | None
    why: str = ""

    def then(self, study: Callable[[T], S]) -> "Section[S]":
        """Return what a study of it finds, or why there is nothing."""
        if self.found is None:
            return Section(None, self.why)
        found = self.found
        return attempt(lambda: study(found))


@dataclass(frozen=True)
class Writing:
    """What the best checkpoint, that of `step`, generated at a temperature.

    `copies` are its passages of 20 characters or more that are in the training text, in order.
    """

    text: str
    temperature: float
    seed: int
    step: int
    copies: tuple[Copy, ...]


@dataclass(frozen=True)
class Subject:
    """One run: its curve, what it generates, and what each study found.

    `samples` are some of those from its training. `candidate` is the text that novelty and
    keywords are of, with its source; `read` is the one of surprise and neurons.
    """

    name: str
    path: str
    curve: Curve
    parameters: int | None
    findings: Section[tuple[Finding, ...]]
    samples: tuple[Sampled, ...]
    writings: Section[tuple[Writing, ...]]
    candidate: Section[Candidate]
    novelty: Section[Novelty]
    keywords: Section[Keywords]
    read: Section[Excerpt]
    surprise: Section[Surprise]
    neurons: Section[Neurons]
    origin: Origin


@dataclass(frozen=True)
class Report:
    """All of a report, before it is a page.

    `comparison` is of the runs that held out the same text; `apart` says of every other why it
    is not among them.
    """

    made: datetime
    subjects: tuple[Subject, ...]
    comparison: Section[Comparison]
    apart: dict[str, str]

    @property
    def best(self) -> Subject | None:
        """The best of the runs that were compared."""
        entries = self.comparison.found.static if self.comparison.found else ()
        order = [entry.name for entry in entries if entry.kind == "run"]
        return next((s for s in self.subjects if s.name in order[:1]), None)


def gather(runs: Sequence[Run], text: Text | None = None, tell: Tell = say_nothing) -> Report:
    """Analyse runs on `text`, or on what they held out; `tell` hears what is being done.

    Raises CharloomError if a run's own files are damaged.
    """
    if not runs:
        message = "no run to report on: name one or more of those in `charloom runs`"
        raise CharloomError(message, field="runs")
    runs = [*{run.path.resolve(): run for run in runs}.values()]  # the same under two paths is one
    called = {run: printable(name) for run, name in zip(runs, names(runs), strict=True)}
    alike, apart = (called, {}) if text else _comparable(called)
    several = [*alike] or runs
    comparison = attempt(
        lambda: compare(several, text, tell, names=[called[run] for run in several])
    )
    subjects = tuple(_subject(run, name, text, tell) for run, name in called.items())
    return Report(datetime.now().astimezone(), subjects, comparison, apart)


def attempt(study: Callable[[], T]) -> Section[T]:
    """Return what a study finds, or why it finds nothing."""
    try:
        return Section(study())
    except CharloomError as error:
        return Section(None, str(error))


def document(report: Report) -> dict[str, Any]:
    """Return a report as plain rows, for programs."""
    found = report.comparison.found
    return {
        "made": report.made,
        "version": __version__,
        "runs": [_rows(subject) for subject in report.subjects],
        "comparison": found or report.comparison,
        "apart": report.apart,
        "verdict": None if found is None else verdict(found),
    }


def _comparable(called: Mapping[Run, str]) -> tuple[dict[Run, str], dict[str, str]]:
    """Return the runs that held out what the first of them did, and why the others did not."""
    alike: dict[Run, str] = {}
    apart: dict[str, str] = {}
    for run, name in called.items():
        try:
            shared_held_out([run])
            shared_held_out([*alike, run])
        except CharloomError as error:
            apart[name] = str(error)
        else:
            alike[run] = name
    return alike, apart


def _subject(run: Run, name: str, text: Text | None, tell: Tell) -> Subject:
    learned = curve(run, name)
    tell(f"{learned.name}: generating text and looking for copies")
    own = attempt(lambda: candidate(str(run.path)))
    new = own.then(lambda c: novelty(c.text, c.source, c.human or None))
    words = own.then(lambda c: keywords(c.text, c.source, top=KEYWORDS))
    writings = attempt(lambda: _writings(run, own.found))
    tell(f"{learned.name}: predicting a text character by character")
    read = attempt(lambda: excerpt(run, text, READ_LENGTH, about=True))
    cells = read if is_recurrent(run.config.model) else Section[Excerpt](None)
    return Subject(
        name=learned.name,
        path=str(run.path),
        curve=learned,
        parameters=run.parameters,
        findings=attempt(lambda: diagnose(run)),
        samples=tuple(spread(learned.samples, SAMPLES)),
        writings=writings,
        candidate=own,
        novelty=new,
        keywords=words,
        read=read,
        surprise=read.then(lambda e: surprise(open_model(run), e.content)),
        neurons=cells.then(lambda e: neurons(run, e.content)),
        origin=origin(run),
    )


def _writings(run: Run, own: Candidate | None) -> tuple[Writing, ...]:
    """Return what the best checkpoint generates; `own` begins with the text at temperature 1."""
    step = run.checkpoint("best", weights_only=True).meta.step
    found = []
    for degree in TEMPERATURES:
        known = own.text if own is not None and degree == 1.0 else ""
        text = known[:WRITTEN_LENGTH] or generated(run, WRITTEN_LENGTH, SEED, degree)
        copies = copied(text, own.source) if own is not None else ()
        found.append(Writing(text, degree, SEED, step, tuple(copies)))
    return tuple(found)


def _rows(subject: Subject) -> dict[str, Any]:
    """Return what is known of a run; for a study that found nothing, why."""
    read, cells = subject.surprise.found, subject.neurons.found
    return {
        "run": subject.path,
        "name": subject.name,
        "model": subject.curve.model,
        "text": subject.curve.text,
        "parameters": subject.parameters,
        "best": subject.curve.best,
        "findings": subject.findings.found or subject.findings,
        "samples": subject.samples,
        "writings": subject.writings.found or subject.writings,
        "novelty": subject.novelty.found or subject.novelty,
        "keywords": subject.keywords.found or subject.keywords,
        "surprise": {"nats": read.score.nats, "bits": read.score.bits, "passages": read.passages}
        if read
        else subject.surprise,
        "neurons": {"count": cells.count, "responding": cells.responding, "top": cells.top}
        if cells
        else subject.neurons,
        "origin": subject.origin,
    }
