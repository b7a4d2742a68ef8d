"""The maths of the reference: against PyTorch, against min-char-rnn, and its operations."""

import itertools
from typing import Any

import numpy as np
import pytest

from charloom.config import ModelConfig, TrainConfig
from charloom.data.vocabulary import Vocabulary
from charloom.models.reference import ReferenceLearner, network
from charloom.models.reference.operations import (
    add_product_gradient,
    cross_entropy,
    log_softmax,
    product,
    sigmoid,
)
from charloom.models.weights import Weights, initial_weights
from every_cell import CELLS, recurrent

V, B, T = 7, 3, 5
Batch = tuple[np.ndarray, np.ndarray]

# Against PyTorch: its gates stand in other orders, its matrices are transposed.

TORCH_GATES = {"rnn": [0], "lstm": [0, 1, 3, 2], "gru": [0, 1, 2]}  # our i f o g is its i f g o


def to_torch(cell: str, w: np.ndarray) -> np.ndarray:
    gates = np.split(w, len(TORCH_GATES[cell]), axis=-1)
    return np.concatenate([gates[k] for k in TORCH_GATES[cell]], axis=-1).T


def torch_twin(torch: Any, config: ModelConfig, weights: Weights) -> dict[str, Any]:
    """The same network, as PyTorch tensors under our names."""
    D = config.embedding or V
    kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[config.cell]
    net = kind(D, config.hidden, config.layers, dtype=torch.float64)
    tensors: dict[str, Any] = {"net": net}
    for name in ("embedding", "head.W", "head.b"):
        if name in weights:
            tensors[name] = torch.tensor(weights[name], requires_grad=True)
    with torch.no_grad():
        for k in range(config.layers):
            for ours, theirs in (("Wx", "weight_ih"), ("Wh", "weight_hh"), ("b", "bias_ih")):
                tensor = getattr(net, f"{theirs}_l{k}")
                tensor.copy_(torch.tensor(to_torch(config.cell, weights[f"layer{k}.{ours}"])))
                tensors[f"layer{k}.{ours}"] = tensor
            second = getattr(net, f"bias_hh_l{k}").zero_()
            if config.reset == "biased-product":
                second[2 * config.hidden :] = torch.tensor(weights[f"layer{k}.bhn"])
                tensors[f"layer{k}.bhn"] = second
    return tensors


@pytest.mark.torch
@pytest.mark.parametrize(
    ("cell", "layers", "embedding"), list(itertools.product(CELLS[:4], [1, 2, 3], [0, 4]))
)
def test_loss_gradients_and_state_are_those_of_pytorch(
    cell: str, layers: int, embedding: int
) -> None:
    torch = pytest.importorskip("torch")
    config = recurrent(cell, layers=layers, hidden=8, embedding=embedding)
    rng = np.random.default_rng(layers)
    weights = initial_weights(config, V, 0)
    for w in weights.values():
        w += rng.normal(0, 0.3, w.shape)
    states = tuple(
        tuple(rng.normal(size=s.shape) for s in state) for state in network.zero_states(config, B)
    )
    ids, targets = rng.integers(0, V, (2, 9, B))

    logits, after, cache = network.forward(config, weights, ids, states)
    loss, dlogits = cross_entropy(logits, targets)
    gradients = network.backward(config, weights, dlogits / targets.size, cache)

    twin = torch_twin(torch, config, weights)
    one_hot = torch.eye(V, dtype=torch.float64)
    x = (twin["embedding"] if embedding else one_hot)[torch.tensor(ids)]
    start = [torch.tensor(np.stack(arrays)) for arrays in zip(*states, strict=True)]
    out, end = twin["net"](x, tuple(start) if cell == "lstm" else start[0])
    torch_logits = out @ twin["head.W"] + twin["head.b"]
    torch_loss = torch.nn.functional.cross_entropy(
        torch_logits.reshape(-1, V), torch.tensor(targets).reshape(-1)
    )
    torch_loss.backward()

    assert abs(loss - torch_loss.item()) <= 1e-10
    for ours, theirs in zip(
        zip(*after, strict=True), end if cell == "lstm" else [end], strict=True
    ):
        np.testing.assert_allclose(np.stack(ours), theirs.detach().numpy(), rtol=0, atol=1e-10)
    for name, gradient in gradients.items():
        found, expected = twin[name].grad.numpy(), gradient
        if name.endswith(".bhn"):
            found = found[2 * config.hidden :]
        elif name.startswith("layer"):
            expected = to_torch(config.cell, gradient)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("embedding", [0, 4])
def test_a_reset_of_the_state_is_that_of_the_paper(embedding: int) -> None:
    """Cho et al. 2014, equations 5 to 8, with a bias; z there is what stays of the past, as here.

    Its gradients are the loss's slopes: see test_cli_gradcheck.py.
    """
    config = recurrent("gru, state", layers=2, hidden=8, embedding=embedding)
    rng = np.random.default_rng(1)
    weights = {n: rng.normal(0, 0.5, w.shape) for n, w in initial_weights(config, V, 0).items()}
    ids = rng.integers(0, V, (9, B))
    found, after, _ = network.forward(config, weights, ids, network.zero_states(config, B))
    states = [np.zeros((8, B))] * 2  # in columns, as the paper has them
    for t, characters in enumerate(ids):
        x = (weights["embedding"] if embedding else np.eye(V))[characters].T
        for k in range(2):
            h = states[k]
            Wr, Wz, W = np.split(weights[f"layer{k}.Wx"].T, 3)
            Ur, Uz, U = np.split(weights[f"layer{k}.Wh"].T, 3)
            br, bz, b = np.split(weights[f"layer{k}.b"][:, None], 3)
            r = 1 / (1 + np.exp(-(Wr @ x + Ur @ h + br)))
            z = 1 / (1 + np.exp(-(Wz @ x + Uz @ h + bz)))
            x = states[k] = z * h + (1 - z) * np.tanh(W @ x + U @ (r * h) + b)
        expected = x.T @ weights["head.W"] + weights["head.b"]
        np.testing.assert_allclose(found[t], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose([a for (a,) in after], [h.T for h in states], rtol=0, atol=1e-12)


# Against the program it descends from, stated again with column vectors.


class MinCharRnn:
    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        names = ["layer0.Wx", "layer0.Wh", "head.W", "layer0.b", "head.b"]
        self.parameters = [np.array(arrays[name].T, ndmin=2) for name in names]
        self.memories = [np.array(arrays[f"optimizer.memory.{name}"].T, ndmin=2) for name in names]
        for columns in (self.parameters, self.memories):
            columns[3], columns[4] = columns[3].T, columns[4].T
        self.h = arrays["state.layer0.h"].T.copy()

    def update(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        Wxh, Whh, Why, bh, by = self.parameters
        hs, ps, loss = {-1: self.h}, {}, 0.0
        onehot = np.eye(len(by))[:, :, None]
        for t, c in enumerate(inputs):
            hs[t] = np.tanh(Wxh @ onehot[c] + Whh @ hs[t - 1] + bh)
            y = Why @ hs[t] + by
            ps[t] = np.exp(y) / np.exp(y).sum()
            loss -= np.log(ps[t][targets[t], 0])
        dWxh, dWhh, dWhy, dbh, dby = gradients = [np.zeros_like(p) for p in self.parameters]
        back = np.zeros_like(self.h)
        for t in range(len(inputs) - 1, -1, -1):
            dy = ps[t] - onehot[targets[t]]
            dWhy += dy @ hs[t].T
            dby += dy
            raw = (1 - hs[t] * hs[t]) * (Why.T @ dy + back)
            dbh += raw
            dWxh += raw @ onehot[inputs[t]].T
            dWhh += raw @ hs[t - 1].T
            back = Whh.T @ raw
        for p, g, memory in zip(self.parameters, gradients, self.memories, strict=True):
            g = np.clip(g, -5, 5)
            memory += g * g
            p -= 0.1 * g / np.sqrt(memory + 1e-8)
        self.h = hs[len(inputs) - 1]
        return loss


def min_char_rnn(seed: int, hidden: int = 100) -> tuple[ReferenceLearner, list[Batch]]:
    """Its settings, and its first 20 inputs and targets on a small text."""
    text = "we the people of the united states, in order to form a more perfect union, " * 8
    vocabulary = Vocabulary.from_text(text)
    ids, length = vocabulary.encode(text), 25
    model = ModelConfig(cell="rnn", layers=1, hidden=hidden, init_std=0.01)
    train = TrainConfig(
        optimizer="adagrad", reduction="sum", clip_value=5.0, batch=1, length=length
    )
    starts = range(0, 20 * length, length)
    batches = [(ids[p : p + length], ids[p + 1 : p + 1 + length]) for p in starts]
    return ReferenceLearner(model, train, len(vocabulary), seed=seed), batches


def test_each_of_twenty_updates_is_min_char_rnn_s_from_the_same_place() -> None:
    learner, batches = min_char_rnn(seed=1)
    for inputs, targets in batches:
        historic = MinCharRnn(learner.arrays())
        summed = historic.update(inputs, targets)
        assert learner.update(inputs[None], targets[None], 0.1) * 25 == pytest.approx(summed, 1e-12)
        now = MinCharRnn(learner.arrays())
        np.testing.assert_allclose(now.h, historic.h, rtol=0, atol=1e-12)
        for ours, theirs in zip(
            now.parameters + now.memories, historic.parameters + historic.memories, strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("seed", range(6))
def test_twenty_updates_on_end_give_the_losses_of_min_char_rnn(seed: int) -> None:
    # Narrow, since 100 hidden units are chaotic: rounding moves a loss by 0.4% 20 updates on.
    learner, batches = min_char_rnn(seed, hidden=16)
    historic = MinCharRnn(learner.arrays())
    for inputs, targets in batches:
        summed = historic.update(inputs, targets)
        assert learner.update(inputs[None], targets[None], 0.1) * 25 == pytest.approx(summed, 1e-11)


# The operations.


def test_one_hot_products_are_row_lookups_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    W, dy, ids = rng.normal(size=(V, 8)), rng.normal(size=(6, 8)), np.array([2, 0, 2, 6, 2, 1])
    one_hot = np.eye(V)[ids]
    assert np.array_equal(product(ids, W), one_hot @ W)
    by_ids, dense = np.zeros_like(W), np.zeros_like(W)
    add_product_gradient(by_ids, ids, dy)
    add_product_gradient(dense, one_hot, dy)
    np.testing.assert_allclose(by_ids, dense, rtol=0, atol=1e-15)
    assert not by_ids[[3, 4, 5]].any()


def test_sigmoid_and_softmax_bear_any_number() -> None:
    a = np.array([-1e4, -800.0, -3.0, 0.0, 3.0, 800.0, 1e4])
    expected = 1 / (1 + np.exp(-a[2:5]))  # by tanh: what is rounded is a number near 1
    np.testing.assert_allclose(sigmoid(a)[2:5], expected, rtol=0, atol=1e-15)
    assert np.array_equal(sigmoid(a)[[0, 1, 3, 5, 6]], [0, 0, 0.5, 1, 1])
    for dtype in ("float32", "float64"):
        log_p = log_softmax(a.astype(dtype))
        assert log_p.dtype == dtype
        assert log_p[-1] == 0
        assert np.isfinite(log_p).all()


def test_loss_of_even_odds_is_log_v() -> None:
    logits, targets = np.full((T, B, V), 3.0), np.random.default_rng(0).integers(0, V, (T, B))
    loss, dlogits = cross_entropy(logits, targets)
    assert loss == pytest.approx(np.log(V), rel=1e-15)
    np.testing.assert_allclose(dlogits, 1 / V - np.eye(V)[targets], atol=1e-15)
