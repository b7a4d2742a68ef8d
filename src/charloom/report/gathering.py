"""Runs -> all that a report shows of them, as plain rows. What cannot be had says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from charloom import __version__
from charloom.config import NgramConfig
from charloom.errors import CharloomError
from charloom.plots.curves import Curve, Sample, curve, names, spread
from charloom.progress import Tell, say_nothing
from charloom.report.reproduce import command, meta_of
from charloom.run import Run
from charloom.study.diagnosis import Finding, diagnose
from charloom.weights import parameter_count

T = TypeVar("T")
SAMPLES = 6  # of a run, that a page shows


@dataclass(frozen=True)
class Part(Generic[T]):
    """What a section shows, or, where that is None, `why` it shows nothing."""

    found: T | None
    why: str = ""


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
    origin: Origin


@dataclass(frozen=True)
class Report:
    """All of a report, before it is a page."""

    made: datetime
    version: str
    subjects: tuple[Subject, ...]


def gather(runs: Sequence[Run], tell: Tell = say_nothing) -> Report:
    """Look at runs from all sides; `tell` hears what is being done.

    Raises CharloomError where a run's own files are damaged.
    """
    if not runs:
        raise CharloomError("no run to report on: name one or more of those in `charloom runs`")
    subjects = []
    for run, name in zip(runs, names(runs), strict=True):
        tell(f"reading {name}")
        subjects.append(_subject(run, name))
    return Report(datetime.now().astimezone(), __version__, tuple(subjects))


def attempt(look: Callable[[], T]) -> Part[T]:
    """Return what a look finds, or why it finds nothing."""
    try:
        return Part(look())
    except CharloomError as error:
        return Part(None, str(error))


def _subject(run: Run, name: str) -> Subject:
    way = curve(run, name)
    return Subject(
        name=way.name,
        path=str(run.path),
        curve=way,
        parameters=_parameters(run),
        findings=attempt(lambda: diagnose(run)),
        samples=tuple(spread(way.samples, SAMPLES)),
        wrote=len(way.samples),
        origin=_origin(run),
    )


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
    return {
        "made": report.made,
        "version": report.version,
        "runs": [_rows(subject) for subject in report.subjects],
    }


def _rows(subject: Subject) -> dict[str, Any]:
    best = subject.curve.best
    return {
        "run": subject.path,
        "name": subject.name,
        "model": subject.curve.model,
        "text": subject.curve.text,
        "parameters": subject.parameters,
        "best": best,
        "findings": subject.findings,
        "samples": subject.samples,
        "origin": subject.origin,
    }
