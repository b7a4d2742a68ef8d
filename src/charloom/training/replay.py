"""The historic runs again: the same order of the text, and the figures side by side.

The historic programs print the loss *summed* over the T characters of a step, smoothed:

    s = 0.999 s + 0.001 loss, from s = -log(1/V) T

Nothing else in charloom shows that figure. Divided by T it is the smoothed loss in nats per
character that training shows.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter
from typing import Any, cast

import msgspec

from charloom.config import Dtype, Engine, ModelConfig, RunConfig, SampleConfig, replace
from charloom.data.batches import Streams
from charloom.data.known_texts import load_corpus
from charloom.data.vocabulary import Vocabulary
from charloom.errors import check_at_least
from charloom.files import damaged, encode_json, read_json, replace_file, writing
from charloom.generation.sampling import generate
from charloom.models.engines import create_learner, create_model, pick_engine
from charloom.models.weights import Array
from charloom.presets import preset
from charloom.runs import checkpoint
from charloom.runs.checkpoint import Checkpoint
from charloom.runs.meta import Losses, Meta
from charloom.runs.run import Run
from charloom.runs.tensors import expected_arrays
from charloom.training.events import Event
from charloom.training.loop import train
from charloom.training.planning import prepare
from charloom.training.state import SMOOTHING

PUBLISHED = {  # iteration -> figure, for an edition of the text of 45,106 to 45,121 characters
    "min-char-rnn": {99_900: 34.083777},
    "min-char-lstm": {99_800: 9.844710, 999_800: 5.165326, 10_096_200: 2.487097},
}
PRINT_EVERY = 100
SOURCE = "corpus:us-constitution"
CURVES: dict[str, dict[str, Any]] = {  # presets of which curves were shown, and what is set beside
    "min-char-lstm-mod-2": {"iterations": 600_000, "validation": 0.0},
    "char-rnn": {},
    "torch-rnn-1024": {},
}
SAMPLE_LENGTH = 200  # as the programs print
FIGURES, PRINTED, WALKS = "figures.json", "printed.json", "walks"
POINTS = 2_000  # of what a program prints, to be drawn
SAVE_SECONDS = 30.0  # between two checkpoints of a program that is on its way


@dataclass(frozen=True)
class Program:
    """A program begins, on N characters of which V are different, T in a step."""

    preset: str
    N: int
    V: int
    T: int
    engine: str
    dtype: Dtype


@dataclass(frozen=True)
class Printed:
    """What a program prints at each hundredth iteration, of which the first is number 0.

    `smooth_sum` includes the loss of that iteration; `seconds` have passed since iteration 0,
    in which code may have been compiled.
    """

    iteration: int
    smooth_sum: float
    seconds: float


@dataclass(frozen=True)
class Figure:
    """A published figure and what was printed at that iteration; None if it was not reached."""

    iteration: int
    published: float
    printed: Printed | None


@dataclass(frozen=True)
class Finished:
    """A program has ended, `seconds` of updates after its iteration 0.

    `sample` is what it writes then, if that was asked for.
    """

    program: Program
    seconds: float
    figures: tuple[Figure, ...]
    sample: str | None = None


@dataclass(frozen=True)
class Speed:
    """Microseconds of an update, reference and compiled engine taking turns: n figures each."""

    preset: str
    reference: tuple[float, ...]
    compiled: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster the compiled engine is, turn by turn."""
        return tuple(r / c for r, c in zip(self.reference, self.compiled, strict=True))

    @property
    def ratio(self) -> float:
        """Their median."""
        return median(self.ratios)


class Walks(msgspec.Struct, frozen=True):
    """What both programs came to, and some points of what each printed, by its name.

    `iterations` and `engine` are what was asked for, None and "auto" if nothing was.
    """

    seed: int
    iterations: int | None
    engine: Engine
    runs: tuple[Finished, ...]
    printed: dict[str, list[Printed]]


def replay(
    iterations: int = 100_000, engine: Engine = "auto", seed: int = 0
) -> Iterator[Program | Printed | Finished | Speed]:
    """Run min-char-rnn, then min-char-lstm, on the whole Constitution; then compare engines.

    `iterations` are those of each; `seed` draws the first weights. Arithmetic is float32, in
    the reference engine float64. Raises CharloomError.
    """
    check_at_least(1, iterations=iterations)
    for name in PUBLISHED:
        yield from _run(_Walk(name, engine, seed), iterations)
    for name in PUBLISHED:
        yield measure_speed(name)


def replay_whole(
    folder: Path, iterations: int | None = None, engine: Engine = "auto", seed: int = 0
) -> Iterator[Program | Printed | Finished]:
    """Run both programs as far as their last published figure, and let each write at its end.

    That is 10 million iterations of min-char-lstm; `iterations` are the most of each. Every half
    a minute a program is saved in `folder`. One that was stopped goes on from there, after those
    of its POINTS that it had printed. Raises CharloomError.
    """
    for name, figures in PUBLISHED.items():
        last = max(figures) + 1
        last = min(last, iterations or last)
        walk = _Walk(name, engine, seed)
        saved = _Saved(folder / WALKS / f"{name}-{engine}-{seed}-{last}", walk, last)
        yield from _run(walk, last, SAMPLE_LENGTH, saved)


def keep_walks(folder: Path, walks: Walks) -> None:
    """Write what the programs came to into two files of `folder`; raises CharloomError.

    figures.json is docs/data/replay.json if all was run; printed.json has the curves, too.
    """
    figures = {"seed": walks.seed, "iterations": walks.iterations, "runs": walks.runs}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / FIGURES, encode_json(figures))
        replace_file(folder / PRINTED, encode_json(walks))
        shutil.rmtree(folder / WALKS, ignore_errors=True)  # of programs on their way


def kept_walks(folder: Path, iterations: int | None, engine: Engine, seed: int) -> Walks | None:
    """Return what `keep_walks` wrote, if the same was asked for; raises CharloomError."""
    path = folder / PRINTED
    walks = read_json(path, Walks) if path.exists() else None
    asked = (iterations, engine, seed)
    return walks if walks and (walks.iterations, walks.engine, walks.seed) == asked else None


def replay_curves(
    folder: Path, iterations: int | None = None, engine: Engine = "auto", seed: int = 0
) -> Iterator[tuple[Run, Iterator[Event]]]:
    """Yield the runs of CURVES in `folder`, each with the events of its training, to be followed.

    One that is there already goes on where it stopped; `iterations` are the most of each new one.
    Raises CharloomError.
    """
    for name, settings in CURVES.items():
        path = folder / name
        if path.exists():
            run = Run.open(path)
            yield run, train(run, resume=True)
            continue
        given = {"preset": name, "engine": engine, "seed": seed, **settings}
        if iterations is not None:
            given["iterations"] = min(iterations, given.get("iterations", iterations))
        run, _, began = prepare([SOURCE], given, path)
        yield run, train(run, began=began)


def _run(
    walk: "_Walk", iterations: int, sample: int = 0, saved: "_Saved | None" = None
) -> Iterator[Program | Printed | Finished]:
    yield walk.program
    reached: dict[int, Printed] = {}
    published = PUBLISHED[walk.program.preset]
    done = saved.restore() if saved else []
    yield from done
    reached.update({printed.iteration: printed for printed in done})
    if not done:
        walk.advance(1)
        walk.seconds = 0.0
    for n in range(done[-1].iteration + PRINT_EVERY if done else 0, iterations, PRINT_EVERY):
        if n:
            walk.advance(PRINT_EVERY)
        printed = Printed(n, walk.smooth_sum, walk.seconds)
        if n in published:
            reached[n] = printed
        if saved:
            saved.note(printed)
        yield printed
    walk.advance((iterations - 1) % PRINT_EVERY)
    figures = tuple(Figure(n, figure, reached.get(n)) for n, figure in published.items())
    yield Finished(walk.program, walk.seconds, figures, walk.write(sample) if sample else None)


class _Saved:
    """A program on its way, on the disk: some points of what it printed, and a checkpoint."""

    def __init__(self, folder: Path, walk: "_Walk", iterations: int) -> None:
        self._folder, self._walk = folder, walk
        self._config = replace(walk.config, train=replace(walk.config.train, iterations=iterations))
        self._every = max(1, iterations // PRINT_EVERY // POINTS) * PRINT_EVERY
        self._points: list[Printed] = []
        self._at = monotonic()

    def restore(self) -> list[Printed]:
        """Go on where the same was saved; return the points until then, the last of that place.

        What other settings have left is removed. Raises CharloomError.
        """
        if not checkpoint.steps(self._folder):
            return []
        expected = expected_arrays(self._config, self._walk.program.V)
        saved = checkpoint.read_newest(self._folder, expected)
        if saved.meta.config != self._config:
            with writing(self._folder):
                shutil.rmtree(self._folder)
            return []
        path = self._folder / PRINTED
        points = [p for p in read_json(path, list[Printed]) if p.iteration < saved.meta.step]
        if not points or points[-1].iteration + 1 != saved.meta.step:
            raise damaged(path, f"it does not reach step {saved.meta.step}", "delete its folder")
        self._walk.restore(saved, points[-1])
        self._points = points
        return [*points]

    def note(self, printed: Printed) -> None:
        """Take note of what was printed after the last update, and save if it is time."""
        due = monotonic() - self._at >= SAVE_SECONDS
        program = self._walk.program.preset
        if due or printed.iteration % self._every == 0 or printed.iteration in PUBLISHED[program]:
            self._points.append(printed)
        if not due:
            return
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder / PRINTED, encode_json(self._points))
        arrays, cursor = self._walk.state()
        meta = Meta(
            step=printed.iteration + 1,
            seconds=printed.seconds,
            best=None,
            versions={},
            cursor=cursor,
            losses=Losses(smooth=printed.smooth_sum / self._walk.program.T),
            config=self._config,
        )
        checkpoint.save(self._folder, arrays, meta, keep=2)
        self._at = monotonic()


def measure_speed(name: str, turns: int = 9) -> Speed:
    """Time a preset's updates on the Constitution: reference (float64), compiled (float32).

    The engines take turns, A B A B, at 20 and 400 updates (about 50 ms each); a first turn of
    each is not counted. Each goes on with its own training.
    """
    sides = [(_Walk(name, "reference", 0), 20), (_Walk(name, "compiled", 0), 400)]
    times: list[list[float]] = [[], []]
    for _ in range(turns + 1):
        for (walk, updates), taken in zip(sides, times, strict=True):
            before = walk.seconds
            walk.advance(updates)
            taken.append(1e6 * (walk.seconds - before) / updates)
    reference, compiled = (tuple(taken[1:]) for taken in times)
    return Speed(name, reference, compiled)


class _Walk:
    """A program on its way through the text: its loss so far, and the seconds that took."""

    def __init__(self, name: str, engine: Engine, seed: int) -> None:
        text = load_corpus("us-constitution")
        vocabulary = Vocabulary.from_text(text)
        N, V = len(text), len(vocabulary)
        model, train = preset(name).model, preset(name).train
        assert isinstance(model, ModelConfig)  # no n-gram model has a published figure
        picked = pick_engine(engine, model, train)
        dtype: Dtype = "float64" if picked == "reference" else "float32"
        self.program = Program(name, N, V, train.length, picked, dtype)
        seeded = replace(train, seed=seed)
        self.config = RunConfig(model=model, train=seeded, engine=engine, dtype=dtype, preset=name)
        self._model, self._vocabulary = model, vocabulary
        self.smooth_sum = math.log(V) * train.length
        self.seconds = 0.0
        self._rate = train.learning_rate
        self._lanes = Streams(vocabulary.encode(text), train.batch, train.length)
        self._learner = create_learner(model, train, V, engine, dtype, seed)

    def advance(self, updates: int) -> None:
        began = perf_counter()
        update, next_batch, rate = self._learner.update, self._lanes.next, self._rate
        share, smooth_sum = (1 - SMOOTHING) * self.program.T, self.smooth_sum
        for _ in range(updates):
            inputs, targets, fresh = next_batch()
            if fresh:
                self._learner.reset()
            smooth_sum = SMOOTHING * smooth_sum + share * float(update(inputs, targets, rate))
        self.smooth_sum = smooth_sum
        self.seconds += perf_counter() - began

    def state(self) -> tuple[dict[str, Array], dict[str, int]]:
        """Return the learner's arrays, valid until the next update, and the place in the text."""
        return self._learner.arrays(), self._lanes.cursor()

    def restore(self, saved: Checkpoint, printed: Printed) -> None:
        """Go on from a checkpoint, after which that was printed."""
        self._learner.load(saved.weights | saved.state)
        self._lanes.seek(saved.meta.cursor)
        self.smooth_sum, self.seconds = printed.smooth_sum, printed.seconds

    def write(self, length: int) -> str:
        """Return what the network writes now, as the programs do: at temperature 1."""
        engine, dtype = self.program.engine, self.program.dtype
        arrays = self._learner.arrays()
        model = create_model(self._model, arrays, self._vocabulary, cast(Engine, engine), dtype)
        return "".join(generate(model, SampleConfig(seed=0), length=length))
