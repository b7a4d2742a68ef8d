"""How well a model predicts a text, or a part of it: mean nats per character, bits, perplexity."""

import math
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError, check_at_least
from charloom.models.protocols import LanguageModel, LooksBack, State
from charloom.models.weights import Array

MAX_LANES = 32
LANE_LENGTH = 8192  # ids: a text is cut into lanes only if each has at least so many
WARM_UP = 256  # ids that a lane reads, unscored, before its own
STRETCH_LENGTH = 256  # ids, at least, in each of the stretches that a part is scored in
FEWEST_STRETCHES = 5  # that tell how far a part may be off

Nats = Annotated[float, msgspec.Meta(ge=0)]
Some = Annotated[int, msgspec.Meta(ge=1, lt=10**18)]


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mean loss per character, `nats`, on a text of so many `characters`.

    The first character has none before it: it is read, and not in the mean. `nats` is infinite if
    the model gave a character of the text probability 0. If only a part was scored, in stretches
    that are spread evenly, `characters` are those scored of `whole` (else None), and the loss on
    all of them is within `margin` nats of this one with 95% confidence; that is None if there were
    too few stretches to tell.
    """

    nats: Nats
    characters: Some
    whole: Some | None = None
    margin: Nats | None = None

    def __repr__(self) -> str:
        of = "" if self.whole is None else f", whole={self.whole}"
        figures = f"nats={self.nats:.4f}, bits={self.bits:.4f}, characters={self.characters}"
        return f"Score({figures}{of})"

    @property
    def bits(self) -> float:
        """Mean bits per character: nats / ln 2."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats): how many equally likely characters would be as hard to predict."""
        try:
            return math.exp(self.nats)
        except OverflowError:
            return math.inf


class Cut(NamedTuple):
    """A text cut into windows that overlap and are read side by side.

    Window b is the `length` places from starts[b] on: `starts` (B,). Its first places overlap the
    window before it and are read only for context; it scores those from own[b, 0] on: `own` (B, 1).
    """

    starts: NDArray[np.intp]
    length: int
    own: NDArray[np.intp]


class Piece(NamedTuple):
    """The next T ids of B windows: their `places` (B, T) in the text, and the predictions.

    `log_probs` (B, T, V) are those of the id that follows each; `state` is the one after the last.
    """

    places: NDArray[np.intp]
    log_probs: Array
    state: State


def evaluate(model: LanguageModel, ids: Ids, lanes: int | None = None) -> Score:
    """Score every character of `ids` (N,) but the first.

    For a model of tokens the mean is over the characters that the tokens stand for, so that its
    loss compares with that of a model of characters. It is an upper bound: the probability of
    writing the same text in other tokens is left out.

    With one lane, each character is predicted from all those before it. More lanes are faster: the
    text is cut into that many windows, which are read side by side, and each but the first starts
    with at least 256 characters of the one before it, unscored. Every character is still scored
    once. The default is that of `windows_for`. With a trained LSTM and GRU of 128 units, on 111,540
    characters of Tiny Shakespeare, that changed the mean by less than 1e-7 nats; n-grams are exact;
    random weights of standard deviation 0.3 (a chaotic state) were off by 0.004. Raises
    CharloomError if N < 2.
    """
    N = len(ids)
    if N < 2:
        message = f"a text of {N} characters cannot be scored: give at least two"
        raise CharloomError(message, "no-text", characters=N)
    cut = windows_for(model, N) if lanes is None else windows(N - 1, lanes)
    total = 0.0
    for piece in read_windows(model, ids, cut):
        total += float(_nats(piece, ids).sum(where=piece.places >= cut.own))
    predicted = model.vocabulary.count(ids[1:])
    if not predicted:
        message = "a text without a whole character cannot be scored: give a longer one"
        raise CharloomError(message, "no-text")
    return Score(total / predicted, model.vocabulary.count(ids))


def evaluate_part(model: LanguageModel, ids: Ids, most: int) -> Score:
    """Score `most` of ids (N,), in B stretches that are spread evenly; all if that is about all.

    They tell how far the loss is from that of the whole. It is a ratio of two sums over
    stretches, nats n_b and characters c_b, of a finite text; a stretch is off by n_b - mean c_b
    (Cochran 1977, "Sampling Techniques", chapter 6). Raises CharloomError if N < 2.
    """
    back = model.context if isinstance(model, LooksBack) else None
    cut = stretches(len(ids) - 1, most, max(WARM_UP, back or 0))
    if cut is None:
        return evaluate(model, ids)
    B, lengths = len(cut.starts), model.vocabulary.lengths
    nats, characters = np.zeros(B), np.zeros(B, np.int64)
    for piece in read_windows(model, ids, cut):
        own = piece.places >= cut.own
        nats += _nats(piece, ids).sum(axis=1, where=own)
        characters += lengths[ids[piece.places + 1]].sum(axis=1, where=own)
    scored, whole = int(characters.sum()), model.vocabulary.count(ids)
    if not scored:
        message = "a part without a whole character cannot be scored: score the whole text"
        raise CharloomError(message, "no-text")
    mean = float(nats.sum() / scored)
    margin = None
    if B >= FEWEST_STRETCHES and math.isfinite(mean):
        off = nats - mean * characters
        deviation = math.sqrt(B / (B - 1) * float(off @ off) * (1 - scored / whole)) / scored
        margin = _student(B - 1) * deviation
    return Score(mean, scored, whole, margin)


def _student(freedom: int) -> float:
    """Return the 97.5% point of Student's t, for 4 degrees of freedom at least, to 2%.

    The first terms of the expansion of Cornish and Fisher.
    """
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def chunk_length(lanes: int, vocabulary_size: int) -> int:
    """Return how many characters to hand to `log_probs` at once, so that memory stays small.

    All lanes together get at most 2^20 log-probabilities (8 MiB in float64) and 8,192 characters.
    With a large vocabulary they still get 128 tokens: with fewer, a large model would spend its
    time loading weights.
    """
    return max(1, min(max(2**20 // vocabulary_size, 2**7), 2**13) // lanes)


def windows_for(model: LanguageModel, count: int) -> Cut:
    """Cut a text of so many ids for every figure on it: a lane for each 8,192 of them, 32 at most.

    A model that looks back over windows of its own reads it in one lane, or else it would predict
    from other windows than when it reads on.
    """
    whole = isinstance(model, LooksBack) and model.context is not None
    lanes = 1 if whole else max(1, min(MAX_LANES, count // LANE_LENGTH))
    return windows(count - 1, lanes)


def windows(count: int, lanes: int) -> Cut:
    """Cut range(count) into windows; each overlaps the one before by at least WARM_UP places."""
    check_at_least(1, lanes=lanes)
    if count <= WARM_UP:
        lanes = 1
    step = -(-(count - WARM_UP) // lanes)
    length = step + WARM_UP
    starts = np.minimum(np.arange(lanes) * step, count - length)
    return Cut(starts, length, np.append(0, starts[:-1] + length)[:, None])


def stretches(count: int, most: int, warm_up: int = WARM_UP) -> Cut | None:
    """Spread stretches of `most` places in all evenly over range(count); None if those are all.

    Each is in the middle of its share of the places, and overlaps `warm_up` places before it.
    """
    B = max(1, min(MAX_LANES, most // STRETCH_LENGTH))
    each = max(1, most // B)
    if B * (each + warm_up) >= count:
        return None
    share = (count - warm_up) / B
    starts = (np.arange(B) * share + (share - each) / 2).astype(np.intp)
    return Cut(starts, warm_up + each, (starts + warm_up)[:, None])


def read_windows(model: LanguageModel, ids: Ids, cut: Cut, state: State = None) -> Iterator[Piece]:
    """Read ids (N,) with one lane for each of B windows, a piece at a time.

    `state` is that of the B lanes before the first place; None is the start of a text.
    """
    starts, length, _ = cut
    B = len(starts)
    if state is None:
        state = model.start(B)
    step = chunk_length(B, len(model.vocabulary))
    for t in range(0, length, step):
        places = starts[:, None] + np.arange(t, min(t + step, length))
        log_probs, state = model.log_probs(ids[places], state)
        yield Piece(places, log_probs, state)


def _nats(piece: Piece, ids: Ids) -> NDArray[np.float64]:
    """Return the loss (B, T), in nats, of the id after each one of the piece."""
    targets = ids[piece.places + 1][:, :, None]
    return -np.take_along_axis(piece.log_probs, targets, axis=2)[:, :, 0].astype(np.float64)
