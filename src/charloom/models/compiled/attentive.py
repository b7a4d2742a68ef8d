"""The LSTMs of models/attentive.py, which the kernels of an ordinary network read.

That network has a head of one column, at which nobody looks.
"""

from functools import partial

import numpy as np

from charloom.config import AttentiveConfig, ModelConfig
from charloom.models.attentive import State
from charloom.models.compiled.arrays import (
    Packed,
    flat_vector,
    new_lookup,
    new_packed,
    new_shard,
    parameter_views,
    with_own_rows,
)
from charloom.models.compiled.network import embed, forward, pack_weights
from charloom.models.compiled.products import FEW, aligned
from charloom.models.compiled.program import Program
from charloom.models.compiled.threads import available_threads, share_out
from charloom.models.weights import Array, Weights

LANES = 32  # windows that a thread takes at once


class WindowLayers:
    """Reads windows (N, C): h (C, N, H) of each layer."""

    def __init__(self, config: AttentiveConfig, weights: Weights) -> None:
        V, H = len(weights["embedding"]), config.hidden
        self._network = ModelConfig(
            cell="lstm", layers=config.layers, hidden=H, embedding=config.embedding
        )
        own = {name: w for name, w in weights.items() if name.startswith(("layer", "embedding"))}
        own |= {"head.W": np.zeros((H, V)), "head.b": np.zeros(V)}
        p = parameter_views(flat_vector(own, self._network, np.float32), self._network, V)
        head_W, head_b = aligned((H, 1), np.float32), aligned((1, 1), np.float32)
        self._parameters = p = p._replace(head_W=head_W, head_b=head_b)
        self._packed: dict[tuple[bool, bool], Packed] = {}
        self._lookup, every_id = new_lookup(self._network, V, np.float32), np.arange(V, dtype="i4")
        program, packed = Program(np.float32), self._pack(1, 1).Wx0
        embed(program, p.embedding, p.Wx0, packed, p.b[0], self._lookup, every_id[np.newaxis])
        program()

    def __call__(self, windows: State) -> list[Array]:
        """Return h (C, N, H) of each layer."""
        pieces = [windows[at : at + LANES] for at in range(0, len(windows), LANES)]
        calls = [partial(self._read, piece) for piece in pieces]
        found = share_out(calls, min(available_threads(), len(calls)))
        return [*(found[0] if len(found) == 1 else np.concatenate(found, axis=2))]

    def _read(self, windows: State) -> Array:
        """Return h (L, C, N, H)."""
        N, C = windows.shape
        shard = new_shard(self._network, 1, N, C, np.float32, self._lookup)
        shard.ids[...] = windows.T
        program = Program(np.float32)
        forward(program, self._parameters, self._pack(C, N), shard)
        program()
        return shard.h[:, 1:]

    def _pack(self, T: int, B: int) -> Packed:
        """Return the weights packed for T steps of B lanes, for one thread."""
        kind = (T * B < FEW, B < FEW)
        if kind not in self._packed:
            packed = new_packed(self._network, 1, B, T, np.float32)
            program = Program(np.float32)
            pack_weights(program, self._parameters, packed)
            program()
            self._packed[kind] = packed
        return with_own_rows(self._packed[kind])
