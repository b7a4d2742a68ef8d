import json
import math
from typing import Any

import msgspec
import pytest

from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.presets import presets
from expect import refused


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (TrainConfig, "optimizer", "x"),
        (TrainConfig, "batch", 0),
        (TrainConfig, "batch", True),
        (TrainConfig, "batch", 1.5),
        (TrainConfig, "batch", "8"),
        (TrainConfig, "learning_rate", math.nan),
        (TrainConfig, "learning_rate", 1001),
        (TrainConfig, "clip_norm", math.inf),
        (TrainConfig, "minutes", 0),
        (TrainConfig, "iterations", 0),
        (TrainConfig, "epochs", -1.0),
        (TrainConfig, "dropout", 1.0),
        (TrainConfig, "seed", 2**63),
        (TrainConfig, "compile", 1),
        (ModelConfig, "cell", "elman"),
        (ModelConfig, "hidden", 65537),
        (ModelConfig, "layers", 257),
        (TransformerConfig, "heads", 3),
        (TransformerConfig, "heads", 128),
        (TransformerConfig, "init_std", None),
        (NgramConfig, "order", 17),
        (NgramConfig, "smoothing", "good-turing"),
        (DataConfig, "validation", 0.95),
        (DataConfig, "test", 0.85),
        (DataConfig, "sources", "novel.txt"),
        (SampleConfig, "temperature", -0.1),
        (SampleConfig, "top_p", 1.1),
        (SampleConfig, "stop", ("",)),
        (WatchConfig, "keep", 0),
        (WatchConfig, "sample", None),
        (RunConfig, "engine", "gpu"),
        (RunConfig, "dtype", "float16"),
        (RunConfig, "model", "lstm"),
    ],
)
def test_a_wrong_value_is_refused_when_made_and_when_changed(
    config: Any, field: str, value: Any
) -> None:
    with refused("bad-setting", field=field):
        config(**{field: value})
    with refused("bad-setting", field=field):
        replace(config(), **{field: value})


def test_a_wrong_value_in_a_file_is_refused() -> None:
    for document in ({"train": {"batch": 0}}, {"data": {"test": 0.9}}, {"train": {"x": 1}}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(json.dumps(document), type=RunConfig)


@pytest.mark.parametrize("config", [RunConfig(), *(preset.config for preset in presets().values())])
def test_settings_are_the_same_from_json(config: RunConfig) -> None:
    assert msgspec.json.decode(msgspec.json.encode(config), type=RunConfig) == config


def test_sequences_and_whole_numbers_are_taken_for_what_they_stand_for() -> None:
    assert DataConfig(sources=["novel.txt"]).sources == ("novel.txt",)  # type: ignore[arg-type]
    assert TrainConfig(epochs=50) == TrainConfig(epochs=50.0)
    shapes: Any = {"head.b": [1]}
    model = PretrainedConfig(source="", architecture={}, shapes=shapes, sha256="", context=2)
    assert model.shapes == {"head.b": (1,)}


def test_none_is_not_offered_where_no_option_takes_it() -> None:
    with refused("bad-setting", field="minutes") as caught:
        TrainConfig(minutes=-1)
    assert "none" not in str(caught.value)


def test_an_encoding_has_one_name_and_is_one_of_files() -> None:
    for name in ("UTF8", "utf_8_sig", "U8"):
        assert DataConfig(encoding=name).encoding == "utf-8"
    assert DataConfig(encoding="windows-1252").encoding == "cp1252"
    for name in ("", "nothing", "a\0b", "base64", "rot13", "undefined", "idna", "unicode_escape"):
        with refused("bad-setting", field="encoding"):
            DataConfig(encoding=name)
