"""The speed of fitting and sampling an n-gram model, against a plain chain of dicts and Counters.

The chain counts only contexts of order - 1 characters; NgramModel counts all shorter ones too,
and smooths them.
"""

import random
from collections import Counter, defaultdict

from charloom.config import NgramConfig
from charloom.data.text import Text
from charloom.data.vocabulary import Vocabulary
from charloom.models.ngram import NgramModel
from common import (
    Options,
    Row,
    by_rate,
    by_time,
    print_rows,
    rates,
    taking_turns,
    texts,
    use_threads,
    writer,
)

ORDER = NgramConfig().order
CHARACTERS = 50_000  # sampled each turn
OTHER = "dict of Counters"

Chain = dict[str, Counter[str]]


def show(options: Options) -> None:
    use_threads(1)
    rows = [row for text in texts(options) for row in compare(text, options)]
    print_rows(f"ngram: order {ORDER}, 1 thread, {options.turns} turns", rows)


def compare(text: Text, options: Options) -> list[Row]:
    content, config = text.content, NgramConfig(order=ORDER)
    vocabulary = Vocabulary.from_text(content)
    ids = vocabulary.encode(content)
    fits = taking_turns(
        [lambda: NgramModel.fit(ids, vocabulary, config), lambda: fit_chain(content)],
        options.turns,
    )
    model, chain = NgramModel.fit(ids, vocabulary, config), fit_chain(content)
    length = 1_000 if options.tiny else CHARACTERS
    start = content[: ORDER - 1]
    sides = [writer(model, length), lambda: write(chain, start, length, random.Random(0))]
    ours, theirs = (rates(length, s) for s in taking_turns(sides, options.turns))
    return [
        by_time(f"{text.name}, seconds to fit", fits[0], OTHER, fits[1]),
        by_rate(f"{text.name}, characters/s sampled", ours, OTHER, theirs),
    ]


def fit_chain(text: str) -> Chain:
    chain: Chain = defaultdict(Counter)
    for i in range(len(text) - ORDER + 1):
        chain[text[i : i + ORDER - 1]][text[i + ORDER - 1]] += 1
    return chain


def write(chain: Chain, start: str, length: int, rng: random.Random) -> str:
    """Generate from `start` on, and again from there when nothing is known to follow."""
    written: list[str] = []
    context = start
    for _ in range(length):
        following = chain.get(context) or chain[start]
        written.append(rng.choices(list(following), list(following.values()))[0])
        context = (context + written[-1])[1:]
    return "".join(written)
