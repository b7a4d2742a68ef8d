"""An n-gram run: the whole text is counted in one step; the events are those of training."""

import math
from collections.abc import Iterator
from time import perf_counter

from msgspec import UNSET

from charloom.config import NgramConfig
from charloom.evaluation import Score, evaluate
from charloom.generation.sampling import generate
from charloom.models.ngram import NgramModel
from charloom.models.versions import versions
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.meta import Best, Meta
from charloom.runs.metrics import Line
from charloom.runs.run import Run
from charloom.training.advice import advise
from charloom.training.events import Evaluated, Event, Finished, Sampled, Saved, Started
from charloom.training.facts import facts_of
from charloom.training.scoring import conclude


def fit(run: Run, config: NgramConfig, saved: Checkpoint | None) -> Iterator[Event]:
    """Count, evaluate, sample and save; a run that is `saved` already is left as it is."""
    began, score = perf_counter(), None
    parts, vocabulary = run.dataset(), run.vocabulary
    if saved is None:
        model = NgramModel.fit(parts.train, vocabulary, config)
        yield Started(run, "counts", model.parameter_count, parts, 0, 1, parts.notes)
        if parts.validation is not None and run.config.watch.evaluate_every != 0:
            score = evaluate(model, parts.validation)
            yield Evaluated(1, score, best=True)
        yield _sample(run, model)
        yield _save(run, model, score, vocabulary.count(parts.train), began)
    else:
        model = NgramModel.from_arrays(config, vocabulary, saved.weights)
        notes = parts.notes + saved.notes
        yield Started(run, "counts", model.parameter_count, parts, 1, 1, notes)
    final = yield from conclude(run, 1, scored=score)
    yield Finished(
        reason="done",
        signal=None,
        step=1,
        total=1,
        training=None,
        validation=score,
        best=saved.meta.best if saved else _best(score),
        path=run.path,
        seconds=perf_counter() - began,
        advice=advise(facts_of(run, finished=True)),
        final=final,
        sample=run.best_sample() if final else None,
    )


def _sample(run: Run, model: NgramModel) -> Sampled:
    watch = run.config.watch
    text = "".join(generate(model, watch.sample, length=watch.sample_length))
    run.write_sample(1, text)
    return Sampled(1, text)


def _save(run: Run, model: NgramModel, score: Score | None, read: int, began: float) -> Saved:
    seconds = perf_counter() - began
    nats = score.nats if score else UNSET
    run.truncate_metrics(0)
    run.append_metrics(Line(step=1, characters=read, seconds=seconds, validation=nats))
    meta = Meta(step=1, seconds=seconds, best=_best(score), versions=versions("counts"))
    return Saved(1, run.save(model.arrays(), meta), best=True)


def _best(score: Score | None) -> Best | None:
    """Without smoothing, a character that never came makes the loss infinite."""
    return Best(1, score.nats if math.isfinite(score.nats) else None) if score else None
