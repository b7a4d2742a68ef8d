"""A Markov chain: the next character is drawn by how often it followed the last four.

python examples/markov.py [TEXT] [ORDER]
"""

import random
import sys
from collections import Counter, defaultdict
from math import log
from pathlib import Path

TEXT = Path(__file__).parents[1] / "src/charloom/assets/us-constitution.txt"


def count(text, order):
    """How often each character followed each `order` characters."""
    followed = defaultdict(Counter)
    for n in range(order, len(text)):
        followed[text[n - order : n]][text[n]] += 1
    return followed


def write(followed, start, length, rng):
    """Draw up to `length` characters after `start`; it ends early where nothing ever followed."""
    text = start
    while len(text) < length and (counts := followed.get(text[-len(start) :])):
        text += rng.choices([*counts], [*counts.values()])[0]
    return text


if __name__ == "__main__":
    text = Path(sys.argv[1] if len(sys.argv) > 1 else TEXT).read_text("utf-8")
    order = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    learned, held_out = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    followed = count(learned, order)
    print(write(followed, learned[:order], 500, random.Random(1)))
    pairs = [(held_out[n - order : n], held_out[n]) for n in range(order, len(held_out))]
    known = [followed[b][c] / followed[b].total() for b, c in pairs if followed[b][c]]
    print(f"\n{-sum(map(log, known)) / len(known):.3f} nats per character, where p is not 0, but")
    print(f"it is for {1 - len(known) / len(pairs):.1%} of held-out characters: an infinite loss")
