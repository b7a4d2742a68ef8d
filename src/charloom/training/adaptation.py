"""A run's model that goes on learning while it reads: each segment is scored, then learned from.

Dynamic evaluation (Krause et al. 2017, arXiv 1709.07432): one step of the optimizer for each
segment, by their rule with RMS. Contexts that go on learning, too, are mixed with it. The run on
disk stays as it is.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

import numpy as np

from charloom.config import Engine, EnsembleConfig, ModelConfig, NgramConfig, TrainConfig
from charloom.data.batches import Streams
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError
from charloom.evaluation import Score
from charloom.models.engines import create_learner
from charloom.models.mixing import InOrder
from charloom.models.protocols import LanguageModel, LendsModel
from charloom.models.weights import Array
from charloom.progress import TELL_SECONDS, Tell, say_nothing
from charloom.runs.run import Run

SEGMENT = 50  # ids that are scored, then learned from in one step
RULE = TrainConfig(batch=1, length=SEGMENT, optimizer="rmsprop", decay=0.999, learning_rate=0.001)
LOOKS = 2000  # segments of training text that the squares of gradients are first taken of
CONTEXT_IDS = 1 << 22  # of the training text, at most, that contexts have read before


def network_of(run: Run) -> ModelConfig | EnsembleConfig | None:
    """Return the network of a run that can go on learning: a recurrent one, or several.

    At rates that suit these, transformers lose what they know: docs/LOG.md.
    """
    model = run.config.model
    return model if isinstance(model, ModelConfig | EnsembleConfig) else None


class Adapted(NamedTuple):
    """A loss while learning, and that of the network `alone`: None if there is none."""

    score: Score
    alone: Score | None


class Adaptation:
    """A copy of a run's network that learns what it reads.

    A weight moves by its gradient over the root of what the square of that gradient is on the
    training part: the network first reads LOOKS segments there, and learns nothing but these
    squares, which RMSProp then carries on. Raises CharloomError if it is not a recurrent one.
    """

    def __init__(self, run: Run, engine: Engine = "auto") -> None:
        model, self._vocabulary = network_of(run), run.vocabulary
        if model is None:
            raise CharloomError(
                f"{run.path} has no recurrent network, and others do not learn while they read: "
                "give another run",
                "unsupported",
                path=str(run.path),
            )
        if engine == "auto":
            engine = "compiled"  # one lane is too little for a GPU
        settings = RULE, len(self._vocabulary), engine, run.config.dtype, 0
        learner = create_learner(model, *settings)
        assert isinstance(learner, LendsModel)
        learner.load(run.load_weights())
        train = run.parts().train[-LOOKS * SEGMENT :]
        looks = Streams(train, 1, min(SEGMENT, len(train) - 2))
        for _ in range(LOOKS):
            inputs, targets, again = looks.next()
            if again:
                learner.reset()
            learner.update(inputs, targets, 0.0)
        self._learner = learner

    def read(self, ids: Ids) -> Iterator[Array]:
        """Yield log-probabilities (T, V) of the next T of ids (N,), then learn from these.

        It begins as at the start of a text, and the first of ids is not predicted.
        """
        self._learner.reset()
        state = self.model.start(1)
        for begin in range(0, len(ids) - 1, SEGMENT):
            end = min(begin + SEGMENT, len(ids) - 1)
            inputs, targets = ids[None, begin:end], ids[None, begin + 1 : end + 1]
            log_probs, state = self.model.log_probs(inputs, state)
            yield log_probs[0]
            self._learner.update(inputs, targets, RULE.learning_rate)

    @property
    def model(self) -> LanguageModel:
        """The network as it is now; valid until it reads on."""
        return self._learner.model(self._vocabulary)


def evaluate(run: Run, ids: Ids, tell: Tell = say_nothing, engine: Engine = "auto") -> Adapted:
    """Score ids (N,) with a run that learns while it reads them, as they come.

    Contexts that have read the end of its training part are mixed with the network (`InOrder`), if
    ids are characters or bytes. Of a run without a network they are all. Raises CharloomError if
    N < 2, or if there is neither.
    """
    N, vocabulary = len(ids), run.vocabulary
    predicted = vocabulary.count(ids[1:])
    if not predicted:
        message = "too few characters to be scored: give a text of at least two"
        raise CharloomError(message, "no-text", characters=N)
    reader = None
    if vocabulary.unit == "tokens" or not isinstance(run.config.model, NgramConfig):
        tell("looking at the gradients of the training text")
        reader = Adaptation(run, engine)
    contexts = _contexts(run, ids, tell)
    if contexts is not None and reader is None:
        nats = float(contexts.score(ids[1:]).sum())
        return Adapted(Score(nats / predicted, vocabulary.count(ids)), None)
    assert reader is not None
    alone = mixed = 0.0
    at, told = 1, perf_counter()
    for log_probs in reader.read(ids):
        targets = ids[at : at + len(log_probs)]
        alone -= float(log_probs[np.arange(len(targets)), targets].sum(dtype=np.float64))
        if contexts is not None:
            mixed += float(contexts.score(targets, log_probs).sum())
        at += len(targets)
        if perf_counter() - told > TELL_SECONDS:
            tell(f"learning while reading: {at:,} of {N:,} {vocabulary.unit}")
            told = perf_counter()
    network = Score(alone / predicted, vocabulary.count(ids))
    if contexts is None:
        return Adapted(network, network)
    return Adapted(Score(mixed / predicted, vocabulary.count(ids)), network)


def _contexts(run: Run, ids: Ids, tell: Tell) -> InOrder | None:
    """Return contexts that have read training text and the first of ids; None for tokens."""
    vocabulary = run.vocabulary
    if vocabulary.unit == "tokens":
        return None
    tell("mixing contexts of the training text")
    train, V = run.parts().train[-CONTEXT_IDS:], len(vocabulary)
    symbols = vocabulary.characters or [chr(byte) for byte in range(V)]
    counts = np.bincount(train, minlength=V) + 1
    contexts = InOrder(symbols, counts.tolist(), len(train) + len(ids))
    contexts.score(train)
    contexts.score(ids[:1])
    return contexts
