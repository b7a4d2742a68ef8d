"""Frozen settings, checked when they are made or read.

One struct for each question: what is the model, where is the text, how is it trained,
what is looked at on the way, how are characters drawn. `RunConfig` holds them together
and is what a run folder's ``config.json`` contains.
"""

import math
from typing import Any, Literal, TypeVar

import msgspec

from charloom.errors import CharloomError

Cell = Literal["rnn", "lstm", "gru"]
Mixer = Literal["attention", "mingru", "minlstm"]
Engine = Literal["auto", "reference", "compiled", "torch"]
Dtype = Literal["float32", "float64"]
Optimizer = Literal["sgd", "adagrad", "rmsprop", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "exponential", "cosine", "one-cycle", "plateau"]
Smoothing = Literal["kneser-ney", "witten-bell", "none"]

C = TypeVar("C", bound=msgspec.Struct)


class _Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    def _require(self, condition: bool, field: str, rule: str) -> None:
        if not condition:
            value = getattr(self, field)
            raise CharloomError(f"{field.replace('_', '-')} is {value!r}, but it must be {rule}")

    def _require_range(
        self, field: str, low: float, high: float = math.inf, *, open_low: bool = False
    ) -> None:
        value = getattr(self, field)
        if value is None:
            return
        above = value > low if open_low else value >= low
        bound = f"above {low:g}" if open_low else f"at least {low:g}"
        if high < math.inf:
            bound += f" and at most {high:g}"
        self._require(math.isfinite(value) and above and value <= high, field, bound)


class ModelConfig(_Config, frozen=True, tag_field="kind", tag="recurrent"):
    """A recurrent network: what the weights' names and shapes follow from.

    `embedding` is the width D of the input vectors; 0 means one-hot inputs (D = V).
    Weights start as N(0, `init_std`^2), or, where that is None, as N(0, 1/fan_in);
    biases start at 0 except the LSTM's forget gate, at `forget_bias`
    (Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures").
    """

    cell: Cell = "lstm"
    layers: int = 1
    hidden: int = 128
    embedding: int = 0
    init_std: float | None = None
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        self._require(self.cell in ("rnn", "lstm", "gru"), "cell", "rnn, lstm or gru")
        self._require_range("layers", 1, 256)
        self._require_range("hidden", 1, 65536)
        self._require_range("embedding", 0, 65536)
        self._require_range("init_std", 0)
        self._require_range("forget_bias", -100, 100)


class TransformerConfig(_Config, frozen=True, tag_field="kind", tag="transformer"):
    """A stack of pre-norm residual blocks: a mixer over time, then a two-layer perceptron.

    The mixer is causal attention (Vaswani et al. 2017; the blocks are GPT-2's without biases,
    Radford et al. 2019), or one of the recurrent cells that a scan computes in parallel, minGRU
    and minLSTM (Feng et al. 2024, "Were RNNs All We Needed?"). `context` C is what attention
    reaches back over; heads, context and positions mean nothing to the other two. The embedding
    is also the head. Weights start as N(0, `init_std`^2), those that end a branch divided by
    sqrt(2 layers).
    """

    mixer: Mixer = "attention"
    layers: int = 4
    width: int = 128
    heads: int = 4
    context: int = 64
    positions: Literal["learned", "rotary"] = "rotary"  # Su et al. 2021
    init_std: float = 0.02

    def __post_init__(self) -> None:
        self._require(
            self.mixer in ("attention", "mingru", "minlstm"), "mixer", "attention, mingru, minlstm"
        )
        self._require(self.positions in ("learned", "rotary"), "positions", "learned or rotary")
        self._require_range("layers", 1, 256)
        self._require_range("width", 1, 65536)
        self._require_range("heads", 1, 65536)
        self._require_range("context", 2, 2**20)
        self._require(self.init_std is not None, "init_std", "a number")
        self._require_range("init_std", 0)
        attends = self.mixer == "attention"
        whole = not attends or self.width % self.heads == 0
        self._require(whole, "heads", f"a divisor of the width, {self.width}")
        even = not attends or self.positions != "rotary" or self.width // self.heads % 2 == 0
        self._require(even, "heads", "such that width / heads is even, for rotary positions")


class PretrainedConfig(_Config, frozen=True, tag_field="kind", tag="pretrained"):
    """A causal language model over tokens that somebody else trained, in Hugging Face's format.

    `architecture` is its config.json; `source` the folder that it came from. With `lora` > 0 only
    adapters of that rank are trained (Hu et al. 2021), and the folder is needed to open a run;
    `sha256` says what the weights there are. `shapes` names what is trained.
    """

    source: str
    architecture: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    sha256: str
    context: int
    lora: int = 0

    def __post_init__(self) -> None:
        self._require_range("context", 2, 2**24)
        self._require_range("lora", 0, 4096)


class NgramConfig(_Config, frozen=True, tag_field="kind", tag="ngram"):
    """Counts of the `order` - 1 characters before and the one that follows."""

    order: int = 8
    smoothing: Smoothing = "kneser-ney"

    def __post_init__(self) -> None:
        self._require_range("order", 1, 16)
        self._require(
            self.smoothing in ("kneser-ney", "witten-bell", "none"),
            "smoothing",
            "kneser-ney, witten-bell or none",
        )


class DataConfig(_Config, frozen=True):
    """Where the text is, and which share of its end is held out of training.

    `sources` are files, folders, ``-`` for standard input, or ``corpus:NAME``.
    The text is cut in order: training, then validation, then test.
    """

    sources: tuple[str, ...] = ()
    validation: float = 0.1
    test: float = 0.0

    def __post_init__(self) -> None:
        self._require_range("validation", 0, 0.9)
        self._require_range("test", 0, 0.9)
        self._require(self.validation + self.test <= 0.9, "test", "0.9 at most with validation")


class TrainConfig(_Config, frozen=True):
    """How weights follow from text: everything here changes the result.

    `reduction` says whether the gradient is that of the loss summed over the step's
    batch x length characters (the historic programs, whose clipping acts on that sum) or
    of its mean. The gradient's norm is clipped first, then each of its values.
    `iterations` or `epochs` ends the run, whichever comes first; with `minutes` the clock does,
    and `iterations`, where they are given too, are what is planned for that time.
    """

    batch: int = 32
    length: int = 64
    minutes: float | None = None
    iterations: int | None = None
    epochs: float | None = None
    optimizer: Optimizer = "adamw"
    learning_rate: float = 0.003
    reduction: Literal["mean", "sum"] = "mean"
    clip_value: float | None = None
    clip_norm: float | None = None
    weight_decay: float = 0.0  # adamw only: Loshchilov & Hutter 2019
    beta1: float = 0.9  # adam, adamw
    beta2: float = 0.999  # adam, adamw
    decay: float = 0.95  # rmsprop: char-rnn's smoothing of the squared gradient
    dropout: float = 0.0  # share of each layer's outputs, the same all through a step
    schedule: ScheduleName = "constant"
    warmup: int = 0  # iterations over which the rate climbs from 0
    decay_factor: float = 0.5  # step, exponential, plateau: what the rate is multiplied by
    decay_every: float = 1.0  # step, exponential: epochs between two such cuts
    decay_after: float = 0.0  # step, exponential: epochs before the first
    final_rate: float = 0.0  # cosine, one-cycle, plateau: the rate's floor, a share of its peak
    patience: int = 10  # plateau: windows without a new best before a cut
    window: int = 1000  # plateau: iterations in a window
    seed: int = 0
    batches: Literal["lanes", "windows"] = "lanes"  # streams side by side, or anywhere in the text
    precision: Literal["full", "bf16", "fp16"] = "full"  # torch only: of products, not of weights
    accumulate: int = 1  # torch only: parts of the batch that are computed one after another
    compile: bool = False  # torch only: torch.compile

    def __post_init__(self) -> None:
        for field in ("batch", "length", "patience", "window", "accumulate"):
            self._require_range(field, 1)
        for field in ("warmup", "weight_decay", "decay_after"):
            self._require_range(field, 0)
        self._require_range("seed", 0, 2**63 - 1)
        for field in ("minutes", "iterations", "epochs", "clip_value", "clip_norm", "decay_every"):
            self._require_range(field, 0, open_low=True)
        self._require_range("learning_rate", 0, 1000)
        self._require_range("decay_factor", 0, 1, open_low=True)
        self._require_range("final_rate", 0, 1)
        for field in ("beta1", "beta2", "decay", "dropout"):
            self._require_range(field, 0, 0.9999)


class SampleConfig(_Config, frozen=True):
    """How characters are drawn. `temperature` 0 takes the likeliest (greedy)."""

    temperature: float = 1.0
    top_k: int = 0  # keep the k likeliest; 0 keeps all
    top_p: float = 1.0  # keep the likeliest that together reach p (Holtzman et al. 2020)
    min_p: float = 0.0  # drop what is below this share of the likeliest (Nguyen et al. 2024)
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        self._require_range("temperature", 0)
        self._require_range("top_k", 0)
        self._require_range("top_p", 0, 1)
        self._require_range("min_p", 0, 1)
        self._require_range("seed", 0)
        self._require("" not in self.stop, "stop", "text that is not empty")


class WatchConfig(_Config, frozen=True):
    """What is shown and kept on the way: nothing here changes a bit of the weights.

    `*_every` count iterations; 0 is never, None leaves the choice to charloom.
    With `sample_at_best`, a sample is drawn at each new lowest smoothed loss instead, and
    only once that is below `sample_below` times the loss at the start. Samples drawn below
    `write_below` times that loss are also appended to one file, with the time.
    """

    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    sample_every: int | None = None
    sample_at_best: bool = False
    sample_below: float = 1.0
    write_below: float | None = None
    sample_length: int = 200
    sample: SampleConfig = SampleConfig(seed=0)
    keep: int = 2  # newest checkpoints that stay on disk, beside the best

    def __post_init__(self) -> None:
        for field in ("evaluate_every", "checkpoint_every", "sample_every", "sample_length"):
            self._require_range(field, 0)
        self._require_range("sample_below", 0)
        self._require_range("write_below", 0)
        self._require_range("keep", 1)


NetworkConfig = ModelConfig | TransformerConfig | PretrainedConfig  # what a Learner trains


class RunConfig(_Config, frozen=True):
    """All that was asked of a run; the contents of its ``config.json``.

    `start` is another run, whose best weights this one begins with.
    """

    model: NetworkConfig | NgramConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    watch: WatchConfig = WatchConfig()
    engine: Engine = "auto"
    dtype: Dtype = "float32"
    preset: str | None = None
    start: str | None = None


def replace(config: C, **changes: Any) -> C:
    """`config` with `changes`, checked again; raises CharloomError where one is out of range."""
    fields = {name: getattr(config, name) for name in config.__struct_fields__}
    return type(config)(**(fields | changes))


def differences(then: RunConfig, now: RunConfig) -> list[str]:
    """Name what differs of all that weights depend on: "learning-rate was 0.1 and is 0.2".

    What is looked at on the way, and where text and pretrained model lie, does not count.
    """
    model = then.model
    if isinstance(model, PretrainedConfig) and isinstance(now.model, PretrainedConfig):
        model = replace(model, source=now.model.source)
    found = _differing(model, now.model)
    found += _differing(replace(then.data, sources=()), replace(now.data, sources=()))
    found += _differing(then.train, now.train)
    whole = replace(then, model=now.model, data=now.data, train=now.train, watch=now.watch)
    return found + _differing(replace(whole, preset=now.preset), now)


def _differing(then: msgspec.Struct, now: msgspec.Struct) -> list[str]:
    if type(then) is not type(now):
        return [f"model was {type(then).__name__} and is {type(now).__name__}"]
    pairs = {name: (getattr(then, name), getattr(now, name)) for name in then.__struct_fields__}
    return [
        f"{name.replace('_', '-')} was {old!r} and is {new!r}"
        for name, (old, new) in pairs.items()
        if old != new
    ]
