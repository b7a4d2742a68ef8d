from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from charloom import CharloomError, RunConfig, Vocabulary, create_learner
from charloom.batches import Lanes
from charloom.cli.presets import presets as command
from charloom.config import ModelConfig, NgramConfig
from charloom.corpora import load_corpus
from charloom.ngram import NgramModel
from charloom.presets import PRESETS, preset
from charloom.weights import Array, Weights

NETWORKS = ["min-char-rnn", "min-char-lstm", "min-char-lstm-mod-2"]


def network(name: str) -> ModelConfig:
    model = preset(name).model
    assert isinstance(model, ModelConfig)
    return model


def test_the_presets_are_known_by_their_historic_names() -> None:
    assert list(PRESETS) == [*NETWORKS, "markov"]
    assert all(PRESETS[name].name == PRESETS[name].config.preset == name for name in PRESETS)


def test_an_unknown_preset_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(CharloomError, match=r"'min-char-gru'.*min-char-rnn, .*, markov"):
        preset("min-char-gru")


@pytest.mark.parametrize(
    ("name", "cell", "length"), [("min-char-rnn", "rnn", 25), ("min-char-lstm", "lstm", 16)]
)
def test_the_numbers_of_the_historic_networks_are_kept(name: str, cell: str, length: int) -> None:
    model, train = network(name), preset(name).train
    assert (model.cell, model.layers, model.hidden, model.embedding) == (cell, 1, 100, 0)
    assert (train.batch, train.length, train.optimizer) == (1, length, "adagrad")
    assert (train.learning_rate, train.schedule, train.warmup) == (0.1, "constant", 0)
    assert (train.reduction, train.clip_value, train.clip_norm) == ("sum", 5.0, None)
    assert (train.dropout, train.iterations, train.epochs) == (0.0, None, None)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_start_at_a_hundredth_and_all_biases_at_zero(name: str) -> None:
    learner = create_learner(network(name), preset(name).train, 70, "reference", "float64")
    for key, array in learner.arrays().items():
        if key.endswith((".Wx", ".Wh", ".W")) and not key.startswith("optimizer."):
            assert np.std(array) == pytest.approx(0.01, rel=0.05)
        elif key.endswith(".b"):
            assert not array.any()


def test_the_modification_differs_from_min_char_lstm_in_rate_and_samples_alone() -> None:
    config, original = preset("min-char-lstm-mod-2"), preset("min-char-lstm")
    assert config.model == original.model
    assert config.train.schedule == "plateau"
    assert config.train.learning_rate > original.train.learning_rate
    schedule = ("learning_rate", "schedule", "window", "patience", "decay_factor", "final_rate")
    for field in set(config.train.__struct_fields__) - {*schedule}:
        assert getattr(config.train, field) == getattr(original.train, field)
    watch = config.watch
    assert watch.sample.temperature == 0
    assert watch.sample_at_best
    assert watch.write_below is not None
    assert 0 < watch.write_below < watch.sample_below < 1


@dataclass
class MinCharRnn:
    """The program as its listing goes: one column vector after another, float64."""

    Wxh: Array
    Whh: Array
    bh: Array
    Why: Array
    by: Array

    def __post_init__(self) -> None:
        self.memory = [np.zeros_like(w) for w in vars(self).values()]
        self.h = np.zeros((len(self.bh), 1))

    def update(self, inputs: Array, targets: Array) -> float:
        """One step of inputs and targets (T,); returns the summed loss."""
        weights = [self.Wxh, self.Whh, self.bh, self.Why, self.by]
        hs, ps, loss = [self.h], [], 0.0
        for character, target in zip(inputs, targets, strict=True):
            x = np.eye(self.Wxh.shape[1])[:, [character]]
            hs.append(np.tanh(self.Wxh @ x + self.Whh @ hs[-1] + self.bh))
            y = np.exp(self.Why @ hs[-1] + self.by)
            ps.append(y / y.sum())
            loss -= np.log(ps[-1][target, 0])
        dWxh, dWhh, dbh, dWhy, dby = gradients = [np.zeros_like(w) for w in weights]
        dh_next = np.zeros_like(self.h)
        for t in reversed(range(len(inputs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            dWhy += dy @ hs[t + 1].T
            dby += dy
            draw = (1 - hs[t + 1] ** 2) * (self.Why.T @ dy + dh_next)
            dbh += draw
            dWxh[:, [inputs[t]]] += draw
            dWhh += draw @ hs[t].T
            dh_next = self.Whh.T @ draw
        for w, dw, memory in zip(weights, gradients, self.memory, strict=True):
            np.clip(dw, -5, 5, out=dw)
            memory += dw * dw
            w -= 0.1 * dw / np.sqrt(memory + 1e-8)
        self.h = hs[-1]
        return float(loss)


def as_columns(weights: Weights) -> MinCharRnn:
    names = ("layer0.Wx", "layer0.Wh", "layer0.b", "head.W", "head.b")
    return MinCharRnn(*(np.atleast_2d(weights[name]).T.copy() for name in names))


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_min_char_rnn_makes_the_updates_of_the_program_it_is_named_after(engine: str) -> None:
    text = load_corpus("us-constitution")[:101]  # begins again after three steps
    vocabulary = Vocabulary.from_text(text)
    ids, train = vocabulary.encode(text), preset("min-char-rnn").train
    learner = create_learner(
        network("min-char-rnn"), train, len(vocabulary), engine, "float64", seed=1
    )
    program = as_columns(learner.arrays())
    lanes, p = Lanes(ids, train.batch, train.length), 0
    for step in range(5):
        if p + 25 + 1 >= len(ids) or step == 0:
            program.h, p = np.zeros((100, 1)), 0
        expected = program.update(ids[p : p + 25], ids[p + 1 : p + 26])
        p += 25
        inputs, targets, fresh = lanes.next()
        if fresh:
            learner.reset()
        loss = learner.update(inputs, targets, train.learning_rate)
        assert 25 * loss == pytest.approx(expected, rel=1e-9), step
    assert p == 50


def test_markov_draws_by_how_often_a_character_followed_the_four_before_it() -> None:
    text, model = load_corpus("us-constitution"), preset("markov").model
    assert isinstance(model, NgramConfig)
    vocabulary = Vocabulary.from_text(text)
    chain = NgramModel.fit(vocabulary.encode(text), vocabulary, model)
    for state in ("the ", "Stat", "shal"):
        following = Counter(text[i + 4] for i in range(len(text) - 4) if text.startswith(state, i))
        log_probs, _ = chain.log_probs(vocabulary.encode("xyz" + state)[None], chain.start(1))
        probs = np.exp(log_probs[0, -1])
        for character, p in zip(vocabulary.characters, probs, strict=True):
            share = following[character] / following.total()
            assert p == pytest.approx(share, rel=1e-5), (state, character)


def test_the_command_shows_every_preset() -> None:
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 0
    for name in PRESETS:
        assert f"\n{name} " in "\n" + result.stdout


def test_the_command_gives_settings_that_read_back_as_json() -> None:
    result = CliRunner().invoke(command, ["--json"])
    rows = msgspec.json.decode(result.stdout)
    assert {row["name"]: msgspec.convert(row["config"], RunConfig) for row in rows} == {
        name: preset(name) for name in PRESETS
    }
