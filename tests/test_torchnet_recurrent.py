"""Three engines, one network: same weights and text, same numbers."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from charloom.config import Dtype, ModelConfig, SampleConfig, TrainConfig  # noqa: E402
from charloom.data.vocabulary import Vocabulary  # noqa: E402
from charloom.generation.sampling import generate_many  # noqa: E402
from charloom.models.engines import create_learner, create_model  # noqa: E402
from charloom.models.torchnet import new_network  # noqa: E402
from charloom.models.weights import initial_weights, weight_shapes  # noqa: E402
from every_cell import CELLS, HARD_GATES, recurrent  # noqa: E402

pytestmark = pytest.mark.torch

V, B, T = 11, 4, 6
BARS: dict[Dtype, float] = {"float64": 1e-10, "float32": 1e-4}
ALPHABET = Vocabulary(tuple("abcdefghijk"))


def batches(count: int, lanes: int = B, length: int = T) -> Any:
    ids = np.random.default_rng(1).integers(0, V, (count, lanes, length + 1), dtype=np.uint8)
    return [(step[:, :-1], step[:, 1:]) for step in ids]


def network(cell: str, layers: int, embedding: int) -> ModelConfig:
    return recurrent(cell, layers=layers, hidden=9, embedding=embedding)


def three(model: ModelConfig, train: TrainConfig, dtype: Dtype) -> list[Any]:
    engines = ("reference", "compiled", "torch")
    return [create_learner(model, train, V, e, dtype, seed=4) for e in engines]  # type: ignore[arg-type]


def assert_close(found: Any, expected: Any, bar: float, what: str) -> None:
    np.testing.assert_allclose(found, expected, rtol=bar, atol=bar, err_msg=what)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("embedding", [0, 5])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS + HARD_GATES)
def test_three_engines_are_one(cell: str, layers: int, embedding: int, dtype: Dtype) -> None:
    """Loss, gradients by name, carried state, losses of training, and what is then written."""
    model, bar = network(cell, layers, embedding), BARS[dtype]
    # One step of plain SGD at rate 1 moves each weight by its gradient.
    train = TrainConfig(batch=B, length=T, optimizer="sgd", reduction="sum", dropout=0.3)
    learners = three(model, train, dtype)
    start = {name: learners[0].arrays()[name].copy() for name in weight_shapes(model, V)}
    for inputs, targets in batches(2):  # the second begins with a state that is not 0
        before, losses, reads, gradients = [], [], [], []
        for learner in learners:
            learner.load(learner.arrays() | start)
            reads.append(learner.loss(inputs, targets))
            losses.append(learner.update(inputs, targets, 1.0))
            arrays = learner.arrays()
            gradients.append({n: start[n] - arrays[n] for n in start})
            before.append({n: a for n, a in arrays.items() if n.startswith("state.")})
        assert losses[0] != reads[0]
        for engine in (1, 2):
            assert_close(losses[engine], losses[0], bar, "loss")
            assert_close(reads[engine], reads[0], bar, "loss without dropout")
            assert gradients[engine].keys() == gradients[0].keys()
            for name, gradient in gradients[0].items():
                assert gradient.any()
                assert_close(gradients[engine][name], gradient, bar, name)
            assert before[engine].keys() == before[0].keys()
            for name, state in before[0].items():
                assert_close(before[engine][name], state, bar, name)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS + HARD_GATES)
def test_three_engines_train_and_write_the_same(cell: str, layers: int, dtype: Dtype) -> None:
    model, bar = network(cell, layers, 0), BARS[dtype]
    train = TrainConfig(batch=B, length=T, optimizer="adamw", weight_decay=0.1)
    learners = three(model, train, dtype)
    steps = 3 if cell == "rnn" else 10
    told = [[learner.update(*step, 0.01) for step in batches(steps)] for learner in learners]
    assert_close(told[1], told[0], bar, "compiled")
    assert_close(told[2], told[0], bar, "torch")
    weights = learners[0].arrays()
    texts = []
    for engine in ("reference", "compiled", "torch"):
        reader = create_model(model, weights, ALPHABET, engine, dtype)  # type: ignore[arg-type]
        texts.append(generate_many(reader, SampleConfig(seed=2), "abc", 8, 2))
    assert len(texts[0][0]) == 8
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("cell", CELLS)
def test_what_pytorch_keeps_is_the_contract_turned_round(cell: str) -> None:
    """Rows i f g o of the transpose, the second bias 0 and never trained, but for a GRU's bhn."""
    model = network(cell, 2, 0)
    weights = initial_weights(model, V, 3)
    for name in ("layer1.b", "layer1.bhn"):
        if name in weights:
            weights[name] += np.arange(1, weights[name].size + 1)
    net = new_network(model, V, "float64")
    net.put(weights)
    second = net.cells[1]
    order = [0, 1, 3, 2] if cell == "lstm" else range(3 if cell.startswith("gru") else 1)
    columns = np.concatenate([np.arange(9) + 9 * gate for gate in order])
    pairs = {"weight_ih_l0": "Wx", "weight_hh_l0": "Wh", "bias_ih_l0": "b"}
    for theirs, ours in pairs.items():
        kept = getattr(second, theirs).detach().numpy()
        np.testing.assert_array_equal(kept, weights[f"layer1.{ours}"].T[columns])
    for name, layout in net.layout().items():
        np.testing.assert_array_equal(layout.read(layout.parameter), weights[name])
    kept = second.bias_hh_l0.detach().numpy()
    last = weights.get("layer1.bhn", np.zeros(9))
    np.testing.assert_array_equal(kept, [*np.zeros(len(kept) - 9), *last])
    assert second.bias_hh_l0.requires_grad == ("layer1.bhn" in weights)
    assert {id(p) for p in net.parameters() if p.requires_grad} == {
        id(layout.parameter) for layout in net.layout().values()
    }


def test_making_a_network_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    new_network(network("lstm", 2, 3), V, "float32")
    assert torch.equal(torch.random.get_rng_state(), before)
