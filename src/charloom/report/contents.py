"""Runs -> all that a report shows of them, as plain rows. What cannot be had says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from charloom import __version__
from charloom.analysis.comparison import Comparison, compare, verdict
from charloom.analysis.curves import Curve, Sample, curve, names, spread
from charloom.analysis.diagnosis import Finding, diagnose
from charloom.analysis.inputs import Material, held_out_text
from charloom.analysis.inputs import gather as material_of
from charloom.analysis.keywords import Keywords, keywords
from charloom.analysis.neurons import Neurons, neurons
from charloom.analysis.novelty import Novelty, novelty
from charloom.analysis.surprise import Surprise, surprise
from charloom.config import NgramConfig
from charloom.data.text import Text
from charloom.errors import CharloomError
from charloom.formatting import extent
from charloom.models.weights import parameter_count
from charloom.progress import Tell, say_nothing
from charloom.report.reproduction import command, meta_of
from charloom.runs.open import open_model
from charloom.runs.run import Run

T = TypeVar("T")
READ = 4_000  # characters that surprise and neurons are shown on
WORDS = 12  # in each list of words
SAMPLES = 6  # of a run, that a page shows


@dataclass(frozen=True)
class Part(Generic[T]):
    """What a section shows, or, where that is None, `why` it shows nothing."""

    found: T | None
    why: str = ""


@dataclass(frozen=True)
class Studies:
    """What the studies found of one run; `source` says in few words which text it read."""

    material: Part[Material]
    novelty: Part[Novelty]
    keywords: Part[Keywords]
    source: str
    surprise: Part[Surprise]
    neurons: Part[Neurons]


@dataclass(frozen=True)
class Origin:
    """How to make a run again: a command line, and what the last bits depend on beside it."""

    command: str
    exact: bool
    sources: tuple[str, ...]
    sha256: str
    characters: int
    seed: int | None
    engine: str
    dtype: str
    versions: dict[str, str]
    trained: datetime | None


@dataclass(frozen=True)
class Subject:
    """One run, and all that is known of it."""

    name: str
    path: str
    curve: Curve
    parameters: int | None
    findings: Part[tuple[Finding, ...]]
    samples: tuple[Sample, ...]
    wrote: int
    studies: Studies
    origin: Origin


@dataclass(frozen=True)
class Report:
    """All of a report, before it is a page."""

    made: datetime
    version: str
    subjects: tuple[Subject, ...]
    comparison: Part[Comparison]


def gather(runs: Sequence[Run], text: Text | None = None, tell: Tell = say_nothing) -> Report:
    """Look at runs from all sides; `tell` hears what is being done.

    They are compared on `text`, and read it; without one, on what they held out. Raises
    CharloomError where a run's own files are damaged.
    """
    if not runs:
        raise CharloomError("no run to report on: name one or more of those in `charloom runs`")
    comparison = attempt(lambda: compare(runs, text, tell))
    pairs = zip(runs, names(runs), strict=True)
    subjects = tuple(_subject(run, name, text, tell) for run, name in pairs)
    return Report(datetime.now().astimezone(), __version__, subjects, comparison)


def _subject(run: Run, name: str, text: Text | None, tell: Tell) -> Subject:
    way = curve(run, name)
    return Subject(
        name=way.name,
        path=str(run.path),
        curve=way,
        parameters=_parameters(run),
        findings=attempt(lambda: diagnose(run)),
        samples=tuple(spread(way.samples, SAMPLES)),
        wrote=len(way.samples),
        studies=study(run, way.name, text, tell),
        origin=_origin(run),
    )


def attempt(look: Callable[[], T]) -> Part[T]:
    """Return what a look finds, or why it finds nothing."""
    try:
        return Part(look())
    except CharloomError as error:
        return Part(None, str(error))


def study(run: Run, name: str, text: Text | None, tell: Tell) -> Studies:
    """Let a run write, and read `text` with it, or, without one, the beginning of what it held out.

    What a study cannot do says why.
    """
    tell(f"{name}: letting it write, and looking for copies")
    written = attempt(lambda: material_of(str(run.path)))
    own, held_out = written.found, attempt(lambda: held_out_text(run)).found or ""
    content = held_out[:READ] if text is None else text.head(READ)
    whole = len(held_out) if text is None else text.characters
    tell(f"{name}: reading with it, character by character")
    return Studies(
        material=written,
        novelty=_of(own, written.why, lambda m: novelty(m.text, m.source, m.human or None)),
        keywords=_of(own, written.why, lambda m: keywords(m.text, m.source, top=WORDS)),
        source=extent("held-out text" if text is None else text.name, len(content), whole),
        surprise=_reading(run, content, lambda: surprise(open_model(run), content)),
        neurons=_reading(run, content, lambda: neurons(run, content)),
    )


def _of(material: Material | None, why: str, look: Callable[[Material], T]) -> Part[T]:
    return Part(None, why) if material is None else attempt(lambda: look(material))


def _reading(run: Run, content: str, look: Callable[[], T]) -> Part[T]:
    if not content:
        why = f"{run.path} held no text out of training to read: name one with --text."
        return Part(None, why)
    return attempt(look)


def _parameters(run: Run) -> int | None:
    model = run.config.model
    if isinstance(model, NgramConfig):
        return None
    return parameter_count(model, len(run.vocabulary))


def _origin(run: Run) -> Origin:
    config, meta = run.config, meta_of(run)
    counts = isinstance(config.model, NgramConfig)
    saved = [path.stat().st_mtime for path in run.checkpoints.glob("*/MANIFEST.json")]
    return Origin(
        command=command(run),
        exact=config.train.minutes is None or counts,
        sources=run.corpus.sources,
        sha256=run.corpus.sha256,
        characters=run.corpus.characters,
        seed=None if counts else config.train.seed,
        engine="counts" if counts else config.engine,
        dtype=config.dtype,
        versions=dict(meta.versions) if meta else {},
        trained=datetime.fromtimestamp(max(saved)).astimezone() if saved else None,
    )


def document(report: Report) -> dict[str, Any]:
    """Return a report as plain rows, for programs."""
    found = report.comparison.found
    return {
        "made": report.made,
        "version": report.version,
        "runs": [_rows(subject) for subject in report.subjects],
        "comparison": report.comparison if found is None else found,
        "verdict": None if found is None else verdict(found),
    }


def _rows(subject: Subject) -> dict[str, Any]:
    """What is known of a run; of a study that could not be made, why."""
    studies = subject.studies
    read, cells = studies.surprise.found, studies.neurons.found
    return {
        "run": subject.path,
        "name": subject.name,
        "model": subject.curve.model,
        "text": subject.curve.text,
        "parameters": subject.parameters,
        "best": subject.curve.best,
        "findings": subject.findings.found or subject.findings,
        "samples": subject.samples,
        "novelty": studies.novelty.found or studies.novelty,
        "keywords": studies.keywords.found or studies.keywords,
        "surprise": {"nats": read.mean, "bits": read.bits, "passages": read.passages}
        if read
        else studies.surprise,
        "neurons": {"count": cells.count, "responding": cells.responding, "top": cells.top}
        if cells
        else studies.neurons,
        "origin": subject.origin,
    }
