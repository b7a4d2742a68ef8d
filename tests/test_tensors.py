import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from safetensors.numpy import save

from charloom.config import Cell, Dtype, ModelConfig, NgramConfig, Optimizer, RunConfig, TrainConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.engines import create_learner
from charloom.models.ngram import NgramModel
from charloom.runs.tensors import expected_arrays, to_blocks


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


NAMES = st.text(min_size=1, max_size=9)
ARRAYS = st_numpy.arrays(
    st.sampled_from(["f4", "f8", "i8", "u1", "u2", "u4"]),
    st_numpy.array_shapes(max_dims=3, min_side=0),
)


@settings(max_examples=50)
@given(st.dictionaries(NAMES, ARRAYS, max_size=5))
def test_the_bytes_are_those_of_the_safetensors_library(arrays):
    assert b"".join(to_blocks(arrays)) == save(arrays)


def test_a_large_array_is_not_copied_and_one_in_another_order_is_saved_as_it_looks():
    large = np.random.default_rng(0).normal(size=(300, 400))
    assert b"".join(to_blocks({"a": large})) == save({"a": large})
    _, first, *_ = to_blocks({"a": large})
    assert np.shares_memory(np.asarray(first), large)
    assert b"".join(to_blocks({"a": large.T})) == save({"a": large.T.copy()})
