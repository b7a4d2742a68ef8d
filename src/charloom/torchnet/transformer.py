"""A transformer over characters: blocks that mix over time, then over the numbers of each time.

    x = embedding[ids] + position
    x = x + mix(norm(x) Wx) Wo               mix: attention, or a recurrent cell (scan.py)
    x = x + gelu(norm(x) W1) W2              and so on, block by block
    logits = norm(x) embedding^T

GPT-2's blocks (Radford et al. 2019) without biases, as nanoGPT has them (Karpathy 2022).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charloom.config import TransformerConfig
from charloom.errors import CharloomError
from charloom.torchnet.attention import attend, rotary_table, rotate, split_heads
from charloom.torchnet.scan import gates, scan
from charloom.weights import state_shapes, weight_shapes

EPSILON = 1e-5  # of the norms

Mix = Callable[[Tensor], Tensor]  # x Wx (B, T, G*D) -> (B, T, D)
State = tuple[Tensor, ...]  # h (B, D) of each layer; empty with attention


class Block(nn.Module):
    """One residual block; its parameters have the names and shapes of the contract."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))

    def forward(self, x: Tensor, mix: Mix, dropout: float) -> Tensor:
        """X (B, T, D) -> (B, T, D)."""
        x = x + F.dropout(mix(norm(x, self.norm1) @ self.Wx) @ self.Wo, dropout)
        return x + F.dropout(F.gelu(norm(x, self.norm2) @ self.W1) @ self.W2, dropout)


class TransformerNetwork(nn.Module):
    """The Network of a `TransformerConfig` over V characters; its weights are to be loaded."""

    rotary: Tensor

    def __init__(self, config: TransformerConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.attends = config.mixer == "attention"
        shapes = weight_shapes(config, vocabulary_size)
        for name, shape in shapes.items():
            if "." not in name:
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        blocks = []
        for layer in range(config.layers):
            prefix = f"layer{layer}."
            own = {n.removeprefix(prefix): s for n, s in shapes.items() if n.startswith(prefix)}
            blocks.append(Block(own))
        self.blocks = nn.ModuleList(blocks)
        if self.attends and config.positions == "rotary":
            table = rotary_table(config.context, config.width // config.heads)
            self.register_buffer("rotary", table, persistent=False)

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by the contract's names, in its order."""
        own = dict(self.named_parameters())
        for name in weight_shapes(self.config, len(self.embedding)):
            layer, _, part = name.removeprefix("layer").partition(".")
            yield name, own[f"blocks.{layer}.{part}" if part else name]

    def start(self, lanes: int) -> State:
        """Return the state before any character."""
        shapes = state_shapes(self.config, lanes).values()
        return tuple(self.embedding.new_zeros(shape) for shape in shapes)

    def forward(
        self, ids: Tensor, state: State, dropout: float = 0.0
    ) -> tuple[Tensor, State]:
        """Read ids (B, T) after `state`: logits (B, T, V), and the state after.

        `dropout` is the share that is dropped of the embeddings' sum, of attention's weights and
        of what each branch ends with, as in nanoGPT; torch's generator draws it. Raises
        CharloomError where attention is to reach back over more than the context.
        """
        if self.attends and ids.shape[1] > self.config.context:
            raise CharloomError(
                f"a step of length {ids.shape[1]:,} is longer than the context, "
                f"{self.config.context:,}: lower length, or raise context"
            )
        after: list[Tensor] = []
        mixes: list[Mix] = [self.attention(dropout)] * self.config.layers
        if not self.attends:
            mixes = [self.recurrence(h, after) for h in state]
        return self.logits(self.read(ids, 0, mixes, dropout)), tuple(after)

    def read(self, ids: Tensor, at: int, mixes: Sequence[Mix], dropout: float = 0.0) -> Tensor:
        """Ids (B, T) at positions `at` and on -> (B, T, D), what `logits` takes."""
        x = F.embedding(ids, self.embedding)
        if hasattr(self, "position"):
            x = x + self.position[at : at + ids.shape[1]]
        x = F.dropout(x, dropout)
        for block, mix in zip(self.blocks, mixes, strict=True):
            x = block(x, mix, dropout)
        return norm(x, self.norm)

    def logits(self, x: Tensor) -> Tensor:
        """X (..., D) -> (..., V)."""
        return x @ self.embedding.T

    def queries_keys_values(self, columns: Tensor, at: int) -> tuple[Tensor, Tensor, Tensor]:
        """x Wx (B, T, 3D) at positions `at` and on -> each (B, N, T, d)."""
        q, k, v = split_heads(columns, self.config.heads)
        if self.config.positions == "rotary":
            table = self.rotary[:, at : at + columns.shape[1]]
            q, k = rotate(q, table), rotate(k, table)
        return q, k, v

    def attention(self, dropout: float) -> Mix:
        """Attention within a step that begins at position 0."""

        def mix(columns: Tensor) -> Tensor:
            return attend(*self.queries_keys_values(columns, 0), causal=True, dropout=dropout)

        return mix

    def recurrence(self, start: Tensor, after: list[Tensor]) -> Mix:
        """A recurrent cell that goes on from h (B, D) and adds the last h to `after`."""

        def mix(columns: Tensor) -> Tensor:
            h = scan(*gates(self.config.mixer, columns), start)
            after.append(h[:, -1])
            return h

        return mix


def norm(x: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the last axis, without bias (Ba, Kiros & Hinton 2016)."""
    return F.layer_norm(x, scale.shape, scale, eps=EPSILON)
