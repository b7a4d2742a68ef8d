#!/usr/bin/env bash
# arpabo 0.3.0: every back-off weight of its Good-Turing (the default) and Kneser-Ney models is 1, in the ARPA file a logarithm of 0.0000; a
# comment in the source says so, its README does not. So what may follow a context has a sum of up to 2 and more, not 1. A reader of the file
# and its own perplexity alike then tell a loss that is far too low, and its comparisons of orders and smoothings compare no probabilities.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check arpabo==0.3.0
cd "$folder"
"$folder/venv/bin/python" - <<'P'
import io
import math
import re

from arpabo import ArpaBoLM

LINES = """the cat sat on the mat and the hat sat on the cat
then the hen ran to the den and ten men ran to the hen
the moon on the sea is seen at noon as soon as the sun has set
no man at the sea has seen the sun at ten in the night
the tide is in at one and the tide is out at ten
at dawn the men set out to sea and at dusk the men are home
a net and a nod and a note to the man at the dam
the nine dogs dug in the sand and the sand hid the nine tins""".splitlines()
TRAIN = [" ".join(line.replace(" ", "_")) for line in LINES]
TEST = [" ".join(line) for line in ("the_man_sat_on_the_sand", "and_the_dogs_ran_to_the_tide", "the_hat_is_in_the_den")]
number = re.compile(r"-?\d+\.\d+").fullmatch


def read(path):
    """Logarithms of probability and of back-off weight by n-gram."""
    table = {}
    for line in open(path):
        if (words := line.split()) and number(words[0]):
            weight = float(words.pop()) if len(words) > 2 and number(words[-1]) else 0.0
            table[tuple(words[1:])] = float(words[0]), weight
    return table


def log10(table, context, word):
    """The logarithm of what an ARPA file gives a word: its n-gram's, or the context's weight and that of a shorter context."""
    if (*context, word) in table:
        return table[*context, word][0]
    return table.get(context, (0, 0))[1] + log10(table, context[1:], word)


for smoothing in ("good_turing", "kneser_ney"):
    for order in (2, 3, 4):
        model = ArpaBoLM(max_order=order, smoothing_method=smoothing)
        model.read_corpus(io.StringIO("\n".join(TRAIN)))
        model.compute()
        model.write_file("one.arpa")
        table = read("one.arpa")
        words = {gram[0] for gram in table if len(gram) == 1} - {"<s>"}
        sums, loss = [], 0.0
        for line in TEST:
            text = ["<s>", *line.split(), "</s>"]
            for i in range(1, len(text)):
                context = tuple(text[max(0, i - order + 1) : i])
                sums.append(sum(10 ** log10(table, context, word) for word in words))
                loss += math.log10(sums[-1]) - log10(table, context, text[i])
        own = model.perplexity(io.StringIO("\n".join(TEST)))["perplexity"]
        normal = 10 ** (loss / len(sums))
        print(f"{smoothing}, order {order}: sums {min(sums):.2f} to {max(sums):.2f}; perplexity {own:.2f}, of what sums to 1 {normal:.2f}")
        assert {weight for _, weight in table.values()} == {0.0}, "back-off weights count now"
        assert max(sums) > 1.5 and own < 0.9 * normal, "this has changed"
P
