"""Runs -> everything that a report says of them, as plain rows; what is missing says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from charloom import __version__
from charloom.analysis.comparison import Comparison, compare, verdict
from charloom.analysis.curves import Curve, curve, names, spread
from charloom.analysis.diagnosis import diagnose
from charloom.analysis.inputs import Candidate, Excerpt, candidate, excerpt
from charloom.analysis.keywords import Keywords, keywords
from charloom.analysis.neurons import Neurons, neurons
from charloom.analysis.novelty import Novelty, novelty
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

T = TypeVar("T")
S = TypeVar("S")
READ_LENGTH = 4_000  # characters that surprise and neurons are shown on
KEYWORDS = 12  # in each list
SAMPLES = 6  # of a run


@dataclass(frozen=True)
class Section(Generic[T]):
    """What was found, or, if that is None, `why` nothing was."""

    found: T | None
    why: str = ""

    def then(self, study: Callable[[T], S]) -> "Section[S]":
        """Return what a study of it finds, or why there is nothing."""
        if self.found is None:
            return Section(None, self.why)
        found = self.found
        return attempt(lambda: study(found))


@dataclass(frozen=True)
class Subject:
    """One run: its curve, some of its samples, and what each study found.

    `candidate` is the text that novelty and keywords are of, `read` that of surprise and neurons.
    """

    name: str
    path: str
    curve: Curve
    parameters: int | None
    findings: Section[tuple[Finding, ...]]
    samples: tuple[Sampled, ...]
    candidate: Section[Candidate]
    novelty: Section[Novelty]
    keywords: Section[Keywords]
    read: Section[Excerpt]
    surprise: Section[Surprise]
    neurons: Section[Neurons]
    origin: Origin


@dataclass(frozen=True)
class Report:
    """All of a report, before it is a page."""

    made: datetime
    subjects: tuple[Subject, ...]
    comparison: Section[Comparison]


def gather(runs: Sequence[Run], text: Text | None = None, tell: Tell = say_nothing) -> Report:
    """Analyse runs on `text`, or on what they held out; `tell` hears what is being done.

    Raises CharloomError if a run's own files are damaged.
    """
    if not runs:
        message = "no run to report on: name one or more of those in `charloom runs`"
        raise CharloomError(message, field="runs")
    runs = [*{run.path.resolve(): run for run in runs}.values()]  # the same under two paths is one
    called = [printable(name) for name in names(runs)]
    comparison = attempt(lambda: compare(runs, text, tell, names=called))
    pairs = zip(runs, called, strict=True)
    subjects = tuple(_subject(run, name, text, tell) for run, name in pairs)
    return Report(datetime.now().astimezone(), subjects, comparison)


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
        "verdict": None if found is None else verdict(found),
    }


def _subject(run: Run, name: str, text: Text | None, tell: Tell) -> Subject:
    learned = curve(run, name)
    tell(f"{learned.name}: generating text and looking for copies")
    own = attempt(lambda: candidate(str(run.path)))
    copied = own.then(lambda c: novelty(c.text, c.source, c.human or None))
    words = own.then(lambda c: keywords(c.text, c.source, top=KEYWORDS))
    tell(f"{learned.name}: predicting a text character by character")
    read = attempt(lambda: excerpt(run, text, READ_LENGTH))
    return Subject(
        name=learned.name,
        path=str(run.path),
        curve=learned,
        parameters=run.parameters,
        findings=attempt(lambda: diagnose(run)),
        samples=tuple(spread(learned.samples, SAMPLES)),
        candidate=own,
        novelty=copied,
        keywords=words,
        read=read,
        surprise=read.then(lambda e: surprise(open_model(run), e.content)),
        neurons=read.then(lambda e: neurons(run, e.content)),
        origin=origin(run),
    )


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
