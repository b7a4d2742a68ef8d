"""The whole network for one shard of lanes: inputs, layers, head, loss, and back again."""

from typing import Any

import numpy as np
from numba.extending import overload

from charloom.models.compiled import gru, lstm, rnn
from charloom.models.compiled.activations import exp
from charloom.models.compiled.products import (
    FEW,
    back_product,
    copy,
    gradient_product,
    pack,
    pack_back,
    product,
)
from charloom.models.jit import OPTIONS, inlined_kernel, kernel


def cell_forward(s: Any, Wh: Any, packed: Any, turn: int, layer: int) -> None:
    """Take a layer through all steps, from s.gates; the type of s.cell says which cell."""


def cell_backward(s: Any, d: Any, Wh: Any, layer: int) -> None:
    """From d.dH, the gradient of a layer's outputs: s.gates = dZ."""


def cell_carry(s: Any) -> None:
    """Carry s.h, and an LSTM's c, from the last step to before the first."""


def _cell(s: Any) -> Any:
    """Return the module whose cell the type of s.cell is."""
    cell = s.types[s.fields.index("cell")].instance_class
    return {rnn.Rnn: rnn, lstm.Lstm: lstm, gru.Gru: gru}[cell]


@overload(cell_forward, jit_options=OPTIONS)
def _cell_forward(s: Any, Wh: Any, packed: Any, turn: int, layer: int) -> Any:
    return _cell(s).forward


@overload(cell_backward, jit_options=OPTIONS)
def _cell_backward(s: Any, d: Any, Wh: Any, layer: int) -> Any:
    return _cell(s).backward


@overload(cell_carry)
def _cell_carry(s: Any) -> Any:
    def h_alone(s: Any) -> None:
        carry(s.h)

    def h_and_c(s: Any) -> None:
        carry(s.h)
        carry(s.cell.c)

    return h_and_c if _cell(s) is lstm else h_alone


@kernel
def pack_weights(p: Any, k: Any) -> None:
    """Lay out the parameters p in k, where k has room."""
    for layer in range(p.Wh.shape[0]):
        pack(k.Wh[layer], p.Wh[layer])
    for layer in range(p.Wx.shape[0]):
        pack(k.Wx[layer], p.Wx[layer])
    pack(k.head_W, p.head_W)
    if p.embedding.shape[1]:
        pack(k.Wx0, p.Wx0)


@inlined_kernel
def forward(p: Any, k: Any, s: Any, turn: int) -> None:
    """s.ids (T, B) -> s.logits (T, B, V), from the state at s.h[:, 0] and `embed`'s table.

    `turn` counts what was read before, for `product`.
    """
    T, B, V = s.logits.shape
    L = p.Wh.shape[0]
    _enter(p, s)
    for layer in range(L):
        if layer:
            Z, x = s.gates[layer].reshape(T * B, -1), _outputs(s, layer - 1)
            product(Z, p.b[layer], x, p.Wx[layer - 1], k.Wx[layer - 1], turn)
        cell_forward(s, p.Wh[layer], k.Wh[layer], turn, layer)
        if s.mask.shape[0]:
            _drop(s.dropped[layer], s.h[layer, 1:], s.mask[layer])
    product(s.logits.reshape(T * B, V), p.head_b, _outputs(s, L - 1), p.head_W, k.head_W, turn)


@inlined_kernel
def _outputs(s: Any, layer: int) -> Any:
    """What a layer hands up, (T B, H)."""
    rows, H = s.ids.size, s.h.shape[3]
    handed = s.dropped[layer] if s.mask.shape[0] else s.h[layer, 1:]
    return handed.reshape(rows, H)


@kernel
def _drop(out: Any, x: Any, mask: Any) -> None:
    """out (T, B, H) = x times mask (B, H), the same at every time."""
    T, B, H = out.shape
    for t in range(T):
        for b in range(B):
            for j in range(H):
                out[t, b, j] = x[t, b, j] * mask[b, j]


@inlined_kernel
def _descend(s: Any, d: Any, Wx: Any, dWx: Any, layer: int) -> None:
    """From a layer's dZ: dWx, and d.dH = dx, the gradient of what the layer below gives."""
    rows, H = s.ids.size, s.h.shape[3]
    dZ = s.gates[layer].reshape(rows, -1)
    gradient_product(dWx, s.zero, _outputs(s, layer - 1), dZ, d.panel)
    pack_back(d.packed, Wx)
    back_product(d.dH.reshape(rows, H), s.zero, dZ, Wx, d.packed, layer)


@inlined_kernel
def embed(p: Any, k: Any, to: Any, ids: Any) -> None:
    """Give each distinct one of ids (T, B) a row in to.table: embedding[id] Wx + b of layer 0.

    A text has few different characters: the product is taken once for each, not at every
    place. Without an embedding there is no table. Raises IndexError where an id is not in
    [0, V): unchecked, it would read any memory.
    """
    V, E = p.embedding.shape
    for v in range(V):
        to.place[v] = -1
    count = 0
    for t in range(ids.shape[0]):
        for b in range(ids.shape[1]):
            v = ids[t, b]
            if not 0 <= v < V:
                raise IndexError
            if to.place[v] < 0:
                to.place[v] = count
                to.distinct[count] = v
                count += 1
    if E:
        for u in range(count):
            x, row = to.x[u], p.embedding[to.distinct[u]]
            for j in range(E):
                x[j] = row[j]
        rows = max(count, FEW)
        product(to.table[:rows], p.b[0], to.x[:rows], p.Wx0, k.Wx0, count)


@inlined_kernel
def _enter(p: Any, s: Any) -> None:
    """s.gates[0] = x Wx + b. A one-hot x times Wx is the row that the id names."""
    bias, table = p.b[0, 0], s.lookup.table
    for t in range(s.ids.shape[0]):
        for b in range(s.ids.shape[1]):
            z, v = s.gates[0, t, b], s.ids[t, b]
            if table.shape[0]:
                row = table[s.lookup.place[v]]
                for j in range(z.size):
                    z[j] = row[j]
            else:
                row = p.Wx0[v]
                for j in range(z.size):
                    z[j] = row[j] + bias[j]


@inlined_kernel
def cross_entropy(logits: Any, targets: Any, scale: float) -> float:
    """Return the summed loss -log softmax(logits)[target]; turn logits into its gradient.

    logits (T, B, V), targets (T, B); d logits = (softmax(logits) - one-hot target) * scale.
    Raises IndexError where a target is not in [0, V).
    """
    T, B, V = logits.shape
    total = 0.0
    for t in range(T):
        for b in range(B):
            z, target = logits[t, b], targets[t, b]
            if not 0 <= target < V:
                raise IndexError
            top = z[0]
            for v in range(V):
                top = max(top, z[v])
            total += top - z[target]
            partition = 0.0
            for v in range(V):
                z[v] = exp(z[v] - top)
            for v in range(V):
                partition += z[v]
            total += np.log(partition)
            factor = type(top)(scale / partition)
            for v in range(V):
                z[v] *= factor
            z[target] -= type(top)(scale)
    return total


@kernel
def log_softmax(logits: Any) -> None:
    """Turn logits (T, B, V) into log-probabilities: z - log sum exp z."""
    T, B, V = logits.shape
    for t in range(T):
        for b in range(B):
            z = logits[t, b]
            top = z[0]
            for v in range(V):
                top = max(top, z[v])
            partition = 0.0
            for v in range(V):
                partition += np.exp(float(z[v] - top))
            shift = top + type(top)(np.log(partition))
            for v in range(V):
                z[v] -= shift


@inlined_kernel
def backward(p: Any, g: Any, s: Any, d: Any) -> None:
    """Fill the gradient g from s.logits, the loss's gradient by the logits, after `forward`.

    Of g's first matrix (the one that ids look rows up in) only the rows in d.seen are
    written; the others are zero since they were made.
    """
    T, B, V = s.logits.shape
    L, H = p.Wh.shape[0], p.Wh.shape[1]
    N = T * B
    dlogits = s.logits.reshape(N, V)
    gradient_product(g.head_W, s.zero, _outputs(s, L - 1), dlogits, d.panel)
    _sum_rows(g.head_b[0], dlogits)
    pack_back(d.packed, p.head_W)
    back_product(d.dH.reshape(N, H), s.zero, dlogits, p.head_W, d.packed, T)
    for layer in range(L - 1, -1, -1):
        if s.mask.shape[0]:
            _drop(d.dH, d.dH, s.mask[layer])
        pack_back(d.packed_Wh, p.Wh[layer])
        cell_backward(s, d, p.Wh[layer], layer)
        dR, h = s.R[layer].reshape(N, -1), s.h[layer, :T].reshape(N, H)
        gradient_product(g.Wh[layer], s.zero, h, dR, d.panel)
        _sum_rows(g.b[layer, 0], s.gates[layer].reshape(N, -1))
        if layer:
            _descend(s, d, p.Wx[layer - 1], g.Wx[layer - 1], layer)
    _leave(p, g, s, d)


@inlined_kernel
def _leave(p: Any, g: Any, s: Any, d: Any) -> None:
    """Gradients of what the ids look up, from dZ of layer 0."""
    V, E = p.embedding.shape
    rows = g.embedding if E else g.Wx0
    count = 0
    for v in range(V):
        if d.seen[v]:  # the last update wrote this row
            rows[v] = 0
        d.seen[v] = s.lookup.place[v] >= 0
        count += d.seen[v]
    if E:
        _leave_table(p, g, s, d, count)
    else:
        for t in range(s.ids.shape[0]):
            for b in range(s.ids.shape[1]):
                _add(g.Wx0[s.ids[t, b]], s.gates[0, t, b])


@inlined_kernel
def _leave_table(p: Any, g: Any, s: Any, d: Any, count: int) -> None:
    """The way back through `embed`: dWx0, and a row of the embedding's gradient for each id."""
    rows = max(count, FEW)
    x, dtable = s.lookup.x[:rows], s.lookup.table[:rows]
    for u in range(rows):
        for j in range(dtable.shape[1]):
            dtable[u, j] = 0
    for t in range(s.ids.shape[0]):
        for b in range(s.ids.shape[1]):
            _add(dtable[s.lookup.place[s.ids[t, b]]], s.gates[0, t, b])
    gradient_product(g.Wx0, s.zero, x, dtable, d.panel)
    pack_back(d.packed_Wx0, p.Wx0)
    back_product(x, s.zero, dtable, p.Wx0, d.packed_Wx0, count)  # x is now dx
    for u in range(count):
        to = g.embedding[s.lookup.distinct[u]]
        for j in range(to.size):
            to[j] = x[u, j]


@kernel
def _add(to: Any, row: Any) -> None:
    for j in range(row.size):
        to[j] += row[j]


@kernel
def _sum_rows(out: Any, rows: Any) -> None:
    out[:] = 0
    for i in range(rows.shape[0]):
        _add(out, rows[i])


@kernel
def add_gradient(to: Any, other: Any, seen: Any, other_seen: Any) -> None:
    """Add another shard's flat gradient (P,) and the rows (V,) that it has seen."""
    for i in range(to.size):
        to[i] += other[i]
    for v in range(seen.size):
        seen[v] |= other_seen[v]


@kernel
def loss_and_gradient(p: Any, k: Any, g: Any, s: Any, d: Any, targets: Any, scale: float) -> float:
    """Summed loss of a shard in nats, on targets (T, B); fills g with `scale` x its gradient.

    The state after the last character becomes that before the first.
    """
    pack_weights(p, k)
    embed(p, k, s.lookup, s.ids)
    forward(p, k, s, 0)
    loss = cross_entropy(s.logits, targets, scale)
    backward(p, g, s, d)
    cell_carry(s)
    return loss


@kernel
def shard_loss(p: Any, k: Any, s: Any, targets: Any) -> float:
    """Summed loss of a shard in nats, on targets (T, B)."""
    pack_weights(p, k)
    embed(p, k, s.lookup, s.ids)
    forward(p, k, s, 0)
    return cross_entropy(s.logits, targets, 1.0)


@kernel
def read(p: Any, k: Any, s: Any) -> None:
    """s.ids (T, B), each with a row in s.lookup -> s.logits (T, B, V) as log-probabilities."""
    forward(p, k, s, 0)
    log_softmax(s.logits)


@kernel
def carry(state: Any) -> None:
    """state[:, 0] = state[:, -1], for h or c (L, T + 1, B, H)."""
    for layer in range(state.shape[0]):
        copy(state[layer, 0], state[layer, state.shape[1] - 1])
