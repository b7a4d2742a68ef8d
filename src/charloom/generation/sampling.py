"""The sampler: from a model's log-probabilities to text.

The random numbers of text i are the doubles of ``default_rng(seed).spawn(count)[i]``, one for
each character (byte, token). So the same seed gives the same text, however it is cut into pieces
and however many others are written beside it (to within the rounding of a model whose arithmetic
depends on the number of lanes, which that of the compiled engine and of n-grams does not).
"""

import time
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charloom.config import SampleConfig
from charloom.data.boundary import BOUNDARY, MARK
from charloom.data.tokenizer import Decoder, Ids
from charloom.data.utf8 import normalized
from charloom.data.vocabulary import UnknownCharacterError, describe
from charloom.errors import CharloomError, check_at_least
from charloom.evaluation import Cut, read_windows
from charloom.formatting import listed
from charloom.generation.copy_limit import CopyLimit
from charloom.generation.lanes import write
from charloom.models.lanes import Rules, WritesLanes
from charloom.models.protocols import LanguageModel, State

LONGEST_CHUNK = 1024  # characters that are drawn in one call
GROW_BELOW_SECONDS = 0.05  # a chunk that took less is followed by a longer one


def generate_ids(
    model: LanguageModel,
    ids: Ids,
    state: State,
    uniforms: NDArray[np.float64],
    config: SampleConfig,
) -> tuple[NDArray[np.int32], State]:
    """Do what `charloom.generation.lanes.write` does, all lanes alike; in one call if it can be."""
    rules = Rules.same(config, len(model.vocabulary), len(ids))
    if isinstance(model, WritesLanes):
        return model.write(ids, state, uniforms, rules)
    return write(model, ids, state, uniforms, rules)


def generate(
    model: LanguageModel,
    config: SampleConfig,
    prompt: str = "",
    length: int = 200,
    limit: CopyLimit | None = None,
    *,
    document: bool = False,
) -> Iterator[str]:
    """Yield pieces of a text that goes on from `prompt`, as they are drawn.

    `length` counts the characters after the prompt, which is not repeated. The text ends before
    the first stop string to be complete, and where a model of tokens ends it; it is shorter than
    `length` only then, or if `limit` leaves nothing to draw. An empty prompt is a new document or
    line to the model: see `Vocabulary.prompt`. A `document` begins with the prompt, and ends where
    the model ends it, without its last line end. Prompt and stop strings are read as files are,
    with LF for CRLF; a stop string that the model cannot write is warned of.
    Raises CharloomError: UnknownCharacterError for the prompt, what `draw` raises, for a limit
    with a model of tokens, and for a document of a model that knows no boundaries.
    """
    written = _write(model, config, prompt, length, 1, limit, document)
    return (pieces[0] for pieces in written if pieces[0])


def generate_many(
    model: LanguageModel,
    config: SampleConfig,
    prompt: str = "",
    length: int = 200,
    count: int = 1,
    limit: CopyLimit | None = None,
    *,
    document: bool = False,
) -> list[str]:
    """Return `count` texts, drawn side by side; see `generate`, which gives the first."""
    pieces = _write(model, config, prompt, length, count, limit, document)
    return ["".join(parts) for parts in zip(*pieces, strict=True)] or [""] * count


def _write(
    model: LanguageModel,
    config: SampleConfig,
    prompt: str,
    length: int,
    count: int,
    limit: CopyLimit | None,
    document: bool,
) -> Iterator[list[str]]:
    """Check and encode now, so that errors are raised before the first piece is asked for."""
    check_at_least(0, length=length)
    check_at_least(1, count=count)
    unit = model.vocabulary.unit
    if limit is not None and unit != "characters":
        message = (
            f"max-copy is for models of characters, and this one generates {unit}: leave it out"
        )
        raise CharloomError(message, "unsupported", field="max_copy")
    vocabulary, memory = model.vocabulary, limit.most if limit else 1
    if document and vocabulary.boundary is None:
        message = (
            "the model does not know where a document ends, as it learned from one text, or from "
            "tokens: sample it without document, or train one on several files, or on one with a "
            f"line {MARK} between its documents"
        )
        raise CharloomError(message, "unsupported", field="document")
    prompt, stops = normalized(prompt), tuple(filter(None, map(normalized, config.stop)))
    if BOUNDARY in prompt:
        raise UnknownCharacterError(BOUNDARY, prompt.index(BOUNDARY))
    for stop in stops:
        if unknown := sorted({*vocabulary.unknown(set(stop)), *({BOUNDARY} & set(stop))}):
            message = f"the text will never end at {stop!r}: the model cannot write "
            warnings.warn(message + listed([*map(describe, unknown)]), stacklevel=3)
    ids, end = vocabulary.prompt(prompt), vocabulary.boundary if document else None
    if end is not None and prompt:
        ids = np.insert(ids, 0, end)
    decoders = [vocabulary.decoder() for _ in range(count)]
    texts = [Continuation(stops, decoder, length, prompt, memory, end) for decoder in decoders]
    return _stream(model, config, ids, texts, limit)


def _stream(
    model: LanguageModel,
    config: SampleConfig,
    prompt: Ids,
    texts: "list[Continuation]",
    limit: CopyLimit | None,
) -> Iterator[list[str]]:
    """Yield the next piece of each of the texts until all have ended."""
    count = len(texts)
    state = _read(model, np.tile(prompt[:-1], (count, 1)), model.start(count))
    ids = np.repeat(prompt[-1:], count)
    rngs = np.random.default_rng(config.seed).spawn(count)
    uniforms = np.empty((count, 0))
    chunk = 1
    while left := max(text.left for text in texts):
        chunk = min(chunk, left)
        more = max(0, chunk - uniforms.shape[1])
        uniforms = np.hstack([uniforms, np.stack([rng.random(more) for rng in rngs])])
        began = time.perf_counter()
        drawn, after = generate_ids(model, ids, state, uniforms[:, :chunk], config)
        sound = chunk if limit is None else _sound(model, drawn, texts, limit)
        elapsed = time.perf_counter() - began
        if sound:
            yield [text.add(row[:sound]) for text, row in zip(texts, drawn, strict=True)]
        if limit is not None and sound < chunk:
            chunk = sound + 1
            read = np.column_stack([ids, drawn[:, :sound]])
            log_probs, after = model.step(read[:, -1], _read(model, read[:, :-1], state))
            for b, text in enumerate(texts):
                if text.left:
                    places = log_probs[b], config, uniforms[b, sound], int(drawn[b, sound])
                    drawn[b, sound] = limit.redraw(model.vocabulary, text.written, *places)
            yield [text.add(row[sound:chunk]) for text, row in zip(texts, drawn, strict=True)]
        uniforms = uniforms[:, chunk:]
        ids, state = np.maximum(drawn[:, chunk - 1], 0), after
        if elapsed < GROW_BELOW_SECONDS:
            chunk = min(4 * chunk, LONGEST_CHUNK)


def _sound(
    model: LanguageModel, drawn: Ids, texts: "list[Continuation]", limit: "CopyLimit"
) -> int:
    """Return how many columns of drawn (B, n) are within the limit, in all texts."""
    sound: int = drawn.shape[1]
    for text, row in zip(texts, drawn, strict=True):
        piece = model.vocabulary.decode(row[: min(sound, text.left)])
        within = limit.within(text.written, piece)
        sound = within if within < len(piece) else sound
    return sound


def _read(model: LanguageModel, ids: Ids, state: State) -> State:
    """Return the state after ids (B, T)."""
    B, T = ids.shape
    starts = T * np.arange(B)
    for piece in read_windows(model, ids.ravel(), Cut(starts, T, starts[:, None]), state):
        state = piece.state
    return state


class Continuation:
    """A text that is being generated; what may begin a stop string is held back.

    It ends before the id `end`, too, and the line end before that. `left` is how many characters
    may still come; 0 when the text has ended. `written` is the end of the prompt and what was drawn
    after it, of which at least `memory` characters are kept.
    """

    def __init__(
        self,
        stops: tuple[str, ...],
        decoder: Decoder,
        left: int,
        prompt: str,
        memory: int,
        end: int | None,
    ) -> None:
        self.left, self.written = left, prompt
        self._stops, self._decoder, self._memory, self._end = stops, decoder, memory, end
        self._held = ""

    def add(self, ids: Ids) -> str:
        """Take the next ids, -1 if it ends, and return the characters that are sure to stay."""
        if not self.left:
            return ""
        ends = np.flatnonzero((ids < 0) | (ids == self._end))
        before = ids[: ends[0]] if ends.size else ids
        decoded = self._decoder.add(before)
        piece = decoded[: self.left]
        ended = self._decoder.ended or ends.size > 0
        is_whole = ends.size > 0 and ids[ends[0]] == self._end and len(piece) == len(decoded)
        self.left = 0 if ended else self.left - len(piece)
        self.written = (self.written + piece)[-self._memory :]
        text = self._held + piece
        places = [(text.find(stop), len(stop)) for stop in self._stops]
        # The first stop string to be complete, and the longest of those that end together.
        found = min(((at + n, at) for at, n in places if at >= 0), default=None)
        if found:
            self.left = 0
            return text[: found[1]]
        if is_whole:
            return text.removesuffix("\n")
        held = [_overlap(text, stop) for stop in self._stops if self.left]
        if self._end is not None and self.left:
            held.append(text.endswith("\n"))
        sure = len(text) - max(held, default=0)
        self._held = text[sure:]
        return text[:sure]

    def rest(self) -> str:
        """Return what is held back, as no more ids will come."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` begin `stop`."""
    most = min(len(stop) - 1, len(text))
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
