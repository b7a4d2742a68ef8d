"""How fast this machine trains a model: some updates, on the text itself, that change nothing."""

from collections import deque
from collections.abc import Callable, Collection
from time import perf_counter

from charloom.config import (
    EnsembleConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    TrainConfig,
    TransformerConfig,
    replace,
)
from charloom.data.batches import open_batches
from charloom.data.tokenizer import Ids, Tokenizer
from charloom.distributed import place
from charloom.evaluation import evaluate
from charloom.generation.sampling import generate
from charloom.models.engines import create_learner
from charloom.models.protocols import Learner
from charloom.models.weights import parameter_count
from charloom.training import mixture
from charloom.training.monitor import model_of
from charloom.training.recipe import alone, several, speed
from charloom.training.scoring import Counts

TIMING_SECONDS = 0.25  # for one model, if that is long enough for two updates
TOGETHER = 2  # networks that show what is gained by several side by side
STRIDE = 4  # times the parameters that were timed are timed next
FEW = 20  # ids that are counted to compile what counts: of ten, n-grams hold one out
SIZES = ("hidden", "width", "layers", "batch", "length")  # what makes an update slow


class Speeds:
    """Measures updates on `ids`, the beginning of a text; `per_id` characters are one of them.

    `measured` are characters a second, by the number of parameters of one network; of several
    batches, of the one that was timed last. Of several networks one is timed.
    """

    def __init__(self, ids: Ids, vocabulary: Tokenizer, per_id: float) -> None:
        self._ids, self._vocabulary, self._per_id = ids, vocabulary, per_id
        self.measured: dict[int, float] = {}
        self.gain: float | None = None  # of networks side by side; None until that is measured
        self._timed: set[tuple[int, float]] = set()  # parameters and characters of updates

    def compile(self, config: RunConfig) -> float:
        """Update, evaluate, sample and count once; return the seconds that took.

        A tiny model does it, for the machine code is the same for all sizes. Nothing is done for a
        pretrained model, which has one size, and for torch.compile, whose code has one.
        """
        if _has_one_size(config):
            return 0.0
        while tiny := smaller(config):
            config = tiny
        began = perf_counter()
        learner = self._learner(config)
        self._updates(config, learner)()
        model = model_of(learner, config, self._vocabulary)
        beginning = self._ids[:FEW]
        if config.data.validation:
            Counts.of(beginning, beginning, self._vocabulary, len(beginning))
        models = [model]
        if config.train.mixture:
            models.append(mixture.beginning(model, beginning))
        for one in models:
            evaluate(one, beginning)
            deque(generate(one, config.watch.sample, length=1))
        return perf_counter() - began

    def time(self, config: RunConfig, seconds: float) -> float:
        """Measure the speed of a model; return the seconds by which its first update was slower.

        So many seconds are enough for all updates: one that takes longer is the only one.
        """
        config = _of_one(config)
        first, mean = self._time(config, seconds)
        self.measured[self._parameters(config)] = self._characters(config) / mean
        self._timed.add((self._parameters(config), self._characters(config)))
        return max(0.0, first - mean)

    def time_together(self, config: RunConfig, seconds: float) -> None:
        """Measure what is gained if several networks are trained side by side.

        So many seconds are enough for all updates. One alone is as fast as was timed, or as those
        that were timed tell.
        """
        _, mean = self._time(several(_of_one(config), TOGETHER), seconds)
        together = TOGETHER * self._characters(config) / mean
        self.gain = max(1.0, together / speed(self._parameters(config), self.measured))

    def _time(self, config: RunConfig, seconds: float) -> tuple[float, float]:
        """Return how long the first update took, and the mean of those after it."""
        update = self._updates(config, self._learner(config))
        first, timed, count = update(), 0.0, 0
        while timed < min(TIMING_SECONDS, seconds - first) or (not count and _has_one_size(config)):
            timed += update()
            count += 1
        return first, timed / count if count else first

    def put_back(self, config: RunConfig, speed: float) -> None:
        """Take a speed that was measured before as that of models of as many parameters."""
        self.measured[self._parameters(config)] = speed

    def of(self, config: RunConfig) -> float:
        """Return how many characters a second this model should learn from."""
        _, networks = alone(config.model)
        gain = (self.gain or 1.0) if networks > 1 else 1.0
        return speed(self._parameters(config), self.measured) * gain / networks

    def has(self, config: RunConfig) -> bool:
        """Return whether such an update of a model of as many parameters has been timed."""
        return (self._parameters(config), self._characters(config)) in self._timed

    def has_model(self, config: RunConfig) -> bool:
        """Return whether a model of as many parameters has been timed."""
        return self._parameters(config) in self.measured

    def update_seconds(self, config: RunConfig) -> float:
        """Return how long an update should take."""
        return self._characters(config) / self.of(config)

    def within(self, config: RunConfig, seconds: float) -> RunConfig:
        """Return the settings with sizes halved until an update should take so long at most."""
        while self.update_seconds(config) > seconds and (half := smaller(config)):
            config = half
        return config

    def towards(self, config: RunConfig) -> RunConfig:
        """Return the settings with sizes halved until a model not far smaller has been timed.

        From one step to the next, the caches of a processor may become too small.
        """
        while not any(STRIDE * timed >= self._parameters(config) for timed in self.measured) and (
            half := smaller(config)
        ):
            config = half
        return config

    def _parameters(self, config: RunConfig) -> int:
        model, _ = alone(config.model)
        assert not isinstance(model, NgramConfig)
        return parameter_count(model, len(self._vocabulary))

    def _characters(self, config: RunConfig) -> float:
        return config.train.batch * config.train.length * self._per_id

    def _learner(self, config: RunConfig) -> Learner:
        assert not isinstance(config.model, NgramConfig)
        V = len(self._vocabulary)
        return create_learner(config.model, config.train, V, config.engine, config.dtype)

    def _updates(self, config: RunConfig, learner: Learner) -> Callable[[], float]:
        """Return what makes an update at a rate of 0, and returns its seconds."""
        batches = open_batches(self._ids, config.train)

        def update() -> float:
            began = perf_counter()
            inputs, targets, fresh = batches.next()
            if fresh:
                learner.reset()
            float(learner.update(inputs, targets, 0.0))
            return perf_counter() - began

        return update


def fewest_rows(train: TrainConfig) -> int:
    """Return how many sequences a batch must have, to be computed in parts by all processes."""
    here = place()
    return train.accumulate * (here.ranks if here else 1)


def smaller(config: RunConfig, names: Collection[str] = SIZES) -> RunConfig | None:
    """Return the settings with the first of these sizes halved that is above its least value."""
    if isinstance(config.model, EnsembleConfig):
        half = smaller(_of_one(config), names)
        return half and several(half, config.model.networks)
    model, train = config.model, config.train
    units = {"batch": fewest_rows(train)}
    if isinstance(model, TransformerConfig):
        units["width"] = 2 * model.heads
    for name in names:
        for part, settings in (("model", model), ("train", train)):
            if name in settings.__struct_fields__:
                unit = units.get(name, 1)
                if value := getattr(settings, name) // 2 // unit * unit:
                    return replace(config, **{part: replace(settings, **{name: value})})
    return None


def _of_one(config: RunConfig) -> RunConfig:
    model, _ = alone(config.model)
    return replace(config, model=model)


def _has_one_size(config: RunConfig) -> bool:
    return isinstance(config.model, PretrainedConfig) or config.train.compile
