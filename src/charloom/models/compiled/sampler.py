"""Many characters in one call: the compiled twin of `charloom.generation.sampling.generate_ids`."""

from typing import Any

from charloom.models.compiled.network import cell_carry, forward
from charloom.models.draw_kernel import draw
from charloom.models.jit import kernel


@kernel
def generate(p: Any, k: Any, s: Any, uniforms: Any, drawn: Any, filters: Any, scratch: Any) -> None:
    """Read s.ids (1, B), then draw n characters in each lane into drawn (B, n).

    s.lookup must have a row for every id.

    uniforms (B, n); filters are temperature, top_k, top_p and min_p; scratch (2, V) float64.
    On return s.h[:, 0] and, for an LSTM, s.cell.c[:, 0] are the state before the last
    character drawn. Raises ValueError where a prediction is not finite.
    """
    B, n = drawn.shape
    for t in range(n):
        forward(p, k, s, t)
        cell_carry(s)
        for b in range(B):
            drawn[b, t] = draw(s.logits[0, b], filters, uniforms[b, t], scratch)
            s.ids[0, b] = drawn[b, t]
