"""The whole network for one shard of lanes: inputs, layers, head, loss, and back again."""

from typing import Any

import numpy as np
from numba.extending import overload

from charloom.compiled import gru, lstm, rnn
from charloom.compiled.activations import exp
from charloom.compiled.products import back_product, copy, product, transpose_for
from charloom.jit import inlined_kernel, kernel


def cell_forward(s: Any, Wh: Any, layer: int) -> None:
    """Take a layer through all steps, from s.Z; the type of s.cell says which cell."""


def cell_backward(s: Any, d: Any, Wh: Any, dWh: Any, layer: int) -> None:
    """From d.dH, the gradient of a layer's outputs: s.Z = dZ, and dWh."""


def cell_carry(s: Any) -> None:
    """Carry s.h, and an LSTM's c, from the last step to before the first."""


@overload(cell_carry)
def _cell_carry(s: Any) -> Any:
    def h_alone(s: Any) -> None:
        carry(s.h)

    def h_and_c(s: Any) -> None:
        carry(s.h)
        carry(s.cell.c)

    return h_and_c if _is(s, lstm.Lstm) else h_alone


def _is(s: Any, cell: type) -> bool:
    return s.types[s.fields.index("cell")].instance_class is cell


@overload(cell_forward)
def _cell_forward(s: Any, Wh: Any, layer: int) -> Any:
    def rnn_forward(s: Any, Wh: Any, layer: int) -> None:
        rnn.forward(s.Z, Wh, s.gates[layer], s.h[layer])

    def lstm_forward(s: Any, Wh: Any, layer: int) -> None:
        lstm.forward(s.Z, Wh, s.gates[layer], s.h[layer], s.cell.c[layer], s.cell.tanh_c[layer])

    def gru_forward(s: Any, Wh: Any, layer: int) -> None:
        gru.forward(s.Z, Wh, s.gates[layer], s.h[layer], s.cell.R[layer], s.zero)

    return rnn_forward if _is(s, rnn.Rnn) else lstm_forward if _is(s, lstm.Lstm) else gru_forward


@overload(cell_backward)
def _cell_backward(s: Any, d: Any, Wh: Any, dWh: Any, layer: int) -> Any:
    def rnn_backward(s: Any, d: Any, Wh: Any, dWh: Any, layer: int) -> None:
        h = s.h[layer]
        rnn.backward(s.Z, d.dH, Wh, d.WhT, h, d.dh)
        _recurrent_gradient(dWh, s.zero, h, s.Z)

    def lstm_backward(s: Any, d: Any, Wh: Any, dWh: Any, layer: int) -> None:
        gates, c, tanh_c = s.gates[layer], s.cell.c[layer], s.cell.tanh_c[layer]
        lstm.backward(s.Z, d.dH, Wh, d.WhT, gates, c, tanh_c, d.dh, s.cell.dc)
        _recurrent_gradient(dWh, s.zero, s.h[layer], s.Z)

    def gru_backward(s: Any, d: Any, Wh: Any, dWh: Any, layer: int) -> None:
        gates, R, h = s.gates[layer], s.cell.R[layer], s.h[layer]
        gru.backward(s.Z, s.cell.dR, d.dH, Wh, d.WhT, gates, R, h, d.dh)
        _recurrent_gradient(dWh, s.zero, h, s.cell.dR)

    return rnn_backward if _is(s, rnn.Rnn) else lstm_backward if _is(s, lstm.Lstm) else gru_backward


@kernel
def _recurrent_gradient(dWh: Any, zero: Any, h: Any, dR: Any) -> None:
    """dWh (H, GH) = sum over t of h[t].T dR[t], for h (T + 1, B, H) and dR (T, B, GH)."""
    T, B, G = dR.shape
    H = h.shape[2]
    product(dWh, zero, h[:T].reshape(T * B, H).T, dR.reshape(T * B, G))


@inlined_kernel
def forward(p: Any, s: Any) -> None:
    """s.ids (T, B) -> s.logits (T, B, V), from the state at s.h[:, 0].

    Raises IndexError where an id is not in [0, V).
    """
    T, B, V = s.logits.shape
    L, H = p.Wh.shape[0], p.Wh.shape[1]
    _enter(p, s)
    for layer in range(L):
        if layer:
            _climb(s, p.b[layer], p.Wx[layer - 1], layer - 1)
        cell_forward(s, p.Wh[layer], layer)
        if layer < s.mask.shape[0]:
            _drop(s.dropped[layer], s.h[layer, 1:], s.mask[layer])
    top = s.h[L - 1, 1:].reshape(T * B, H)
    product(s.logits.reshape(T * B, V), p.head_b, top, p.head_W)


@kernel
def _drop(out: Any, x: Any, mask: Any) -> None:
    T, B, H = out.shape
    for t in range(T):
        for b in range(B):
            for j in range(H):
                out[t, b, j] = x[t, b, j] * mask[t, b, j]


@kernel
def _climb(s: Any, b: Any, Wx: Any, below: int) -> None:
    """s.Z = x Wx + b, where x is what the layer below gives."""
    T, B, G = s.Z.shape
    H = s.h.shape[3]
    Z = s.Z.reshape(T * B, G)
    if below < s.mask.shape[0]:
        product(Z, b, s.dropped[below].reshape(T * B, H), Wx)
    else:
        product(Z, b, s.h[below, 1:].reshape(T * B, H), Wx)


@kernel
def _descend(s: Any, d: Any, Wx: Any, dWx: Any, below: int) -> None:
    """From s.Z = dZ: dWx, and d.dH = dx, the gradient of what the layer below gives."""
    T, B, G = s.Z.shape
    H = s.h.shape[3]
    dZ = s.Z.reshape(T * B, G)
    if below < s.mask.shape[0]:
        product(dWx, s.zero, s.dropped[below].reshape(T * B, H).T, dZ)
    else:
        product(dWx, s.zero, s.h[below, 1:].reshape(T * B, H).T, dZ)
    transpose_for(d.WxT, Wx, T * B)
    back_product(d.dH.reshape(T * B, H), s.zero, dZ, Wx, d.WxT)
    if below < s.mask.shape[0]:
        _drop(d.dH, d.dH, s.mask[below])


@kernel
def _enter(p: Any, s: Any) -> None:
    """s.Z = x Wx + b for layer 0. A one-hot x times Wx is the row that the id names."""
    T, B = s.ids.shape
    E = p.embedding.shape[1]
    V, bias = s.logits.shape[2], p.b[0, 0]
    for t in range(T):
        for b in range(B):
            if not 0 <= s.ids[t, b] < V:  # unchecked, it would read any memory
                raise IndexError
            if E:
                x, row = s.x[t, b], p.embedding[s.ids[t, b]]
                for j in range(E):
                    x[j] = row[j]
            else:
                z, row = s.Z[t, b], p.Wx0[s.ids[t, b]]
                for j in range(z.size):
                    z[j] = row[j] + bias[j]
    if E:
        product(s.Z.reshape(T * B, -1), p.b[0], s.x.reshape(T * B, E), p.Wx0)


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
    product(g.head_W, s.zero, s.h[L - 1, 1:].reshape(N, H).T, dlogits)
    _sum_rows(g.head_b[0], dlogits)
    transpose_for(d.head_WT, p.head_W, N)
    back_product(d.dH.reshape(N, H), s.zero, dlogits, p.head_W, d.head_WT)
    for layer in range(L - 1, -1, -1):
        cell_backward(s, d, p.Wh[layer], g.Wh[layer], layer)
        _sum_rows(g.b[layer, 0], s.Z.reshape(N, -1))
        if layer:
            _descend(s, d, p.Wx[layer - 1], g.Wx[layer - 1], layer - 1)
    _leave(p, g, s, d)


@kernel
def _leave(p: Any, g: Any, s: Any, d: Any) -> None:
    """Gradients of what the ids look up, from s.Z = dZ of layer 0."""
    T, B = s.ids.shape
    E = p.embedding.shape[1]
    dZ = s.Z.reshape(T * B, -1)
    if E:
        product(g.Wx0, s.zero, s.x.reshape(T * B, E).T, dZ)
        transpose_for(d.Wx0T, p.Wx0, T * B)
        back_product(s.x.reshape(T * B, E), s.zero, dZ, p.Wx0, d.Wx0T)  # x is now dx
        _scatter(g.embedding, d.seen, s.ids, s.x)
    else:
        _scatter(g.Wx0, d.seen, s.ids, s.Z)


@kernel
def _scatter(out: Any, seen: Any, ids: Any, rows: Any) -> None:
    """out[v] = the sum of rows[t, b] over the places where ids[t, b] is v."""
    for v in range(seen.size):
        if seen[v]:
            out[v] = 0
    seen[:] = 0
    T, B = ids.shape
    for t in range(T):
        for b in range(B):
            seen[ids[t, b]] = 1
            to, row = out[ids[t, b]], rows[t, b]
            for j in range(row.size):
                to[j] += row[j]


@kernel
def _sum_rows(out: Any, rows: Any) -> None:
    out[:] = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(row.size):
            out[j] += row[j]


@kernel
def add_gradient(to: Any, other: Any, seen: Any, other_seen: Any) -> None:
    """Add another shard's flat gradient (P,) and the rows (V,) that it has seen."""
    for i in range(to.size):
        to[i] += other[i]
    for v in range(seen.size):
        seen[v] |= other_seen[v]


@kernel
def loss_and_gradient(p: Any, g: Any, s: Any, d: Any, targets: Any, scale: float) -> float:
    """Summed loss of a shard in nats, on targets (T, B); fills g with `scale` x its gradient.

    The state after the last character becomes that before the first.
    """
    forward(p, s)
    loss = cross_entropy(s.logits, targets, scale)
    backward(p, g, s, d)
    cell_carry(s)
    return loss


@kernel
def carry(state: Any) -> None:
    """state[:, 0] = state[:, -1], for h or c (L, T + 1, B, H)."""
    for layer in range(state.shape[0]):
        copy(state[layer, 0], state[layer, state.shape[1] - 1])
