"""The arrays that kernels work on: one flat vector of parameters, and buffers made once.

All weights are in one vector, so that the optimizer is one loop and the gradient's norm one
sum; the contract's named arrays are views of it. Matrices come before biases (weight decay
stops between them), and the matrix that ids look rows up in comes first.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from charloom.config import ModelConfig
from charloom.models.compiled.bf16 import FULL, tiled_size
from charloom.models.compiled.products import (
    BF16_BLOCK,
    BF16_PANEL,
    BLOCK,
    FEW,
    Panels,
    aligned,
    get_ready,
    packed_size,
    rows_size,
)
from charloom.models.weights import GATES, Array, gate_slope, parameter_count

CELLS = ("rnn", "lstm", "gru")
# Shard.cell, by which kernels choose as they run: one serves all cells. GRU_OF_STATE is the GRU
# whose reset gate multiplies the state.
RNN, LSTM, GRU, GRU_OF_STATE = range(4)


class Parameters(NamedTuple):
    """Views of one flat vector; also the shape of a gradient. E is 0 for one-hot inputs."""

    embedding: Array  # (V, E)
    Wx0: Array  # (D, GH), D = E or V
    Wx: Array  # (L - 1, H, GH)
    Wh: Array  # (L, H, GH)
    head_W: Array  # (H, V)
    b: Array  # (L, 1, GH)
    bhn: Array  # (L, 1, H) of a GRU with a bias within the reset; for others (0, 1, H)
    head_b: Array  # (1, V)


class Packed(NamedTuple):
    """Weights as products take them (see products.py), for lanes and steps of one number."""

    Wx0: Panels  # the embedding's way into layer 0; empty without one
    Wx: Panels  # (L - 1, packed), or (L - 1, 0) for few rows, as the next two
    Wh: Panels  # (L, packed)
    head_W: Panels


class Lookup(NamedTuple):
    """What layer 0 makes of each distinct id, and where; 4 rows at least, as products like them."""

    place: NDArray[np.int32]  # (V,) row of an id in `table`; -1 if it has none
    distinct: NDArray[np.int32]  # (V,) the ids that have one, in the order of their rows
    known: NDArray[np.int64]  # (1,) how many these are
    x: Array  # (V, E) their embeddings
    table: Array  # (V, GH) their x Wx + b, then its gradient; empty for one-hot inputs


class Shard(NamedTuple):
    """Everything that one thread needs to take B lanes through T steps.

    A lane is one of the texts that are read side by side, each with a state of its own.
    """

    ids: NDArray[np.int32]  # (T, B)
    targets: NDArray[np.int32]  # (T, B), the ids that follow
    lookup: Lookup
    gates: Array  # (L, T, B, GH) x Wx + b, then what the gates give, then dZ
    R: Array  # (L, T, B, GH) h Wh of a GRU, then its gradient; the gates themselves for other cells
    h: Array  # (L, T + 1, B, H); h[:, 0] is the carried state
    mask: Array  # (L, B, H) dropout
    dropped: Array  # (L, T, B, H) layer outputs after dropout, or (0, T, B, H) for none
    logits: Array  # (T, B, V), then their gradient
    zeros: Array  # (1, widest) for products without a base
    base: Array  # (1, GH) what a GRU adds to h Wh: its bhn; empty without one
    cell: int  # RNN, LSTM, GRU or GRU_OF_STATE
    slope: Array  # (1,) of gates that are a hard_sigmoid (gates.py), or 0
    c: Array  # (L, T + 1, B, H) of an LSTM, carried as h; of other cells empty, as the next
    tanh_c: Array  # (L, T, B, H)
    reset: Array  # (L, T, B, H) r h_before if r multiplies the state; of other cells empty


class Scratch(NamedTuple):
    """What only the backward pass of a shard uses."""

    seen: NDArray[np.uint8]  # (V,) 1 if an id occurs in the last ids
    dH: Array  # (T, B, H) gradient of a layer's outputs
    rows: Array  # (3, B, H)
    packed: Panels  # one matrix, packed to go back, or empty for few rows
    packed_Wh: Panels  # the same memory, or empty for few lanes
    packed_Wx0: Panels
    panel: Panels  # a part of one, see `gradient_product`
    dWh: Array  # (H, GH), of which the candidate's part is used if r multiplies the state


def parameter_views(flat: Array, config: ModelConfig, V: int) -> Parameters:
    """Cut a flat vector into the parameters' arrays."""
    L, H, E = config.layers, config.hidden, config.embedding
    GH = GATES[config.cell] * H
    matrices = [(V, E), (E or V, GH), (L - 1, H, GH), (L, H, GH), (H, V)]
    shapes = [*matrices, (L, 1, GH), (L if config.reset == "biased-product" else 0, 1, H), (1, V)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    pieces = np.split(flat, ends[:-1])
    return Parameters(*(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)))


def named_views(flat: Array, config: ModelConfig, V: int) -> dict[str, Array]:
    """The contract's names, as views of a flat vector."""
    p = parameter_views(flat, config, V)
    views = {"embedding": p.embedding} if config.embedding else {}
    for layer in range(config.layers):
        views[f"layer{layer}.Wx"] = p.Wx[layer - 1] if layer else p.Wx0
        views[f"layer{layer}.Wh"] = p.Wh[layer]
        views[f"layer{layer}.b"] = p.b[layer, 0]
        if len(p.bhn):
            views[f"layer{layer}.bhn"] = p.bhn[layer, 0]
    return views | {"head.W": p.head_W, "head.b": p.head_b[0]}


def flat_vector(weights: Mapping[str, Array], config: ModelConfig, dtype: DTypeLike) -> Array:
    """Copy the contract's named arrays into one new flat vector."""
    V = weights["head.W"].shape[1]
    flat = aligned((parameter_count(config, V),), dtype)
    for name, view in named_views(flat, config, V).items():
        view[...] = weights[name]
    return flat


def new_packed(
    config: ModelConfig, V: int, B: int, T: int, dtype: DTypeLike, kind: int = FULL
) -> Packed:
    """Allocate room for packed weights, if T steps of B lanes pay for packing; in bf16 they do."""
    get_ready(dtype, kind)
    L, H, E, G = config.layers, config.hidden, config.embedding, GATES[config.cell]
    rounded = aligned((rows_size(max(H, E), 0, kind),), dtype)

    def make(rows: int, count: int, K: int, N: int) -> Panels:
        size = packed_size(K, N, dtype, kind) if rows >= FEW or kind else 0
        return Panels(aligned((count, size), dtype), rounded, kind)

    enter = Panels(aligned((packed_size(E, G * H, dtype, kind) if E else 0,), dtype), rounded, kind)
    climb, recur = make(T * B, L - 1, H, G * H), make(B, L, H, G * H)
    head = make(T * B, 1, H, V)
    return Packed(enter, climb, recur, head._replace(numbers=head.numbers[0]))


def with_own_rows(packed: Packed) -> Packed:
    """Return the same packed weights with room of its own to round to: for another thread."""
    rows = aligned(packed.Wh.rows.shape, packed.Wh.rows.dtype)
    return Packed(*(panels._replace(rows=rows) for panels in packed))


def new_lookup(config: ModelConfig, V: int, dtype: DTypeLike) -> Lookup:
    """Allocate the rows of up to V distinct ids."""
    E, GH = config.embedding, GATES[config.cell] * config.hidden
    rows = max(V, FEW)
    x, table = aligned((rows, E), dtype), aligned((rows if E else 0, GH), dtype)
    places, distinct = np.full(V, -1, np.int32), np.zeros(V, np.int32)
    return Lookup(places, distinct, np.zeros(1, np.int64), x, table)


def new_shard(
    config: ModelConfig,
    V: int,
    B: int,
    T: int,
    dtype: DTypeLike,
    lookup: Lookup | None = None,
    dropout: bool = False,
) -> Shard:
    """Allocate the buffers for B lanes and T steps, with a lookup of its own if none is given."""
    L, H, E, G = config.layers, config.hidden, config.embedding, GATES[config.cell]
    masks = L if dropout else 0

    def make(*shape: int) -> Array:
        return aligned(shape, dtype)

    memories = L if config.cell == "lstm" else 0
    of_state, biased = config.reset == "state", config.reset == "biased-product"
    gates = make(L, T, B, G * H)
    return Shard(
        ids=np.zeros((T, B), np.int32),
        targets=np.zeros((T, B), np.int32),
        lookup=lookup or new_lookup(config, V, dtype),
        gates=gates,
        R=make(L, T, B, G * H) if config.cell == "gru" else gates,
        h=make(L, T + 1, B, H),
        mask=make(masks, B, H),
        dropped=make(masks, T, B, H),
        logits=make(T, B, V),
        zeros=make(1, max(G * H, V, H, E)),
        base=make(1, G * H if biased else 0),
        cell=GRU_OF_STATE if of_state else CELLS.index(config.cell),
        slope=np.full(1, gate_slope(config), dtype),
        c=make(memories, T + 1, B, H),
        tanh_c=make(memories, T, B, H),
        reset=make(L if of_state else 0, T, B, H),
    )


def new_scratch(
    config: ModelConfig, V: int, B: int, T: int, dtype: DTypeLike, kind: int = FULL
) -> Scratch:
    """Allocate what the backward pass of such a shard needs."""
    H, E, GH = config.hidden, config.embedding, GATES[config.cell] * config.hidden
    seen, dH, rows = np.zeros(V, np.uint8), aligned((T, B, H), dtype), aligned((3, B, H), dtype)
    rounded = aligned((rows_size(max(GH, V), max(H, E), kind),), dtype)

    def make(size: int) -> Panels:
        return Panels(aligned((size,), dtype), rounded, kind)

    back = max(packed_size(K, N, dtype, kind) for K, N in ((GH, H), (V, H)))
    packed = make(back if T * B >= FEW or kind else 0)
    packed_Wh = packed if B >= FEW or kind else packed._replace(numbers=packed.numbers[:0])
    packed_Wx0 = make(packed_size(GH, E, dtype, kind))
    panel = make(tiled_size(BF16_BLOCK, BF16_PANEL) if kind else packed_size(BLOCK, 0, dtype))
    dWh = aligned((H if config.reset == "state" else 0, GH), dtype)
    return Scratch(seen, dH, rows, packed, packed_Wh, packed_Wx0, panel, dWh)


def carried(shard: Shard) -> tuple[Array, ...]:
    """Return the buffers (L, T + 1, B, H) of the carried state: h, and c for an LSTM."""
    return (shard.h, shard.c) if shard.cell == LSTM else (shard.h,)
