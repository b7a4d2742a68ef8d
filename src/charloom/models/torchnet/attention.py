"""Causal attention: what each character takes from those before it.

    q, k, v = x Wq, x Wk, x Wv            cut into heads of width d = D / heads
    o[t] = sum over s <= t of softmax(q[t] k[s] / sqrt(d))[s] v[s]

Vaswani et al. 2017, "Attention Is All You Need". B batch, T time, N heads, d a head's width.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, dropout: float = 0.0) -> Tensor:
    """q (B, N, T, d), k and v (B, N, S, d) -> what the heads take, side by side (B, T, D).

    `causal` is for S = T: the query at t then sees no key beyond t. Without it, all are seen.
    """
    o = F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
    return o.transpose(1, 2).flatten(2)


def rotary_table(context: int, width: int) -> Tensor:
    """Cosines and sines (2, C, d / 2) of the angles that position t turns by, in float64.

    Element i of a head's first half and element i of its second are a point in the plane, turned
    by t 10000^(-2i/d), so that q[t] k[s] depends on t - s alone (Su et al. 2021, "RoFormer";
    which elements make a point is a matter of names: there they are neighbours).
    """
    i = torch.arange(width // 2, dtype=torch.float64)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), 10000 ** (-2 * i / width))
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn x (B, N, T, d) by a table (2, T, d / 2)."""
    cos, sin = table
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).type_as(x)
