"""An ONNX file as a language model, computed by onnxruntime."""

from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids
from charloom.data.vocabulary import Vocabulary
from charloom.models.weights import Array


class State(NamedTuple):
    """The arrays of the file's states and, for attention, the ids (B, P) that they come from."""

    ids: NDArray[np.int64]
    arrays: tuple[Array, ...]


class OnnxModel:
    """The `LanguageModel` protocol over the bytes of a file that charloom wrote.

    When attention has filled its context C, it starts anew with the last C // 2 characters.
    """

    def __init__(self, contents: bytes) -> None:
        self._session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
        properties = self._session.get_modelmeta().custom_metadata_map
        self.vocabulary = Vocabulary.from_json(properties["vocabulary"])
        self.context = int(properties["context"]) if "context" in properties else None
        self._states = self._session.get_inputs()[1:]

    def start(self, lanes: int) -> State:
        """Return the state before any character, for `lanes` independent texts."""
        lengths = {"B": lanes, "P": 0}
        shapes = [[lengths.get(n, n) for n in state.shape] for state in self._states]
        arrays = tuple(np.zeros(shape, np.float32) for shape in shapes)
        return State(np.empty((lanes, 0), np.int64), arrays)

    def step(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B,): log-probabilities (B, V) of the next character, and the state after."""
        log_p, state = self.log_probs(ids[:, np.newaxis], state)
        return log_p[:, 0], state

    def log_probs(self, ids: Ids, state: State) -> tuple[Array, State]:
        """Read ids (B, T): (B, T, V), entry t the log-probabilities after ids[:, : t + 1]."""
        if self.context is None:
            return self._run(ids, state)
        parts = []
        while ids.shape[1]:
            if state.ids.shape[1] == self.context:
                again = state.ids[:, -(self.context // 2) :]
                state = self._run(again, self.start(len(ids)))[1]
            room = self.context - state.ids.shape[1]
            log_p, state = self._run(ids[:, :room], state)
            parts.append(log_p)
            ids = ids[:, room:]
        return np.concatenate(parts, axis=1), state

    def _run(self, ids: Ids, state: State) -> tuple[Array, State]:
        ids = ids.astype(np.int64)
        names = [value.name for value in self._states]
        before = dict(zip(names, state.arrays, strict=True))
        log_p, *after = self._session.run(None, {"ids": ids} | before)
        known = state.ids if self.context is None else np.concatenate([state.ids, ids], axis=1)
        return log_p, State(known, tuple(after))
