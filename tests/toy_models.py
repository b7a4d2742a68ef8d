"""Language models of a few characters, whose next one is known: shared by tests of sampling."""

import math

import numpy as np

from charloom.data.vocabulary import Vocabulary
from charloom.generation import lanes

INF = math.inf


class History:
    """Predicts from all it has read: the state (B,) is a running hash of that."""

    def __init__(self, characters="\n abcdef", sharpness=1.0):
        self.vocabulary = Vocabulary(tuple(sorted(characters)))
        self.table = sharpness * np.random.default_rng(0).normal(size=(101, len(characters)))
        self.table -= np.log(np.exp(self.table).sum(axis=1, keepdims=True))

    def start(self, lanes):
        return np.zeros(lanes, int)

    def step(self, ids, state):
        state = (state * 31 + ids + 1) % 101
        return self.table[state], state

    def log_probs(self, ids, state):
        steps = []
        for column in ids.T:
            log_probs, state = self.step(column, state)
            steps.append(log_probs)
        return np.stack(steps, axis=1), state


class WritesAtOnce:
    """Offers a toy model's lanes, as `WritesLanes`; `calls` is how many were asked for."""

    calls = 0

    def join(self, states):
        return np.concatenate(states)

    def pick(self, state, lanes):
        return state[lanes]

    def write(self, ids, state, uniforms, rules, log_probs=None):
        self.calls += 1
        return lanes.write(self, ids, state, uniforms, rules, log_probs)


class Script(History):
    """Writes `text` over and over, whatever it reads; the state counts what was read."""

    def __init__(self, text):
        super().__init__(set(text) | {"\n"})
        self.ids = self.vocabulary.encode(text)

    def step(self, ids, state):
        certain = np.arange(len(self.vocabulary)) == self.ids[state % len(self.ids)][:, None]
        return np.where(certain, 0.0, -INF), state + 1
