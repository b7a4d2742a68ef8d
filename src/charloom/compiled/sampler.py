"""Many characters in one call: the compiled twin of `charloom.sampling.generate_ids`."""

from typing import Any

from charloom.compiled.network import forward
from charloom.compiled.products import copy
from charloom.drawing import draw
from charloom.jit import kernel


@kernel
def generate(
    p: Any, s: Any, carried: Any, uniforms: Any, drawn: Any, filters: Any, scratch: Any
) -> None:
    """Read s.ids (1, B), then draw n characters in each lane into drawn (B, n).

    uniforms (B, n); filters are temperature, top_k, top_p and min_p; scratch (2, V) float64.
    `carried` holds s.h and, for an LSTM, s.cell.c (L, 2, B, H): on return their [:, 0] is the
    state before the last character drawn. Raises ValueError where a prediction is not finite.
    """
    B, n = drawn.shape
    for t in range(n):
        forward(p, s)
        for state in carried:
            _carry(state)
        for b in range(B):
            drawn[b, t] = draw(s.logits[0, b], filters, uniforms[b, t], scratch)
            s.ids[0, b] = drawn[b, t]


@kernel
def _carry(state: Any) -> None:
    for layer in range(state.shape[0]):
        copy(state[layer, 0], state[layer, 1])
