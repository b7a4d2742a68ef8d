import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charloom.analysis import activations
from charloom.analysis.neurons import MIN_DISTANCE, correlations, neurons
from charloom.analysis.text_features import MIN_OCCURRENCES, features, varies
from charloom.config import ModelConfig, NgramConfig, TransformerConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.ngram import NgramModel
from charloom.models.reference import ReferenceModel, ReferenceTransformer
from charloom.models.reference.network import forward, zero_states
from charloom.models.weights import initial_weights
from expect import refused

VOCABULARY = Vocabulary(tuple(sorted("\n ,.'\"()12ABCabcdefgh")))


def prose(seed=0, lines=200):
    """Lines of words of any length, some capitals, digits and quotes among them."""
    rng = np.random.default_rng(seed)
    letters = [c for c in VOCABULARY.characters if c != "\n"]
    weights = np.where(np.array(letters) == " ", 8, 1.0)
    return "".join(
        "".join(rng.choice(letters, rng.integers(1, 45), p=weights / weights.sum())) + "\n"
        for _ in range(lines)
    )


def network(cell, seed=1, layers=1, hidden=12, std=0.4):
    config = ModelConfig(cell=cell, layers=layers, hidden=hidden, init_std=std)
    weights = initial_weights(config, len(VOCABULARY), seed)
    return config, weights


def planted(cell, unit):
    """Random units, and one among them whose state counts the characters of a line."""
    config, weights = network(cell)
    H, newline = config.hidden, VOCABULARY.encode("\n")[0]
    Wx, Wh, b = (weights[f"layer0.{name}"] for name in ("Wx", "Wh", "b"))
    columns = range(unit, Wx.shape[1], H)  # this unit's, of every gate
    for column in columns:
        Wx[:, column] = Wh[:, column] = b[column] = 0
    if cell == "lstm":  # c = f c + i g: f and i are 1, or 0 at a line break, and g is 0.01
        i, f, _, g = columns
        b[[i, f]], b[g] = 20, math.atanh(0.01)
        Wx[newline, [i, f]] = -40
    else:  # h = (1 - z) n + z h: z is nearly 1 and n is 1; at a line break z and n are 0
        _, z, n = columns
        b[z], b[n] = 5, 20
        Wx[newline, z], Wx[newline, n] = -40, -20
    return ReferenceModel(config, weights, VOCABULARY)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("unit", [0, 7])
def test_a_planted_neuron_that_counts_line_position_is_found_first(cell, unit):
    found = neurons(planted(cell, unit), prose(), top=3)
    first, second, _ = found.top
    assert (first.layer, first.unit, first.name) == (0, unit, f"0:{unit}")
    assert first.feature == "position in line"
    assert first.correlation > 0.99
    assert abs(second.memory) < 0.9 < first.memory
    best = {cell.feature: cell for cell in found.by_feature}
    assert best["position in line"].unit == unit
    line = found.text.split("\n")[first.high[0].line - 1]
    assert len(line) == max(map(len, found.text.split("\n")))  # it is highest at the longest's end
    assert first.low[0].value == pytest.approx(0, abs=0.02)
    assert found.text[first.low[0].place] == "\n"


def partial(values, feature, text):
    """A partial correlation by its definition: of the residuals of a regression on characters."""
    characters = np.array([*text])[:, None] == np.array(sorted({*text}))
    left = [y - characters @ np.linalg.lstsq(characters, y)[0] for y in (values, feature)]
    return np.corrcoef(*left)[0, 1] if np.abs(left[1]).max() > 1e-9 else 0.0


def test_the_feature_is_chosen_on_the_first_half_and_the_figures_are_of_the_second():
    model, text = ReferenceModel(*network("lstm"), VOCABULARY), prose(3)
    found = neurons(model, text, top=12)
    told, usable = features(text), [cell.feature for cell in found.by_feature]
    half = len(text) // 2
    for cell in found.top:
        values = found.values(cell).astype(float)
        first = {n: partial(values[:half], told[n][:half], text[:half]) for n in usable}
        second = {n: np.corrcoef(values[half:], told[n][half:])[0, 1] for n in usable}
        assert cell.feature == max(first, key=lambda name: abs(first[name]))
        assert cell.chosen == pytest.approx(first[cell.feature], abs=1e-6)
        memory = partial(values[half:], told[cell.feature][half:], text[half:])
        assert cell.memory == pytest.approx(memory, abs=1e-6)
        assert cell.correlation == pytest.approx(second[cell.feature])
        assert cell.correlations == pytest.approx(second)
        assert (cell.mean, cell.deviation) == pytest.approx((values.mean(), values.std()))
    ranks = [abs(cell.chosen) for cell in found.top]
    assert ranks == sorted(ranks, reverse=True)
    assert found.count == len(found.top) == 12


def test_a_cell_that_follows_the_character_read_remembers_nothing():
    found = neurons(planted("lstm", 7), prose(), top=12)
    best = {cell.feature: cell for cell in found.by_feature}
    assert {best[name].memory for name in ("space", "new line", "vowel", "digit")} == {0.0}
    assert abs(best["space"].correlation) > 0.3
    assert best["position in line"].memory > 0.99
    assert all(abs(cell.correlations[cell.feature]) <= 1 for cell in found.top)
    assert "space" not in {cell.feature for cell in found.top}


def test_what_drives_a_cell_are_its_highest_and_lowest_places_apart():
    text = prose(4)
    found = neurons(ReferenceModel(*network("gru"), VOCABULARY), text, top=4)
    for cell in found.top:
        values = found.values(cell).astype(float)
        assert cell.high[0].value == pytest.approx(values.max(), abs=0.03)
        assert cell.low[0].value == pytest.approx(values.min(), abs=0.03)
        for drive in (*cell.high, *cell.low):
            assert drive.text == text[drive.start : drive.start + len(drive.text)]
            assert drive.values[drive.place - drive.start] == drive.value == values[drive.place]
            assert drive.line == text[: drive.place].count("\n") + 1
        places = sorted(drive.place for drive in cell.high)
        assert min(np.diff(places)) >= MIN_DISTANCE


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_states_read_in_lanes_are_those_of_a_pass_through_the_whole(cell, monkeypatch):
    config, weights = network(cell, layers=2, hidden=5)
    model, ids = ReferenceModel(config, weights, VOCABULARY), VOCABULARY.encode(prose(5, 120))
    monkeypatch.setattr(activations, "WINDOW_LENGTH", 500)
    monkeypatch.setattr(activations, "HELD_NUMBERS", 1000)
    found = activations.read_states(model, ids)
    start = zero_states(config, 1)
    _, _, cache = forward(config, model.weights, ids[:, None], start)
    T = len(ids)
    shown = [np.tanh(c[2][:T, 0]) if cell == "lstm" else c[1][:T, 0] for c in cache.cells]
    assert T > 2000
    assert found.name == ("tanh(c)" if cell == "lstm" else "h")
    np.testing.assert_allclose(found.values, np.concatenate(shown, axis=1), atol=2e-3)
    kept = {"rnn": {}, "lstm": {"i": 3, "f": 4, "o": 5}, "gru": {"r": 2, "z": 3}}[cell]
    assert [(g.layer, g.name) for g in found.gates] == [*product(range(2), kept)]
    for gate in found.gates:
        values = cache.cells[gate.layer][kept[gate.name]][:, 0]
        np.testing.assert_allclose(gate.left, (values < 0.1).mean(0), atol=2e-3)
        np.testing.assert_allclose(gate.right, (values > 0.9).mean(0), atol=2e-3)


def test_gates_that_are_always_open_or_closed_are_said_to_be():
    config, weights = network("lstm")
    H = config.hidden
    for name in weights:
        weights[name][...] = 0
    weights["layer0.b"][:H] = -5  # the input gate is closed, the forget gate open, the output half
    weights["layer0.b"][H : 2 * H] = 5
    states = activations.read_states(
        ReferenceModel(config, weights, VOCABULARY), VOCABULARY.encode(prose())
    )
    shares = {gate.name: (gate.left.mean(), gate.right.mean()) for gate in states.gates}
    assert shares == {"i": (1, 0), "f": (0, 1), "o": (0, 0)}


@pytest.mark.parametrize("mixer", ["mingru", "minlstm"])
def test_scanned_cells_are_their_states(mixer):
    config = TransformerConfig(mixer=mixer, layers=2, width=8, heads=1, context=16)
    model = ReferenceTransformer(config, initial_weights(config, len(VOCABULARY), 0), VOCABULARY)
    text = prose(6, 20)
    found = neurons(model, text, top=2)
    state, steps = model.start(1), []
    for i in VOCABULARY.encode(text):
        _, state = model.step(np.array([i]), state)
        steps.append(np.concatenate(state, axis=1)[0])
    np.testing.assert_allclose(found.states.values, steps, rtol=2e-3, atol=1e-5)
    assert (found.count, found.states.bounded, found.states.gates) == (16, False, ())


def test_a_model_that_carries_no_state_is_refused():
    config = TransformerConfig(layers=1, width=8, heads=1, context=16)
    weights = initial_weights(config, len(VOCABULARY), 0)
    counts = NgramModel.fit(VOCABULARY.encode("abc"), VOCABULARY, NgramConfig(order=2))
    for model in (ReferenceTransformer(config, weights, VOCABULARY), counts):
        with refused("unsupported", field="model"):
            neurons(model, prose())


@pytest.mark.parametrize("text", ["", "a", "abc ab\n"])
def test_a_text_too_short_for_any_feature_is_refused(text):
    with refused("no-text", characters=len(text)):
        neurons(ReferenceModel(*network("rnn"), VOCABULARY), text)


def test_correlations_of_what_never_changes_are_0():
    values = np.array([[1, 0], [1, 1], [1, 2]], np.float16)
    told = np.array([[0.0, 5], [1, 5], [2, 5]])
    assert correlations(values, told).tolist() == [[0, 0], [pytest.approx(1), 0]]


def yes(text, characters):
    return "".join(str(int(c in characters)) for c in text)


def test_features_of_a_small_text():
    text = 'He "did (it)" x\n\tAB 12\n'
    found = {name: "".join(f"{int(v)}" for v in values) for name, values in features(text).items()}
    line = text.split("\n")[0]
    assert found["inside quotes"] == "000" + "1" * 9 + "0" * 11
    assert found["bracket depth"] == "0" * 8 + "111" + "0" * 12
    assert found["capital"] == "1" + "0" * 16 + "11" + "0" * 4
    assert found["in capitals"] == "0" * 18 + "1" + "0" * 4
    assert found["digit"] == "0" * 20 + "110"
    assert found["vowel"] == yes(text, "aeiouAEIOU")
    assert found["space"] == yes(text, " \t")
    assert found["new line"] == yes(text, "\n")
    assert found["first of a line"] == "1" + "0" * 15 + "1" + "0" * 6
    assert found["position in word"] == "12" + "0" + "1234" + "0" + "12345" + "0" + "10" + "0120120"
    assert found["indentation"] == "0" * 16 + "1" * 6 + "0"
    counted = features(text)["position in line"].tolist()
    assert counted == [*range(1, len(line) + 1), *range(7), 0]
    np.testing.assert_allclose(features(text)["position in line, log"], np.log1p(counted))


def test_a_quotation_mark_that_nobody_closes_ends_with_the_paragraph():
    text = "a \"b\nc\n\nd “e” «f» it's"
    inside = features(text)["inside quotes"].astype(bool)
    assert "".join(c for c, here in zip(text, inside, strict=True) if here) == '"b\nc\n“e«f'


@settings(max_examples=100)
@given(st.text(alphabet=' ab\n\t"()é', max_size=80))
def test_features_are_those_of_a_plain_loop(text):
    found = features(text)
    line = word = indentation = 0
    for place, character in enumerate(text):
        line = 0 if character == "\n" else line + 1
        word = 0 if character.isspace() else word + 1
        begins = text[text.rfind("\n", 0, place + 1) + 1 : place + 1]
        indentation = len(begins) - len(begins.lstrip())
        assert found["position in line"][place] == line
        assert found["position in word"][place] == word
        assert found["indentation"][place] == indentation
        assert found["vowel"][place] == (character in "aé")


def test_a_feature_must_be_there_and_not_there_often_enough():
    ones, zeros = np.ones(MIN_OCCURRENCES), np.zeros(MIN_OCCURRENCES)
    assert varies(np.append(ones, zeros))
    assert not varies(np.append(ones[1:], zeros))
    assert not varies(np.append(ones, np.zeros(0)))
    assert not varies(np.empty(0))
