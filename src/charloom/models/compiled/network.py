"""The whole network for one shard of lanes: inputs, layers, head, loss, and back again.

The kernels take their arrays in the named tuples of arrays.py, where each is described:
`parameters`, `packed` (the same for products of many rows), `shard` (ids, gates, states, logits),
`gradient` (shaped as the parameters) and `scratch` (what only the way back needs).
"""

from typing import Any

import numpy as np

from charloom.models.compiled import gru, lstm, rnn
from charloom.models.compiled.activations import exp
from charloom.models.compiled.arrays import GRU, GRU_OF_STATE, LSTM
from charloom.models.compiled.flushing import flush, restore
from charloom.models.compiled.products import (
    FEW,
    back_product,
    copy,
    gradient_product,
    of_layer,
    pack,
    pack_back,
    product,
)
from charloom.models.draw_kernel import draw_by
from charloom.models.exp_kernel import exp as exp64
from charloom.models.jit import inlined_kernel, inner_kernel, kernel


@kernel
def pack_weights(parameters: Any, packed: Any) -> None:
    """Pack the weight matrices for `product`; what of `packed` is empty is skipped."""
    for layer in range(parameters.Wh.shape[0]):
        pack(of_layer(packed.Wh, layer), parameters.Wh[layer])
    for layer in range(parameters.Wx.shape[0]):
        pack(of_layer(packed.Wx, layer), parameters.Wx[layer])
    pack(packed.head_W, parameters.head_W)
    pack(packed.Wx0, parameters.Wx0)


@inlined_kernel
def forward(parameters: Any, packed: Any, shard: Any, turn: Any) -> None:
    """shard.ids (T, B) -> shard.logits (T, B, V), from the state at shard.h[:, 0].

    `embed` must have filled shard.lookup. `turn` is how many time steps were read before: `product`
    alternates its direction with it.
    """
    before = flush()
    T, B, V = shard.logits.shape
    L, N, dropped, slope = parameters.Wh.shape[0], T * B, shard.dropped, shard.slope
    _input_product(shard.gates[0], shard.ids, parameters.Wx0, parameters.b[0, 0], shard.lookup)
    for layer in range(L):
        gates, h = shard.gates[layer], shard.h[layer]
        if layer:  # Z = x Wx + b
            Z, x = gates.reshape(N, -1), _outputs(dropped, shard.h, layer - 1)
            packed_Wx = of_layer(packed.Wx, layer - 1)
            product(Z, parameters.b[layer], x, parameters.Wx[layer - 1], packed_Wx, turn)
        Wh, packed_Wh = parameters.Wh[layer], of_layer(packed.Wh, layer)
        if shard.cell == LSTM:
            c, tanh_c = shard.c[layer], shard.tanh_c[layer]
            lstm.forward(gates, h, c, tanh_c, slope, Wh, packed_Wh, turn)
        elif shard.cell == GRU:
            base = shard.zeros
            if shard.base.shape[1]:
                base = shard.base
                _put_last(base[0], parameters.bhn[layer, 0])
            gru.forward(gates, h, shard.R[layer], base, slope, Wh, packed_Wh, turn)
        elif shard.cell == GRU_OF_STATE:
            s, R = shard.reset[layer], shard.R[layer]
            gru.forward_of_state(gates, h, s, R, shard.zeros, slope, Wh, packed_Wh, turn)
        else:
            rnn.forward(gates, h, Wh, packed_Wh, turn)
        if dropped.shape[0]:
            _drop(dropped[layer], h[1:], shard.mask[layer])
    # logits = x head.W + head.b
    x, logits = _outputs(dropped, shard.h, L - 1), shard.logits.reshape(N, V)
    product(logits, parameters.head_b, x, parameters.head_W, packed.head_W, turn)
    restore(before)


@inlined_kernel
def backward(parameters: Any, gradient: Any, shard: Any, scratch: Any) -> None:
    """Fill `gradient` from shard.logits, which `cross_entropy` has overwritten with dlogits.

    Of the matrix that ids look rows up in (the embedding, or Wx0 for one-hot inputs) only the rows
    in scratch.seen are written; the others have been zero from the start.
    """
    before = flush()
    T, B, V = shard.logits.shape
    L, H, N, dropped = parameters.Wh.shape[0], parameters.Wh.shape[1], T * B, shard.dropped
    zeros, panel, rows, packed_Wh = shard.zeros, scratch.panel, scratch.rows, scratch.packed_Wh
    # dhead.W = x^T dlogits, dhead.b = the sum of its rows, dx = dlogits head.W^T
    dH, dlogits, x = scratch.dH, shard.logits.reshape(N, V), _outputs(dropped, shard.h, L - 1)
    gradient_product(gradient.head_W, zeros, x, dlogits, panel)
    _sum_rows(gradient.head_b[0], dlogits)
    pack_back(scratch.packed, parameters.head_W)
    back_product(dH.reshape(N, H), zeros, dlogits, parameters.head_W, scratch.packed, T)
    for layer in range(L - 1, -1, -1):
        gates, h, R, Wh = shard.gates[layer], shard.h[layer], shard.R[layer], parameters.Wh[layer]
        if dropped.shape[0]:
            _drop(dH, dH, shard.mask[layer])
        pack_back(packed_Wh, Wh)
        if shard.cell == LSTM:
            c, tanh_c = shard.c[layer], shard.tanh_c[layer]
            lstm.backward(gates, c, tanh_c, dH, rows, shard.slope, Wh, packed_Wh)
        elif shard.cell == GRU:
            gru.backward(gates, h, R, dH, rows, shard.slope, Wh, packed_Wh)
        elif shard.cell == GRU_OF_STATE:
            gru.backward_of_state(gates, h, R, dH, rows, zeros, shard.slope, Wh, packed_Wh)
        else:
            rnn.backward(gates, h, dH, rows, Wh, packed_Wh)
        # dWh = h_before^T dR, db = the sum of the rows of dZ. Only for a GRU is dR not dZ.
        dZ, dR, h_before = gates.reshape(N, -1), R.reshape(N, -1), h[:T].reshape(N, H)
        gradient_product(gradient.Wh[layer], zeros, h_before, dR, panel)
        _sum_rows(gradient.b[layer, 0], dZ)
        if gradient.bhn.shape[0]:
            _sum_last_columns(gradient.bhn[layer, 0], dR)
        if shard.reset.shape[0]:
            gradient_product(scratch.dWh, zeros, shard.reset[layer].reshape(N, H), dZ, panel)
            _put_last_columns(gradient.Wh[layer], scratch.dWh)
        if layer:  # dWx = x^T dZ, dx = dZ Wx^T: the gradient of what the layer below gives
            x, Wx = _outputs(dropped, shard.h, layer - 1), parameters.Wx[layer - 1]
            gradient_product(gradient.Wx[layer - 1], zeros, x, dZ, panel)
            pack_back(scratch.packed, Wx)
            back_product(dH.reshape(N, H), zeros, dZ, Wx, scratch.packed, layer)
    lookup, dZ = shard.lookup, shard.gates[0]
    if parameters.embedding.shape[1]:
        count = _clear_rows(gradient.embedding, scratch.seen, lookup.place)
        dtable, x = lookup.table[: max(count, FEW)], lookup.x[: max(count, FEW)]
        dtable[:] = 0
        _add_rows(dtable, shard.ids, lookup.place, dZ)
        gradient_product(gradient.Wx0, zeros, x, dtable, panel)
        pack_back(scratch.packed_Wx0, parameters.Wx0)
        back_product(x, zeros, dtable, parameters.Wx0, scratch.packed_Wx0, count)  # x is now dx
        _put_rows(gradient.embedding, lookup.distinct, x[:count])
    else:
        _clear_rows(gradient.Wx0, scratch.seen, lookup.place)
        _add_rows(gradient.Wx0, shard.ids, lookup.place[:0], dZ)
    restore(before)


@inlined_kernel
def _outputs(dropped: Any, h: Any, layer: int) -> Any:
    """Return the outputs of a layer, (T B, H), after dropout if there is any."""
    outputs = dropped[layer] if dropped.shape[0] else h[layer, 1:]
    return outputs.reshape(-1, h.shape[3])


@inner_kernel
def _drop(out: Any, x: Any, mask: Any) -> None:
    """out (T, B, H) = x times mask (B, H), the same at every time."""
    T, B, H = out.shape
    for t in range(T):
        for b in range(B):
            for j in range(H):
                out[t, b, j] = x[t, b, j] * mask[b, j]


@kernel
def embed(embedding: Any, Wx: Any, packed_Wx: Any, b: Any, lookup: Any, ids: Any) -> None:
    """Give each distinct one of ids (T, B) a row in lookup.table: embedding[id] Wx + b of layer 0.

    A text has few different characters: the product is taken once for each, not at every
    place. Without an embedding there is no table. Raises IndexError if an id is not in
    [0, V): unchecked, it would read any memory.
    """
    V, E = embedding.shape
    for v in range(V):
        lookup.place[v] = -1
    count = 0
    for t in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            v = ids[t, i]
            if not 0 <= v < V:
                raise IndexError
            if lookup.place[v] < 0:
                lookup.place[v] = count
                lookup.distinct[count] = v
                count += 1
    if E:
        before = flush()
        for u in range(count):
            x, row = lookup.x[u], embedding[lookup.distinct[u]]
            for j in range(E):
                x[j] = row[j]
        rows = max(count, FEW)
        product(lookup.table[:rows], b, lookup.x[:rows], Wx, packed_Wx, rows)
        restore(before)


@inner_kernel
def _input_product(Z: Any, ids: Any, Wx: Any, b: Any, lookup: Any) -> None:
    """Z (T, B, GH) = x Wx + b of layer 0. A one-hot x times Wx is the row that the id names."""
    for t in range(ids.shape[0]):
        for i in range(ids.shape[1]):
            z, v = Z[t, i], ids[t, i]
            if lookup.table.shape[0]:
                row = lookup.table[lookup.place[v]]
                for j in range(z.size):
                    z[j] = row[j]
            else:
                row = Wx[v]
                for j in range(z.size):
                    z[j] = row[j] + b[j]


@inner_kernel
def _clear_rows(rows: Any, seen: Any, place: Any) -> int:
    """Zero the rows that the last update wrote; return how many distinct ids this one has."""
    count = 0
    for v in range(seen.size):
        if seen[v]:
            rows[v] = 0
        seen[v] = place[v] >= 0
        count += seen[v]
    return count


@inner_kernel
def _add_rows(to: Any, ids: Any, place: Any, dZ: Any) -> None:
    """Add each row of dZ (T, B, GH) to the row of its id, or, with `place`, to row place[id]."""
    for t in range(ids.shape[0]):
        for b in range(ids.shape[1]):
            v = ids[t, b]
            _add(to[place[v] if place.size else v], dZ[t, b])


@inner_kernel
def _put_rows(to: Any, places: Any, rows: Any) -> None:
    """to[places[u]] = rows[u]."""
    for u in range(rows.shape[0]):
        row = to[places[u]]
        for j in range(row.size):
            row[j] = rows[u, j]


@inlined_kernel
def cross_entropy(logits: Any, targets: Any, scale: float) -> float:
    """Return the summed loss -log softmax(logits)[target]; turn logits into its gradient.

    logits (T, B, V), targets (T, B); d logits = (softmax(logits) - one-hot target) * scale.
    Raises IndexError if a target is not in [0, V).
    """
    T, B, V = logits.shape
    for t in range(T):
        for b in range(B):
            if not 0 <= targets[t, b] < V:
                raise IndexError
    before = flush()
    total = 0.0
    for t in range(T):
        for b in range(B):
            z, target = logits[t, b], targets[t, b]
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
    restore(before)
    return total


@inlined_kernel
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
                partition += exp64(float(z[v] - top))
            shift = top + type(top)(np.log(partition))
            for v in range(V):
                z[v] -= shift


@inner_kernel
def _add(to: Any, row: Any) -> None:
    for j in range(row.size):
        to[j] += row[j]


@inner_kernel
def _sum_rows(out: Any, rows: Any) -> None:
    out[:] = 0
    for i in range(rows.shape[0]):
        _add(out, rows[i])


@inner_kernel
def _put_last(to: Any, x: Any) -> None:
    """Put x (H,) at the end of `to`."""
    first = to.size - x.size
    for j in range(x.size):
        to[first + j] = x[j]


@inner_kernel
def _put_last_columns(to: Any, x: Any) -> None:
    """The last H columns of `to` (H, N) become those of x (H, N)."""
    H, N = to.shape
    for i in range(H):
        for j in range(N - H, N):
            to[i, j] = x[i, j]


@inner_kernel
def _sum_last_columns(out: Any, rows: Any) -> None:
    """out (H,) = the sum over rows (M, N) of their last H numbers."""
    first = rows.shape[1] - out.size
    out[:] = 0
    for i in range(rows.shape[0]):
        for j in range(out.size):
            out[j] += rows[i, first + j]


@kernel
def add_gradient(to: Any, other: Any, seen: Any, other_seen: Any) -> None:
    """Add another shard's flat gradient (P,), and mark the ids (V,) that it has seen."""
    for i in range(to.size):
        to[i] += other[i]
    for v in range(seen.size):
        seen[v] |= other_seen[v]


@kernel
def loss_and_gradient(
    parameters: Any,
    packed: Any,
    gradient: Any,
    shard: Any,
    scratch: Any,
    scale: float,
    learns: bool,
) -> float:
    """Return the loss of a shard against shard.targets, in nats, summed over its characters.

    If it `learns`, also fill `gradient` with `scale` times the gradient of that loss, and carry
    the state on: that after the last character becomes that before the first.
    """
    pack_weights(parameters, packed)
    lookup, ids = shard.lookup, shard.ids
    embed(parameters.embedding, parameters.Wx0, packed.Wx0, parameters.b[0], lookup, ids)
    forward(parameters, packed, shard, np.int64(0))
    loss = cross_entropy(shard.logits, shard.targets, scale)
    if learns:
        backward(parameters, gradient, shard, scratch)
        carry(shard.h)
        carry(shard.c)
    return loss


@inner_kernel
def carry(state: Any) -> None:
    """state[:, 0] = state[:, -1], for h or c (L, T + 1, B, H); c is empty unless an LSTM's."""
    for layer in range(state.shape[0]):
        copy(state[layer, 0], state[layer, state.shape[1] - 1])


@inlined_kernel
def step(parameters: Any, packed: Any, shard: Any, turn: Any) -> None:
    """Read shard.ids (1, B), as `forward` does, and carry the state on."""
    forward(parameters, packed, shard, turn)
    carry(shard.h)
    carry(shard.c)


@kernel
def read(
    parameters: Any,
    packed: Any,
    shard: Any,
    uniforms: Any,
    drawn: Any,
    rules: Any,
    log_p: Any,
    scratch: Any,
) -> None:
    """Read shard.ids (T, B), each with a row in shard.lookup; draw n characters in each lane.

    uniforms (B, n) and drawn (B, n); each lane draws by its own rules; scratch (3, V) float64. If
    n is 0, shard.logits (T, B, V) become log-probabilities. Otherwise T is 1, log_p (B, n, V)
    become the log-probabilities that were drawn from (it may be (B, 0, V)), and on return
    shard.h[:, 0] and, for an LSTM, shard.c[:, 0] are the state before the last character drawn.
    Raises ValueError if a prediction is not finite.
    """
    n = drawn.shape[1]
    for t in range(max(n, 1)):
        forward(parameters, packed, shard, t)
        if n:
            carry(shard.h)
            carry(shard.c)
        for b in range(drawn.shape[0] if n else 0):
            drawn[b, t] = draw_by(shard.logits[0, b], rules, b, uniforms[b, t], scratch)
            shard.ids[0, b] = drawn[b, t]
        if n == 0 or log_p.shape[1]:
            log_softmax(shard.logits)
        for b in range(log_p.shape[0] if log_p.shape[1] else 0):
            for v in range(log_p.shape[2]):
                log_p[b, t, v] = shard.logits[0, b, v]
