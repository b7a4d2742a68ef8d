"""Measure the steps of docs/lstm.md on the Constitution: losses, samples, reach of gradients.

python docs/walk.py

It takes some minutes and writes docs/data/walk.json, from which docs/make.py fills the page. No
figure depends on a clock: each network takes a fixed number of steps with fixed seeds.
"""

import json
import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import charloom
from charloom.models.reference import network
from charloom.models.reference.operations import cross_entropy
from charloom.runs.run import Run

SOURCE = "corpus:us-constitution"
DATA = Path(__file__).parent / "data"
HISTORIC = 100_000  # iterations, as the published runs had
STEPS = 781  # of 32 sequences of 64 characters: as many characters as 100,000 of 16
PLAIN = {"batch": 32, "length": 64, "iterations": STEPS, "clip_norm": 1.0, "schedule": "constant"}
SMALL = {"model": "lstm", "hidden": 100, "embedding": 0, "dropout": 0.0, "weight_decay": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "frequencies": {"model": "ngram", "order": 1},
    "markov": {"preset": "markov"},
    "smoothed": {"model": "ngram", "order": 5},
    "longer": {"model": "ngram", "order": 8},
    "rnn": {"preset": "min-char-rnn", "iterations": HISTORIC},
    "lstm": {"preset": "min-char-lstm", "iterations": HISTORIC},
    "batches": PLAIN | SMALL | {"optimizer": "adagrad", "learning_rate": 0.1},
    "adamw": PLAIN | SMALL | {"optimizer": "adamw", "learning_rate": 0.01},
    "cosine": PLAIN
    | SMALL
    | {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine", "warmup": 50},
    "recipe": {"iterations": STEPS},
    "mixture": {"iterations": STEPS, "mixture": 0.04},
}
SAMPLE = {"prompt": "We ", "length": 160, "temperature": 0.8, "seed": 1}
REACH, WINDOWS = 60, 64  # characters back, and places of the text


def main() -> None:
    """Train and score each step, in order."""
    with tempfile.TemporaryDirectory() as folder:
        rows, runs = {}, {}
        for name, settings in RUNS.items():
            runs[name] = charloom.train(SOURCE, out=Path(folder, name), **settings)
            rows[name] = measured(runs[name], settings)
            print(name, rows[name]["nats"], flush=True)
        data = runs["rnn"].dataset()
        V = len(runs["rnn"].vocabulary)
        document = {
            "characters": len(data.train),
            "held_out": len(data.validation),
            "vocabulary": V,
            "guessing": guessing(runs["rnn"], V),
            "steps": rows | {"adapted": adapted(runs["mixture"])},
            "zero": impossible(runs["markov"]),
            "reach": {name: reach(runs[name]) for name in ("rnn", "lstm")},
        }
    DATA.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (DATA / "walk.json").write_text(text + "\n", "utf-8")


def measured(run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the loss of a run's best model on the held-out part, and a sample of it."""
    model = charloom.load(run)
    nats = model.evaluate().nats
    sample = model.sample(**SAMPLE)
    found = nats if math.isfinite(nats) else None
    return {"settings": settings, "nats": found, "parameters": run.parameters, "sample": sample}


def guessing(run: Run, V: int) -> dict[str, Any]:
    """Return what a model has that knows nothing: each character is as likely as any other."""
    drawn = random.Random(1).choices([*run.vocabulary.characters], k=SAMPLE["length"])
    return {"nats": math.log(V), "sample": SAMPLE["prompt"] + "".join(drawn)}


def adapted(run: Run) -> dict[str, Any]:
    """Return the loss of the last run if a copy of it learns while it reads."""
    return {"nats": charloom.load(run).evaluate(adapt=True).nats}


def impossible(run: Run) -> dict[str, float]:
    """Return the share of held-out characters with probability 0, and the loss on the others."""
    model, ids = charloom.load(run).language_model, run.dataset().validation
    log_probs, _ = model.log_probs(ids[None, :-1], model.start(1))
    nats = -log_probs[0, np.arange(len(ids) - 1), ids[1:]]
    known = np.isfinite(nats)
    return {"share": float(1 - known.mean()), "nats": float(nats[known].mean())}


def reach(run: Run) -> list[float]:
    """Return how long the gradient of a loss is at the character k before it: k = 0, 1, 2 ...

    It is a mean of norms over many places, divided by that of k = 0.
    """
    config, weights = run.config.model, dict(run.load_weights())
    ids = np.asarray(run.dataset().validation, np.int64)
    starts = np.linspace(0, len(ids) - REACH - 2, WINDOWS).astype(int)
    windows = ids[starts[:, None] + np.arange(REACH + 2)].T  # (T + 1, B)
    weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
    x = np.eye(len(run.vocabulary))[windows[:-1]]  # vectors, so that `backward` returns dx
    cell = network.CELLS[config.cell]
    names = ("layer0.Wx", "layer0.Wh", "layer0.b")
    Wx, Wh, b = (weights[name] for name in names)
    state = network.zero_states(config, WINDOWS)[0]
    h, _, cache = cell.forward(x, state, Wx, Wh, b)
    _, dlogits = cross_entropy(h @ weights["head.W"] + weights["head.b"], windows[1:])
    dlogits[:-1] = 0  # of the last loss alone
    dx, *_ = cell.backward(dlogits @ weights["head.W"].T, cache, Wx, Wh)
    norms = np.linalg.norm(dx, axis=-1).mean(axis=1)[::-1]
    return [float(norm / norms[0]) for norm in norms]


if __name__ == "__main__":
    main()
