"""The texts that one model writes side by side."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.data.tokenizer import Ids
from charloom.generation import lanes as slow_twin
from charloom.models.lanes import Rules, WritesLanes
from charloom.models.protocols import LanguageModel, State
from charloom.models.weights import Array
from charloom.serve.jobs import Job, Piece, Prompt
from charloom.serve.texts import Lane, Reader, read

LONGEST_CHUNK = 64  # characters of each lane that are drawn in one call
TURN_SECONDS = 0.002  # that a call should compute for, about,
LANE_SECONDS = 0.0001  # and for each lane: sending a piece takes as long
MANY = 32  # lanes, or ids of a prompt: enough for what is done for many at once


class Place(NamedTuple):
    """A lane with what it goes on from: ids (1,), its state and its rules."""

    lane: Lane
    ids: NDArray[np.int32]
    state: State
    rules: Rules


class Group(Protocol):
    """The lanes of one model that are written side by side."""

    model: LanguageModel
    lanes: list[Lane]
    written: int  # ids in the last call that belong to texts

    def add(self, places: list[Place]) -> None:
        """Go on with more lanes."""

    def take(self, places: list[int]) -> list[Place]:
        """Remove the lanes at these places, and return them."""

    def write(self) -> dict[Job, list[Piece]]:
        """Write on in all lanes; return what is new, and remove those that have ended."""


class _Chunks:
    """How many characters to draw in one call: few at first, more while that takes little time."""

    def __init__(self) -> None:
        self.length = 1

    def note(self, seconds: float, lanes: int, kept: int) -> None:
        """Look at how long this thread computed in the last call, however long it waited.

        `kept` is how many characters of the lane that kept most were within copy limits.
        """
        self.length = min(self.length, kept)
        wanted = TURN_SECONDS + lanes * LANE_SECONDS
        if 2 * seconds < wanted:
            self.length = min(2 * self.length, LONGEST_CHUNK)
        elif seconds > 2 * wanted:
            self.length = max(1, self.length // 2)


class Together:
    """Lanes of a model that promises that none depends on the others: all in one call."""

    def __init__(self, model: LanguageModel, writer: WritesLanes) -> None:
        self.model, self.lanes, self.written = model, list[Lane](), 0
        self._writer, self._chunks = writer, _Chunks()
        self._ids = np.empty(0, np.int32)  # (B,), of which the state is that before
        self._state: State = None
        self._rules: Rules | None = None  # None: there is no lane yet

    def add(self, places: list[Place]) -> None:
        """Go on with more lanes."""
        lanes, ids, states, rules = zip(*places, strict=True)
        if self._rules is not None:
            ids, states, rules = (self._ids, *ids), (self._state, *states), (self._rules, *rules)
        self._ids, self._rules = np.concatenate(ids), Rules.join(rules)
        self._state = self._writer.join(states)
        self.lanes += lanes

    def take(self, places: list[int]) -> list[Place]:
        """Remove the lanes at these places, and return them."""
        if not places or self._rules is None:
            return []
        taken = [
            Place(
                self.lanes[b],
                self._ids[b : b + 1],
                self._writer.pick(self._state, np.array([b])),
                self._rules.pick(np.array([b])),
            )
            for b in places
        ]
        self._keep(np.setdiff1d(np.arange(len(self.lanes)), places))
        return taken

    def _keep(self, places: NDArray[np.intp]) -> None:
        if self._rules is not None:
            self._ids, self._rules = self._ids[places], self._rules.pick(places)
            self._state = self._writer.pick(self._state, places)
        self.lanes = [self.lanes[b] for b in places]

    def write(self) -> dict[Job, list[Piece]]:
        """Write on in all lanes; return what is new, and remove those that have ended."""
        assert self._rules is not None
        began, B = time.thread_time(), len(self.lanes)
        n = min(self._chunks.length, max(lane.left for lane in self.lanes))
        uniforms = np.stack([lane.uniforms(n) for lane in self.lanes])
        limited = [b for b, lane in enumerate(self.lanes) if lane.job.limit is not None]
        told = limited or any(lane.job.log_probs is not None for lane in self.lanes)
        V = len(self.model.vocabulary)
        log_probs = np.empty((B, n, V), _dtype(self._state)) if told else None
        before = self._ids, self._state, uniforms, self._rules.pick(np.array(limited, np.intp))
        drawn, self._state = self._writer.write(
            self._ids, self._state, uniforms, self._rules, log_probs
        )
        rows = [*drawn]
        if log_probs is not None and limited:
            self._cut(limited, before, rows, log_probs)
        self._ids = np.array([row[-1] for row in rows], np.int32)
        self._chunks.note(time.thread_time() - began, B, max(map(len, rows)))
        pieces, self.written = _pieces(self.lanes, rows, log_probs)
        left = [b for b, lane in enumerate(self.lanes) if lane.left]
        if len(left) < B:
            self._keep(np.array(left, np.intp))
        return pieces

    def _cut(
        self,
        limited: list[int],
        before: tuple[Ids, State, NDArray[np.float64], Rules],
        rows: list[NDArray[np.int32]],
        log_probs: Array,
    ) -> None:
        """Cut what was drawn in the lanes that have a copy limit, and let them go on from there.

        `before` is what was there before, of rules those of `limited`.
        """
        assert self._rules is not None
        (ids, state, uniforms, rules), states = before, [self._state]
        order = np.arange(len(rows))
        for i, b in enumerate(limited):
            lane, one = self.lanes[b], np.array([b])
            assert lane.job.limit is not None
            place = ids[one], self._writer.pick(state, one), uniforms[b], rules.pick(np.array([i]))
            told = rows[b][: lane.left], log_probs[b]
            models = self.model, self._writer
            cut = slow_twin.cut_to(lane.job.limit, lane.written, *models, place, *told)
            if cut is not None:
                rows[b], order[b] = cut.drawn, len(rows) + len(states) - 1
                states.append(cut.state)
                self._rules.bias[b], self._rules.seen[b] = cut.rules.bias[0], cut.rules.seen[0]
        if len(states) > 1:
            self._state = self._writer.pick(self._writer.join(states), order)


def _dtype(state: State) -> "np.dtype[Any]":
    """Return the type of a model's log-probabilities: that of its network, or float64 of counts."""
    while isinstance(state, tuple):
        state = state[0]
    dtype: np.dtype[Any] = state.dtype
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _pieces(
    lanes: list[Lane], drawn: Sequence[Ids], log_probs: Array | None
) -> tuple[dict[Job, list[Piece]], int]:
    """Add what was drawn to all texts; return what is new, and how many ids belong to texts."""
    pieces: dict[Job, list[Piece]] = {}
    written = 0
    for b, lane in enumerate(lanes):
        before = lane.left
        piece = lane.add(drawn[b], None if log_probs is None else log_probs[b])
        written += min(before, len(drawn[b]))
        if piece is not None:
            pieces.setdefault(lane.job, []).append(piece)
    return pieces, written


class Apart:
    """Lanes of a model whose last bits may depend on how many it reads: each in its own call."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.lanes, self.written = model, list[Lane](), 0
        self._places: list[Place] = []
        self._chunks = _Chunks()

    def add(self, places: list[Place]) -> None:
        """Go on with more lanes."""
        own = (place._replace(rules=place.rules.pick(np.array([0]))) for place in places)  # a copy
        self._places += own
        self.lanes = [place.lane for place in self._places]

    def take(self, places: list[int]) -> list[Place]:
        """Remove the lanes at these places, and return them."""
        taken = [self._places[b] for b in places]
        self._places = [place for b, place in enumerate(self._places) if b not in {*places}]
        self.lanes = [place.lane for place in self._places]
        return taken

    def write(self) -> dict[Job, list[Piece]]:
        """Write on in all lanes; return what is new, and remove those that have ended."""
        began, pieces = time.thread_time(), dict[Job, list[Piece]]()
        n, V, self.written = self._chunks.length, len(self.model.vocabulary), 0
        for b, (lane, ids, state, rules) in enumerate(self._places):
            count = min(n, lane.left)
            told = lane.job.log_probs is not None
            log_probs = np.empty((1, count, V)) if told else None
            uniforms = lane.uniforms(count)[None]
            drawing = self.model, ids, state, uniforms, rules
            if lane.job.limit is None:
                drawn, state = slow_twin.write(*drawing, log_probs)
            else:
                limit = lane.job.limit, lane.written
                drawn, state = slow_twin.write_within(*drawing, *limit, log_probs)
            self._places[b] = Place(lane, drawn[:, -1], state, rules)
            new, written = _pieces([lane], [*drawn], log_probs)
            self.written += written
            for job, some in new.items():
                pieces.setdefault(job, []).extend(some)
        self._chunks.note(time.thread_time() - began, len(self.lanes), n)
        self.take([b for b, lane in enumerate(self.lanes) if not lane.left])
        return pieces


def group_of(model: LanguageModel) -> Group:
    """Return an empty group for the texts of a model, computed together if that may be."""
    return Together(model, model) if isinstance(model, WritesLanes) else Apart(model)


def warm(model: LanguageModel) -> None:
    """Read and write a little, so that no request waits for what is compiled when first used.

    Raises what the model raises.
    """
    vocabulary, config = model.vocabulary, SampleConfig(seed=0)
    ids = np.repeat(vocabulary.prompt("")[:1], MANY + 1)
    rules = Rules.of(config, len(vocabulary))
    for count in (1, MANY) if isinstance(model, WritesLanes) else (1,):
        prompts, pieces = [Prompt("", ids, 0)], list[Any]()
        job = Job(model, prompts, count, 2, config, rules, None, 1, False, pieces.extend)
        reader, group = Reader(job, 0), group_of(model)
        while reader.left:
            read([reader])
        lanes = [Lane(job, number) for number in reader.numbers]
        group.add([Place(lane, reader.last, reader.state, rules) for lane in lanes])
        while group.lanes:
            group.write()
