"""A vanilla recurrent network that learns to write, one character at a time: all of it, in NumPy.

python examples/min_char_rnn.py [TEXT] [STEPS]

T characters are read in a step, H hidden units, V different characters; dX is the gradient of
the loss with respect to X. The losses are those of charloom's reference engine.
"""

import sys
from pathlib import Path

import numpy as np

H, T, RATE, LIMIT = 100, 25, 0.1, 5.0
TEXT = Path(__file__).parents[1] / "src/charloom/assets/us-constitution.txt"


def new_weights(V, rng):
    """Small random matrices, and biases of 0."""
    shapes = {"Wx": (V, H), "Wh": (H, H), "b": (H,), "W": (H, V), "c": (V,)}
    return {n: rng.normal(0, 0.01, s) if len(s) == 2 else np.zeros(s) for n, s in shapes.items()}


def forward(weights, inputs, targets, h):
    """Read ids (T,) after the state h (H,): the loss, summed over them, and all that came about.

    h[t] = tanh(x[t] Wx + h[t-1] Wh + b), where x[t] is 1 at its character's place and 0 elsewhere,
    so that x[t] Wx is a row of Wx; p[t] = softmax(h[t] W + c); loss = sum of -log p[t][target].
    """
    Wx, Wh, b, W, c = weights.values()
    hs, ps, loss = [h], [], 0.0
    for x, target in zip(inputs, targets, strict=True):
        hs.append(np.tanh(Wx[x] + hs[-1] @ Wh + b))
        logits = hs[-1] @ W + c
        e = np.exp(logits - logits.max())
        ps.append(e / e.sum())
        loss -= np.log(ps[-1][target])
    return loss, hs, ps


def backward(weights, inputs, targets, hs, ps):
    """The same lines from the last to the first: the gradient of the loss for every weight."""
    _, Wh, _, W, _ = weights.values()
    d = {name: np.zeros_like(w) for name, w in weights.items()}
    dh = np.zeros(H)  # nothing comes back from beyond the T characters
    for t in reversed(range(len(inputs))):
        h_before, h = hs[t], hs[t + 1]
        dlogits = ps[t].copy()
        dlogits[targets[t]] -= 1  # of softmax and log together: p - 1 at the target, p elsewhere
        d["W"] += np.outer(h, dlogits)
        d["c"] += dlogits
        dh = dh + dlogits @ W.T  # h[t] went two ways: to the logits, and on to h[t+1]
        da = dh * (1 - h**2)  # tanh' = 1 - tanh^2
        d["Wx"][inputs[t]] += da
        d["Wh"] += np.outer(h_before, da)
        d["b"] += da
        dh = da @ Wh.T
    return d


def adagrad(weights, gradients, memory):
    """Each number moves against its gradient, by less the more it has moved before."""
    for name, w in weights.items():
        dw = np.clip(gradients[name], -LIMIT, LIMIT)
        memory[name] += dw * dw
        w -= RATE * dw / np.sqrt(memory[name] + 1e-8)


def train(ids, weights, steps):
    """Take so many steps through ids (N,), over and over; yield the loss of each, per character."""
    memory = {name: np.zeros_like(w) for name, w in weights.items()}
    place = len(ids)
    for _ in range(steps):
        if place + T + 1 >= len(ids):
            place, h = 0, np.zeros(H)
        inputs, targets = ids[place : place + T], ids[place + 1 : place + T + 1]
        loss, hs, ps = forward(weights, inputs, targets, h)
        adagrad(weights, backward(weights, inputs, targets, hs, ps), memory)
        h, place = hs[-1], place + T
        yield loss / T


def sample(weights, start, length, rng):
    """Draw `length` ids after `start`, each from the probabilities that the one before gave."""
    drawn, h = [start], np.zeros(H)
    for _ in range(length):
        _, hs, ps = forward(weights, drawn[-1:], [0], h)
        h = hs[-1]
        drawn.append(rng.choice(len(ps[0]), p=ps[0]))
    return drawn


def main():
    """Train on a text, and show the loss and a sample now and then."""
    text = Path(sys.argv[1] if len(sys.argv) > 1 else TEXT).read_text("utf-8")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    characters = sorted(set(text))
    number = {c: n for n, c in enumerate(characters)}
    ids = np.array([number[c] for c in text])
    rng = np.random.default_rng(0)
    weights = new_weights(len(characters), rng)
    smooth = np.log(len(characters))  # of a network that knows nothing yet
    for step, loss in enumerate(train(ids, weights, steps)):
        smooth = 0.999 * smooth + 0.001 * loss
        if step % 1000 == 0 or step == steps - 1:
            written = "".join(characters[n] for n in sample(weights, ids[0], 200, rng))
            print(f"step {step:,}: loss {smooth:.3f} nats per character\n{written}\n")


if __name__ == "__main__":
    main()
