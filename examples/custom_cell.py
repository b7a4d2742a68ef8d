"""A cell of your own: its equations and their gradient, checked, then trained like any other.

python examples/custom_cell.py [SOURCE] [STEPS]

The minimal gated unit (Zhou et al. 2016) is a GRU with one gate, here with the gate applied after
the recurrent product, as in charloom's GRU:

    f = sigmoid(x Wxf + h[t-1] Whf + bf)        how much is new
    n = tanh   (x Wxn + f (h[t-1] Whn) + bn)    the candidate
    h[t] = (1 - f) h[t-1] + f n
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import charloom
from charloom.models.reference import add_cell
from charloom.models.reference.gradcheck import check_gradients
from charloom.models.reference.operations import add_product_gradient, is_ids, product, sigmoid


def forward(x, state, Wx, Wh, b):
    """Read x, vectors (T, B, D) or ids (T, B), after the state (h (B, H),)."""
    (T, B), H = x.shape[:2], len(Wh)
    h = np.empty((T + 1, B, H), Wh.dtype)
    f, n, q = np.empty((3, T, B, H), Wh.dtype)
    (h[-1],) = state  # what h[t - 1] means at t = 0
    for t in range(T):
        ax, ah = product(x[t], Wx) + b, h[t - 1] @ Wh  # (B, 2H): the gate, then the candidate
        f[t] = sigmoid(ax[:, :H] + ah[:, :H])
        q[t] = ah[:, H:]
        n[t] = np.tanh(ax[:, H:] + f[t] * q[t])
        h[t] = (1 - f[t]) * h[t - 1] + f[t] * n[t]
    return h[:T], (h[T - 1].copy(),), (x, h, f, n, q)


def backward(dout, cache, Wx, Wh):
    """The same lines from the last to the first; dout (T, B, H) comes from above."""
    x, h, f, n, q = cache
    T, B, H = dout.shape
    dWx, dWh = np.zeros_like(Wx), np.zeros_like(Wh)
    dax, dah = np.empty((2, T, B, 2 * H), Wh.dtype)
    dh = np.zeros((B, H), Wh.dtype)
    for t in reversed(range(T)):
        dh = dh + dout[t]
        dan = dh * f[t] * (1 - n[t] ** 2)
        df = dh * (n[t] - h[t - 1]) + dan * q[t]
        dax[t, :, :H] = dah[t, :, :H] = df * f[t] * (1 - f[t])
        dax[t, :, H:], dah[t, :, H:] = dan, dan * f[t]
        add_product_gradient(dWx, x[t], dax[t])
        dWh += h[t - 1].T @ dah[t]
        dh = dh * (1 - f[t]) + dah[t] @ Wh.T
    return None if is_ids(x) else dax @ Wx.T, dWx, dWh, dax.sum(axis=(0, 1))


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "corpus:us-constitution"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    add_cell("mgu", sys.modules[__name__], gates=2)
    for name, error in check_gradients(
        charloom.ModelConfig(cell="mgu", layers=2, hidden=4)
    ).items():
        print(f"{name:10}  relative error of the gradient {error:.0e}")
        assert error < 1e-6
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        run = charloom.train(source, model="mgu", hidden=64, iterations=steps, out=out)
        model = charloom.load(run)
        print(model, f"{model.evaluate().nats:.3f} nats per character of its validation text")
        print(model.sample("We ", length=300, temperature=0.7, seed=1))
