"""Which settings a text gets if none are given: the recipe as data, and `choose`, which reads it.

Pure: measured speeds come in as numbers (planning.py measures them), so that the same numbers
give the same choice. docs/LOG.md has the runs behind each row.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from charloom.config import (
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    RunConfig,
    TrainConfig,
    TransformerConfig,
    replace,
)
from charloom.formatting import count
from charloom.models.weights import parameter_count
from charloom.presets import preset
from charloom.training.mixture import share_for

BASE = RunConfig(
    model=ModelConfig(cell="lstm", layers=1, hidden=128, embedding=64),
    train=TrainConfig(
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        clip_norm=1.0,
        schedule="cosine",
    ),
)
TRANSFORMER = replace(preset("nanogpt-char-cpu").train, iterations=None, warmup=0)
# The rest is BASE's.
CHOSEN = ("hidden", "batch", "length", "learning_rate", "dropout", "warmup", "mixture")

# Hidden size -> the highest learning rate that an LSTM takes; others take half of it.
RATES = {64: 0.03, 96: 0.03, 128: 0.03, 192: 0.02, 256: 0.02, 384: 0.02, 512: 0.015, 768: 0.01}
OTHER_CELLS_RATE = 0.5  # times an LSTM's
# From so many characters of training text on: batch size and sequence length.
BATCHES = {
    0: (1, 16),
    500: (4, 32),
    15_000: (8, 32),
    30_000: (16, 32),
    200_000: (32, 32),
    600_000: (32, 64),
}
SIZES = {"hidden", "layers", "width", "context"}  # of the model
SHORTEST = 16  # sequence length, to save time
DROPOUT = ((1, 0.0), (4, 0.1), (10, 0.2), (25, 0.5))  # epochs, dropout
FEWEST_STEPS = 10  # of a run with minutes: fewer teach nothing, and an evaluation takes as long
SEVERAL_EPOCHS, MOST_NETWORKS = 20, 8  # that each of several networks reads the text; at most
MOST_EPOCHS = 25  # in more, a model would memorise the text
PARAMETERS_PER_STEP = 256  # at most: more steps train a larger model
PARAMETERS_PER_CHARACTER = 8  # of training text, at most
WARMUP_STEPS, WARMUP_SHARE = 100, 0.05  # of the run's steps; at most
FLOPS = 1.5e10  # multiplications and additions a second, before anything has been measured
FLOPS_PER_PARAMETER = 6  # for one character that is read in an update

Reasons = tuple[tuple[str, str], ...]


class Choice(NamedTuple):
    """Settings, how many `characters` will be read in training, and (what, why) in a line each."""

    config: RunConfig
    characters: float
    reasons: Reasons


class Size(NamedTuple):
    """Of a text: `characters` of its training part, of which so many are `different`.

    `ids` is how many ids they are, or of a long text more than a step needs, and `per_id` how many
    characters one is. A step has at least `rows` sequences. The `unit` is what an id stands for.
    """

    characters: int
    different: int
    ids: int
    rows: int = 1
    per_id: float = 1.0
    unit: str = "character"


def choose(
    config: RunConfig,
    given: Collection[str],
    size: Size,
    seconds: float | None = None,
    measured: Mapping[int, float] | None = None,
    most: int = 1,
    gain: float = 1.0,
) -> Choice:
    """Choose all of CHOSEN that is not `given`, for `seconds` of updates.

    Training ends after MOST_EPOCHS, if that is sooner. `measured` are speeds in characters a
    second, by the number of parameters of the one network that was timed. Without `seconds`, the
    iterations or epochs of `config` say how much is read. Of a model that is not recurrent, dropout
    and warm-up are chosen, and a smaller batch or length if the text or the time is too short.
    Of recurrent networks whose size is not given there are several, `most` at most, if there is
    time: see `_several`. Side by side they are `gain` times as fast as one after the other.
    """
    model, networks = alone(config.model)

    def share(networks: int, epochs: float = 0.0) -> Choice:
        time = seconds
        if seconds is not None and networks > 1:
            time = gain * seconds / networks
        return _choose(replace(config, model=model), given, size, time, measured, epochs)

    choice, free = share(networks), SIZES.isdisjoint(given) and "networks" not in given
    if free and seconds is not None and isinstance(model, ModelConfig):
        choice, networks = _several(choice, share, size, most)
    if networks == 1:
        return choice
    reasons = dict(choice.reasons)
    if free:
        why = "one alone would memorise the text in so much time"
        nets = {"nets": f"{networks} networks, whose predictions are averaged: {why}"}
        model, _ = alone(choice.config.model)
        assert isinstance(model, ModelConfig)
        if not _is_largest_for(model, size):
            why = f"the largest with which there is time for {networks}"
            reasons["size"] = f"hidden size {model.hidden}: {why}"
        reasons = nets | reasons
    return Choice(several(choice.config, networks), choice.characters, (*reasons.items(),))


def _several(
    one: Choice, share: Callable[[int, float], Choice], size: Size, most: int
) -> tuple[Choice, int]:
    """Return the choice for each of several networks, or for `one`, and how many there are.

    If one alone would read the text SEVERAL_EPOCHS times, two are better that do, each a size
    smaller if need be; then more, as long as none is smaller than of fewer.
    """
    enough, sizes = SEVERAL_EPOCHS * size.characters, [*RATES]
    choice, networks, room = one, 1, 1

    def place(choice: Choice) -> int:
        model = choice.config.model
        assert isinstance(model, ModelConfig)
        return sizes.index(model.hidden)

    while networks < most and choice.characters >= enough:
        more = share(networks + 1, SEVERAL_EPOCHS)
        if more.characters < enough or place(more) < place(choice) - room:
            break
        choice, networks, room = more, networks + 1, 0
    return choice, networks


def alone(model: NetworkConfig | NgramConfig) -> tuple[NetworkConfig | NgramConfig, int]:
    """Return the network of which there may be several, and how many there are."""
    if isinstance(model, EnsembleConfig):
        return model.network, model.networks
    return model, 1


def several(config: RunConfig, networks: int) -> RunConfig:
    """Return the settings with so many of their one network."""
    assert isinstance(config.model, ModelConfig)
    if networks == 1:
        return config
    return replace(config, model=EnsembleConfig(network=config.model, networks=networks))


def _choose(
    config: RunConfig,
    given: Collection[str],
    size: Size,
    seconds: float | None,
    measured: Mapping[int, float] | None,
    epochs: float,
) -> Choice:
    """Choose for one network, of a size with which it reads the text so many times, if any is."""
    train, model = config.train, config.model
    assert not isinstance(model, NgramConfig)
    train = _batch(train, given, isinstance(model, ModelConfig), size)
    if isinstance(model, TransformerConfig) and "context" not in given:
        model = _looking_back(model, train.length)
    candidates = [(model, train)]
    if isinstance(model, ModelConfig):
        rates, asked = RATES, model.hidden
        if "hidden" in given:  # the rate of the nearest size of the table
            nearest = min(RATES, key=lambda known: abs(math.log(known / asked)))
            rates = {asked: RATES[nearest]}
        share = 1.0 if model.cell == "lstm" else OTHER_CELLS_RATE
        candidates = [
            (
                replace(model, hidden=hidden),
                train if "learning_rate" in given else replace(train, learning_rate=share * rate),
            )
            for hidden, rate in rates.items()
        ]
    for n, (candidate, plan) in enumerate(candidates):
        parameters = parameter_count(candidate, size.different)
        reads = _read(plan, size, seconds, speed(parameters, measured or {}))
        enough = parameters <= PARAMETERS_PER_STEP * _steps(plan, reads, size)
        enough = enough and reads >= epochs * size.characters
        if n == 0 or (enough and parameters <= PARAMETERS_PER_CHARACTER * size.characters):
            model, train, read = candidate, plan, reads
    if seconds is not None and SIZES.isdisjoint(given):
        train = _shorter(train, given, read / size.per_id, size.rows)
        if isinstance(model, TransformerConfig):
            model = _looking_back(model, train.length)
    steps = _steps(train, read, size)
    follows = {
        "dropout": dropout(read / size.characters),
        "warmup": min(WARMUP_STEPS, int(WARMUP_SHARE * steps)),
        "mixture": share_for(size.characters)
        if seconds is not None and _mixes(config, size)
        else 0.0,
    }
    train = replace(train, **{name: follows[name] for name in follows if name not in given})
    if seconds is not None:
        train = replace(train, epochs=float(MOST_EPOCHS))
    chosen = replace(config, model=model, train=train)
    return Choice(chosen, read, tuple(_reasons(chosen, given, read, size)))


def _mixes(config: RunConfig, size: Size) -> bool:
    """Whether text is kept to mix for: weights to begin with may have seen it, and tell nothing."""
    return size.unit in ("character", "byte") and config.start is None


def speed(parameters: int, measured: Mapping[int, float]) -> float:
    """Return how many characters a second a model of so many parameters learns from.

    Between and beyond those measured: a straight line in the logarithms of both, never steeper
    than in proportion to the parameters.
    """
    if not measured:
        return FLOPS / (FLOPS_PER_PARAMETER * parameters)
    if parameters in measured:
        return measured[parameters]
    near = sorted(measured, key=lambda known: abs(math.log(known / parameters)))
    slope = -1.0
    if len(near) > 1:
        rise = math.log(measured[near[0]] / measured[near[1]])
        slope = min(0.0, max(-1.0, rise / math.log(near[0] / near[1])))
    return measured[near[0]] * math.pow(parameters / near[0], slope)


def dropout(epochs: float) -> float:
    """Return the dropout of a run of so many epochs."""
    if epochs <= DROPOUT[0][0]:
        return DROPOUT[0][1]
    for (low, low_share), (high, high_share) in pairwise(DROPOUT):
        if epochs <= high:
            along = math.log(epochs / low) / math.log(high / low)
            return round(low_share + along * (high_share - low_share), 2)
    return DROPOUT[-1][1]


def shown_epochs(epochs: float) -> str:
    """Return a number of epochs in words."""
    return f"{epochs:.1f} epochs" if epochs < 10 else f"{epochs:,.0f} epochs"


def _batch(train: TrainConfig, given: Collection[str], recurrent: bool, size: Size) -> TrainConfig:
    """Batch size and sequence length that both fit: a sequence needs T + 2 ids at least."""
    batch, length = train.batch, train.length
    if recurrent:
        rows = reversed(BATCHES.items())
        batch, length = next(row for least, row in rows if size.characters >= least)
    if "length" in given:
        length = train.length
    most = size.ids // (length + 2)
    batch = train.batch if "batch" in given else max(size.rows, min(batch, most))
    if "length" not in given:
        length = max(1, min(length, size.ids // batch - 2))
    return replace(train, batch=batch, length=length)


def _looking_back(model: TransformerConfig, length: int) -> TransformerConfig:
    """Return a transformer whose context is no more than it learns from."""
    return replace(model, context=max(2, min(model.context, length)))


def _shorter(train: TrainConfig, given: Collection[str], read: float, rows: int) -> TrainConfig:
    """Return a batch and a length with FEWEST_STEPS in so many ids, if they are not given."""
    most, batch, length = read / FEWEST_STEPS, train.batch, train.length
    if "batch" not in given:
        batch = min(batch, max(rows, int(most / length)))
    if "length" not in given:
        length = min(length, max(SHORTEST, int(most / batch)))
    return replace(train, batch=batch, length=length)


def _read(train: TrainConfig, size: Size, seconds: float | None, speed: float) -> float:
    if seconds is not None:
        return min(seconds * speed, float(MOST_EPOCHS * size.characters))
    steps, epochs = train.iterations or math.inf, train.epochs or math.inf
    read = steps * train.batch * train.length * size.per_id
    return float(min(read, epochs * size.characters))


def _steps(train: TrainConfig, read: float, size: Size) -> float:
    """Return how many steps read so many characters."""
    return read / (train.batch * train.length * size.per_id)


def _reasons(
    config: RunConfig, given: Collection[str], read: float, size: Size
) -> Iterator[tuple[str, str]]:
    """A line each, in words for someone who has never trained a network."""
    model, train = config.model, config.train
    if isinstance(model, ModelConfig):
        if "model" not in given:
            why = "the default, because it reached a lower loss than a GRU in our tests"
            yield "cell", f"{model.cell.upper()}: {why}"
        if "hidden" not in given:
            parameters = parameter_count(model, size.different)
            why = (
                f"the largest with a step for every {PARAMETERS_PER_STEP} of its {parameters:,} "
                "parameters"
            )
            if parameters > PARAMETERS_PER_STEP * _steps(train, read, size):
                why = "the smallest, because too little is read for a larger one"
            elif _is_largest_for(model, size):
                why = (
                    f"a larger one has more than {PARAMETERS_PER_CHARACTER} parameters for each "
                    "character of the text"
                )
            yield "size", f"hidden size {model.hidden}: {why}"
    if "dropout" not in given:
        epochs = shown_epochs(read / size.characters)
        why = f"in {epochs} a model could memorise the text"
        if not train.dropout:
            why = f"{epochs} are too few to memorise the text"
        yield "drop", f"dropout {train.dropout:g}: {why}"
    if not {"batch", "length"} & {*given}:
        rows, length = count(train.batch, "sequence"), count(train.length, size.unit)
        about = f", about {train.length * size.per_id:.0f} characters,"
        about = "" if size.unit == "character" else about
        yield "batch", f"{rows} of {length}{about} in each step"
    if not {"learning_rate", "schedule"} & {*given}:
        end = f"{train.final_rate:g} of that" if train.final_rate else "0"
        yield "rate", f"learning rate {train.learning_rate:g} at most, falling to {end} by a cosine"
    if train.mixture and "mixture" not in given:
        kept_back = count(round(train.mixture * size.characters), "character")
        why = f"{kept_back} of the training part are kept to learn how, and if it helps"
        yield "mix", f"with an n-gram model at the end: {why}"


def _is_largest_for(model: ModelConfig, size: Size) -> bool:
    larger = [replace(model, hidden=hidden) for hidden in RATES if hidden > model.hidden][:1]
    most = PARAMETERS_PER_CHARACTER * size.characters
    return any(parameter_count(one, size.different) > most for one in larger)
