"""A transformer as ONNX's plain operators; its state is keys and values, or h.

    x = embedding[ids] + position
    x = x + mix(norm(x) Wx) Wo               mix: attention, minGRU or minLSTM
    x = x + gelu(norm(x) W1) W2
    logits = norm(x) embedding^T

P characters were read before the T of `ids`: P is the length of the keys. B batch, N heads of
width d.
"""

from collections.abc import Callable

import numpy as np
from onnx.parser import parse_graph

from charloom.config import Mixer, TransformerConfig
from charloom.formats.onnx.graph import AFTER, Graph
from charloom.models.weights import Weights

EPSILON = 1e-5  # of the norms
PLACES = "places"  # of the T characters: P, P + 1, ...

# What Scan does at each t: h[t] = a[t] h[t-1] + b[t], carried on and returned.
STEP = """
step (float[B, D] before, float[B, D] a, float[B, D] b) => (float[B, D] carried, float[B, D] out) {
    kept = Mul(a, before)
    carried = Add(kept, b)
    out = Identity(carried)
}
"""

Mix = Callable[[str, str], str]  # layer, x Wx (B, T, G*D) -> (B, T, D)


def add_network(graph: Graph, config: TransformerConfig, weights: Weights) -> str:
    """Add the nodes from `ids` (B, T) to logits (B, T, V); return the name of the logits.

    Each state is an input, and an output with ``.after`` at the end of its name.
    """
    for name, weight in weights.items():
        graph.constant(weight, name)
    x = graph.add("Gather", "embedding", "ids")
    if config.mixer == "attention":
        mix: Mix = _Attention(graph, config)
    else:
        mix = _Recurrence(graph, config.mixer)
    if "position" in weights:
        x = graph.add("Add", x, graph.add("Gather", "position", PLACES))
    for layer in range(config.layers):
        x = _add_block(graph, mix, f"layer{layer}", x)
    x = _norm(graph, x, "norm")
    return graph.add("MatMul", x, graph.add("Transpose", "embedding", perm=[1, 0]))


def _add_block(graph: Graph, mix: Mix, layer: str, x: str) -> str:
    """Add a block that reads x (B, T, D); return the name of its output (B, T, D)."""
    columns = graph.add("MatMul", _norm(graph, x, f"{layer}.norm1"), f"{layer}.Wx")
    x = graph.add("Add", x, graph.add("MatMul", mix(layer, columns), f"{layer}.Wo"))
    inner = graph.add("MatMul", _norm(graph, x, f"{layer}.norm2"), f"{layer}.W1")
    return graph.add("Add", x, graph.add("MatMul", _gelu(graph, inner), f"{layer}.W2"))


def _norm(graph: Graph, x: str, scale: str) -> str:
    return graph.add("LayerNormalization", x, scale, epsilon=EPSILON)


def _gelu(graph: Graph, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016): ONNX's own came with opset 20."""
    erf = graph.add("Erf", graph.add("Mul", x, graph.constant(np.sqrt(0.5))))
    half = graph.add("Mul", x, graph.constant(0.5))
    return graph.add("Mul", half, graph.add("Add", erf, graph.constant(1.0)))


class _Attention:
    """Each of the T characters attends to itself and all before it, P of them in earlier calls."""

    def __init__(self, graph: Graph, config: TransformerConfig) -> None:
        self._graph = graph
        N, d = config.heads, config.width // config.heads
        self._scale = graph.constant(d**-0.5)
        self._cut, self._joined = graph.constant([0, 0, 3, N, d]), graph.constant([0, 0, N * d])
        self._parts = [graph.constant(n) for n in range(3)]
        zero, one = self._parts[:2]
        P = graph.add("Squeeze", graph.add("Shape", "layer0.keys", start=2, end=3))
        T = graph.add("Squeeze", graph.add("Shape", "ids", start=1, end=2))
        end = graph.add("Add", P, T)
        places = graph.add("Range", P, end, one, name=PLACES)
        queries = graph.add("Unsqueeze", places, graph.constant([1]))  # (T, 1)
        seen = graph.add("LessOrEqual", graph.add("Range", zero, end, one), queries)
        self._mask = graph.add("Where", seen, graph.constant(0.0), graph.constant(-np.inf))
        self._turn = self._rotary(config.context, d) if config.positions == "rotary" else None

    def __call__(self, layer: str, columns: str) -> str:
        """Queries, keys and values (B, T, 3D) -> the heads' outputs side by side (B, T, D)."""
        add = self._graph.add
        heads = add("Transpose", add("Reshape", columns, self._cut), perm=[2, 0, 3, 1, 4])
        q, k, v = (add("Gather", heads, part) for part in self._parts)  # each (B, N, T, d)
        if self._turn:
            q, k = self._turned(q), self._turned(k)
        k = add("Concat", f"{layer}.keys", k, name=f"{layer}.keys{AFTER}", axis=2)
        v = add("Concat", f"{layer}.values", v, name=f"{layer}.values{AFTER}", axis=2)
        scores = add("MatMul", add("Mul", q, self._scale), add("Transpose", k, perm=[0, 1, 3, 2]))
        shares = add("Softmax", add("Add", scores, self._mask), axis=-1)  # (B, N, T, P + T)
        taken = add("Transpose", add("MatMul", shares, v), perm=[0, 2, 1, 3])
        return add("Reshape", taken, self._joined)

    def _rotary(self, context: int, d: int) -> tuple[str, str]:
        """Cosines and sines (T, d / 2) of the angles place * 10000^(-2i/d) (Su et al. 2021)."""
        angles = np.outer(np.arange(context), 10000.0 ** (-2 * np.arange(d // 2) / d))
        tables = {"cosines": np.cos(angles), "sines": np.sin(angles)}
        constants = [self._graph.constant(table, name) for name, table in tables.items()]
        cos, sin = (self._graph.add("Gather", constant, PLACES) for constant in constants)
        return cos, sin

    def _turned(self, x: str) -> str:
        """Rotate the points (x[i], x[i + d/2]) of x (B, N, T, d)."""
        assert self._turn
        add, (cos, sin) = self._graph.add, self._turn
        first, second = f"{x}.first", f"{x}.second"
        self._graph.add_several("Split", [x], [first, second], axis=-1)
        turned = [
            add("Sub", add("Mul", first, cos), add("Mul", second, sin)),
            add("Add", add("Mul", second, cos), add("Mul", first, sin)),
        ]
        return add("Concat", *turned, axis=-1)


class _Recurrence:
    """MinGRU or minLSTM (Feng et al. 2024): h[t] = (1 - z) h[t-1] + z n, unit by unit."""

    def __init__(self, graph: Graph, mixer: Mixer) -> None:
        self._graph = graph
        self._gates = "fin" if mixer == "minlstm" else "zn"
        self._one = graph.constant(1.0)

    def __call__(self, layer: str, columns: str) -> str:
        """Gates (B, T, G*D) -> h (B, T, D), from the state h (B, D) on."""
        add = self._graph.add
        gates = [f"{layer}.{gate}" for gate in self._gates]
        self._graph.add_several("Split", [columns], gates, axis=-1)
        *z, n = gates
        weight = add("Sigmoid", self._odds(*z) if len(z) == 2 else z[0])
        rest = add("Sub", self._one, weight)
        outputs = [f"{layer}.h{AFTER}", f"{layer}.outputs"]
        self._graph.add_several(
            "Scan",
            [f"{layer}.h", rest, add("Mul", weight, n)],
            outputs,
            body=parse_graph(STEP),
            num_scan_inputs=2,
            scan_input_axes=[1, 1],
            scan_output_axes=[1],
        )
        return outputs[1]

    def _odds(self, f: str, i: str) -> str:
        """Return log s(i) - log s(f) for the sigmoid s: its sigmoid is s(i) / (s(f) + s(i))."""
        add = self._graph.add
        costs = (add("Softplus", add("Neg", gate)) for gate in (f, i))  # -log sigmoid
        return add("Sub", *costs)
