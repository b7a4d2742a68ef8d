"""Recurrent stacks over PyTorch's own cells, which are cuDNN's on a GPU.

PyTorch keeps a matrix as the transpose of the contract's, the LSTM's gates in the order
i f g o, and two biases, whose sum is ours: the second stays 0 and is not trained. Of a GRU with
`bhn` the last third of the second is that, and the rest stays 0. A GRU whose reset gate multiplies
the state, and gates that are a hard_sigmoid, PyTorch has not: here they are a loop over time.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from charloom.config import ModelConfig
from charloom.models.dropout import dropout_masks
from charloom.models.torchnet.devices import numpy_name, send
from charloom.models.torchnet.network import Dropout, Layout, Masks, Network, State
from charloom.models.weights import gate_slope, weight_shapes

CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
STEPS: dict[str, Any] = {
    "rnn": torch.rnn_tanh_cell,
    "lstm": torch.lstm_cell,
    "gru": torch.gru_cell,
}
PARAMETERS = {
    "Wx": "weight_ih_l0",
    "Wh": "weight_hh_l0",
    "b": "bias_ih_l0",
    "bhn": "bias_hh_l0",
}


Function = Callable[[Tensor], Tensor]


def lstm_step(gate: Function, a: Tensor, state: State, W_hh: Tensor, b_hh: Tensor) -> State:
    """a (B, 4H), what the inputs bring, and h, c (B, H) -> the next h and c."""
    h, c = state
    i, f, g, o = (a + F.linear(h, W_hh, b_hh)).chunk(4, dim=1)
    c = gate(f) * c + gate(i) * g.tanh()
    return gate(o) * c.tanh(), c


def gru_step(gate: Function, a: Tensor, state: State, W_hh: Tensor, b_hh: Tensor) -> State:
    """a (B, 3H), what the inputs bring, and h (B, H) -> the next h."""
    (h,), H = state, W_hh.shape[1]
    R = F.linear(h, W_hh, b_hh)
    r, z = gate(a[:, : 2 * H] + R[:, : 2 * H]).chunk(2, dim=1)
    n = (a[:, 2 * H :] + r * R[:, 2 * H :]).tanh()
    return (n + z * (h - n),)


def gru_of_state_step(gate: Function, a: Tensor, state: State, W_hh: Tensor, _: Tensor) -> State:
    """The same, where the reset gate multiplies the state; there is no second bias."""
    (h,), H = state, W_hh.shape[1]
    r, z = gate(a[:, : 2 * H] + F.linear(h, W_hh[: 2 * H])).chunk(2, dim=1)
    n = (a[:, 2 * H :] + F.linear(r * h, W_hh[2 * H :])).tanh()
    return (n + z * (h - n),)


def own_step(config: ModelConfig) -> Callable[..., State] | None:
    """Return one step of a cell that PyTorch does not have; None for one of its own."""
    slope = gate_slope(config)
    gate = partial(hard_sigmoid, slope=slope) if slope else torch.sigmoid
    if config.reset == "state":
        return partial(gru_of_state_step, gate)
    if not slope:
        return None
    return partial(lstm_step if config.cell == "lstm" else gru_step, gate)


def hard_sigmoid(a: Tensor, slope: float) -> Tensor:
    """Return slope a + 1/2, between 0 and 1."""
    return (slope * a + 0.5).clamp(0, 1)


class RecurrentNetwork(Network):
    """Embedding or one-hot inputs, layers of cells with dropout after each, and the head.

    Its parameters are not set: see `put`.
    """

    config: ModelConfig
    compiles = False  # the cells are kernels of their own, and there is little beside them
    embedding: nn.Parameter
    head_W: nn.Parameter
    head_b: nn.Parameter

    def __init__(
        self, config: ModelConfig, vocabulary_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.config, self.vocabulary_size = config, vocabulary_size
        self.cells = nn.ModuleList()
        self._own_step = own_step(config)
        for name, shape in weight_shapes(config, vocabulary_size).items():
            if name.endswith(".Wx"):
                cell = CELLS[config.cell](shape[0], config.hidden, device="meta", dtype=dtype)
                for part, meta in [*cell.named_parameters()]:  # and so it draws no random numbers
                    # Not cell.to_empty, which loads sympy: 0.6 s of each start.
                    empty = torch.empty(meta.shape, dtype=dtype, device=device)
                    setattr(cell, part, nn.Parameter(empty))
                cell.bias_hh_l0.requires_grad_(False).zero_()
                if config.reset == "biased-product":
                    cell.bias_hh_l0.requires_grad_(True).register_hook(_of_candidate)
                self.cells.append(cell)
            elif not name.startswith("layer"):
                empty = torch.empty(shape, dtype=dtype, device=device)
                self.register_parameter(name.replace(".", "_"), nn.Parameter(empty))

    def forward(self, ids: Tensor, state: State, masks: Masks = ()) -> tuple[Tensor, State]:
        """Read ids (B, T) int64 after the state: logits (B, T, V), and the state after."""
        x = self._inputs(ids.t())
        after: list[Tensor] = []
        parts = len(state) // len(self.cells)
        for layer, cell in enumerate(self.cells):
            x, last = self._read(cell, x, state[layer * parts :][:parts])
            after += last
            if masks:
                x = x * masks[layer]
        logits = F.linear(x, self.head_W.t(), self.head_b)
        return logits.transpose(0, 1), tuple(after)

    def _read(self, cell: Any, x: Tensor, before: State) -> tuple[Tensor, State]:
        """One layer over x (T, B, D) after its state: h (T, B, H), and the state after."""
        if self._own_step is not None:
            W_ih, W_hh, b_ih, b_hh = cell.all_weights[0]
            outputs = []
            for a in F.linear(x, W_ih, b_ih):
                before = self._own_step(a, before, W_hh, b_hh)
                outputs.append(before[0])
            return torch.stack(outputs), before
        if len(x) == 1 and not torch.is_grad_enabled():
            # On a CPU the LSTM's module lays its weights out anew at each call: 24 times as long.
            step: Any = STEPS[self.config.cell]
            after = _tuple(step(x[0], _lone(before), *cell.all_weights[0]))
            return after[0].unsqueeze(0), after
        h, last = cell(x, _lone(tuple(array.unsqueeze(0) for array in before)))
        return h, tuple(array[0] for array in _tuple(last))

    def _inputs(self, ids: Tensor) -> Tensor:
        """ids (T, B) -> vectors (T, B, D)."""
        if self.config.embedding:
            return F.embedding(ids, self.embedding)
        one_hot = self.head_W.new_zeros(*ids.shape, self.vocabulary_size)
        return one_hot.scatter_(2, ids.unsqueeze(2), 1.0)

    def dropping(self, dropout: Dropout) -> AbstractContextManager[Masks]:
        """Draw masks (B, H) for each layer: those of the other engines."""
        L, shape = self.config.layers, (dropout.batch, self.config.hidden)
        dtype = numpy_name(self.head_W)
        masks = dropout_masks(dropout.seed, dropout.update, L, shape, dropout.rate, dtype)
        return nullcontext(tuple(send(masks[:, dropout.rows], self.device())))

    def layout(self) -> dict[str, Layout]:
        """Return, by its name in the contract, where each weight is."""
        layouts = {}
        for name in weight_shapes(self.config, self.vocabulary_size):
            where, _, part = name.rpartition(".")
            if where.startswith("layer"):
                cell = self.cells[int(where.removeprefix("layer"))]
                parameter = getattr(cell, PARAMETERS[part])
                there, back = self._to_contract, self._from_contract
                if part == "bhn":
                    there, back = _last_third, _as_last_third
                layouts[name] = Layout(parameter, there, back)
            else:
                layouts[name] = Layout(getattr(self, name.replace(".", "_")))
        return layouts

    def _to_contract(self, tensor: Tensor) -> Tensor:
        """(G*H, D) -> (D, G*H), or (G*H,) -> (G*H,), the gates in the contract's order."""
        return self._swap_gates(tensor).t()

    def _from_contract(self, tensor: Tensor) -> Tensor:
        return self._swap_gates(tensor.t())

    def _swap_gates(self, tensor: Tensor) -> Tensor:
        """Rows in the order i f g o to i f o g, and back, of an LSTM's."""
        if self.config.cell != "lstm":
            return tensor
        i, f, third, fourth = tensor.chunk(4)
        return torch.cat([i, f, fourth, third])


def _last_third(tensor: Tensor) -> Tensor:
    """(3H,) -> (H,): what is added within the reset."""
    return tensor[-(len(tensor) // 3) :]


def _as_last_third(tensor: Tensor) -> Tensor:
    return F.pad(tensor, (2 * len(tensor), 0))


def _of_candidate(gradient: Tensor) -> Tensor:
    """Keep of the gradient of a second bias (3H,) what is not the first's, too."""
    return _as_last_third(_last_third(gradient))


def _lone(state: State) -> Tensor | State:
    """An LSTM's state is a tuple, that of the other cells a tensor."""
    return state if len(state) > 1 else state[0]


def _tuple(state: Tensor | State) -> State:
    return state if isinstance(state, tuple) else (state,)
