"""A recurrent network as ONNX's own operators RNN, LSTM and GRU.

ONNX has a gate in rows, we have it in columns. Its gates are in the order i o f g and z r n. It has
two biases; the second is zero here, but for a GRU's bias within the reset. Its GRU with
`linear_before_reset` is ours: h[t] = (1 - z) n + z h[t-1], with the reset after the recurrent
product; without, it is that whose reset gate multiplies the state.
"""

from typing import Any

import numpy as np
from msgspec import UNSET

from charloom.config import ModelConfig
from charloom.formats.onnx.graph import AFTER, Graph
from charloom.models.weights import Array, Weights

_ORDER = {"rnn": (0,), "lstm": (0, 2, 1, 3), "gru": (1, 0, 2)}


def add_network(graph: Graph, config: ModelConfig, weights: Weights) -> str:
    """Add the nodes from `ids` (B, T) to logits (B, T, V); return the name of the logits.

    Each state (B, H) is an input, and an output with ``.after`` at the end of its name.
    """
    if config.embedding:
        x = graph.add("Gather", graph.constant(weights["embedding"], "embedding"), "ids")
    else:
        V = graph.constant([len(weights["head.b"])])
        x = graph.add("OneHot", "ids", V, graph.constant([0.0, 1.0]))
    x = graph.add("Transpose", x, perm=[1, 0, 2])  # (T, B, D)
    for layer in range(config.layers):
        x = _add_layer(graph, config, weights, f"layer{layer}", x)
    x = graph.add("Transpose", x, perm=[1, 0, 2])  # (B, T, H)
    x = graph.add("MatMul", x, graph.constant(weights["head.W"], "head.W"))
    return graph.add("Add", x, graph.constant(weights["head.b"], "head.b"))


def _add_layer(graph: Graph, config: ModelConfig, weights: Weights, layer: str, x: str) -> str:
    """Read x (T, B, D) after the layer's state; return the outputs (T, B, H)."""
    W, R, b = (_by_gate(weights[f"{layer}.{name}"], config.cell) for name in ("Wx", "Wh", "b"))
    second = np.zeros_like(b)
    if config.reset == "biased-product":
        second[-config.hidden :] = weights[f"{layer}.bhn"]
    arrays = {"W": W.T, "R": R.T, "B": np.concatenate([b, second])}
    attributes: dict[str, Any] = {"hidden_size": config.hidden}
    if config.cell == "gru":
        attributes["linear_before_reset"] = int(config.reset != "state")
    if config.gate is not UNSET:
        tanhs = ["Tanh"] * (2 if config.cell == "lstm" else 1)
        slope = 1 / 5 if config.gate == "hard-sigmoid-1/5" else 1 / 6
        attributes |= {"activations": ["HardSigmoid", *tanhs]}
        attributes |= {"activation_alpha": [slope], "activation_beta": [0.5]}
    constants = [graph.constant(array[np.newaxis], f"{layer}.{n}") for n, array in arrays.items()]
    direction = graph.constant([0])  # the axis of directions, of which there is one
    states = [f"{layer}.{part}" for part in ("hc" if config.cell == "lstm" else "h")]
    before = [graph.add("Unsqueeze", state, direction) for state in states]
    after = [f"{state}.last" for state in states]
    graph.add_several(
        config.cell.upper(),
        [x, *constants, "", *before],
        [f"{layer}.outputs", *after],
        **attributes,
    )
    for state, last in zip(states, after, strict=True):
        graph.add("Squeeze", last, direction, name=state + AFTER)
    return graph.add("Squeeze", f"{layer}.outputs", graph.constant([1]))  # (T, 1, B, H) there


def _by_gate(weight: Array, cell: str) -> Array:
    """Return the columns of a weight (..., GH) in the order of ONNX's gates."""
    gates = np.split(weight, len(_ORDER[cell]), axis=-1)
    return np.concatenate([gates[place] for place in _ORDER[cell]], axis=-1)
