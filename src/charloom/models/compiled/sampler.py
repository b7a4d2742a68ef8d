"""Reading, and drawing many characters in one call: one kernel, since both are `forward`.

The compiled twin of `charloom.generation.sampling.generate_ids`.
"""

from typing import Any

from charloom.models.compiled.network import carry, forward, log_softmax
from charloom.models.draw_kernel import draw
from charloom.models.jit import kernel


@kernel
def read(
    parameters: Any, packed: Any, shard: Any, uniforms: Any, drawn: Any, filters: Any, scratch: Any
) -> None:
    """Read shard.ids (T, B), each with a row in shard.lookup; draw n characters in each lane.

    uniforms (B, n) and drawn (B, n); filters are temperature, top_k, top_p and min_p; scratch
    (2, V) float64. If n is 0, shard.logits (T, B, V) become log-probabilities. Otherwise T is 1,
    and on return shard.h[:, 0] and, for an LSTM, shard.c[:, 0] are the state before the last
    character drawn. Raises ValueError if a prediction is not finite.
    """
    n = drawn.shape[1]
    for t in range(max(n, 1)):
        forward(parameters, packed, shard, t)
        if n:
            carry(shard.h)
            carry(shard.c)
            for b in range(drawn.shape[0]):
                drawn[b, t] = draw(shard.logits[0, b], filters, uniforms[b, t], scratch)
                shard.ids[0, b] = drawn[b, t]
    if n == 0:
        log_softmax(shard.logits)
