"""Characters a second in training: a whole update against PyTorch's nn.LSTM and nn.GRU.

Both sides have the same sizes, batches and threads, carry the state on, and do all of an
update: forward, loss, backward, clipping by norm, AdamW. On a processor with AMX both also
multiply in bf16, in the same turns.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np

from charloom.config import Cell, ModelConfig, TrainConfig, replace
from charloom.data.batches import Streams
from charloom.models.engines import create_learner, has_amx
from common import (
    VOCABULARY,
    Options,
    Row,
    by_rate,
    has_torch,
    print_rows,
    rates,
    say,
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
    precisions = ["full", "bf16"] if has_amx() else ["full"]
    if len(precisions) == 1:
        say("(this processor has no AMX, so nothing is measured in bf16)")
    sizes = product(CELLS, *(((1,), (16,)) if options.tiny else (LAYERS, HIDDEN)))
    rows = [
        row
        for cell, layers, hidden in sizes
        for row in rows_of(
            ModelConfig(cell=cell, layers=layers, hidden=hidden, embedding=64), precisions, options
        )
    ]
    title = "training, characters/s: 32 lanes of 64, embedding 64, 65 characters"
    print_rows(f"{title}, {options.threads} threads, {options.turns} turns", rows)


def rows_of(config: ModelConfig, precisions: list[str], options: Options) -> Iterator[Row]:
    """Compare both sides in each precision, all in the same turns."""
    learners = []
    for precision in precisions:
        train = replace(TRAIN, precision=precision)
        learners.append(create_learner(config, train, len(VOCABULARY), "compiled"))
        if has_torch():
            from pytorch import Trainer

            learners.append(Trainer(config, train, len(VOCABULARY)))
    # As many updates as take a quarter of a second or so.
    updates = 1 if options.tiny else max(1, 24 * 128**2 // (config.layers * config.hidden**2))
    ids = np.random.default_rng(0).integers(len(VOCABULARY), size=2**20, dtype=np.int32)
    lanes = [Streams(ids, TRAIN.batch, TRAIN.length) for _ in learners]
    rate = [TRAIN.learning_rate] * updates
    sides = [partial(walk, *side, rate) for side in zip(learners, lanes, strict=True)]
    characters = updates * TRAIN.batch * TRAIN.length
    found = iter([rates(characters, s) for s in taking_turns(sides, options.turns)])
    for precision in precisions:
        what = f"{config.cell.upper()} {config.layers} x {config.hidden}"
        name = f"PyTorch nn.{config.cell.upper()}"
        if precision == "bf16":
            what, name = f"{what}, bf16", f"{name}, bf16 autocast"
        ours = next(found)
        yield by_rate(what, ours, name, next(found)) if has_torch() else Row(what, ours)
