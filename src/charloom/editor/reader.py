"""A text that changes in; how surprising each of its characters is to a model out, read once."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from charloom.data.boundary import BOUNDARY
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import chunk_length
from charloom.models.protocols import LanguageModel, State
from charloom.models.weights import Array

EVERY = 256  # characters between two states that are kept

Floats = NDArray[np.float64]


class Reader:
    """What a model of characters makes of a text; where that has changed it is read again.

    A character that the model has never seen is passed over. Raises CharloomError for a model of
    bytes or tokens.
    """

    def __init__(self, model: LanguageModel) -> None:
        vocabulary = model.vocabulary
        if vocabulary.unit != "characters":
            message = f"the model writes {vocabulary.unit}, and only characters can be shown here"
            raise CharloomError(message, "unsupported")
        self.model = model
        self._known: Collection[str] = {*vocabulary.characters} - {BOUNDARY}
        self._every = min(EVERY, chunk_length(1, len(vocabulary)))
        self._ids: Ids = np.empty(0, np.int32)  # that were read,
        self._nats: Floats = np.empty(0)  # the surprise of each,
        # and, before each `_every` of them, the state, and what was predicted (V,).
        self._kept: list[tuple[State, Array | None]] = [(model.start(1), None)]

    def knows(self, character: str) -> bool:
        """Whether the model has seen a character."""
        return character in self._known

    def known(self, text: str) -> str:
        """Return a text without what the model has never seen."""
        return "".join(filter(self.knows, text))

    def read(self, text: str) -> Floats:
        """Return the surprise in nats (N,) of each of N characters.

        NaN is for those that are unknown, and the first that is known, which nothing predicts.
        """
        nats = np.full(len(text), np.nan)
        places = [place for place, character in enumerate(text) if self.knows(character)]
        if places:
            nats[places] = self._read(self.model.vocabulary.encode(self.known(text)))
        return nats

    def next(self, text: str) -> Array:
        """Return the log-probabilities (V,) of what may come after a text."""
        ids = self.model.vocabulary.prompt(self.known(text))
        kept = min((len(ids) - 1) // self._every, self._same(ids) // self._every)
        kept = min(kept, len(self._kept) - 1)
        state, at = self._kept[kept][0], kept * self._every
        while True:
            piece = ids[None, at : at + self._every]
            log_probs, state = self.model.log_probs(piece, state)
            at += self._every
            if at >= len(ids):
                last: Array = log_probs[0, -1]
                return last

    def _same(self, ids: Ids) -> int:
        """Return how many ids at the beginning are those that were read."""
        n = min(len(ids), len(self._ids))
        differ = np.flatnonzero(ids[:n] != self._ids[:n])
        return int(differ[0]) if differ.size else n

    def _read(self, ids: Ids) -> Floats:
        """Return the surprise of ids (N,), of which those that are new are read."""
        same = self._same(ids)
        if same == len(ids):
            return self._nats[:same]
        kept = same // self._every
        del self._kept[kept + 1 :]
        (state, before), at = self._kept[kept], kept * self._every
        nats = np.concatenate([self._nats[:at], np.empty(len(ids) - at)])
        for begin in range(at, len(ids), self._every):
            piece = ids[begin : begin + self._every]
            log_probs, state = self.model.log_probs(piece[None], state)
            nats[begin] = np.nan if before is None else -before[piece[0]]
            rows = np.arange(len(piece) - 1)
            nats[begin + 1 : begin + len(piece)] = -log_probs[0, rows, piece[1:]]
            before = log_probs[0, -1].copy()
            if len(piece) == self._every:
                self._kept.append((state, before))
        self._ids, self._nats = ids, nats
        return nats
