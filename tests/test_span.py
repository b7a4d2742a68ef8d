"""What stands out in a span, in a network one of whose cells is planted."""

import numpy as np
import pytest

from charloom.analysis.activations import read_states
from charloom.analysis.span import standing_out, usual
from charloom.models.reference import ReferenceModel
from expect import refused
from test_neurons import VOCABULARY, network, planted, prose

UNIT = 7


def found(model, known, text, start, end):
    return standing_out(known, text, read_states(model, VOCABULARY.encode(text)), start, end)


@pytest.fixture(scope="module")
def counting():
    """A model one of whose cells counts the characters of a line, and what is usual for it."""
    model = planted("gru", UNIT)
    return model, usual(model, prose())


def test_the_cell_that_counts_a_line_stands_out_at_the_end_of_a_long_one(counting):
    model, known = counting
    text = "a bad cab,\n" + "fed a dead bee. " * 6
    span = found(model, known, text, len(text) - 5, len(text))
    cell = next(cell for cell in span.cells if cell.unit == UNIT)
    assert cell.name == f"0:{UNIT}"
    assert cell.away > 3
    assert cell.follows.feature == "position in line"
    assert cell.follows.memory > 0.9
    assert cell.value == pytest.approx(np.mean(cell.values[-5:]), abs=1e-3)
    assert len(cell.values) == len(text)
    longest = max(map(len, known.text.split("\n")))
    for drive in cell.drives:
        before = known.text[: drive.place + 1]
        assert len(before) - before.rfind("\n") > longest - 5
    away = [abs(one.away) for one in span.cells]
    assert away == sorted(away, reverse=True)


def test_places_like_a_span_are_where_its_cells_are_so_too(counting):
    model, known = counting
    values = known.states.values.astype(float)
    start, end = 300, 306
    span = found(model, known, known.text[:400], start, end)
    assert span.alike
    lines = known.text.split("\n")
    for place in span.alike:
        assert place.text[place.begin :].split("\n")[0] in lines[place.line - 1]
        assert place.end - place.begin == end - start
        assert 0 < place.share <= 1
    shares = [place.share for place in span.alike]
    assert shares == sorted(shares, reverse=True)
    # It is no place like itself, though nothing is more like it.
    away = (values[start:end].mean(axis=0) - known.mean) / known.scale
    cells = np.argsort(-np.abs(away), kind="stable")[:5]
    there = np.sign(away[cells]) * (values[:, cells] - known.mean[cells]) / known.scale[cells]
    score = np.minimum(there, np.abs(away[cells])).mean(axis=1) / np.abs(away[cells]).mean()
    itself = score[start:end].mean()
    passage = known.text[start:end]
    shown = [place.text[place.begin : place.end] for place in span.alike]
    assert known.text.count(passage) > 1 or passage not in shown
    means = np.convolve(score, np.ones(6) / 6, "valid")
    means[start - 6 : end + 6] = -np.inf
    assert shares[0] == pytest.approx(means.max())
    assert itself > 0


def test_a_text_of_ones_own_is_compared_with_all_of_the_usual_one(counting):
    model, known = counting
    begin = known.text.index("\n", 1000) + 1
    text = known.text[begin : begin + 200]
    span = found(model, known, text, 150, 158)
    shown = [place.text[place.begin : place.end] for place in span.alike]
    assert any(text[151:157] in passage for passage in shown)  # or a character beside it


def test_a_short_text_tells_what_is_usual_but_not_what_a_cell_follows():
    model = ReferenceModel(*network("lstm", layers=2), VOCABULARY)
    known = usual(model, "a bad cab")
    assert known.follows is None
    span = found(model, known, "a bad cab", 2, 5)
    assert {cell.follows for cell in span.cells} == {None}
    assert {cell.layer for cell in span.cells} <= {0, 1}
    assert span.alike == ()


def test_what_is_not_recurrent_has_no_cells():
    from test_one_step import counted

    with refused("unsupported", field="model"):
        usual(counted(), "a bad cab" * 400)
