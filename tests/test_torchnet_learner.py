import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812

from charloom.config import ModelConfig, TrainConfig, TransformerConfig  # noqa: E402
from charloom.data.vocabulary import Vocabulary  # noqa: E402
from charloom.models.engines import create_learner  # noqa: E402
from charloom.models.optimizers import SLOTS  # noqa: E402
from charloom.models.protocols import DependsOnThreads, Learner  # noqa: E402
from charloom.models.reference import ReferenceLearner  # noqa: E402
from charloom.models.torchnet import learner as learner_module  # noqa: E402
from charloom.models.torchnet.learner import TorchLearner  # noqa: E402
from charloom.models.torchnet.network import Dropout, Layout, Network  # noqa: E402
from charloom.models.torchnet.recurrent import RecurrentNetwork  # noqa: E402
from charloom.models.weights import initial_weights  # noqa: E402
from every_cell import CELLS, recurrent  # noqa: E402
from expect import refused  # noqa: E402

pytestmark = pytest.mark.torch

V, B, T = 7, 3, 5


def batch(seed: int, lanes: int = B, length: int = T) -> Any:
    return np.random.default_rng(seed).integers(0, V, (2, lanes, length))


def network(cell: str = "lstm", **options: Any) -> ModelConfig:
    return recurrent(cell, **{"layers": 2, "hidden": 6, **options})


def settings(**options: Any) -> TrainConfig:
    return TrainConfig(**{"batch": B, "length": T, "optimizer": "adam", **options})


def fresh(model: ModelConfig, train: TrainConfig, dtype: Any = "float32", seed: Any = None) -> Any:
    return create_learner(model, train, V, "torch", dtype, seed)


def trained(model: ModelConfig, train: TrainConfig, updates: int = 4, **options: Any) -> Any:
    learner = fresh(model, train, **options)
    for seed in range(updates):
        learner.update(*batch(seed), 0.05)
    return learner


def assert_equal(a: dict[str, Any], b: dict[str, Any], but: str = "nothing") -> None:
    assert list(a) == list(b)
    for name in a:
        if not name.startswith(but):
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", SLOTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_those_of_the_reference(cell: str, optimizer: str, dtype: str) -> None:
    model, train = network(cell, embedding=2), settings(optimizer=optimizer)
    learner, plain = trained(model, train, dtype=dtype), ReferenceLearner(model, train, V, dtype)
    assert isinstance(learner, Learner)
    for seed in range(4):
        plain.update(*batch(seed), 0.05)
    found, expected = learner.arrays(), plain.arrays()
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].flags.c_contiguous
        assert found[name].any() or name == "rng.seed"
    assert found["optimizer.updates"] == 4


@pytest.mark.parametrize("cell", CELLS)
def test_loss_changes_nothing_and_is_what_update_then_returns(cell: str) -> None:
    learner = trained(network(cell, embedding=2), settings(), dtype="float64")
    before = learner.arrays()
    loss = learner.loss(*batch(9))
    assert type(loss) is float
    assert loss == learner.loss(*batch(9))
    assert_equal(learner.arrays(), before)
    updated = learner.update(*batch(9), 0.1)
    assert type(updated) is float
    assert updated == pytest.approx(loss, rel=1e-12)  # the order of sums may be another
    learner.reset()
    assert learner.loss(*batch(9)) != loss
    assert not learner.arrays()["state.layer1.h"].any()


def test_loss_leaves_the_next_update_as_it_was() -> None:
    learners = [fresh(network(), settings(dropout=0.5)) for _ in range(2)]
    for seed in range(4):
        learners[1].loss(*batch(seed + 50))
        losses = [learner.update(*batch(seed), 0.1) for learner in learners]
        assert losses[0] == losses[1]
    assert_equal(learners[0].arrays(), learners[1].arrays())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("optimizer", SLOTS)
def test_a_saved_learner_goes_on_to_the_last_bit(cell: str, optimizer: str) -> None:
    model = network(cell, embedding=2)
    train = settings(optimizer=optimizer, dropout=0.3, clip_norm=1.0, clip_value=0.05)
    learner, other = (fresh(model, train, seed=seed) for seed in (5, 6))
    for seed in range(6):
        learner.update(*batch(seed), 0.05)
        other.update(*batch(seed + 50), 0.05)  # so that there is something to forget
        other.load(learner.arrays())
        assert_equal(other.arrays(), learner.arrays())
        ahead = [[one.update(*batch(s), 0.05) for s in range(10, 13)] for one in (learner, other)]
        assert ahead[0] == ahead[1]
        assert_equal(other.arrays(), learner.arrays())


def test_weights_alone_make_all_else_fresh() -> None:
    model, train = network(), settings(dropout=0.3)
    used, plain = trained(model, train, seed=5), fresh(model, train, seed=5)
    used.load({name: w.astype("float32") for name, w in initial_weights(model, V, 5).items()})
    assert_equal(used.arrays(), plain.arrays())
    assert used.update(*batch(9), 0.1) == plain.update(*batch(9), 0.1)
    assert_equal(used.arrays(), plain.arrays())


def test_arrays_that_do_not_fit_are_refused_and_change_nothing() -> None:
    learner = trained(network(), settings())
    before = learner.arrays()
    smaller = trained(network(), settings(optimizer="sgd")).arrays()
    wrong: list[tuple[Any, dict[str, object]]] = [
        ({}, {"missing": sorted(learner.layout)}),
        (initial_weights(network("gru"), V, 0), {"name": "layer0.Wx"}),
        (before | {"extra": np.zeros(1)}, {"unknown": ["extra"]}),
        (before | {"head.b": np.full(V, np.nan)}, {"name": "head.b"}),
        (smaller, {"unknown": []}),
        (fresh(network(), settings(batch=2)).arrays(), {"found": (2, 6), "needed": (3, 6)}),
    ]
    for arrays, facts in wrong:
        with refused("bad-array", **facts):
            learner.load(arrays)
        assert_equal(learner.arrays(), before)


@pytest.mark.parametrize("shape", [(B, T, 1), (1, T), (B + 1, T), (T,), (B, 0)])
def test_inputs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    learner = fresh(network(), settings())
    ids = np.zeros(shape, int)
    for call in (lambda: learner.loss(ids, ids), lambda: learner.update(ids, ids, 0.1)):
        with refused("bad-array", batch=3):
            call()
    with refused("bad-array"):
        learner.loss(np.zeros((B, T), int), np.zeros((B, T + 1), int))


@pytest.mark.parametrize("bad", [-1, V])
@pytest.mark.parametrize("spoiled", [0, 1])
def test_ids_outside_the_vocabulary_are_refused(bad: int, spoiled: int) -> None:
    learner = trained(network(), settings())
    before = learner.arrays()
    ids = batch(9)
    ids[spoiled][1, 2] = bad
    for call in (lambda: learner.loss(*ids), lambda: learner.update(*ids, 0.1)):
        with refused("bad-array", vocabulary_size=7):
            call()
    assert_equal(learner.arrays(), before)


@pytest.mark.parametrize("optimizer", SLOTS)
@pytest.mark.parametrize(("value", "told"), [(np.nan, np.nan), (-np.inf, np.inf)])
def test_a_loss_that_is_not_finite_comes_back_as_it_is_and_moves_nothing(
    value: float, told: float, optimizer: str
) -> None:
    train = settings(optimizer=optimizer, clip_value=1.0, dropout=0.3, weight_decay=0.1)
    learner, other = trained(network(), train), fresh(network(), train)
    whole, (inputs, targets) = learner.arrays(), batch(9)
    with torch.no_grad():
        learner.network.head_b[targets[2, 1]] = value
    before = learner.arrays()
    np.testing.assert_equal(learner.update(inputs, targets, 0.1), told)
    assert_equal(learner.arrays(), before, but="state.")
    for one in (learner, other):
        one.load(whole)
        one.update(*batch(10), 0.1)
    assert_equal(learner.arrays(), other.arrays())


@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("optimizer", SLOTS)
def test_a_gradient_that_overflows_under_a_finite_loss_tells_nan(
    optimizer: str, embedding: int
) -> None:
    train = settings(optimizer=optimizer, reduction="sum", weight_decay=0.1)
    model = network("rnn", embedding=embedding)
    learner = fresh(model, train)
    weights = {name: 0 * w for name, w in initial_weights(model, V, 0).items()}
    weights["head.W"][:, :2] = 1e38, -1e38  # h is 0: each logit is 0, each dh is 1e38
    learner.load(weights)
    before, ones = learner.arrays(), np.ones((B, T), int)
    assert learner.loss(ones, ones) == pytest.approx(math.log(V))
    assert math.isnan(learner.update(ones, ones, 0.1))
    assert_equal(learner.arrays(), before, but="state.")


def test_the_same_seed_gives_the_same_bits() -> None:
    one, other = (trained(network(), settings(dropout=0.3), seed=8) for _ in range(2))
    assert_equal(one.arrays(), other.arrays())


def test_another_length_keeps_the_carried_state() -> None:
    model, train = network(), settings(optimizer="adagrad")
    learner, plain = fresh(model, train, "float64"), ReferenceLearner(model, train, V)
    for length in (5, 3, 8, 5):
        step = batch(length, length=length)
        expected = plain.update(*step, 0.1)
        assert learner.update(*step, 0.1) == pytest.approx(expected, rel=1e-12)


# ---- parts of a step, and several processes


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_one_after_the_other_are_the_whole_step(parts: int, reduction: str) -> None:
    model, options = network("gru"), {"dropout": 0.3, "reduction": reduction, "clip_norm": 1.0}
    whole = fresh(model, settings(**options), "float64")
    cut = fresh(model, settings(accumulate=parts, **options), "float64")
    for seed in range(5):
        inputs, targets = batch(seed)
        assert cut.loss(inputs, targets) == pytest.approx(whole.loss(inputs, targets), rel=1e-12)
        expected = whole.update(inputs, targets, 0.05)
        assert cut.update(inputs, targets, 0.05) == pytest.approx(expected, rel=1e-12)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(cut.arrays()[name], array, rtol=0, atol=1e-11, err_msg=name)


def test_more_parts_than_sequences_are_refused() -> None:
    with refused("bad-setting", field="accumulate", needed=4, found=B):
        fresh(network(), settings(accumulate=4))


class Ring:
    """Two threads that add up vectors, and wait for each other to."""

    def __init__(self) -> None:
        self.both, self.vectors = threading.Barrier(2), [torch.zeros(0)] * 2

    def of(self, rank: int) -> Any:
        def add(vector: Any) -> None:
            self.vectors[rank] = vector.clone()
            self.both.wait()
            vector.copy_(self.vectors[0] + self.vectors[1])
            self.both.wait()

        return add


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_processes_compute_what_one_does(optimizer: str) -> None:
    train = settings(optimizer=optimizer, dropout=0.3, clip_norm=0.5)
    whole, ring, found = fresh(network(), train, "float64"), Ring(), {}

    def run(rank: int) -> None:
        rows = (slice(0, 2), slice(2, 3))[rank]
        net = fresh(network(), train, "float64").network
        learner = TorchLearner(net, train, "float64", rows=rows, reduce=ring.of(rank))
        learner.load(start)
        losses = []
        try:
            for seed in range(3, 8):
                inputs, targets = (ids[rows] for ids in batch(seed))
                losses += [learner.loss(inputs, targets), learner.update(inputs, targets, 0.05)]
        except BaseException:
            ring.both.abort()  # or the other thread waits for ever
            raise
        found[rank] = losses, learner.arrays()

    for seed in range(3):
        whole.update(*batch(seed), 0.05)
    start, expected = whole.arrays(), []
    for seed in range(3, 8):
        expected += [whole.loss(*batch(seed)), whole.update(*batch(seed), 0.05)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (0, 1)))
    assert found[0][0] == found[1][0]
    assert_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(found[0][0], expected, rtol=1e-12)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(found[0][1][name], array, rtol=0, atol=1e-11, err_msg=name)


# ---- a loss that is still being computed


def test_a_lazy_learner_does_the_same_and_counts_what_was_refused() -> None:
    train = settings(dropout=0.3)
    lazy, plain = fresh(network(), train), fresh(network(), train)
    lazy.lazy = True
    for seed in range(3):
        told = lazy.update(*batch(seed), 0.05)
        assert isinstance(told, torch.Tensor)
        assert float(told) == plain.update(*batch(seed), 0.05)
    before = lazy.arrays()
    assert_equal(before, plain.arrays())
    with torch.no_grad():
        lazy.network.head_b[0] = math.nan
    for seed in (3, 4):
        assert math.isnan(float(lazy.update(*batch(seed), 0.05)))
    after = lazy.arrays()
    assert after["optimizer.updates"] == before["optimizer.updates"]
    after["head.b"][0] = before["head.b"][0]
    assert_equal(after, before, but="state.")
    lazy.load(before)
    assert float(lazy.update(*batch(5), 0.05)) == plain.update(*batch(5), 0.05)


@pytest.mark.parametrize(
    ("cell", "optimizer", "clip"),
    [
        *(("rnn", name, 1.0) for name in SLOTS),
        ("rnn", "adamw", None),
        ("lstm", "adam", 1.0),
        ("gru", "adam", 1.0),
    ],
)
def test_nothing_in_an_update_waits_for_a_number(
    cell: str, optimizer: str, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device "meta" there are no numbers: whatever asks for one raises."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(learner_module, "autocast", lambda *_: nullcontext())
    options = {"optimizer": optimizer, "clip_norm": clip, "clip_value": clip, "weight_decay": 0.1}
    train = settings(dropout=0.3, accumulate=2, precision="fp16", **options)
    net = RecurrentNetwork(network(cell), V, torch.float32, torch.device("meta"))
    learner = TorchLearner(net, train)
    for seed in range(3):
        told: Any = learner.update(*batch(seed), 0.1)
        assert (type(told), told.shape, told.device.type) == (torch.Tensor, (), "meta")
    with pytest.raises(RuntimeError):
        float(told)


# ---- half precision


def half(precision: str, **options: Any) -> Any:
    train = settings(precision=precision, optimizer="sgd", **options)
    return TorchLearner(fresh(network("gru", hidden=32), settings()).network, train)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_is_not_the_same(precision: str) -> None:
    found, exact = half(precision), half("full")
    losses = [[one.update(*batch(seed), 0.1) for seed in range(5)] for one in (found, exact)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert losses[0] != losses[1]
    assert all(array.dtype != np.float16 for array in found.arrays().values())
    saved = found.arrays()
    assert ("optimizer.scale" in saved) == (precision == "fp16")
    other = half(precision)
    other.load(saved)
    ahead = [[one.update(*batch(seed), 0.1) for seed in range(5, 8)] for one in (found, other)]
    assert ahead[0] == ahead[1]
    assert_equal(found.arrays(), other.arrays())


def test_an_overflow_of_the_scaled_gradient_skips_the_step_and_halves_the_scale() -> None:
    learner = half("fp16", dropout=0.3, reduction="sum")
    start = learner.arrays() | {"optimizer.scale": np.float32([2.0**30, 17, 0])}
    learner.load(start)
    losses = [learner.update(*batch(0), 0.1) for _ in range(3)]
    assert all(type(loss) is float and math.isfinite(loss) for loss in losses)
    assert len({*losses}) == 3  # each with its own mask
    arrays = learner.arrays()
    assert arrays["optimizer.updates"] == 3
    np.testing.assert_array_equal(arrays["optimizer.scale"], np.float32([2.0**27, 0, 3]))
    assert_equal({n: a for n, a in arrays.items() if n in learner.layout},
                 {n: a for n, a in start.items() if n in learner.layout})  # fmt: skip
    other = half("fp16", dropout=0.3, reduction="sum")
    other.load(arrays)
    for seed in range(20):
        assert learner.update(*batch(seed), 0.1) == other.update(*batch(seed), 0.1)
    found = learner.arrays()
    assert_equal(found, other.arrays())
    assert found["optimizer.updates"] == 23
    skipped = int(found["optimizer.scale"][2])
    assert 3 < skipped < 20
    assert found["optimizer.scale"][0] == 2.0 ** (30 - skipped)
    assert learner.optimizer.moves == 23 - skipped


def test_the_scale_doubles_after_two_thousand_steps() -> None:
    learner = half("fp16")
    learner.load(learner.arrays() | {"optimizer.scale": np.float32([8, 1998, 5])})
    learner.update(*batch(0), 0.1)
    np.testing.assert_array_equal(learner.arrays()["optimizer.scale"], np.float32([8, 1999, 5]))
    learner.update(*batch(0), 0.1)
    np.testing.assert_array_equal(learner.arrays()["optimizer.scale"], np.float32([16, 0, 5]))


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_in_fp16_what_is_not_finite_without_a_scale_is_told(scale: float) -> None:
    learner = half("fp16", reduction="sum")
    huge = {n: 0 * a for n, a in learner.arrays().items() if n in learner.layout}
    huge["head.W"][:, :2] = 6e4, -6e4  # h is 0: each logit is 0, and dh is 1.2e5
    learner.load(learner.arrays() | huge | {"optimizer.scale": np.float32([scale, 3, 0])})
    before, ones = learner.arrays(), np.ones((B, T), int)
    told = learner.update(ones, ones, 0.1)
    if scale > 1:
        assert math.isfinite(told)
        return
    assert math.isnan(told)
    assert_equal(learner.arrays(), before, but="state.")
    learner.network.head_b.data[:] = math.nan
    assert math.isnan(learner.update(ones, ones, 0.1))
    after = learner.arrays()
    np.testing.assert_array_equal(after["optimizer.scale"], before["optimizer.scale"])
    assert after["optimizer.updates"] == before["optimizer.updates"]


def test_half_precision_is_refused_if_it_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("bad-setting", field="precision"):
        fresh(network(), settings(precision="bf16"), "float64")
    with refused("unsupported", field="precision"):
        fresh(network(), settings(precision="fp16"))
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    with refused("unsupported", field="precision"):
        fresh(network(), settings(precision="bf16"))


# ---- torch.compile


class Bigrams(Network):
    """A network without a state, which is a matrix of odds."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.vocabulary_size = TransformerConfig(mixer="attention", layers=1), V
        self.table = torch.nn.Parameter(torch.linspace(-1, 1, V * V).view(V, V))

    def forward(self, ids: Any, state: Any, masks: Any = ()) -> Any:
        logits = torch.sin(torch.nn.functional.embedding(ids, self.table)) * 2
        return logits, state

    def dropping(self, dropout: Any) -> Any:
        return nullcontext(())

    def layout(self) -> dict[str, Layout]:
        return {"table": Layout(self.table)}


compiling = pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")


@pytest.mark.slow
@compiling
def test_a_compiled_network_does_the_same() -> None:
    plain, compiled = (TorchLearner(Bigrams(), settings(compile=c)) for c in (False, True))
    assert compiled.forward is not compiled.network
    quick = {"compile_threads": 1, "cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False}
    with torch._inductor.config.patch(quick):  # it compiles sooner, if what runs slower
        for seed in range(3):
            expected = plain.update(*batch(seed), 0.1)
            assert compiled.update(*batch(seed), 0.1) == pytest.approx(expected, rel=1e-6)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0


@compiling
def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, str(tmp_path / "no compiler")))
    learner = TorchLearner(Bigrams(), settings(compile=True))
    with refused("unsupported", field="compile"):
        learner.update(*batch(0), 0.1)
    torch._dynamo.reset()


def test_recurrent_networks_are_not_compiled_and_it_is_said() -> None:
    with refused("unsupported", field="compile"):
        fresh(network(), settings(compile=True))


@pytest.mark.parametrize(
    "model",
    [
        network(),
        TransformerConfig(layers=1, width=8, heads=2, context=T),
        TransformerConfig(mixer="mingru", layers=1, width=8),
    ],
    ids=["lstm", "attention", "mingru"],
)
def test_it_computes_on_its_own_threads_and_so_does_the_model_that_it_lends(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), []
    learner = fresh(model, settings())
    assert isinstance(learner, DependsOnThreads)
    assert learner.threads == before

    def noting(function: Any) -> Any:
        def noted(*args: Any, **options: Any) -> Any:
            seen.append(torch.get_num_threads())
            return function(*args, **options)

        return noted

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", noting(F.cross_entropy))
    monkeypatch.setattr(torch.Tensor, "log_softmax", noting(torch.Tensor.log_softmax))
    learner.threads = before + 2
    learner.update(*batch(0), 0.05)
    learner.loss(*batch(0))
    lent = learner.model(Vocabulary.from_text("abcdefg"))
    lent.step(batch(0)[0][:, 0], lent.start(B))
    lent.log_probs(batch(0)[0], lent.start(B))
    assert seen == [before + 2] * 4
    with refused("bad-array"):
        learner.update(*(batch(0) + V), 0.05)
    assert torch.get_num_threads() == before


def test_masks_of_pytorch_s_own_begin_anew_for_each_step_part_and_seed() -> None:
    seeds = [
        Dropout(0.5, seed, update, 64, slice(first, first + 1)).torch_seed
        for seed in (0, 1, 2**63 - 1)
        for update in range(50)
        for first in range(20)
    ]
    assert len({*seeds, 0, 1, 2**63 - 1}) == len(seeds) + 3  # with adapters' first weights
