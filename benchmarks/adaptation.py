"""The loss on a text's last tenth, static and learning while reading: two figures of one run.

`charloom train TEXT --minutes X` trains on the rest of the text. Then the run is scored as it is,
and once more by a copy of it that learns each segment when that has been scored. With the second
figure compare context mixing, which has read the rest, too, and what the last tenth adds to the
size of the rest when both are compressed: by xz, and by PPMd (pyppmd) and zpaq where they are
installed.
"""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from charloom.analysis.baselines import compressors, mixing
from charloom.evaluation import evaluate
from charloom.runs.open import open_model
from charloom.runs.run import Run
from charloom.training import adaptation
from common import Options, print_table, say, spread, use_threads


def show(options: Options) -> None:
    use_threads(options.threads)
    for source in ("corpus:us-constitution", options.text):
        if source is not None:
            compare(source, options)


def compare(source: str, options: Options) -> None:
    with tempfile.TemporaryDirectory() as home:
        rows = []
        for minutes in options.minutes:
            found = []
            for seed in range(options.seeds):
                run = trained(source, minutes, seed, Path(home, f"{minutes:g}-{seed}"))
                found.append(scored(run))
                static, learning, alone, _ = found[-1]
                told = f"static {static:.4f} nats, learning {learning:.4f}, network {alone:.4f}"
                say(f"{run.corpus.name}, {minutes:g} minutes, seed {seed}: {told}")
            names = ("static", "learning while reading", "... its network alone", "... seconds")
            for name, values in zip(names, zip(*found, strict=True), strict=True):
                rows.append(row(f"{minutes:g} minutes, {name}", values, "seconds" not in name))
        parts, vocabulary = run.parts(), run.vocabulary
        beside = [mixing(parts.train, parts.validation, vocabulary)]
        train, held_out = vocabulary.decode(parts.train), vocabulary.decode(parts.validation)
        beside += compressors(train, held_out, slow=True)
        rows += [row(f"{found.name}, learning while reading", [found.nats]) for found in beside]
    title = f"adaptation: {run.corpus.name}, {len(held_out):,} characters held out"
    print_table(
        f"{title}, {options.threads} threads, {options.seeds} seeds", ("", "nats", "bits"), rows
    )


def row(name: str, values: Sequence[float], loss: bool = True) -> list[str]:
    if not loss:
        return [name, spread(values, ".1f"), ""]
    return [name, spread(values, ".4f"), spread([nats / math.log(2) for nats in values], ".4f")]


def trained(source: str, minutes: float, seed: int, path: Path) -> Run:
    program = [sys.executable, "-m", "charloom", "train", source, "--out", str(path)]
    settings = ["--minutes", f"{minutes:g}", "--seed", f"{seed}"]
    subprocess.run([*program, *settings], stdout=subprocess.DEVNULL, check=True)
    return Run.open(path)


def scored(run: Run) -> tuple[float, float, float, float]:
    """Return the static loss, those of learning with and without contexts, and its seconds."""
    ids = run.parts().validation
    static = evaluate(open_model(run), ids).nats
    began = time.perf_counter()
    found = adaptation.evaluate(run, ids)
    return static, found.score.nats, found.alone.nats, time.perf_counter() - began
