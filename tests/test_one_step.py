"""One step: every number that is told is the one that the model computes, by the line beside it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.analysis.one_step import number, one_step
from charloom.config import ModelConfig, NgramConfig, TransformerConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.ensemble import Ensemble
from charloom.models.mixture.gate import KNOTS
from charloom.models.mixture.model import mixture_of
from charloom.models.ngram import NgramModel
from charloom.models.reference import ReferenceModel, ReferenceTransformer
from charloom.models.weights import initial_weights
from expect import refused

VOCABULARY = Vocabulary(tuple("\n abcdefg"))
V = len(VOCABULARY)
TEXT = "a bad cab\nfed a dead bee\na deaf cad " * 4
KINDS = {
    "rnn": {"cell": "rnn"},
    "lstm": {"cell": "lstm", "layers": 2},
    "hard lstm": {"cell": "lstm", "gate": "hard-sigmoid-1/5"},
    "embedded lstm": {"cell": "lstm", "embedding": 5},
    "gru": {"cell": "gru", "layers": 3},
    "gru of state": {"cell": "gru", "reset": "state"},
    "gru of two biases": {"cell": "gru", "reset": "biased-product"},
}
FUNCTIONS = {"exp": math.exp, "log": math.log, "tanh": math.tanh}
FUNCTIONS["sigmoid"] = lambda a: 1 / (1 + math.exp(-a))


def network(kind="lstm"):
    config = ModelConfig(**{"layers": 1, "hidden": 6, "init_std": 1.0} | KINDS[kind])
    rng, weights = np.random.default_rng(3), initial_weights(config, V, 1)
    weights = {name: w + rng.normal(0, 0.3, w.shape) for name, w in weights.items()}
    return ReferenceModel(config, weights, VOCABULARY)


def counted(smoothing="held-out"):
    return NgramModel.fit(VOCABULARY.encode(TEXT), VOCABULARY, NgramConfig(4, smoothing))


def step_of(model, text=TEXT[:21], cells=()):
    ids = VOCABULARY.encode(text)
    _, state = model.log_probs(ids[None, :-1], model.start(1))
    return one_step(model, int(ids[-1]), state, cells)


def value_of(told):
    """The number at the end, and what the expression before it is, computed by Python."""
    *before, after = told.replace("−", "-").split(" = ")
    after = float(after)
    return after, eval(before[0].replace("×", "*"), dict(FUNCTIONS)) if before else after


def check_likeliest(model, step, text=TEXT[:21]):
    ids = VOCABULARY.encode(text)
    log_probs = model.log_probs(ids[None], model.start(1))[0][0][-1]
    best = [i for i in np.argsort(-log_probs, kind="stable")[:5] if log_probs[i] > -math.inf]
    assert [letter for letter, _ in step.likeliest] == [VOCABULARY.decode([i]) for i in best]
    np.testing.assert_allclose([p for _, p in step.likeliest], np.exp(log_probs[best]), atol=1e-9)
    assert step.read == text[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_lines_with_numbers_are_equations_that_hold(kind):
    model = network(kind)
    step = step_of(model)
    check_likeliest(model, step)
    assert [part.title for part in step.parts[1:-2]] == [
        f"layer {k}" for k in range(model.config.layers)
    ]
    for part in step.parts[1:]:
        for line in part.lines:
            assert len(line.told) == len(part.columns)
            for told in line.told:
                assert len(told) == max(1, len(line.gates))
                for one in told:
                    found, computed = value_of(one)
                    if kind != "hard lstm" or "sigmoid" not in one:
                        assert found == pytest.approx(computed, abs=4e-3 * max(1, abs(found)))


@pytest.mark.parametrize("kind", KINDS)
def test_lines_stand_in_their_file(kind):
    home = Path(charloom.__file__).parent
    for part in step_of(network(kind)).parts:
        lines = (home / part.file).read_text("utf-8").splitlines()
        for line in part.lines:
            assert lines[line.number - 1].strip() in line.source


def test_what_is_told_of_cells_is_their_state():
    model, text = network(), TEXT[:21]
    ids = VOCABULARY.encode(text)
    _, ((h0, c0), (h1, c1)) = model.log_probs(ids[None], model.start(1))
    step = step_of(model, cells=[(1, 5), (0, 2), (0, 3)])
    layers = [part for part in step.parts if part.kind == "cells"]
    assert [part.columns[:n] for part, n in zip(layers, (2, 1), strict=True)] == [
        ("0:2", "0:3"),
        ("1:5",),
    ]
    assert [len({*part.columns}) for part in layers] == [3, 3]
    for part, h, c in zip(layers, (h0, h1), (c0, c1), strict=True):
        *_, cell, output = part.lines
        for column, of_c, of_h in zip(part.columns, cell.told, output.told, strict=True):
            unit = int(column.split(":")[1])
            assert of_c[0].endswith(f" = {number(c[0, unit])}")
            assert of_h[0].endswith(f" = {number(h[0, unit])}")


def test_cells_that_change_most_are_told_of_if_none_are_named():
    model, text = network("gru"), TEXT[:21]
    ids = VOCABULARY.encode(text)
    _, before = model.log_probs(ids[None, :-1], model.start(1))
    _, after = model.log_probs(ids[None], model.start(1))
    change = np.abs(after[2][0][0] - before[2][0][0])
    part = step_of(model).parts[3]
    assert part.columns == tuple(f"2:{unit}" for unit in np.argsort(-change)[:3])


@pytest.mark.parametrize("smoothing", ["held-out", "kneser-ney", "witten-bell", "none"])
@pytest.mark.parametrize("text", [TEXT[:21], "b", "a ", "ggg"])
def test_the_shares_of_contexts_add_up_to_what_an_n_gram_model_predicts(smoothing, text):
    model = counted(smoothing)
    step = step_of(model, text)
    check_likeliest(model, step, text)
    for column, (_, p) in enumerate(step.likeliest):
        adding = [line for part in step.parts for line in part.lines if "out" in line.source]
        total = sum(value_of(line.told[column][0])[0] for line in adding)
        assert total == pytest.approx(p, abs=3e-3)
    for part in step.parts:
        if found := re.search("after “(.*)”, seen ([0-9]+) time", part.title):
            context = found[1].replace("↵", "\n")
            assert text.endswith(context)
            assert TEXT.count(context) <= int(found[2]) <= TEXT.count(context) + len(TEXT)
            assert int(found[2]) == sum(TEXT.startswith(context, n) for n in range(len(TEXT)))


def test_a_mixture_tells_of_both_and_how_they_are_mixed():
    shares = np.random.default_rng(1).random((KNOTS, KNOTS))
    model = mixture_of(network(), counted(), shares)
    step = step_of(model)
    check_likeliest(model, step)
    line = step.parts[-1].lines[0]
    for told, (_, p) in zip(line.told, step.likeliest, strict=True):
        found, computed = value_of(told[0])
        assert found == pytest.approx(p, abs=6e-4)
        assert computed == pytest.approx(p, abs=2e-3)
    titles = [part.title for part in step.parts]
    assert titles[:5] == ["input", "layer 0", "layer 1", "logits", "softmax"]
    assert titles[-1] == "mixture"


def test_of_several_networks_the_first_is_told_of_and_how_they_are_averaged():
    members = network("lstm"), network("embedded lstm"), network("gru")
    step = step_of(Ensemble(members))
    check_likeliest(Ensemble(members), step)
    assert [part.title for part in step.parts][1:3] == ["layer 0", "layer 1"]
    average = step.parts[-1]
    assert average.title == "average"
    for told, (_, p) in zip(average.lines[0].told, step.likeliest, strict=True):
        found, computed = value_of(told[0])
        assert found == pytest.approx(p, abs=6e-4)
        assert computed == pytest.approx(p, abs=1e-3)
    shares = np.random.default_rng(1).random((KNOTS, KNOTS))
    mixed = step_of(mixture_of(Ensemble(members), counted(), shares))
    assert {"average", "mixture"} < {part.title for part in mixed.parts}


def test_cells_that_are_not_there_are_refused():
    for cells in ([(0, 6)], [(2, 0)]):
        with refused("bad-setting", field="cells"):
            step_of(network(), cells=cells)


def test_what_is_not_told_is_refused():
    config = TransformerConfig(layers=1, width=8, heads=2, context=4)
    model = ReferenceTransformer(config, initial_weights(config, V, 0), VOCABULARY)
    with refused("unsupported", field="model"):
        one_step(model, 0, model.start(1))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0.000"),
        (-1.25, "−1.250"),
        (-2e-5, "−2e−5"),
        (4e-4, "0.0004"),
        (0.0005, "0.001"),
        (123.4, "123.400"),
    ],
)
def test_numbers_have_three_decimals_or_one_digit(value, told):
    assert number(value) == told
