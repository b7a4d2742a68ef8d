from pathlib import Path
from typing import Any

import pytest

from charloom.config import (
    ModelConfig,
    NgramConfig,
    RunConfig,
    TrainConfig,
    TransformerConfig,
    replace,
)
from charloom.presets import preset, presets
from charloom.training.recipe import BASE, TRANSFORMER
from charloom.training.settings import MINUTES, configure, folders
from expect import refused


def settings(**given: Any) -> RunConfig:
    return configure(("x",), given)


def test_without_a_length_a_run_has_the_minutes_of_the_recipe() -> None:
    def train(**given: Any) -> TrainConfig:
        return settings(**given).train

    assert train().minutes == train(iterations=None).minutes == MINUTES
    assert train(minutes=1.5).minutes == 1.5
    assert train(iterations=9).minutes is None
    assert train(epochs=9.0, batch=3) == replace(BASE.train, epochs=9.0, batch=3)
    assert train(preset="min-char-rnn").minutes is None
    assert train(preset="min-char-rnn", minutes=2.0).minutes == 2.0
    assert train(model="ngram").minutes is None


def test_one_end_takes_the_place_of_all_that_a_preset_has() -> None:
    assert settings(preset="nanogpt-char", epochs=2.0).train.iterations is None
    assert settings(preset="char-rnn", iterations=7).train.epochs is None
    both = settings(preset="char-rnn", iterations=7, epochs=2.0).train
    assert (both.iterations, both.epochs) == (7, 2.0)


def test_a_transformer_learns_from_sequences_as_long_as_its_context() -> None:
    def both(**given: Any) -> tuple[int, int]:
        config = settings(model="transformer", **given)
        assert isinstance(config.model, TransformerConfig)
        assert config.train.learning_rate == TRANSFORMER.learning_rate
        return config.model.context, config.train.length

    assert both() == (64, 64)
    assert both(context=32) == both(length=32) == (32, 32)
    assert both(context=48, length=16) == (48, 16)
    with refused("bad-setting", field="length"):
        both(context=48, length=49)
    assert settings(model="mingru", length=500).train.length == 500


@pytest.mark.parametrize("name", [name for name in presets() if name != "gpt2"])
def test_a_preset_alone_is_taken_as_it_is(name: str) -> None:
    config = settings(preset=name)
    assert config == replace(preset(name), data=replace(preset(name).data, sources=("x",)))


def test_what_is_given_stands_beside_the_preset() -> None:
    config = settings(preset="char-rnn", model="gru", hidden=7, greedy=True, engine="reference")
    assert config.model == ModelConfig(cell="gru", layers=2, hidden=7, init_std=0.0462)
    assert (config.watch.sample.temperature, config.engine) == (0.0, "reference")
    assert settings(seed=7).watch == BASE.watch
    assert settings(model="ngram", order=3).model == NgramConfig(order=3)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"hiden": 7}, "hiden"),
        ({"model": "cnn"}, "model"),
        ({"preset": "char-cnn"}, "preset"),
        ({"model": "ngram", "hidden": 7}, "hidden"),
        ({"model": "rnn", "order": 7}, "order"),
        ({"model": "ngram", "minutes": 1.0}, "minutes"),
        ({"minutes": 1.0, "epochs": 3.0}, "minutes"),
        ({"minutes": 1.0, "iterations": 3}, "minutes"),
        ({"greedy": True, "temperature": 0.5}, "greedy"),
        ({"lora": 4}, "lora"),
        ({"preset": "gpt2"}, "start"),
        ({"start": "runs/x", "hidden": 7}, "hidden"),
        ({"start": "runs/x", "preset": "char-rnn"}, "preset"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], field: str) -> None:
    with refused("bad-setting", field=field):
        settings(**given)


def test_a_run_is_named_after_its_text_and_model() -> None:
    names = folders(["texts/my novel.txt", "other"], "{text}-x")
    assert [next(names).name for _ in range(3)] == ["my-novel-x", "my-novel-x-2", "my-novel-x-3"]
    assert next(folders(["corpus:alice"], "{text}-x")) == Path("runs/alice-x")
    assert next(folders(["-"], "{text}-x")).name == "stdin-x"
