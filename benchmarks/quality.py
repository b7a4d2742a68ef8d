"""Validation loss after a number of minutes: `charloom train TEXT --minutes X` against PyTorch.

Both sides train on the first nine tenths of one text, with the same threads, one after the
other, and are scored on the whole last tenth, read in one piece: at the end, and at their best
evaluation, which is a little too low for both, because it was chosen on the same text. What
charloom ends with, and scores as its best, is mixed with an n-gram model; the end is the network's.

charloom's minutes are those of the whole command. PyTorch's count updates only: not its import,
nor the measuring of its speed, nor its evaluations.
"""

import copy
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from charloom.config import DataConfig, ModelConfig, TrainConfig, replace
from charloom.data.batches import Streams
from charloom.data.split import split_text
from charloom.data.text import read_text
from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.engines import create_model
from charloom.models.protocols import LanguageModel
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training.schedules import Schedule
from common import (
    Options,
    has_torch,
    print_table,
    say,
    say_torch_is_missing,
    spread,
    use_threads,
    walk,
)

EVALS_PER_RUN = 10  # of PyTorch
MODEL = ModelConfig(cell="lstm", layers=1, hidden=256, embedding=128)
PLAIN = TrainConfig(
    batch=32, length=64, learning_rate=0.003, clip_norm=1.0, weight_decay=0.01, schedule="cosine"
)
BETTER = replace(PLAIN, batch=24, learning_rate=0.004, dropout=0.05)


class Task(NamedTuple):
    """One text, cut once for both sides, and PyTorch's model."""

    source: str
    name: str
    model: ModelConfig
    vocabulary: Vocabulary
    train: Ids
    validation: Ids


class Result(NamedTuple):
    """Validation loss in nats at the end and at the best evaluation; seconds and updates."""

    end: float
    best: float
    seconds: float
    updates: int


Side = Callable[[Task, float, int], Result]


def show(options: Options) -> None:
    if options.text is None:
        say("quality: name a text of a megabyte or so, --text FILE or corpus:tiny-shakespeare")
        return
    use_threads(options.threads)
    model = replace(MODEL, embedding=16, hidden=16) if options.tiny else MODEL
    task = read_task(options.text, model)
    chosen = sides(options.side)
    cells = [row for minutes in options.minutes for row in compare(task, minutes, chosen, options)]
    title = f"quality: {task.name}, {len(task.validation):,} validation characters, "
    ends = "network's end"
    columns = (
        "",
        "nats, best",
        f"nats, {ends}",
        "bits, best",
        f"bits, {ends}",
        "seconds",
        "updates",
    )
    print_table(f"{title}{options.threads} threads, {options.seeds} seeds", columns, cells)


def sides(only: str | None) -> dict[str, Side]:
    chosen: dict[str, Side] = {"charloom train": train_charloom} if only != "torch" else {}
    if only != "charloom" and not has_torch():
        say_torch_is_missing()
    elif only != "charloom":
        chosen["PyTorch"] = lambda *task: train_torch(PLAIN, *task)
        chosen["PyTorch, better"] = lambda *task: train_torch(BETTER, *task)
    return chosen


def read_task(source: str, model: ModelConfig) -> Task:
    text = read_text([source])
    content = text.content
    vocabulary = Vocabulary.from_text(content)
    ids = vocabulary.encode(content)
    split = split_text(len(ids), DataConfig(), PLAIN.batch * (PLAIN.length + 2))
    assert split.validation is not None, split.notes
    return Task(source, text.name, model, vocabulary, ids[split.train], ids[split.validation])


def compare(
    task: Task, minutes: float, chosen: dict[str, Side], options: Options
) -> list[list[str]]:
    """Run every side with one seed, then with the next; return a row of the table for each side."""
    results: dict[str, list[Result]] = {name: [] for name in chosen}
    for seed in range(options.seeds):
        for name, side in chosen.items():
            result = side(task, minutes, seed)
            results[name].append(result)
            say(
                f"{name}, {minutes:g} minutes, seed {seed}: best {result.best:.4f} nats, "
                f"end {result.end:.4f}, {result.seconds:.1f} s, {result.updates:,} updates"
            )
    return [[f"{minutes:g} minutes, {name}", *figures(found)] for name, found in results.items()]


def figures(results: list[Result]) -> list[str]:
    best, end = [r.best for r in results], [r.end for r in results]
    bits = [[nats / math.log(2) for nats in column] for column in (best, end)]
    columns = (best, end, *bits)
    return [
        *(spread(column, ".4f") for column in columns),
        spread([r.seconds for r in results]),
        spread([r.updates for r in results], ",.0f"),
    ]


def score(model: LanguageModel, validation: Ids) -> float:
    return evaluate(model, validation, lanes=1).nats


def train_charloom(task: Task, minutes: float, seed: int) -> Result:
    """Run the command itself, and score the checkpoints that it saved."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")
        command = ["train", task.source, "--minutes", f"{minutes:g}", "--seed", f"{seed}"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "charloom", *command, "--out", str(path)],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.perf_counter() - began
        run = Run.open(path)
        assert (run.dataset().validation == task.validation).all()
        last = run.checkpoint("latest")
        model = create_model(run.config.model, last.weights, run.vocabulary)
        end = score(model, task.validation)
        return Result(end, score(open_model(run), task.validation), seconds, last.meta.step)


def train_torch(recipe: TrainConfig, task: Task, minutes: float, seed: int) -> Result:
    """Measure the speed, plan the steps, train; after each evaluation plan the rest anew."""
    from pytorch import Predictor, Trainer

    train, V = replace(recipe, seed=seed), len(task.vocabulary)
    budget, busy, step = 60 * minutes, 0.0, 0
    steps = max(EVALS_PER_RUN, int(budget / seconds_an_update(train, task)))
    learner, lanes = Trainer(task.model, train, V), Streams(task.train, train.batch, train.length)
    network, best, at_best = learner.network, math.inf, None
    while step < steps:
        schedule = Schedule(replace(train, warmup=min(100, steps // 10)), steps, 1)
        until = min(steps, step + math.ceil(steps / EVALS_PER_RUN))
        began = time.perf_counter()
        walk(learner, lanes, map(schedule.rate, range(step, until)))
        step = until
        busy += time.perf_counter() - began
        loss = evaluate(Predictor(network, task.vocabulary), task.validation).nats
        if loss < best:
            best, at_best = loss, copy.deepcopy(network)
        if step < steps:
            steps = step + max(1, int((budget - busy) * step / busy))
    assert at_best is not None
    end = score(Predictor(network, task.vocabulary), task.validation)
    best = end if loss == best else score(Predictor(at_best, task.vocabulary), task.validation)
    return Result(end, best, busy, step)


def seconds_an_update(train: TrainConfig, task: Task) -> float:
    """Measure the seconds that an update takes, with a network that is thrown away."""
    from pytorch import Trainer

    learner = Trainer(task.model, train, len(task.vocabulary))
    lanes = Streams(task.train, train.batch, train.length)
    for updates in (3, 20):  # the first few are slower
        began = time.perf_counter()
        walk(learner, lanes, [train.learning_rate] * updates)
        seconds = time.perf_counter() - began
    return seconds / updates
