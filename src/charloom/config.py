"""Settings, immutable and validated when they are made or read.

One struct for each question: what is the model, where is the text, how is it trained,
what is monitored during training, how is text sampled. `RunConfig` holds them together
and is what a run folder's ``config.json`` contains.
"""

import codecs
import math
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Never, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace as replace  # checks as making one does

from charloom.errors import CharloomError

Cell = Literal["rnn", "lstm", "gru"]
Reset = Literal["biased-product", "state"]
Gate = Literal["hard-sigmoid-1/5", "hard-sigmoid-1/6"]
Mixer = Literal["attention", "mingru", "minlstm"]
Engine = Literal["auto", "reference", "compiled", "torch"]
Dtype = Literal["float32", "float64"]
Precision = Literal["full", "bf16", "fp16"]
Optimizer = Literal["sgd", "adagrad", "rmsprop", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "exponential", "cosine", "one-cycle", "plateau"]
Errors = Literal["strict", "replace"]
Normalize = Literal["none", "NFC", "NFKC"]
Smoothing = Literal["held-out", "kneser-ney", "witten-bell", "none"]
Unit = Literal["character", "byte", "bpe", "word"]

CELLS: list[str] = [*get_args(Cell)]  # and those that models.reference.add_cell makes known

Size = Annotated[int, Meta(ge=1, le=65536)]
Layers = Annotated[int, Meta(ge=1, le=256)]
Positive = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Above0 = Annotated[float, Meta(gt=0)]
AtLeast0 = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(gt=0, le=1)]
FileName = Annotated[str, Meta(pattern=r"\A[^\0]*\Z")]
BelowOne = Annotated[float, Meta(ge=0, le=0.9999)]

DETECT = "detect"  # in place of an encoding: UTF-8, or what each file looks like
_NOTHING = (type(None), UnsetType)  # beside the types of a value that may be left out
_NO_ENCODINGS = {"undefined", "idna", "punycode", "unicode-escape", "raw-unicode-escape"}


class _Config(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, repr_omit_defaults=True
):
    """Settings that are validated however they are made: CharloomError names a wrong one."""

    def __post_init__(self) -> None:
        for field, hint in _hints(type(self)).items():
            value = getattr(self, field)
            if value is UNSET and UnsetType in get_args(hint):
                continue
            try:
                right = msgspec.convert(value, hint)
            except msgspec.ValidationError:
                self._refuse(field, _rule(hint))
            if isinstance(value, float) and not math.isfinite(value):
                self._refuse(field, "finite")
            if right != value:  # a list for a tuple
                msgspec.structs.force_setattr(self, field, right)

    def _refuse(self, field: str, rule: str) -> Never:
        value, name = getattr(self, field), field.replace("_", "-")
        message = f"{name} is {value!r}, but it must be {rule}"
        raise CharloomError(message, "bad-setting", field=field)


@cache
def _hints(config: type[_Config]) -> dict[str, Any]:
    return get_type_hints(config, include_extras=True)


def _rule(hint: Any) -> str:
    """Return the values that a type hint allows, in words."""
    kinds = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if get_origin(hint) is Annotated:
        kind, meta = get_args(hint)
        words = {"at least": meta.ge, "above": meta.gt, "at most": meta.le}
        bounds = [f"{word} {bound:,}" for word, bound in words.items() if bound is not None]
        return f"{kinds[kind]}, {' and '.join(bounds)}" if bounds else kinds[kind]
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return ", or ".join(_rule(arg) for arg in get_args(hint) if arg not in _NOTHING)
    return kinds.get(hint, f"a {getattr(hint, '__name__', hint)}")


class ModelConfig(_Config, frozen=True, tag_field="kind", tag="recurrent"):
    """A recurrent network: the settings that determine its weights' names and shapes.

    `embedding` is the width D of the input vectors; 0 means one-hot inputs (D = V).
    Weights start as N(0, `init_std`^2), or, if that is None, as N(0, 1/fan_in);
    biases start at 0 except the LSTM's forget gate, at `forget_bias`
    (Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures").
    `reset` is what a GRU's reset gate multiplies, if that is not the recurrent product: the product
    with a bias of its own, as in PyTorch and Keras, or the state, as in the paper and in char-rnn.
    `gate` is the function of its gates, if not the sigmoid: x/5 + 1/2 or x/6 + 1/2 between 0 and 1,
    as in Keras 1 and 2, and in Keras 3. What is left out of these two is not written to config.json
    either, which earlier versions then read.
    """

    cell: str = "lstm"
    layers: Layers = 1
    hidden: Size = 128
    embedding: Annotated[int, Meta(ge=0, le=65536)] = 0
    init_std: AtLeast0 | None = None
    forget_bias: Annotated[float, Meta(ge=-100, le=100)] = 1.0
    reset: Reset | UnsetType = UNSET
    gate: Gate | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell not in CELLS:
            self._refuse("cell", f"{' or '.join(CELLS)}, or made known here by add_cell")
        if self.reset is not UNSET and self.cell != "gru":
            self._refuse("reset", "left out: only a gru has a reset gate")
        if self.gate is not UNSET and self.cell not in ("lstm", "gru"):
            self._refuse("gate", "left out: only an lstm and a gru have gates")


class EnsembleConfig(_Config, frozen=True, tag_field="kind", tag="ensemble"):
    """Several recurrent networks of one shape, whose probabilities are averaged.

    All read the same text; each has first weights and dropout of its own, so that their mistakes
    differ (Hansen & Salamon 1990, "Neural Network Ensembles").
    """

    network: ModelConfig = ModelConfig()
    networks: Annotated[int, Meta(ge=2, le=64)] = 2


class TransformerConfig(_Config, frozen=True, tag_field="kind", tag="transformer"):
    """A stack of pre-norm residual blocks: a mixer over time, then a two-layer perceptron.

    The mixer is causal attention (Vaswani et al. 2017; the blocks are GPT-2's without biases,
    Radford et al. 2019), or one of the recurrent cells that a scan computes in parallel, minGRU
    and minLSTM (Feng et al. 2024, "Were RNNs All We Needed?"). `context` C is what attention
    reaches back over; the other two ignore heads, context and positions. The embedding
    is also the head. Weights start as N(0, `init_std`^2), those that end a branch divided by
    sqrt(2 layers).
    """

    mixer: Mixer = "attention"
    layers: Layers = 4
    width: Size = 128
    heads: Size = 4
    context: Annotated[int, Meta(ge=2, le=2**20)] = 64
    positions: Literal["learned", "rotary"] = "rotary"  # Su et al. 2021
    init_std: AtLeast0 = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixer == "attention":
            if self.width % self.heads:
                self._refuse("heads", f"a divisor of the width, {self.width}")
            if self.positions == "rotary" and self.width // self.heads % 2:
                self._refuse("heads", "such that width / heads is even, for rotary positions")


class PretrainedConfig(_Config, frozen=True, tag_field="kind", tag="pretrained"):
    """A causal language model over tokens that somebody else trained, in Hugging Face's format.

    `architecture` is its config.json; `source` the folder that it came from. With `lora` > 0 only
    adapters of that rank are trained (Hu et al. 2021), and the folder is needed to open a run;
    `sha256` says what the weights there are. `shapes` names what is trained.
    """

    source: FileName
    architecture: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    sha256: str
    context: Annotated[int, Meta(ge=2, le=2**24)]
    lora: Annotated[int, Meta(ge=0, le=4096)] = 0


class AttentiveConfig(_Config, frozen=True, tag_field="kind", tag="attentive"):
    """The network of textgenrnn (Max Woolf, 2017), which is read and not trained.

    Of the last `window` ids, from nothing, `layers` of an LSTM with `hidden` units each are
    computed above an `embedding`; attention averages all of these over the window, and a head
    predicts the next id. See models/attentive.py.
    """

    layers: Layers = 2
    hidden: Size = 128
    embedding: Size = 100
    window: Annotated[int, Meta(ge=1, le=65536)] = 40


class NgramConfig(_Config, frozen=True, tag_field="kind", tag="ngram"):
    """Counts of `order` - 1 characters and the one that follows."""

    order: Annotated[int, Meta(ge=1, le=16)] = 8
    smoothing: Smoothing = "held-out"


class DataConfig(_Config, frozen=True):
    """Where the text is, and which shares of it are for validation and test.

    `sources` are files, folders, addresses of sites, ``-`` for standard input, or
    ``corpus:NAME``. `split` says what
    is held out: the end of the text, or documents or lines drawn by `split_seed`, which are put
    behind the rest. So the text is always cut in order: training, then validation, then test.
    Files are in that `encoding`, or if it is "detect" in UTF-8 or what each looks like, and with
    `errors` "replace" what is not becomes U+FFFD. With `normalize` the text is in that form of
    Unicode; characters that occur fewer than `min_count` times become U+FFFD. `fix_mojibake` mends
    UTF-8 that was once read as something else. `dedupe` leaves out documents that equal one before
    them or nearly do, `drop_boilerplate` lines that stand in many documents.

    Of folders and archives the files are read that match `include` and not `exclude`, as patterns
    of a .gitignore file. What a file is, its contents say, unless `plain` takes all that is text as
    it is. `columns` are those of a table that have the text; of Markdown `keep_front_matter` keeps
    that, of a blog `pages` reads its pages, too. `labels` puts title, author and date before each
    document. `allow_private` allows sites of this machine and its network. `boundaries` says that
    the text has some: it has several documents, each with U+0000 at its end, which nobody sees.
    That is found out when a run begins.

    `unit` is what an id stands for. A file that is no text can be learned by the byte: then `raw`
    says that each byte of all files counts as a character (see raw_bytes.py), which is found out,
    too.
    """

    sources: tuple[FileName, ...] = ()
    validation: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    test: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    split: Literal["tail", "documents", "lines"] = "tail"
    split_seed: Seed = 0
    encoding: str = "utf-8"
    errors: Errors = "strict"
    normalize: Normalize = "none"
    min_count: Whole = 0
    fix_mojibake: bool = False
    dedupe: bool = False
    drop_boilerplate: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    keep_front_matter: bool = False
    pages: bool = False
    labels: bool = False
    plain: bool = False
    allow_private: bool = False
    boundaries: bool = False
    unit: Unit = "character"
    raw: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            name = DETECT
            if self.encoding != DETECT:
                name = codecs.lookup(self.encoding).name
                "a".encode(name)  # raises if it is none of text, as base64
        except (LookupError, ValueError):
            name = ""
        if not name or name in _NO_ENCODINGS:
            self._refuse("encoding", "one that Python knows, such as cp1252 or utf-16, or detect")
        msgspec.structs.force_setattr(self, "encoding", name.removesuffix("-sig"))
        if self.validation + self.test > 0.9:
            self._refuse("test", "at most 0.9 together with validation")


class TrainConfig(_Config, frozen=True):
    """How the model is trained: every setting here changes the weights that come out.

    `reduction` says whether the gradient is that of the loss summed over the step's
    batch x length characters (the historic programs, whose clipping acts on that sum) or
    of its mean. The gradient's norm is clipped first, then each of its values.
    From `mixture`, a share of the training part, the network does not learn: when the run has
    ended, it tells how to mix the network with an n-gram model.
    `iterations` or `epochs` ends the run, whichever comes first. With `minutes` the clock ends it;
    `iterations` is then the number of steps that were planned for that time.
    """

    batch: Positive = 32
    length: Positive = 64
    minutes: Above0 | None = None
    iterations: Positive | None = None
    epochs: Above0 | None = None
    optimizer: Optimizer = "adamw"
    learning_rate: Annotated[float, Meta(ge=0, le=1000)] = 0.003
    reduction: Literal["mean", "sum"] = "mean"
    clip_value: Above0 | None = None
    clip_norm: Above0 | None = None
    weight_decay: AtLeast0 = 0.0  # adamw only: Loshchilov & Hutter 2019
    beta1: BelowOne = 0.9  # adam, adamw
    beta2: BelowOne = 0.999  # adam, adamw
    decay: BelowOne = 0.95  # rmsprop: char-rnn's smoothing of the squared gradient
    dropout: BelowOne = 0.0  # share of each layer's outputs, the same all through a step
    schedule: ScheduleName = "constant"
    warmup: Whole = 0  # iterations over which the rate climbs from 0
    decay_factor: Factor = 0.5  # step, exponential, plateau: what the rate is multiplied by
    decay_every: Above0 = 1.0  # step, exponential: epochs between two such cuts
    decay_after: AtLeast0 = 0.0  # step, exponential: epochs before the first
    final_rate: Share = 0.0  # cosine, one-cycle, plateau: the rate's floor, a share of its peak
    patience: Positive = 10  # plateau: windows without a new best before a cut
    window: Positive = 1000  # plateau: iterations in a window
    seed: Seed = 0
    batches: Literal["lanes", "windows"] = "lanes"  # streams side by side, or anywhere in the text
    precision: Precision = "full"  # of products, not of weights
    accumulate: Positive = 1  # torch only: parts of the batch that are computed one after another
    compile: bool = False  # torch only: torch.compile
    mixture: Annotated[float, Meta(ge=0, le=0.5)] = 0.0  # share kept to mix in an n-gram model


class SampleConfig(_Config, frozen=True):
    """How text is sampled. `temperature` 0 takes the likeliest character (greedy)."""

    temperature: AtLeast0 = 1.0
    top_k: Whole = 0  # keep the k likeliest; 0 keeps all
    top_p: Share = 1.0  # keep the likeliest that together reach p (Holtzman et al. 2020)
    min_p: Share = 0.0  # drop what is below this share of the likeliest (Nguyen et al. 2024)
    stop: tuple[str, ...] = ()
    seed: Whole | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if "" in self.stop:
            self._refuse("stop", "text that is not empty")


class WatchConfig(_Config, frozen=True):
    """What is monitored during training: nothing here changes a bit of the weights.

    `*_every` count iterations; 0 is never, None leaves the choice to charloom.
    With `sample_at_best`, a sample is drawn at each new lowest smoothed loss instead, and
    only once that is below `sample_below` times the first loss. Samples drawn below
    `write_below` times that loss are also appended to one file, with the time.
    """

    evaluate_every: Whole | None = None
    checkpoint_every: Whole | None = None
    sample_every: Whole | None = None
    sample_at_best: bool = False
    sample_below: AtLeast0 = 1.0
    write_below: AtLeast0 | None = None
    sample_length: Whole = 200
    sample: SampleConfig = SampleConfig(seed=0)
    keep: Positive = 2  # newest checkpoints that stay on disk, beside the best


AUTO = ("init_std", "evaluate_every", "checkpoint_every", "sample_every")  # None: to be chosen
# What a Learner trains; of AttentiveConfig there is only a model that reads.
NetworkConfig = (
    ModelConfig | EnsembleConfig | TransformerConfig | PretrainedConfig | AttentiveConfig
)


class Extension(_Config, frozen=True):
    """More minutes that a run was given, in which `scored` ids are evaluated, as many as before."""

    minutes: Above0
    scored: Whole


class RunConfig(_Config, frozen=True):
    """All settings of a run; the contents of its ``config.json``.

    `start` is another run, whose best weights this one begins with; `imported` is the program that
    trained a run which charloom did not. `extended` is what it was
    given after that, one `charloom resume --minutes` after the other: the minutes of `train` are
    then all that it has had when the last are over.
    """

    model: NetworkConfig | NgramConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    watch: WatchConfig = WatchConfig()
    engine: Engine = "auto"
    dtype: Dtype = "float32"
    preset: str | None = None
    start: FileName | None = None
    imported: str | None = None
    extended: tuple[Extension, ...] = ()

    @property
    def granted(self) -> float | None:
        """The minutes that the run was given last; None if the clock does not end it."""
        return self.extended[-1].minutes if self.extended else self.train.minutes


def differences(then: RunConfig, now: RunConfig) -> list[str]:
    """List the differences in settings that change the weights: "learning-rate was 0.1 and is 0.2".

    Monitoring, and where the text and a pretrained model are stored, do not count.
    """
    model = then.model
    if isinstance(model, PretrainedConfig) and isinstance(now.model, PretrainedConfig):
        model = replace(model, source=now.model.source)
    found = _differing(model, now.model)
    found += _differing(replace(then.data, sources=()), replace(now.data, sources=()))
    found += _differing(then.train, now.train)
    whole = replace(then, model=now.model, data=now.data, train=now.train, watch=now.watch)
    return found + _differing(replace(whole, preset=now.preset), now)


def unextended(then: RunConfig, now: RunConfig) -> RunConfig | None:
    """Return `then` with the minutes that `now` was given since; None if it was given none."""
    n = len(then.extended)
    if not now.extended[n:] or now.extended[:n] != then.extended:
        return None
    end = {name: getattr(now.train, name) for name in ("minutes", "iterations", "epochs")}
    return replace(then, extended=now.extended, train=replace(then.train, **end))


def _differing(then: msgspec.Struct, now: msgspec.Struct) -> list[str]:
    if type(then) is not type(now):
        return [f"model was {type(then).__name__} and is {type(now).__name__}"]
    return [
        f"{name.replace('_', '-')} was {getattr(then, name)!r} and is {getattr(now, name)!r}"
        for name in then.__struct_fields__
        if getattr(then, name) != getattr(now, name)
    ]
