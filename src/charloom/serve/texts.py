"""One text of a request: its prompt as it is read, then what is drawn, a piece at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids
from charloom.evaluation import chunk_length
from charloom.generation.sampling import Continuation
from charloom.models.lanes import WritesLanes
from charloom.models.protocols import State
from charloom.models.weights import Array
from charloom.serve.jobs import Job, Piece, Seen

READ_AT_ONCE = 1024  # ids of a prompt, between which other lanes are written
UNLIMITED = 2**62  # characters: the number of ids is what ends a text


class Reader:
    """A prompt that is being read, for all texts that go on from it."""

    def __init__(self, job: Job, number: int) -> None:
        self.job, self.number = job, number  # of the prompt
        self.numbers = range(number * job.count, (number + 1) * job.count)
        prompt = job.prompts[number]
        self._ids = prompt.ids[:-1].astype(np.int32)
        self.last = prompt.ids[-1:].astype(np.int32)
        self.left = len(self._ids)
        self.state = job.model.start(1)
        self._most = min(READ_AT_ONCE, chunk_length(1, len(job.model.vocabulary)))
        told = job.echo and job.log_probs is not None and prompt.length
        self.seen = [Seen(int(prompt.ids[0]), None, [])] if told else []
        self._tells = bool(told)

    @property
    def piece(self) -> Ids:
        """The ids (n,) to read next."""
        begin = len(self._ids) - self.left
        return self._ids[begin : begin + self._most]

    def take(self, log_probs: Array, state: State) -> None:
        """Take what the model gives when it has read the piece: (n, V), and the state after."""
        begin, n = len(self._ids) - self.left, len(log_probs)
        self.state, self.left = state, self.left - n
        if self._tells:
            after = self.job.prompts[self.number].ids[begin + 1 : begin + 1 + n]
            self.seen += _seen(after, log_probs, self.job.log_probs or 0)


def alike(readers: Sequence[Reader]) -> list[list[Reader]]:
    """Group prompts whose next pieces can be read in one call: of one model, and as long.

    If lanes depend on one another to the last bit (see `WritesLanes`), each is alone. A call gives
    no more log-probabilities than `chunk_length` allows.
    """
    groups: dict[object, list[Reader]] = {}
    for reader in readers:
        model = reader.job.model
        alone = None if isinstance(model, WritesLanes) else reader
        groups.setdefault((id(model), len(reader.piece), alone), []).append(reader)
    calls = list[list[Reader]]()
    for group in groups.values():
        most = chunk_length(max(1, len(group[0].piece)), len(group[0].job.model.vocabulary))
        calls += [group[i : i + most] for i in range(0, len(group), most)]
    return calls


def read(readers: Sequence[Reader]) -> int:
    """Read the next pieces of prompts that are alike; return how many ids that were.

    Raises what the model raises.
    """
    if not readers or not readers[0].left:
        return 0
    model, ids = readers[0].job.model, np.stack([reader.piece for reader in readers])
    if not isinstance(model, WritesLanes):
        (reader,) = readers
        log_probs, state = model.log_probs(ids, reader.state)
        reader.take(log_probs[0], state)
    else:
        log_probs, states = model.log_probs(ids, model.join([reader.state for reader in readers]))
        for b, reader in enumerate(readers):
            reader.take(log_probs[b], model.pick(states, np.array([b])))
    return ids.size


class Lane:
    """One text that is being written."""

    def __init__(self, job: Job, number: int) -> None:
        self.job, self.number, self.left = job, number, job.tokens
        vocabulary, stops = job.model.vocabulary, job.settings.stop
        memory = max(1, job.limit.most if job.limit else 1, *map(len, stops))
        text = job.prompts[number // job.count].text
        decoder = vocabulary.decoder()
        self._text = Continuation(stops, decoder, UNLIMITED, text[-memory:], memory, job.end)
        self._lengths = vocabulary.lengths if job.log_probs is not None else None
        self._held: list[tuple[int, Seen]] = []  # with the place in the text that each begins at
        self._drawn: list[Ids] | None = None if vocabulary.unit == "characters" else []
        self._place = self._sent = 0
        self._uniforms = np.empty(0)  # that were asked for, and not used yet
        self._rng = np.random.default_rng(job.settings.seed).spawn(job.count)[number % job.count]

    @property
    def written(self) -> str:
        """The end of the text, as far as a limit to copying looks back."""
        return self._text.written

    def uniforms(self, n: int) -> NDArray[np.float64]:
        """Return the random numbers (n,) that the next n ids are drawn with."""
        more = self._rng.random(max(0, n - len(self._uniforms)))
        self._uniforms = np.append(self._uniforms, more)
        return self._uniforms[:n]

    def add(self, ids: Ids, log_probs: Array | None) -> Piece | None:
        """Take what was drawn, ids (n,); return what is sure to stay, if that is anything."""
        self._uniforms = self._uniforms[len(ids) :]
        ids = ids[: self.left]
        self.left -= len(ids)
        if self._drawn is not None:
            self._drawn.append(ids)
        if log_probs is not None and self._lengths is not None:
            for id, seen in zip(ids, _seen(ids, log_probs, self.job.log_probs or 0), strict=False):
                self._held.append((self._place, seen))
                self._place += int(self._lengths[id])
        text = self._text.add(ids)
        ended = None
        if not self._text.left:
            ended = "stop"
        elif not self.left:
            ended, text = "length", text + self._text.rest()
        self._sent += len(text)
        sure = [seen for place, seen in self._held if place < self._sent]
        self._held = self._held[len(sure) :]
        if ended is not None:
            self.left = 0
            self.job.written += self.job.tokens if ended == "length" else self._count()
        return Piece(self.number, text, sure, ended) if text or sure or ended else None

    def _count(self) -> int:
        """Return how many ids the text has that a stop has ended, however they were drawn."""
        if self._drawn is None:
            return self._sent
        lengths = self.job.model.vocabulary.lengths[np.concatenate(self._drawn)]
        return int(np.count_nonzero(np.cumsum(lengths) - lengths < self._sent))


def _seen(ids: Ids, log_probs: Array, most: int) -> list[Seen]:
    """Return what is told of ids (n,) by the log-probabilities (n or more, V) of each."""
    rows = log_probs[: len(ids)]
    own = rows[np.arange(len(ids)), ids].tolist()
    if not most:
        return [Seen(id, x, []) for id, x in zip(ids.tolist(), own, strict=True)]
    best = np.argsort(-rows, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(rows, best, axis=1)
    pairs = ([*zip(b, v, strict=True)] for b, v in zip(best.tolist(), values.tolist(), strict=True))
    return [Seen(id, x, p) for id, x, p in zip(ids.tolist(), own, pairs, strict=True)]
