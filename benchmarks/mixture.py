"""What an n-gram model mixed into a network costs: characters a second read, and drawn.

The network is an LSTM as drawn, with an embedding of 64; the n-gram model, of the order that a run
takes, has counted the first nine tenths of the text, and the last tenth is read, in as many lanes
as `charloom evaluate` reads it in.
"""

import numpy as np

from charloom.config import ModelConfig
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.evaluation import evaluate
from charloom.models.mixture.gate import KNOTS
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.training.mixture import counts_for
from common import (
    Options,
    Row,
    by_rate,
    fresh_model,
    print_rows,
    rates,
    taking_turns,
    texts,
    use_threads,
    writer,
)

HIDDEN = (128, 256)
CHARACTERS = 20_000  # drawn each turn, in one lane
OTHER = "network alone"


def show(options: Options) -> None:
    use_threads(options.threads)
    sizes = (16,) if options.tiny else HIDDEN
    rows = [row for text in texts(options) for H in sizes for row in compare(text, H, options)]
    title = f"mixture: characters/s, {options.threads} threads, {options.turns} turns"
    print_rows(title, rows)


def compare(text: Text, hidden: int, options: Options) -> list[Row]:
    vocabulary = Vocabulary.from_text(text.content)
    ids = vocabulary.encode(text.content)
    cut = len(ids) - len(ids) // 10
    config = ModelConfig(cell="lstm", hidden=hidden, embedding=64)
    network = fresh_model(config, vocabulary, "compiled")
    counts = NgramModel.fit(ids[:cut], vocabulary, counts_for(cut))
    both = mixture_of(network, counts, np.full((KNOTS, KNOTS), 0.5)), network
    held_out, length = ids[cut:], 500 if options.tiny else CHARACTERS
    ours, theirs = taking_turns(
        [lambda model=model: evaluate(model, held_out) for model in both],  # type: ignore[misc]
        options.turns,
    )
    read = [rates(len(held_out), seconds) for seconds in (ours, theirs)]
    ours, theirs = taking_turns([writer(model, length) for model in both], options.turns)
    drawn = [rates(length, seconds) for seconds in (ours, theirs)]
    what = f"{text.name}, LSTM {hidden}"
    return [
        by_rate(f"{what}, read", read[0], OTHER, read[1]),
        by_rate(f"{what}, drawn", drawn[0], OTHER, drawn[1]),
    ]
