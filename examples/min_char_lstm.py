"""A long short-term memory that learns to write, one character at a time: all of it, in NumPy.

python examples/min_char_lstm.py [TEXT] [STEPS]

T characters are read in a step, H hidden units, V different characters; dX is the gradient of
the loss with respect to X. The losses are those of charloom's reference engine.
min_char_rnn.py is simpler; what is different here is the cell.
"""

import sys
from pathlib import Path

import numpy as np

H, T, RATE, LIMIT = 100, 16, 0.1, 5.0
TEXT = Path(__file__).parents[1] / "src/charloom/assets/us-constitution.txt"


def new_weights(V, rng):
    """Small random matrices, and biases of 0; the four gates of a cell stand side by side."""
    shapes = {"Wx": (V, 4 * H), "Wh": (H, 4 * H), "b": (4 * H,), "W": (H, V), "c": (V,)}
    return {n: rng.normal(0, 0.01, s) if len(s) == 2 else np.zeros(s) for n, s in shapes.items()}


def cell(weights, x, h, m):
    """One character: from the state h and the memory m (H,) to those after it.

    a = x Wx + h Wh + b;  i, f, o = sigmoid(of three quarters of a);  g = tanh(of the last)
    m = f m + i g;  h = o tanh(m): a part of the memory is kept, a part added, a part shown.
    """
    a = weights["Wx"][x] + h @ weights["Wh"] + weights["b"]
    i, f, o = (1 + np.tanh(a[: 3 * H].reshape(3, H) / 2)) / 2  # sigmoid
    g = np.tanh(a[3 * H :])
    after = f * m + i * g
    return o * np.tanh(after), after, (x, h, m, i, f, o, g, after)


def cell_backward(weights, dh, dm, cache, d):
    """From the gradients of h and m after a character to those before it; those of weights add."""
    x, h, m, i, f, o, g, after = cache
    shown = np.tanh(after)
    dm = dm + dh * o * (1 - shown**2)  # the memory went into h, and on to the next character
    di, df, do, dg = dm * g, dm * m, dh * shown, dm * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    d["Wx"][x] += da
    d["Wh"] += np.outer(h, da)
    d["b"] += da
    return da @ weights["Wh"].T, dm * f  # dm passes no matrix: why this memory lasts


def forward(weights, inputs, targets, h, m):
    """Read ids (T,): the loss, summed over them, the state after, and what `backward` needs."""
    caches, loss = [], 0.0
    for x, target in zip(inputs, targets, strict=True):
        h, m, cache = cell(weights, x, h, m)
        logits = h @ weights["W"] + weights["c"]
        e = np.exp(logits - logits.max())
        p = e / e.sum()
        loss -= np.log(p[target])
        caches.append((h, p, cache))
    return loss, h, m, caches


def backward(weights, targets, caches):
    """The same lines from the last to the first: the gradient of the loss for every weight."""
    d = {name: np.zeros_like(w) for name, w in weights.items()}
    dh, dm = np.zeros((2, H))  # nothing comes back from beyond the T characters
    for target, (h, p, cache) in zip(reversed(targets), reversed(caches), strict=True):
        dlogits = p.copy()
        dlogits[target] -= 1  # of softmax and log together: p - 1 at the target, p elsewhere
        d["W"] += np.outer(h, dlogits)
        d["c"] += dlogits
        dh, dm = cell_backward(weights, dh + dlogits @ weights["W"].T, dm, cache, d)
    return d


def train(ids, weights, steps):
    """Take so many steps through ids (N,), over and over; yield the loss of each, per character."""
    memory = {name: np.zeros_like(w) for name, w in weights.items()}
    place = len(ids)
    for _ in range(steps):
        if place + T + 1 >= len(ids):
            place, (h, m) = 0, np.zeros((2, H))
        inputs, targets = ids[place : place + T], ids[place + 1 : place + T + 1]
        loss, h, m, caches = forward(weights, inputs, targets, h, m)
        for name, dw in backward(weights, targets, caches).items():  # Adagrad
            dw = np.clip(dw, -LIMIT, LIMIT)
            memory[name] += dw * dw
            weights[name] -= RATE * dw / np.sqrt(memory[name] + 1e-8)
        place += T
        yield loss / T


def sample(weights, x, length, rng):
    """Draw `length` ids after x, each from the probabilities that the one before gave."""
    drawn, (h, m) = [x], np.zeros((2, H))
    for _ in range(length):
        _, h, m, ((_, p, _),) = forward(weights, drawn[-1:], [0], h, m)
        drawn.append(rng.choice(len(p), p=p))
    return drawn


if __name__ == "__main__":
    text = Path(sys.argv[1] if len(sys.argv) > 1 else TEXT).read_text("utf-8")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    characters, rng = sorted(set(text)), np.random.default_rng(0)
    ids = np.array([characters.index(c) for c in text])
    weights, smooth = new_weights(len(characters), rng), np.log(len(characters))
    for step, loss in enumerate(train(ids, weights, steps)):
        smooth = 0.999 * smooth + 0.001 * loss
        if step % 1000 == 0 or step == steps - 1:
            written = "".join(characters[n] for n in sample(weights, ids[0], 200, rng))
            print(f"step {step:,}: loss {smooth:.3f} nats per character\n{written}\n")
