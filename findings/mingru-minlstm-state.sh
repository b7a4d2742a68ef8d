#!/usr/bin/env bash
# minGRU-pytorch 0.2.1: minLSTM that is given the state it returned and more than one step raises that state first (g of it, which is 0.5 more),
# so a text in pieces is not scored as the whole text, and the shorter the pieces, the more it is off. One step at a time it is right, and
# so is its minGRU, for which issue 9 of its repository told of the same. Training that carries states from piece to piece learns of states
# that writing step by step never has.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check minGRU-pytorch==0.2.1 torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'P'
import torch
from minGRU_pytorch.minGRU import minGRU
from minGRU_pytorch.minLSTM import minLSTM

torch.manual_seed(0)
torch.set_grad_enabled(False)
T = 32
x = torch.randn(2, T, 8, dtype=torch.float64)


def by_equations(layer):
    """h = f h + i g(v), where f + i = 1: i is the gate of minGRU, and minLSTM divides its two gates by their sum."""
    linear, parts = (layer.to_hidden_and_gate, 2) if isinstance(layer, minGRU) else (layer.to_hidden_and_f_i_gate, 3)
    values, *gates = linear(x).chunk(parts, dim=-1)
    values = torch.where(values >= 0, values + 0.5, values.sigmoid())
    gates = [gate.sigmoid() for gate in gates]
    new = gates[0] if len(gates) == 1 else gates[1] / (gates[0] + gates[1])
    h, out = torch.zeros_like(values[:, 0]), []
    for t in range(T):
        h = (1 - new[:, t]) * h + new[:, t] * values[:, t]
        out.append(h)
    return torch.stack(out, dim=1)


def in_pieces(layer, steps):
    """The outputs when each piece of some steps goes on from the state that the one before returned."""
    state, out = None, []
    for piece in x.split(steps, dim=1):
        y, state = layer(piece, state, return_next_prev_hidden=True)
        out.append(y)
    return torch.cat(out, dim=1)


for kind in (minGRU, minLSTM):
    layer = kind(8).double()
    right = by_equations(layer)
    far = {steps: float(abs(in_pieces(layer, steps) - right).max()) for steps in (T, 16, 8, 4, 2, 1)}
    print(f"{kind.__name__}: off by", {f"pieces of {steps}": f"{one:.1e}" for steps, one in far.items()})
    for steps, one in far.items():
        assert (one > 0.1) == (kind is minLSTM and 1 < steps < T), "this has changed"
        assert one > 0.1 or one < 1e-9, "this has changed"
P
