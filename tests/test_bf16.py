"""Products in bf16: held to NumPy's of rounded matrices, and AMX and vectors to each other."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.config import ModelConfig, NgramConfig, TrainConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models import engines
from charloom.models.compiled import CompiledLearner, CompiledModel, language_model, learner
from charloom.models.compiled.bf16 import AMX, SIDE, VECTORS, fastest_bf16, rounded, tiled_size
from charloom.models.compiled.products import (
    BF16_BLOCK,
    BF16_PANEL,
    Panels,
    aligned,
    back_product,
    get_ready,
    gradient_product,
    pack,
    pack_back,
    packed_size,
    product,
    rows_size,
)
from charloom.models.compiled.program import Program
from charloom.models.engines import create_model
from charloom.models.reference import ReferenceLearner
from charloom.models.weights import initial_weights
from every_cell import CELLS, recurrent
from expect import refused
from test_compiled import V, batches, kept

needs_amx = pytest.mark.skipif(fastest_bf16() != AMX, reason="this processor has no AMX")
KINDS = [VECTORS, pytest.param(AMX, marks=needs_amx)]


def multiply(out, base, a, w, packed, turn):
    program = Program("float32")
    get_ready("float32", packed.kind)
    pack(program, packed, w)
    product(program, out, base, a, w, packed, turn)
    program()


def multiply_back(out, base, a, w, packed, turn):
    program = Program("float32")
    get_ready("float32", packed.kind)
    pack_back(program, packed, w)
    back_product(program, out, base, a, w, packed, turn)
    program()


def multiply_transpose(out, zeros, a, b, panel):
    program = Program("float32")
    get_ready("float32", panel.kind)
    gradient_product(program, out, zeros, a, b, panel)
    program()


def room(size, K, M, kind):
    def empty(count):
        array = aligned((count,), "float32")
        array[...] = np.nan
        return array

    return Panels(empty(size), empty(rows_size(K, M, kind)), kind)


def forward(base, a, w, kind):
    """base + a w, in three ways that must have the same bits."""
    (M, K), N = a.shape, w.shape[1]
    found = []
    for way, matrix in ((multiply, w), (multiply_back, w.T)):
        laid_out = aligned(matrix.shape, "float32")
        laid_out[...] = matrix
        packed = room(packed_size(K, N, "float32", kind), K, 0, kind)
        out = np.full((M, N), np.nan, np.float32)
        way(out, base, a, laid_out, packed, len(found))
        found.append(out)
    assert_same_bits(*found)
    if base.shape[0] == M:
        out = base.copy()
        multiply_back(out, out, a, laid_out, packed, 0)
        assert_same_bits(out, found[0])
    return found[0]


def gradient(a, b, kind):
    M, N = a.shape[1], b.shape[1]
    out, panel = (
        np.full((M, N), np.nan, np.float32),
        room(tiled_size(BF16_BLOCK, BF16_PANEL), 1, M, kind),
    )
    multiply_transpose(out, np.zeros((1, N), np.float32), a, b, panel)
    return out


def assert_same_bits(x, y):
    np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
    there = ~np.isnan(x)
    np.testing.assert_array_equal(x[there].view(np.uint32), y[there].view(np.uint32))


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


sizes = (
    st.sampled_from([1, 4, 15, 16, 17, 32, 33, 50]),
    st.sampled_from([1, 2, 31, 32, 33, 70]),
    st.sampled_from([1, 15, 16, 17, 48, 63, 64, 65, 130]),
)


@pytest.mark.parametrize("kind", KINDS)
@given(*sizes, st.booleans())
def test_products_are_numpys_of_rounded_matrices(kind, M, K, N, one_row):
    rng = np.random.default_rng(M * 10000 + K * 100 + N)
    base, a, w = normal(rng, 1 if one_row else M, N), normal(rng, M, K), normal(rng, K, N)
    expected = base + rounded(a).astype(np.float64) @ rounded(w).astype(np.float64)
    # What is summed is exact, but for some 70 roundings to 24 bits of sums below 50.
    np.testing.assert_allclose(forward(base, a, w, kind), expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(st.sampled_from([1, 2, 33, BF16_BLOCK, BF16_BLOCK + 9]), *sizes[::2])
def test_gradient_products_are_numpys_of_rounded_matrices(kind, K, M, N):
    rng = np.random.default_rng(M * 10000 + K * 100 + N)
    a, b = normal(rng, K, M), normal(rng, K, N)
    expected = rounded(a).astype(np.float64).T @ rounded(b).astype(np.float64)
    np.testing.assert_allclose(gradient(a, b, kind), expected, rtol=0, atol=3e-4)


@needs_amx
@given(*sizes, st.integers(0, 40))
def test_vectors_and_amx_have_the_same_bits(M, K, N, powers):
    """Of numbers of all sizes, so that sums round, cancel and leave what a float32 can tell."""
    rng = np.random.default_rng(M * 10000 + K * 100 + N)

    def numbers(*shape):
        return normal(rng, *shape) * np.float32(2.0) ** rng.integers(-powers, powers + 1, shape)

    base, a, w = numbers(M, N), numbers(M, K), numbers(K, N)
    base, a, w = (x.astype(np.float32) * np.float32(2.0**-50) for x in (base, a, w))
    assert_same_bits(forward(base, a, w, VECTORS), forward(base, a, w, AMX))
    b = numbers(M, N).astype(np.float32)
    assert_same_bits(gradient(a, b, VECTORS), gradient(a, b, AMX))


@given(st.integers(0, 2**32 - 1))
@example(0x3F808000)  # half way between two: to the even one, which is below
@example(0x3F818000)  # above
def test_rounding_takes_the_nearest(bits):
    x = np.array([bits], np.uint32).view(np.float32)
    found = rounded(x)
    assert (found.view(np.uint32) & 0xFFFF == 0).all() or np.isnan(x).all()
    if np.isnan(x[0]) or np.isinf(x[0]):
        np.testing.assert_array_equal(found, x)
    elif abs(x[0]) < np.finfo(np.float32).tiny:
        assert found[0] == 0
        assert np.signbit(found[0]) == np.signbit(x[0])
    else:
        below, above = (np.uint32(bits & 0xFFFF0000) + np.uint32(n) for n in (0, 0x10000))
        both = np.array([below, above], np.uint32).view(np.float32)
        near = both.astype(np.float64)
        near[np.isinf(near)] = math.copysign(2.0**128, x[0])
        distances = abs(near - x.astype(np.float64))
        best = int(distances[1] < distances[0])
        if distances[0] == distances[1]:
            best = int(below >> np.uint32(16) & np.uint32(1))
        assert found[0] == both[best]


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_round_as_numpy_does(kind):
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32)
    special = [0x80000000, 1, 0x807FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FFFFFFF]
    x = np.concatenate([bits, np.array(special, np.uint32)]).view(np.float32)[None]
    one, zeros = np.ones((1, 1), np.float32), np.zeros((1, x.size), np.float32)
    np.testing.assert_array_equal(forward(zeros, one, x, kind), rounded(x))
    np.testing.assert_array_equal(
        forward(zeros[:, :1].repeat(x.size, 0), x.T, one, kind), rounded(x).T
    )


def test_a_packed_matrix_is_not_larger_than_it_says():
    for K, N in ((1, 1), (33, 17), (64, 64)):
        packed = room(packed_size(K, N, "float32", VECTORS) + 1, K, 0, VECTORS)
        out = np.zeros((SIDE + 1, N), np.float32)
        multiply(
            out, out, np.ones((SIDE + 1, K), np.float32), np.ones((K, N), np.float32), packed, 0
        )
        assert np.isnan(packed.numbers[-1])
        assert (out == K).all()


def trained(model, steps, rate, **settings):
    train = TrainConfig(optimizer="sgd", learning_rate=rate, length=7, **settings)
    found = CompiledLearner(model, train, V, "float32", seed=3)
    losses = [found.update(*step, rate) for step in batches(train, steps)]
    return found, losses


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("layers", "hidden", "embedding", "batch"), [(1, 9, 0, 1), (2, 40, 11, 5), (3, 20, 0, 35)]
)
def test_gradients_are_the_references_but_for_the_rounding(cell, layers, hidden, embedding, batch):
    """Relative errors of 2^-9 in each factor, of which sums average most away."""
    model = recurrent(cell, layers=layers, hidden=hidden, embedding=embedding)
    settings = {"batch": batch, "dropout": 0.3}
    found, _ = trained(model, 1, 1.0, precision="bf16", **settings)
    train = TrainConfig(optimizer="sgd", learning_rate=1.0, length=7, **settings)
    exact = ReferenceLearner(model, train, V, "float64", seed=3)
    exact.update(*next(batches(train, 1)), 1.0)
    for name, first in initial_weights(model, V, 3).items():
        moved, expected = (side.arrays()[name] - first for side in (found, exact))
        error = np.linalg.norm(moved - expected) / np.linalg.norm(expected)
        assert 0 < error < 0.02, name


@pytest.mark.parametrize("cell", CELLS)
def test_a_run_goes_on_without_amx_to_the_same_bits(cell, monkeypatch):
    model, found = recurrent(cell, hidden=40, layers=2, embedding=5), []
    for kind in {fastest_bf16(), VECTORS}:
        monkeypatch.setattr(learner, "fastest_bf16", lambda kind=kind: kind)
        train = TrainConfig(batch=20, length=7, dropout=0.2, precision="bf16")
        one = CompiledLearner(model, train, V)
        losses = [one.update(*step, 0.01) for step in batches(train, 4)]
        found.append((losses, kept(one)))
    np.testing.assert_equal(found[0], found[-1])


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        one, losses = trained(ModelConfig(hidden=40), 5, 0.1, batch=40, precision="bf16")
        found.append((losses, kept(one)))
    np.testing.assert_equal(*found)


def test_it_learns_what_full_precision_learns_and_not_to_the_same_bits():
    model = ModelConfig(hidden=40, embedding=8)
    halves, full = (
        trained(model, 60, 1.0, batch=4, precision=precision)[1] for precision in ("bf16", "full")
    )
    assert halves != full
    np.testing.assert_allclose(halves, full, rtol=0.02)


def test_the_lent_model_is_in_full_precision():
    vocabulary = Vocabulary.from_text("".join(map(chr, range(97, 97 + V))))
    model = ModelConfig(hidden=40)
    one, _ = trained(model, 2, 0.1, batch=4, precision="bf16")
    names = initial_weights(model, V, 0)
    weights = {name: array for name, array in one.arrays().items() if name in names}
    ids = next(batches(TrainConfig(batch=4, length=7), 1))[0]
    lent, copied = one.model(vocabulary), CompiledModel(model, weights, vocabulary)
    np.testing.assert_equal(*(side.log_probs(ids, side.start(4)) for side in (lent, copied)))


@needs_amx
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_in_bf16_predicts_nearly_the_same_alone_and_in_company(cell, monkeypatch):
    monkeypatch.setattr(language_model, "WORTH_A_THREAD", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    vocabulary = Vocabulary.from_text("".join(map(chr, range(97, 97 + V))))
    config = recurrent(cell, hidden=40, layers=2, embedding=8)
    weights = initial_weights(config, V, 0)
    halves, full = (
        create_model(config, weights, vocabulary, precision=precision)
        for precision in ("bf16", "full")
    )
    ids = np.random.default_rng(0).integers(0, V, (19, 30), dtype=np.int32)
    found, expected = (model.log_probs(ids, model.start(19))[0] for model in (halves, full))
    assert 0 < abs(found - expected).max() < 0.02
    for lane in (0, 18):
        alone, _ = halves.log_probs(ids[lane : lane + 1], halves.start(1))
        np.testing.assert_array_equal(alone[0], found[lane])


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (ModelConfig(hidden=8), {"precision": "bf16", "engine": "reference"}),
        (ModelConfig(hidden=8), {"precision": "bf16", "dtype": "float64"}),
        (ModelConfig(hidden=8), {"precision": "fp16"}),
        (NgramConfig(), {"precision": "bf16"}),
    ],
)
def test_a_model_that_does_not_predict_in_bf16_is_refused(config, options):
    with refused("unsupported", field="precision"):
        create_model(config, {}, Vocabulary.from_text("ab"), **options)


def test_a_processor_without_amx_predicts_in_full(monkeypatch):
    monkeypatch.setattr(engines, "has_amx", lambda: False)
    with refused("unsupported", field="precision"):
        create_model(ModelConfig(hidden=8), {}, Vocabulary.from_text("ab"), precision="bf16")


def test_float64_is_refused():
    with refused("bad-setting", field="precision"):
        CompiledLearner(ModelConfig(), TrainConfig(precision="bf16"), V, "float64")
