"""The whole network for one shard of lanes: inputs, layers, head, loss, and back again.

What is computed is written into a program (program.py), for arrays in the named tuples of
arrays.py, where each is described: `parameters`, `packed` (the same for products of many rows),
`shard` (ids, gates, states, logits), `gradient` (shaped as the parameters) and `scratch` (what only
the way back needs).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charloom.models.compiled import gru, lstm, rnn
from charloom.models.compiled.activations import exp
from charloom.models.compiled.arrays import (
    GRU,
    GRU_OF_STATE,
    LSTM,
    Lookup,
    Packed,
    Parameters,
    Scratch,
    Shard,
)
from charloom.models.compiled.products import (
    BACK_PRODUCT,
    FEW,
    GRADIENT_PRODUCT,
    PACK,
    PRODUCT,
    Panels,
    back_product,
    gradient_product,
    of_layer,
    pack,
    pack_back,
    product,
    room_of,
    rows_of,
)
from charloom.models.compiled.program import Code, Program, run
from charloom.models.compiled.units import Unit, bytes_of, integers_at
from charloom.models.draw_kernel import draw_by
from charloom.models.exp_kernel import exp as exp64
from charloom.models.jit import array_at, inlined_kernel, inner_kernel, kernel
from charloom.models.weights import Array

_pack, _product, _back_product = PACK.call, PRODUCT.call, BACK_PRODUCT.call
_gradient_product = GRADIENT_PRODUCT.call
_INT32, _UINT8 = np.int32(0), np.uint8(0)


def pack_weights(program: Program, parameters: Parameters, packed: Packed) -> None:
    """Pack the weight matrices for `product`; what of `packed` is empty is skipped."""
    for layer, Wh in enumerate(parameters.Wh):
        pack(program, of_layer(packed.Wh, layer), Wh)
    for layer, Wx in enumerate(parameters.Wx):
        pack(program, of_layer(packed.Wx, layer), Wx)
    pack(program, packed.head_W, parameters.head_W)
    pack(program, packed.Wx0, parameters.Wx0)


def forward(program: Program, parameters: Parameters, packed: Packed, shard: Shard) -> None:
    """shard.ids (T, B) -> shard.logits (T, B, V), from the state at shard.h[:, 0].

    `embed` must have filled shard.lookup.
    """
    T, B, V = shard.logits.shape
    L, N, dropped, lookup = len(parameters.Wh), T * B, shard.dropped, shard.lookup
    Z, rows = shard.gates[0], parameters.Wx0
    if lookup.table.size:
        program.add(
            ROWS_OF_TABLE, Z, shard.ids, *Z.shape, lookup.table, lookup.place, len(lookup.place)
        )
    else:
        program.add(ROWS_OF_WX, Z, shard.ids, *Z.shape, rows, parameters.b[0])
    for layer in range(L):
        gates, h = shard.gates[layer], shard.h[layer]
        if layer:  # Z = x Wx + b
            Z, x = gates.reshape(N, -1), _outputs(dropped, shard.h, layer - 1)
            packed_Wx = of_layer(packed.Wx, layer - 1)
            product(program, Z, parameters.b[layer], x, parameters.Wx[layer - 1], packed_Wx)
        Wh, packed_Wh, slope = parameters.Wh[layer], of_layer(packed.Wh, layer), shard.slope
        if shard.cell == LSTM:
            c, tanh_c = shard.c[layer], shard.tanh_c[layer]
            lstm.forward(program, gates, h, c, tanh_c, slope, Wh, packed_Wh)
        elif shard.cell == GRU:
            base = shard.zeros
            if shard.base.size:
                base, bhn = shard.base, parameters.bhn[layer]
                program.add(COPY, base[:, -bhn.size :], bhn, 1, bhn.size, 0, 0)
            gru.forward(program, gates, h, shard.R[layer], base, slope, Wh, packed_Wh)
        elif shard.cell == GRU_OF_STATE:
            s, R = shard.reset[layer], shard.R[layer]
            gru.forward_of_state(program, gates, h, s, R, shard.zeros, slope, Wh, packed_Wh)
        else:
            rnn.forward(program, gates, h, Wh, packed_Wh)
        if len(dropped):
            program.add(DROP, dropped[layer], h[1:], shard.mask[layer], *dropped.shape[1:])
    # logits = x head.W + head.b
    x, logits = _outputs(dropped, shard.h, L - 1), shard.logits.reshape(N, V)
    product(program, logits, parameters.head_b, x, parameters.head_W, packed.head_W)


def loss_of(
    parameters: Parameters,
    packed: Packed,
    shard: Shard,
    scale: NDArray[np.float64],
    loss: NDArray[np.float64],
) -> Program:
    """Return a program that puts the loss of a shard against shard.targets into loss (1,).

    It is in nats, summed over its characters. For a gradient, `scale` (1,) times that of this loss,
    `backward` goes on.
    """
    program = Program(shard.logits.dtype)
    pack_weights(program, parameters, packed)
    lookup, ids, b = shard.lookup, shard.ids, parameters.b[0]
    embed(program, parameters.embedding, parameters.Wx0, packed.Wx0, b, lookup, ids)
    forward(program, parameters, packed, shard)
    cross_entropy(program, shard, scale, loss)
    return program


def backward(
    program: Program, parameters: Parameters, gradient: Parameters, shard: Shard, scratch: Scratch
) -> None:
    """Fill `gradient` from shard.logits, which `cross_entropy` has overwritten with dlogits.

    Of the matrix that ids look rows up in (the embedding, or Wx0 for one-hot inputs) only the rows
    in scratch.seen are written; the others have been zero from the start.
    """
    T, B, V = shard.logits.shape
    L, H, N, dropped = len(parameters.Wh), parameters.Wh.shape[1], T * B, shard.dropped
    zeros, panel, rows, packed_Wh = shard.zeros, scratch.panel, scratch.rows, scratch.packed_Wh
    # dhead.W = x^T dlogits, dhead.b = the sum of its rows, dx = dlogits head.W^T
    dH, dlogits, x = scratch.dH, shard.logits.reshape(N, V), _outputs(dropped, shard.h, L - 1)
    gradient_product(program, gradient.head_W, zeros, x, dlogits, panel)
    program.add(SUM_ROWS, gradient.head_b, dlogits, N, V, 0, V)
    pack_back(program, scratch.packed, parameters.head_W)
    back_product(program, dH.reshape(N, H), zeros, dlogits, parameters.head_W, scratch.packed, T)
    for layer in range(L - 1, -1, -1):
        gates, h, R, Wh = shard.gates[layer], shard.h[layer], shard.R[layer], parameters.Wh[layer]
        if len(dropped):
            program.add(DROP, dH, dH, shard.mask[layer], T, B, H)
        pack_back(program, packed_Wh, Wh)
        slope = shard.slope
        if shard.cell == LSTM:
            c, tanh_c = shard.c[layer], shard.tanh_c[layer]
            lstm.backward(program, gates, c, tanh_c, dH, rows, slope, Wh, packed_Wh)
        elif shard.cell == GRU:
            gru.backward(program, gates, h, R, dH, rows, slope, Wh, packed_Wh)
        elif shard.cell == GRU_OF_STATE:
            gru.backward_of_state(program, gates, h, R, dH, rows, zeros, slope, Wh, packed_Wh)
        else:
            rnn.backward(program, gates, h, dH, rows, Wh, packed_Wh)
        # dWh = h_before^T dR, db = the sum of the rows of dZ. Only for a GRU is dR not dZ.
        dZ, dR, h_before = gates.reshape(N, -1), R.reshape(N, -1), h[:T].reshape(N, H)
        GH = dZ.shape[1]
        gradient_product(program, gradient.Wh[layer], zeros, h_before, dR, panel)
        program.add(SUM_ROWS, gradient.b[layer], dZ, N, GH, 0, GH)
        if len(gradient.bhn):
            program.add(SUM_ROWS, gradient.bhn[layer], dR, N, GH, GH - H, H)
        if len(shard.reset):
            reset, dWh = shard.reset[layer].reshape(N, H), scratch.dWh
            gradient_product(program, dWh, zeros, reset, dZ, panel)
            own = gradient.Wh[layer]
            program.add(COPY, own[:, -H:], dWh[:, -H:], H, H, *own.strides[:1], *dWh.strides[:1])
        if layer:  # dWx = x^T dZ, dx = dZ Wx^T: the gradient of what the layer below gives
            x, Wx = _outputs(dropped, shard.h, layer - 1), parameters.Wx[layer - 1]
            gradient_product(program, gradient.Wx[layer - 1], zeros, x, dZ, panel)
            pack_back(program, scratch.packed, Wx)
            back_product(program, dH.reshape(N, H), zeros, dZ, Wx, scratch.packed, layer)
    lookup, dZ = shard.lookup, shard.gates[0]
    to = gradient.embedding if parameters.embedding.size else gradient.Wx0
    program.add(CLEAR_ROWS, to, *to.shape, scratch.seen, lookup.place)
    if parameters.embedding.size:
        rest = (parameters.Wx0, *parameters.Wx0.shape, lookup.x, lookup.distinct)
        packed_Wx0 = room_of(scratch.packed_Wx0)
        table = (lookup.table, dZ, shard.ids, T, B, lookup.place, lookup.known, gradient.embedding)
        program.add(EMBED_BACK, *table, V, *rest, gradient.Wx0, zeros, *room_of(panel), *packed_Wx0)
    else:
        program.add(ADD_ROWS, to, *to.shape, shard.ids, dZ, T, B)


def _outputs(dropped: Array, h: Array, layer: int) -> Array:
    """Return the outputs of a layer, (T B, H), after dropout if there is any."""
    outputs = dropped[layer] if len(dropped) else h[layer, 1:]
    return outputs.reshape(-1, h.shape[3])


def _drop_unit(zero: Any, place: int, turn: int) -> None:
    """out (T, B, H) = x times mask (B, H), the same at every time."""
    out_at, x_at, mask_at, T, B, H = integers_at(place, 6)
    out, x = array_at(zero, out_at, (T, B, H)), array_at(zero, x_at, (T, B, H))
    mask = array_at(zero, mask_at, (B, H))
    for t in range(T):
        for b in range(B):
            for j in range(H):
                out[t, b, j] = x[t, b, j] * mask[b, j]


DROP = Unit(_drop_unit)


def embed(
    program: Program,
    embedding: Array,
    Wx: Array,
    packed_Wx: Panels,
    b: Array,
    lookup: Lookup,
    ids: NDArray[np.int32],
) -> None:
    """Give each distinct one of ids (T, B) a row in lookup.table: embedding[id] Wx + b of layer 0.

    A text has few different characters: the product is taken once for each, not at every
    place. Without an embedding there is no table. The program fails if an id is not in
    [0, V): unchecked, it would read any memory.
    """
    V, E = embedding.shape
    found = (lookup.place, lookup.distinct, lookup.known, program.failed)
    program.add(FIND_IDS, ids, ids.size, V, *found)
    if E:
        table = (lookup.distinct, lookup.known, lookup.x, lookup.table)
        program.add(EMBED, embedding, E, *table, b, *rows_of(Wx), Wx.shape[1], *room_of(packed_Wx))


def _find_ids_unit(zero: Any, place: int, turn: int) -> None:
    """Give each distinct id a place."""
    ids_at, N, V, places_at, distinct_at, count_at, failed_at = integers_at(place, 7)
    ids, places = array_at(_INT32, ids_at, (N,)), array_at(_INT32, places_at, (V,))
    distinct = array_at(_INT32, distinct_at, (V,))
    for v in range(V):
        places[v] = -1
    count = 0
    for i in range(N):
        v = ids[i]
        if not 0 <= v < V:
            array_at(count, failed_at, (1,))[0] = 1
            return
        if places[v] < 0:
            places[v] = count
            distinct[count] = v
            count += 1
    array_at(count, count_at, (1,))[0] = count


FIND_IDS = Unit(_find_ids_unit)


def _embed_unit(zero: Any, place: int, turn: int) -> None:
    """Fill the rows of the table."""
    integers = integers_at(place, 13)
    embedding_at, E, distinct_at, count_at, x, table, b, Wx, Wx_row, GH, packed, rows, kind = (
        integers
    )
    count = array_at(E, count_at, (1,))[0]
    distinct = array_at(_INT32, distinct_at, (count,))
    for u in range(count):
        row = array_at(zero, embedding_at + distinct[u] * E * bytes_of(zero), (E,))
        to = array_at(zero, x + u * E * bytes_of(zero), (E,))
        for j in range(E):
            to[j] = row[j]
    M, GH_row, E_row = max(count, FEW), GH * bytes_of(zero), E * bytes_of(zero)
    size = (M, E, GH, Wx, Wx_row, packed, rows, kind)
    _product(zero, (table, GH_row, b, 0, x, E_row, *size), M)


EMBED = Unit(_embed_unit, PRODUCT)


def _embed_back_unit(zero: Any, place: int, turn: int) -> None:
    """Take dZ (T, B, GH) back to the embedding, by the table, of which it makes the gradient."""
    integers = integers_at(place, 22)
    table, dZ, ids, T, B, places, count_at, gradient, V = integers[:9]
    Wx, E, GH, x, distinct, dWx, zeros, panel, rounded, kind, packed, rows = integers[9:21]
    count = array_at(T, count_at, (1,))[0]
    M, GH_row, E_row = max(count, FEW), GH * bytes_of(zero), E * bytes_of(zero)
    dtable, found = array_at(zero, table, (M, GH)), array_at(_INT32, places, (V,))
    for u in range(M):
        for j in range(GH):
            dtable[u, j] = 0
    dZ_of, ids_of = array_at(zero, dZ, (T * B, GH)), array_at(_INT32, ids, (T * B,))
    for i in range(T * B):
        _add(dtable[found[ids_of[i]]], dZ_of[i])
    sides = (dWx, GH_row, zeros, 0, x, E_row, table, GH_row)
    _gradient_product(zero, (*sides, panel, rounded, kind, E, M, GH), turn)
    _pack(zero, (Wx, GH_row, GH, E, packed, kind, 1), turn)
    size = (M, GH, E, Wx, GH_row, packed, rows, kind)
    _back_product(zero, (x, E_row, zeros, 0, table, GH_row, *size), count)  # x is now dx
    distinct_of = array_at(_INT32, distinct, (V,))
    for u in range(count):
        row = array_at(zero, x + u * E_row, (E,))
        to = array_at(zero, gradient + distinct_of[u] * E_row, (E,))
        for j in range(E):
            to[j] = row[j]


EMBED_BACK = Unit(_embed_back_unit, PACK, BACK_PRODUCT, GRADIENT_PRODUCT)


def _rows_of_table_unit(zero: Any, place: int, turn: int) -> None:
    """Z (T, B, GH) = x Wx + b of layer 0, as the table has it for each id."""
    Z, ids, T, B, GH, table, places, V = integers_at(place, 8)
    ids_of, found = array_at(_INT32, ids, (T * B,)), array_at(_INT32, places, (V,))
    row = GH * bytes_of(zero)
    for i in range(T * B):
        z = array_at(zero, Z + i * row, (GH,))
        x = array_at(zero, table + found[ids_of[i]] * row, (GH,))
        for j in range(GH):
            z[j] = x[j]


ROWS_OF_TABLE = Unit(_rows_of_table_unit)


def _rows_of_wx_unit(zero: Any, place: int, turn: int) -> None:
    """Z (T, B, GH) = x Wx + b of layer 0. A one-hot x times Wx is the row that the id names."""
    Z, ids, T, B, GH, Wx, b_at = integers_at(place, 7)
    ids_of, row = array_at(_INT32, ids, (T * B,)), GH * bytes_of(zero)
    b = array_at(zero, b_at, (GH,))
    for i in range(T * B):
        z, x = array_at(zero, Z + i * row, (GH,)), array_at(zero, Wx + ids_of[i] * row, (GH,))
        for j in range(GH):
            z[j] = x[j] + b[j]


ROWS_OF_WX = Unit(_rows_of_wx_unit)


def _clear_rows_unit(zero: Any, place: int, turn: int) -> None:
    """Zero the rows that the last update wrote, and note which this one will."""
    rows_at, V, width, seen_at, places_at = integers_at(place, 5)
    rows, seen = array_at(zero, rows_at, (V, width)), array_at(_UINT8, seen_at, (V,))
    places = array_at(_INT32, places_at, (V,))
    for v in range(V):
        if seen[v]:
            for j in range(width):
                rows[v, j] = 0
        seen[v] = places[v] >= 0


CLEAR_ROWS = Unit(_clear_rows_unit)


def _add_rows_unit(zero: Any, place: int, turn: int) -> None:
    """Add each row of dZ (T, B, GH) to the row of its id."""
    to, V, width, ids, dZ, T, B = integers_at(place, 7)
    rows, ids_of = array_at(zero, to, (V, width)), array_at(_INT32, ids, (T * B,))
    dZ_of = array_at(zero, dZ, (T * B, width))
    for i in range(T * B):
        _add(rows[ids_of[i]], dZ_of[i])


ADD_ROWS = Unit(_add_rows_unit)


def cross_entropy(
    program: Program, shard: Shard, scale: NDArray[np.float64], loss: NDArray[np.float64]
) -> None:
    """Put the summed loss -log softmax(logits)[target] into loss (1,); logits become its gradient.

    shard.logits (T, B, V), shard.targets (T, B); d logits = (softmax(logits) - one-hot target)
    times scale (1,). The program fails if a target is not in [0, V).
    """
    found = (scale, loss, program.failed)
    program.add(CROSS_ENTROPY, shard.logits, shard.targets, *shard.logits.shape, *found)


def _cross_entropy_unit(zero: Any, place: int, turn: int) -> None:
    """Do what `cross_entropy` does."""
    logits_at, targets_at, T, B, V, scale_at, loss_at, failed_at = integers_at(place, 8)
    logits, targets = array_at(zero, logits_at, (T, B, V)), array_at(_INT32, targets_at, (T, B))
    for t in range(T):
        for b in range(B):
            if not 0 <= targets[t, b] < V:
                array_at(T, failed_at, (1,))[0] = 1
                return
    scale, total = array_at(0.0, scale_at, (1,))[0], 0.0
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
    array_at(0.0, loss_at, (1,))[0] = total


CROSS_ENTROPY = Unit(_cross_entropy_unit)


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


def _sum_rows_unit(zero: Any, place: int, turn: int) -> None:
    """out (count,) = the sum over rows (M, N) of so many columns from `first` on."""
    out_at, rows_at, M, N, first, count = integers_at(place, 6)
    out, rows = array_at(zero, out_at, (count,)), array_at(zero, rows_at, (M, N))
    for j in range(count):
        out[j] = 0
    for i in range(M):
        _add(out, rows[i, first : first + count])


SUM_ROWS = Unit(_sum_rows_unit)


def _copy_unit(zero: Any, place: int, turn: int) -> None:
    """to (M, N) = x (M, N), whose rows are so many bytes apart."""
    to, x, M, N, to_row, x_row = integers_at(place, 6)
    for i in range(M):
        out, row = array_at(zero, to + i * to_row, (N,)), array_at(zero, x + i * x_row, (N,))
        for j in range(N):
            out[j] = row[j]


COPY = Unit(_copy_unit)


@kernel
def add_gradient(to: Any, other: Any, seen: Any, other_seen: Any) -> None:
    """Add another shard's flat gradient (P,), and mark the ids (V,) that it has seen."""
    for i in range(to.size):
        to[i] += other[i]
    for v in range(seen.size):
        seen[v] |= other_seen[v]


def carry(program: Program, shard: Shard) -> None:
    """The state after the last step becomes that before the first."""
    for state in (shard.h, shard.c) if shard.cell == LSTM else (shard.h,):
        L, _, B, H = state.shape
        layer = state.strides[0]
        program.add(COPY, state[:, 0], state[:, -1], L, B * H, layer, layer)


class Work(NamedTuple):
    """What kernels take to read and to draw: a step of a network, its input and its output."""

    code: Code
    ids: NDArray[np.int32]  # (T, B)
    logits: Array  # (T, B, V)


@inlined_kernel
def step(work: Any, turn: Any) -> None:
    """Read work.ids: work.logits, and, if that is part of the program, the state after."""
    run(work.code, work.logits.dtype.type(0), turn)


@kernel
def read(work: Any, uniforms: Any, drawn: Any, rules: Any, log_p: Any, scratch: Any) -> None:
    """Read work.ids (T, B), each with a row in the lookup; draw n characters in each lane.

    uniforms (B, n) and drawn (B, n); each lane draws by its own rules; scratch (3, V) float64. If
    n is 0, work.logits (T, B, V) become log-probabilities. Otherwise T is 1, log_p (B, n, V)
    become the log-probabilities that were drawn from (it may be (B, 0, V)), and on return the
    state carried on is that before the last character drawn.
    Raises ValueError if a prediction is not finite.
    """
    n = drawn.shape[1]
    for t in range(max(n, 1)):
        step(work, t)
        for b in range(drawn.shape[0] if n else 0):
            drawn[b, t] = draw_by(work.logits[0, b], rules, b, uniforms[b, t], scratch)
            work.ids[0, b] = drawn[b, t]
        if n == 0 or log_p.shape[1]:
            log_softmax(work.logits)
        for b in range(log_p.shape[0] if log_p.shape[1] else 0):
            for v in range(log_p.shape[2]):
                log_p[b, t, v] = work.logits[0, b, v]
