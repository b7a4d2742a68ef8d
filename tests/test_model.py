import json
import sys
from importlib.util import find_spec

import pytest

from charloom.config import ModelConfig, NgramConfig, TrainConfig, TransformerConfig
from charloom.data.vocabulary import Vocabulary
from charloom.distributed import Place
from charloom.models import engines as module
from charloom.models.engines import create_learner, create_model, pick_engine
from charloom.models.reference import ReferenceModel
from charloom.runs.open import is_pretrained
from expect import refused

LSTM, TRANSFORMER, TRAIN = ModelConfig(), TransformerConfig(), TrainConfig()


@pytest.fixture(autouse=True)
def alone_and_without_a_gpu(monkeypatch):
    monkeypatch.setattr(module, "place", lambda: None)
    monkeypatch.setattr(module, "has_gpu", lambda: False)


@pytest.mark.parametrize(
    ("model", "train", "engine"),
    [
        (LSTM, None, "compiled"),
        (LSTM, TRAIN, "compiled"),
        (LSTM, TrainConfig(precision="fp16"), "torch"),
        (LSTM, TrainConfig(accumulate=2), "torch"),
        (LSTM, TrainConfig(compile=True), "torch"),
        (TRANSFORMER, TRAIN, "torch"),
    ],
)
def test_auto_is_the_compiled_engine_wherever_that_can(model, train, engine) -> None:
    assert pick_engine("auto", model, train) == engine


def test_auto_trains_on_a_gpu_where_there_is_one_and_reads_on_the_processor(monkeypatch) -> None:
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    assert pick_engine("auto", LSTM, TRAIN) == "torch"
    assert pick_engine("auto", LSTM) == "compiled"


@pytest.mark.parametrize(
    ("amx", "torch", "engine"),
    [(True, True, "compiled"), (False, True, "torch"), (False, False, "compiled")],
)
def test_auto_trains_in_bf16_where_that_is_fastest(monkeypatch, amx, torch, engine) -> None:
    monkeypatch.setattr(module, "has_amx", lambda: amx)
    monkeypatch.setattr(module, "has_torch", lambda: torch)
    assert pick_engine("auto", LSTM, TrainConfig(precision="bf16")) == engine


def test_auto_is_pytorch_in_several_processes(monkeypatch) -> None:
    for ranks in (2, 1):  # of several, one may be all that is left
        monkeypatch.setattr(module, "place", lambda n=ranks: Place(0, n, 0, "127.0.0.1", 29500))
        assert pick_engine("auto", LSTM, TRAIN) == "torch"
        with refused("unsupported", asked="several processes"):
            pick_engine("compiled", LSTM, TRAIN)


@pytest.mark.parametrize("engine", ["reference", "compiled", "torch"])
def test_an_engine_that_is_asked_for_is_taken(engine) -> None:
    assert pick_engine(engine, LSTM, TRAIN) == engine


@pytest.mark.parametrize(
    ("engine", "model", "train", "what"),
    [
        ("compiled", TRANSFORMER, TRAIN, "this model"),
        ("reference", TRANSFORMER, TRAIN, "this model"),
        ("compiled", TRANSFORMER, None, "this model"),
        ("compiled", LSTM, TrainConfig(precision="fp16"), "--precision fp16"),
        ("reference", LSTM, TrainConfig(precision="bf16"), "--precision bf16"),
        ("reference", LSTM, TrainConfig(accumulate=3), "--accumulate"),
        ("compiled", LSTM, TrainConfig(compile=True), "--compile"),
    ],
)
def test_an_engine_that_cannot_do_it_says_what(engine, model, train, what) -> None:
    with refused("unsupported", engine=engine, asked=what):
        pick_engine(engine, model, train)


def test_a_transformer_is_read_by_the_reference_engine_where_pytorch_is_missing(monkeypatch):
    if find_spec("torch"):
        assert pick_engine("auto", TRANSFORMER) == "torch"
    assert pick_engine("reference", TRANSFORMER) == "reference"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pick_engine("auto", TRANSFORMER) == "reference"
    assert pick_engine("torch", TRANSFORMER) == "torch"
    assert pick_engine("auto", TRANSFORMER, TRAIN) == "torch"


def test_an_ngram_model_needs_no_pytorch() -> None:
    assert pick_engine("auto", NgramConfig()) != "torch"


def test_where_pytorch_is_missing_the_error_names_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with refused("missing-library", library="torch"):
        create_learner(TRANSFORMER, TRAIN, 9)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocabulary_size", 0), ("vocabulary_size", -1), ("engine", "gpu"), ("dtype", "float16")],
)
def test_a_wrong_argument_is_refused_when_a_learner_is_asked_for(field, value) -> None:
    with refused("bad-setting", field=field):
        create_learner(LSTM, TRAIN, **({"vocabulary_size": 9} | {field: value}))


def test_what_a_learner_saved_is_enough_for_a_model() -> None:
    learner = create_learner(ModelConfig(hidden=3), TRAIN, 5, "reference", "float64", seed=1)
    model = create_model(
        ModelConfig(hidden=3), learner.arrays(), Vocabulary(tuple("abcde")), "reference"
    )
    assert isinstance(model, ReferenceModel)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"model_type": "gpt2"}, True),
        ({"model": {"kind": "recurrent"}}, False),
        (["model_type"], False),
        (None, False),
    ],
)
def test_a_folder_with_a_model_type_is_a_pretrained_model(tmp_path, document, expected) -> None:
    if document is not None:
        (tmp_path / "config.json").write_text(json.dumps(document))
    assert is_pretrained(tmp_path) is expected
