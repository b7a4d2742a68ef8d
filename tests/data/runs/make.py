"""Make the runs of one version of charloom: tests/reliability holds later ones to reading them.

    git worktree add /tmp/then COMMIT
    PYTHONPATH=/tmp/then/src python tests/data/runs/make.py tests/data/runs/NAME < verse.txt

Each is stopped half-way, at a checkpoint. Standard input is a source that cannot be
read again, so each run carries its text along.
"""

import sys
from pathlib import Path

from charloom.run import Run
from charloom.text import read_text
from charloom.vocabulary import Vocabulary

from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    RunConfig,
    TrainConfig,
    WatchConfig,
)
from charloom.training import train

RUNS = {
    "rnn": {
        "model": ModelConfig(cell="rnn", hidden=4),
        "train": {"optimizer": "adagrad", "reduction": "sum", "clip_value": 5.0, "batch": 1},
    },
    "lstm": {
        "model": ModelConfig(cell="lstm", layers=2, hidden=4, embedding=3),
        "train": {"schedule": "cosine", "clip_norm": 1.0, "batch": 2},
    },
    "gru": {
        "model": ModelConfig(cell="gru", hidden=4),
        "train": {"optimizer": "rmsprop", "schedule": "plateau", "window": 3, "batch": 2},
        "engine": "reference",
        "dtype": "float64",
    },
    "ngram": {"model": NgramConfig(order=4), "train": {}},
}
WATCH = WatchConfig(evaluate_every=10, checkpoint_every=10, sample_every=10, sample_length=20)


def main(folder: Path) -> None:
    """Train every run of `RUNS` up to its first checkpoint after the beginning."""
    data = DataConfig(sources=("-",), validation=0.2)
    text = read_text(data.sources)
    for name, settings in RUNS.items():
        schedule = TrainConfig(iterations=20, length=8, learning_rate=0.05, **settings["train"])
        rest = {k: v for k, v in settings.items() if k != "train"}
        config = RunConfig(data=data, train=schedule, watch=WATCH, **rest)
        vocabulary = Vocabulary.from_text(text.content)
        events = train(Run.create(folder / name, config, vocabulary, text))
        for event in events:
            if type(event).__name__ == "Saved" and event.step:
                break
        events.close()
        (folder / name / ".lock").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
