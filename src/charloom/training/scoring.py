"""The end of a run: its best model is scored, beside one that only counts, and writes a sample."""

import math
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from time import perf_counter
from typing import NamedTuple, Self

from charloom.config import NgramConfig, SampleConfig, replace
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.data.vocabulary import Vocabulary
from charloom.errors import CharloomError
from charloom.evaluation import Score, evaluate_part
from charloom.generation.sampling import generate
from charloom.models.engines import create_model
from charloom.models.ngram import NgramModel, shorter
from charloom.models.protocols import LanguageModel
from charloom.runs.final import Counted, Final, Mixed
from charloom.runs.run import Run
from charloom.signals import Interrupted
from charloom.training import mixture
from charloom.training.cadence import FEWEST_CHARACTERS, counted_at_end, scored_at_end
from charloom.training.events import Scoring, Warned

HIGHEST_ORDER = 8  # of the model that only counts, in characters
MOST_ORDER = 16  # ... in bytes
TELLING = 50_000  # characters, spread evenly, on which its orders are compared
TEMPERATURE = 0.7  # at which as many words are words as in held-out text: see docs/LOG.md
PARAGRAPH, HEAD = "\n\n", 100_000  # ids in which paragraphs show
SAMPLE_TIMES = 2  # as long as a sample during training
READABLE = 100  # characters of a sample, at least, if there is no time for all of it
TRIALS = (512, 2048, 8192)  # ids that tell how fast a model is scored
TRIAL_SHARE = 0.1  # of the time that is left, which is enough for a trial
MIXED_SHARE = 0.4  # of the time, for a mixture: its network is scored alone, too
ENOUGH = 2  # times what is to be scored could be, by a trial, which is slower than the rest


class Time(NamedTuple):
    """The seconds that are left, and how many ids the model scores in one, if that is known."""

    seconds: float
    pace: float | None


class Best(NamedTuple):
    """The model of a run's best checkpoint, after `step` updates, and what it is mixed with."""

    step: int
    alone: LanguageModel
    mixture: mixture.Found | None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read it, and mix it if text was kept for that; raises CharloomError if there is none."""
        saved, config = run.checkpoint(weights_only=True), run.config
        weights, dtype = saved.weights, config.dtype
        model = create_model(config.model, weights, run.vocabulary, "auto", dtype)
        train, vocabulary = config.train, run.vocabulary
        mixed = (
            mixture.find(model, run.dataset().train, train, vocabulary) if train.mixture else None
        )
        return cls(saved.meta.step, model, mixed)

    @property
    def model(self) -> LanguageModel:
        """What samples and final figures are of."""
        return self.alone if self.mixture is None else self.mixture.model


def conclude(
    run: Run,
    step: int,
    time: Time | None = None,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
    scored: Score | None = None,
) -> Generator[Scoring | Warned, None, Final | None]:
    """Score a run that has ended after `step` updates, and record it; None if that failed.

    A sample by the same model is recorded, too. What is recorded already is returned, and what
    was `scored` of the validation part is not scored again. If `time` is short, a part of the text
    is scored. Within `guard`, Interrupted may be raised.
    """
    with suppress(CharloomError):  # a damaged record is written anew
        if (known := run.final()) is not None:
            return known
    if scored is None:
        yield Scoring(step)
    found, text = None, ""
    end = math.inf if time is None else perf_counter() + time.seconds
    try:
        with suppress(Interrupted), guard():
            best = Best.of(run)
            if time is not None:
                time = time._replace(seconds=max(0.0, end - perf_counter()))
            if scored is None:
                found = score_best(run, step, time, best)
            else:
                found = Final(step, best.step, held_out=True, score=scored)
            text = sample(run, best.model, end)
        if text:
            run.write_sample("best", text)
        if found is not None:
            run.write_final(found)
    except CharloomError as error:
        yield Warned(step, f"the final loss was not recorded: {error}, then resume")
    return found


def sample(run: Run, model: LanguageModel, end: float = math.inf) -> str:
    """Return what a model writes as it is suggested: a new document or paragraph, if it has any.

    It is shorter if the clock comes to `end`, and nothing if it would be too short to read.
    """
    watch = run.config.watch
    has_paragraphs = PARAGRAPH in run.vocabulary.decode(run.dataset().train[:HEAD])
    begins = has_paragraphs and run.vocabulary.boundary is None
    prompt, length = PARAGRAPH if begins else "", SAMPLE_TIMES * watch.sample_length
    text = ""
    for piece in generate(model, suggested(watch.sample), prompt, length):
        text += piece
        if perf_counter() > end:
            return text if len(text) >= READABLE else ""
    return text


def suggested(config: SampleConfig) -> SampleConfig:
    """Return how to sample a run that has ended: at TEMPERATURE, unless another was given."""
    if config.temperature != SampleConfig().temperature:
        return config
    return replace(config, temperature=TEMPERATURE)


def score_best(
    run: Run, step: int, time: Time | None = None, best: Best | None = None
) -> Final | None:
    """Score the best checkpoint of a run on its validation part, after `step` updates.

    If nothing was held out, that is on the training text. None if there is no text to score.
    Raises CharloomError.
    """
    parts, config, vocabulary = run.dataset(), run.config, run.vocabulary
    held_out = parts.validation is not None
    ids = parts.train if parts.validation is None else parts.validation
    if not vocabulary.count(ids[1:]):
        return None
    best = best or Best.of(run)
    model, mixed, counts = best.model, best.mixture, None
    if isinstance(config.model, NgramConfig):
        most = len(ids)
    else:
        most = scored_at_end(config.train, step, len(ids))
        if held_out:
            learned = counted_at_end(config.train)
            counts = Counts.of(parts.train, ids, vocabulary, learned)
        if time is not None:
            share = 1.0 if mixed is None else MIXED_SHARE
            most = _in_time(model, ids, most, time._replace(seconds=share * time.seconds))
    score = evaluate_part(model, ids, most)
    counted = None if counts is None else counts.beside(score, most)
    found = Final(step, best.step, held_out, score, counted)
    if mixed is None:
        return found
    table = tuple(map(tuple, mixed.shares.tolist()))
    alone = evaluate_part(best.alone, ids, most)
    how = Mixed(mixed.counts, mixed.learned, table, mixed.before, mixed.after, alone)
    return replace(found, mixture=how)


class Counts:
    """The n-gram model of the order that suits a text best.

    It has counted the last `learned` characters of a training text of `whole`.
    """

    def __init__(self, model: NgramModel, ids: Ids, learned: int, whole: int, tokens: bool) -> None:
        self._model, self._ids, self._learned, self._whole = model, ids, learned, whole
        self._tokens = tokens

    @classmethod
    def of(cls, train: Ids, ids: Ids, vocabulary: Tokenizer, most: int) -> Self | None:
        """Count `most` characters of train (N,), of lower orders until one is worse on ids (M,).

        Tokens are read as the characters that they stand for; None if those are too few.
        """
        whole, train = vocabulary.count(train), train[-most:]
        if tokens := vocabulary.unit == "tokens":
            texts = vocabulary.decode(train)[-most:], vocabulary.decode(ids)
            if len(texts[1]) < 2 or len(both := {*texts[0], *texts[1]}) < 2:
                return None
            vocabulary = Vocabulary.from_alphabet(both, sum(map(len, texts)))
            train, ids = map(vocabulary.encode, texts)
        per_character = len(train) / max(1, vocabulary.count(train))
        highest = min(MOST_ORDER, round(HIGHEST_ORDER * per_character))
        model = NgramModel.fit(train, vocabulary, NgramConfig(order=highest))
        counts, best = model.arrays(), evaluate_part(model, ids, TELLING).nats
        for order in range(highest - 1, 0, -1):
            config = NgramConfig(order=order)
            lower = NgramModel.from_arrays(config, vocabulary, shorter(counts, order))
            if (nats := evaluate_part(lower, ids, TELLING).nats) >= best:
                break
            model, best = lower, nats
        return cls(model, ids, vocabulary.count(train), whole, tokens)

    def beside(self, other: Score, most: int) -> Counted | None:
        """Score what another model has been scored on: all of ids, or `most`, spread evenly.

        None for a part of a text that was cut into tokens.
        """
        part = other.whole is not None
        if part and self._tokens:
            return None
        score = evaluate_part(self._model, self._ids, most if part else len(self._ids))
        whole = None if self._learned == self._whole else self._whole
        return Counted(self._model.config.order, score, self._learned, whole)


def _in_time(model: LanguageModel, ids: Ids, most: int, time: Time) -> int:
    """Return how many of ids (N,) the model can score in time: `most` of them at most."""
    pace, left = time.pace, time.seconds
    if pace is None:
        evaluate_part(model, ids, 1)  # compiles what has to be compiled
        for trial in TRIALS:
            began = perf_counter()
            evaluate_part(model, ids, trial)
            spent = perf_counter() - began
            pace, left = trial / max(spent, 1e-9), left - spent
            if spent > TRIAL_SHARE * left or pace * left > ENOUGH * most:
                break
    assert pace is not None
    return min(most, max(FEWEST_CHARACTERS, int(min(most, pace * left))))
