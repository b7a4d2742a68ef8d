"""A transformer over characters: blocks that mix over time, then over the width.

    x = embedding[ids] + position
    x = x + mix(norm(x) Wx) Wo               mix: attention, or a recurrent cell (scan.py)
    x = x + gelu(norm(x) W1) W2              and so on, block by block
    logits = norm(x) embedding^T

GPT-2's blocks (Radford et al. 2019) without biases, as nanoGPT has them (Karpathy 2022).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from charloom.config import TransformerConfig
from charloom.models.torchnet.attention import attend, rotary_table, rotate
from charloom.models.torchnet.devices import seeded
from charloom.models.torchnet.network import Dropout, Layout, Masks, Network, State, check_length
from charloom.models.torchnet.scan import gates, scan
from charloom.models.weights import weight_shapes

EPSILON = 1e-5  # of the norms
TURNS = 2**12  # positions that rotations are kept of, until there are more: a context may be 2^20

Mix = Callable[[Tensor], Tensor]  # x Wx (B, T, G*D) -> (B, T, D)


class Block(nn.Module):
    """One residual block; its parameters have the names and shapes of the contract."""

    norm1: Tensor
    Wx: Tensor
    Wo: Tensor
    norm2: Tensor
    W1: Tensor
    W2: Tensor

    def forward(self, x: Tensor, mix: Mix, dropout: float) -> Tensor:
        """X (B, T, D) -> (B, T, D)."""
        x = x + F.dropout(mix(norm(x, self.norm1) @ self.Wx) @ self.Wo, dropout)
        return x + F.dropout(F.gelu(norm(x, self.norm2) @ self.W1) @ self.W2, dropout)


class TransformerNetwork(Network):
    """The Network of a `TransformerConfig`. Its parameters are not set: see `put`.

    The state is h (B, D) of each layer, and nothing with attention: a step's characters see one
    another and no earlier ones.
    """

    config: TransformerConfig
    embedding: Tensor
    position: Tensor
    norm: Tensor
    rotary: Tensor

    def __init__(
        self,
        config: TransformerConfig,
        vocabulary_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.config, self.vocabulary_size = config, vocabulary_size
        self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
        for name, shape in weight_shapes(config, vocabulary_size).items():
            owner, part = self._place(name)
            empty = torch.empty(shape, dtype=dtype, device=device)
            owner.register_parameter(part, nn.Parameter(empty))
        attends = config.mixer == "attention"
        self.learned = attends and config.positions == "learned"
        if attends and not self.learned:
            table = rotary_table(min(config.context, TURNS), config.width // config.heads)
            self.register_buffer("rotary", table.to(device, dtype), persistent=False)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The module that holds a weight of the contract, and the weight's name there."""
        layer, _, part = name.removeprefix("layer").partition(".")
        return (self.blocks[int(layer)], part) if part else (self, name)

    def layout(self) -> dict[str, Layout]:
        """Return, by its name in the contract, where each weight is."""
        names = weight_shapes(self.config, self.vocabulary_size)
        return {name: Layout(getattr(*self._place(name))) for name in names}

    @contextmanager
    def dropping(self, dropout: Dropout) -> Iterator[Masks]:
        """Give the rate; PyTorch's own generator draws, and begins anew here.

        So the masks of a step depend on how its rows are shared out among processes.
        """
        with seeded(dropout.torch_seed, self.device()):
            yield (dropout.rate,)

    def forward(self, ids: Tensor, state: State, masks: Masks = ()) -> tuple[Tensor, State]:
        """Read ids (B, T) int64 after the state: logits (B, T, V), and the state after.

        Dropout acts where nanoGPT's does: on the sum of the embeddings, on the weights of
        attention, and on the end of each branch. Raises CharloomError if T > C.
        """
        (dropout,) = masks or (0.0,)
        after: list[Tensor] = []
        if self.config.mixer == "attention":
            check_length(ids.shape[1], self.config.context)
            mixes: list[Mix] = [partial(self._attention, dropout)] * self.config.layers
        else:
            mixes = [partial(self._recurrence, h, after) for h in state]
        return self.logits(self.read(ids, 0, mixes, dropout)), tuple(after)

    def read(self, ids: Tensor, at: int, mixes: Sequence[Mix], dropout: float = 0.0) -> Tensor:
        """Ids (B, T) at positions `at` and on -> (B, T, D), what `logits` takes."""
        x = F.embedding(ids, self.embedding)
        if self.learned:
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
        B, T, _ = columns.shape
        q, k, v = columns.view(B, T, 3, self.config.heads, -1).permute(2, 0, 3, 1, 4)
        if not self.learned:
            table = self._turns(at + T)[:, at:]
            q, k = rotate(q, table), rotate(k, table)
        return q, k, v

    def _turns(self, end: int) -> Tensor:
        """Return what the first `end` positions turn by (2, end, d / 2)."""
        if end > self.rotary.shape[1]:
            with torch.inference_mode(False):  # training may need it, too
                longer = min(self.config.context, 2 * end)
                table = rotary_table(longer, self.config.width // self.config.heads)
                self.rotary = table.to(self.rotary)
        return self.rotary[:, :end]

    def _attention(self, dropout: float, columns: Tensor) -> Tensor:
        """Attention within a step, which begins at position 0."""
        return attend(*self.queries_keys_values(columns, 0), causal=True, dropout=dropout)

    def _recurrence(self, start: Tensor, after: list[Tensor], columns: Tensor) -> Tensor:
        """A recurrent cell that goes on from h (B, D), and adds the last h to `after`."""
        h = scan(*gates(self.config.mixer, columns.to(start.dtype)), start)
        after.append(h[:, -1])
        return h


def norm(x: Tensor, scale: Tensor) -> Tensor:
    """Layer norm over the last axis, without bias (Ba, Kiros & Hinton 2016)."""
    return F.layer_norm(x, scale.shape, scale, eps=EPSILON)
