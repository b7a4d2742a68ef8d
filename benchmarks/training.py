"""Characters a second in training: a whole update against PyTorch's nn.LSTM and nn.GRU.

Both sides have the same sizes, batches and threads, carry the state on, and do all of an
update: forward, loss, backward, clipping by norm, AdamW.
"""

from functools import partial
from itertools import product

import numpy as np

from charloom.config import Cell, ModelConfig, TrainConfig
from charloom.data.batches import Streams
from charloom.models.engines import create_learner
from common import (
    VOCABULARY,
    Options,
    Row,
    by_rate,
    has_torch,
    print_rows,
    rates,
    say_torch_is_missing,
    taking_turns,
    use_threads,
    walk,
)

CELLS: tuple[Cell, ...] = ("lstm", "gru")
LAYERS, HIDDEN = (1, 2), (128, 256, 512)
TRAIN = TrainConfig(batch=32, length=64, optimizer="adamw", clip_norm=1.0, weight_decay=0.01)


def show(options: Options) -> None:
    use_threads(options.threads)
    if not has_torch():
        say_torch_is_missing()
    sizes = product(CELLS, *(((1,), (16,)) if options.tiny else (LAYERS, HIDDEN)))
    rows = [
        row(ModelConfig(cell=cell, layers=layers, hidden=hidden, embedding=64), options)
        for cell, layers, hidden in sizes
    ]
    title = "training, characters/s: 32 lanes of 64, embedding 64, 65 characters"
    print_rows(f"{title}, {options.threads} threads, {options.turns} turns", rows)


def row(config: ModelConfig, options: Options) -> Row:
    learners = [create_learner(config, TRAIN, len(VOCABULARY), "compiled")]
    if has_torch():
        from pytorch import Trainer

        learners.append(Trainer(config, TRAIN, len(VOCABULARY)))
    # As many updates as take a quarter of a second or so.
    updates = 1 if options.tiny else max(1, 24 * 128**2 // (config.layers * config.hidden**2))
    ids = np.random.default_rng(0).integers(len(VOCABULARY), size=2**20, dtype=np.int32)
    lanes = [Streams(ids, TRAIN.batch, TRAIN.length) for _ in learners]
    rate = [TRAIN.learning_rate] * updates
    sides = [partial(walk, *side, rate) for side in zip(learners, lanes, strict=True)]
    characters = updates * TRAIN.batch * TRAIN.length
    ours, *theirs = (rates(characters, s) for s in taking_turns(sides, options.turns))
    what = f"{config.cell.upper()} {config.layers} x {config.hidden}"
    name = f"PyTorch nn.{config.cell.upper()}"
    return by_rate(what, ours, name, *theirs) if theirs else Row(what, ours)
