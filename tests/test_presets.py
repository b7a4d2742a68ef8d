import math
from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from charloom import RunConfig, Vocabulary, create_learner
from charloom.cli.presets import presets as command
from charloom.config import ModelConfig, NgramConfig, TransformerConfig, WatchConfig, replace
from charloom.data.batches import Streams
from charloom.data.known_texts import load_corpus
from charloom.models.ngram import NgramModel
from charloom.models.weights import Array, Weights
from charloom.presets import preset, presets
from charloom.training.loop import train
from charloom.training.schedules import Schedule
from expect import refused
from small_runs import new_run

NETWORKS = ["min-char-rnn", "min-char-lstm", "min-char-lstm-mod-2"]


def network(name: str) -> ModelConfig:
    model = preset(name).model
    assert isinstance(model, ModelConfig)
    return model


def test_the_presets_are_known_by_their_historic_names() -> None:
    assert list(presets()) == [
        *NETWORKS,
        "markov",
        "char-rnn",
        "torch-rnn",
        "torch-rnn-1024",
        "rnn-text-generation-tensorflow",
        "nanogpt-char",
        "nanogpt-char-cpu",
        "gpt2",
    ]
    assert all(presets()[name].name == presets()[name].config.preset == name for name in presets())


def test_an_unknown_preset_is_an_error_that_lists_the_known() -> None:
    with refused("bad-setting", field="preset"):
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


@pytest.mark.parametrize(
    ("name", "shape", "step", "rule", "split"),
    [
        ("char-rnn", (2, 128, 0), (50, 50), ("rmsprop", 0.002, 5.0), (0.05, 0.0)),
        ("torch-rnn", (2, 128, 64), (50, 50), ("adam", 0.002, 5.0), (0.1, 0.1)),
        ("torch-rnn-1024", (2, 1024, 64), (50, 50), ("adam", 0.002, 5.0), (0.1, 0.1)),
        (
            "rnn-text-generation-tensorflow",
            (2, 256, 0),
            (64, 100),
            ("rmsprop", 0.003, None),
            (0.1, 0.0),
        ),
    ],
)
def test_the_numbers_of_the_programs_for_gpus_are_kept(name, shape, step, rule, split) -> None:
    model, config = network(name), preset(name)
    train, data = config.train, config.data
    assert model.cell == "lstm"
    assert (model.layers, model.hidden, model.embedding) == shape
    assert (train.batch, train.length) == step
    assert (train.optimizer, train.learning_rate, train.clip_value) == rule
    assert (data.validation, data.test) == split
    assert (train.reduction, train.clip_norm, train.dropout) == ("mean", None, 0.0)
    assert train.batches == ("windows" if step == (64, 100) else "lanes")


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("char-rnn", {9: 0.002, 10: 0.00194, 11: 0.002 * 0.97**2}),
        ("torch-rnn", {4: 0.002, 5: 0.001, 10: 0.0005}),
    ],
)
def test_the_rate_of_the_programs_for_gpus_falls_by_passes(name, rates) -> None:
    schedule = Schedule(preset(name).train, 5000, steps_per_epoch=100)
    for epoch, rate in rates.items():
        assert schedule.rate(100 * epoch) == pytest.approx(rate), epoch
        assert schedule.rate(100 * epoch + 99) == pytest.approx(rate), epoch


@pytest.mark.parametrize(
    ("name", "shape", "step", "dropout"),
    [
        ("nanogpt-char", (6, 6, 384, 256), (64, 256, 5000), 0.2),
        ("nanogpt-char-cpu", (4, 4, 128, 64), (12, 64, 2000), 0.0),
    ],
)
def test_the_numbers_of_the_transformers_are_kept(name, shape, step, dropout) -> None:
    model, train = preset(name).model, preset(name).train
    assert isinstance(model, TransformerConfig)
    assert (model.mixer, model.positions, model.init_std) == ("attention", "learned", 0.02)
    assert (model.layers, model.heads, model.width, model.context) == shape
    assert (train.batch, train.length, train.iterations) == step
    assert (train.optimizer, train.beta1, train.beta2) == ("adamw", 0.9, 0.99)
    assert (train.learning_rate, train.final_rate, train.schedule) == (1e-3, 0.1, "cosine")
    assert (train.warmup, train.weight_decay, train.clip_norm) == (100, 0.1, 1.0)
    assert (train.batches, train.dropout) == ("windows", dropout)


@pytest.mark.parametrize("name", ["char-rnn", "torch-rnn", "rnn-text-generation-tensorflow"])
def test_the_recurrent_programs_for_gpus_run_on_the_compiled_engine(name, tmp_path) -> None:
    config = preset(name)
    config = replace(
        config,
        engine="compiled",
        train=replace(config.train, iterations=2),
        data=replace(config.data, sources=("corpus:us-constitution",)),
        watch=WatchConfig(evaluate_every=0, sample_every=0),
    )
    *_, last = train(new_run(tmp_path / "run", config))
    assert (last.step, last.reason) == (2, "done")
    assert last.training < math.log(74)


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
    lanes, p = Streams(ids, train.batch, train.length), 0
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
    for name in presets():
        assert f"\n{name} " in "\n" + result.stdout


def test_the_command_gives_settings_that_read_back_as_json() -> None:
    result = CliRunner().invoke(command, ["--json"])
    rows = msgspec.json.decode(result.stdout)
    assert {row["name"]: msgspec.convert(row["config"], RunConfig) for row in rows} == {
        name: preset(name) for name in presets()
    }
