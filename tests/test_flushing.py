"""What is below 1e-38 becomes 0 in kernels, and nowhere else."""

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.models.compiled import CompiledLearner
from charloom.models.compiled.bf16 import ON_X86
from charloom.models.compiled.flushing import flush, restore
from charloom.models.jit import kernel
from expect import refused

TINY = np.array([3e-39, -3e-39, 2e-38, 1.0], np.float32)


@kernel
def halve(x, out):
    for i in range(x.size):
        out[0, i] = x[i] * np.float32(0.5)
    before = flush()
    for i in range(x.size):
        out[1, i] = x[i] * np.float32(0.5)
    restore(before)
    for i in range(x.size):
        out[2, i] = x[i] * np.float32(0.5)


def are_kept() -> bool:
    return bool((TINY[:2] * np.float32(0.5) != 0).all() and float("1e-310") * 0.5 != 0)


@pytest.mark.skipif(not ON_X86, reason="only on x86")
def test_tiny_numbers_are_flushed_between_the_two_and_kept_outside():
    out = np.empty((3, 4), np.float32)
    halve(TINY, out)
    exact = TINY * np.float32(0.5)
    np.testing.assert_array_equal(out[0], exact)
    np.testing.assert_array_equal(out[1], [0, 0, 0, 0.5])  # 1e-38 is below the least as well
    np.testing.assert_array_equal(out[2], exact)
    assert are_kept()


def test_a_learner_leaves_pythons_own_sums_alone():
    train = TrainConfig(batch=20, length=5)
    learner = CompiledLearner(ModelConfig(hidden=8), train, 3)
    ids = np.zeros((20, 5), np.int32)
    learner.update(ids, ids, 0.1)
    assert are_kept()
    learner.loss(ids, ids)
    assert are_kept()
    for inputs, targets in ((ids, ids + 3), (ids + 3, ids)):
        with refused("bad-array", vocabulary_size=3):
            learner.update(inputs, targets, 0.1)
        assert are_kept()
