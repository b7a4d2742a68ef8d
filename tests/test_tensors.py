import itertools
from typing import get_args

import numpy as np
import pytest

from charloom.config import Cell, Dtype, ModelConfig, NgramConfig, Optimizer, RunConfig, TrainConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.engines import create_learner
from charloom.models.ngram import NgramModel
from charloom.runs.tensors import expected_arrays


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("cell", get_args(Cell))
@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_the_expected_arrays_are_those_that_learners_give(engine, cell, optimizer):
    for layers, embedding, dtype in itertools.product((1, 3), (0, 5), get_args(Dtype)):
        model = ModelConfig(cell=cell, layers=layers, hidden=4, embedding=embedding)
        train = TrainConfig(batch=2, length=3, optimizer=optimizer)
        expected = expected_arrays(RunConfig(model=model, train=train, dtype=dtype), 7)
        arrays = create_learner(model, train, 7, engine, dtype).arrays()
        assert {name: (str(a.dtype), a.shape) for name, a in arrays.items()} == {
            name: (*e.dtypes, e.shape) for name, e in expected.items()
        }


@pytest.mark.parametrize("repeats", [1, 300, 70_000])  # counts of one, two and four bytes
def test_the_expected_counts_are_those_that_an_ngram_model_gives(repeats):
    config, vocabulary = NgramConfig(order=3), Vocabulary(("a", "b"))
    arrays = NgramModel.fit(np.tile([0, 1], repeats), vocabulary, config).arrays()
    expected = expected_arrays(RunConfig(model=config), 2)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert str(array.dtype) in expected[name].dtypes
        assert array.ndim == len(expected[name].shape)


def test_the_largest_settings_cost_nothing_to_look_at():
    model = ModelConfig(cell="lstm", layers=256, hidden=65536, embedding=65536)
    expected = expected_arrays(RunConfig(model=model), 1_114_112)
    assert expected["layer255.Wh"].shape == (65536, 4 * 65536)
    assert len(expected) == 3 * (3 * 256 + 3) + 2 * 256 + 2
