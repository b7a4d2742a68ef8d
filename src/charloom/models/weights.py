"""CONTRACT: the names and shapes of a network's weights, the same for every engine.

Of a recurrent network:

    embedding (V, D)         only if config.embedding > 0; otherwise inputs are one-hot and D = V
    layerN.Wx (D, G*H)       D is the input's width at layer 0 and H above
    layerN.Wh (H, G*H)
    layerN.b  (G*H,)
    layerN.bhn (H,)          only if config.reset == "biased-product"
    head.W    (H, V)
    head.b    (V,)

G is the number of gates, side by side in the columns: one for the RNN, i f o g for the
LSTM, r z n for the GRU, whose reset gate acts after the recurrent product,
n = tanh(x Wxn + bn + r * (h Whn)): PyTorch's and cuDNN's form with one bias. Their second bias
is there if config.reset == "biased-product", n = tanh(x Wxn + bn + r * (h Whn + bhn)); if it is
"state", the gate acts before the product, n = tanh(x Wxn + bn + (r * h) Whn).

Of a transformer of width D and context C, whose head is the embedding:

    embedding (V, D)
    position (C, D)          only if positions are learned
    layerN.norm1 (D,)        the scale of a layer norm without bias, before the mixer
    layerN.Wx (D, G*D)       attention: queries, keys, values; minGRU: z n; minLSTM: f i n
    layerN.Wo (D, D)         from the mixer back to the residual branch
    layerN.norm2 (D,)
    layerN.W1 (D, 4D)
    layerN.W2 (4D, D)
    norm (D,)

Of an attentive one of L layers, D wide at the inputs, F = D + L H:

    embedding (V + 1, D)     the last row stands for what is before a text
    layerN.Wx, layerN.Wh, layerN.b      as those of an LSTM above an embedding
    attention (F,)
    head.W (F, V), head.b (V,)

Of an ensemble, those of network k, from 0, are named networkK.NAME.

Of a pretrained model, the config holds the names and shapes.
"""

import math
from collections.abc import Collection, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charloom.config import (
    AttentiveConfig,
    EnsembleConfig,
    Gate,
    ModelConfig,
    NetworkConfig,
    PretrainedConfig,
    TransformerConfig,
)
from charloom.data.tokenizer import Ids
from charloom.errors import CharloomError

Array = NDArray[np.floating]
Weights = dict[str, Array]
T = TypeVar("T")

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
SLOPES: dict[Gate, float] = {"hard-sigmoid-1/5": 1 / 5, "hard-sigmoid-1/6": 1 / 6}
MIXER_COLUMNS = {"attention": 3, "mingru": 2, "minlstm": 3}  # of Wx, each D wide
STATE_PREFIXES = ("optimizer.", "state.", "rng.")  # of what a learner saves besides its weights
_COUNTED = 1 << 16  # ids at once


def weight_shapes(config: NetworkConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight, in the order in which engines keep them."""
    match config:
        case ModelConfig():
            return _recurrent_shapes(config, vocabulary_size)
        case EnsembleConfig():
            return in_each(config, weight_shapes(config.network, vocabulary_size))
        case TransformerConfig():
            return _transformer_shapes(config, vocabulary_size)
        case PretrainedConfig():
            return dict(config.shapes)
        case AttentiveConfig():
            return _attentive_shapes(config, vocabulary_size)


def name_in(k: int, name: str) -> str:
    """Return what an array of network k of an ensemble is called, which is `name` in the network.

    Of its training state that is optimizer.networkK.m.NAME, say.
    """
    prefix = next((prefix for prefix in STATE_PREFIXES if name.startswith(prefix)), "")
    return f"{prefix}network{k}.{name.removeprefix(prefix)}"


def in_each(config: EnsembleConfig, of_one: Mapping[str, T]) -> dict[str, T]:
    """Return by name what each network of an ensemble has, if each has what is `of_one`."""
    return {name_in(k, n): one for k in range(config.networks) for n, one in of_one.items()}


def part_of(arrays: Mapping[str, T], k: int) -> dict[str, T]:
    """Return the arrays of network k of an ensemble, by their names in that network."""
    mark = f"network{k}."
    return {name.replace(mark, "", 1): array for name, array in arrays.items() if mark in name}


def _recurrent_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    V, H, G = vocabulary_size, config.hidden, GATES[config.cell]
    shapes: dict[str, tuple[int, ...]] = {}
    if config.embedding:
        shapes["embedding"] = (V, config.embedding)
    for layer in range(config.layers):
        D = (config.embedding or V) if layer == 0 else H
        shapes[f"layer{layer}.Wx"] = (D, G * H)
        shapes[f"layer{layer}.Wh"] = (H, G * H)
        shapes[f"layer{layer}.b"] = (G * H,)
        if config.reset == "biased-product":
            shapes[f"layer{layer}.bhn"] = (H,)
    shapes["head.W"] = (H, V)
    shapes["head.b"] = (V,)
    return shapes


def _attentive_shapes(config: AttentiveConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    V, D, H = vocabulary_size, config.embedding, config.hidden
    below = ModelConfig(cell="lstm", layers=config.layers, hidden=H, embedding=D)
    F = D + config.layers * H
    own = {"embedding": (V + 1, D), "attention": (F,), "head.W": (F, V)}
    return _recurrent_shapes(below, V) | own


def _transformer_shapes(
    config: TransformerConfig, vocabulary_size: int
) -> dict[str, tuple[int, ...]]:
    D = config.width
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary_size, D)}
    if config.mixer == "attention" and config.positions == "learned":
        shapes["position"] = (config.context, D)
    for layer in range(config.layers):
        block = {
            "norm1": (D,),
            "Wx": (D, MIXER_COLUMNS[config.mixer] * D),
            "Wo": (D, D),
            "norm2": (D,),
            "W1": (D, 4 * D),
            "W2": (4 * D, D),
        }
        shapes |= {f"layer{layer}.{name}": shape for name, shape in block.items()}
    shapes["norm"] = (D,)
    return shapes


def state_shapes(config: NetworkConfig, batch: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each array that is carried from step to step, batch first."""
    if isinstance(config, EnsembleConfig):
        return in_each(config, state_shapes(config.network, batch))
    if isinstance(config, ModelConfig):
        parts, width = "hc" if config.cell == "lstm" else "h", config.hidden
    elif isinstance(config, TransformerConfig) and config.mixer != "attention":
        parts, width = "h", config.width
    else:
        return {}
    return {f"layer{n}.{part}": (batch, width) for n in range(config.layers) for part in parts}


def gate_slope(config: ModelConfig) -> float:
    """Return the slope of gates that are a hard_sigmoid; 0 if they are the sigmoid."""
    return SLOPES[config.gate] if config.gate else 0.0


def parameter_count(config: NetworkConfig, vocabulary_size: int) -> int:
    """Return how many parameters the network has."""
    return sum(int(np.prod(s)) for s in weight_shapes(config, vocabulary_size).values())


def with_characters(
    config: ModelConfig | EnsembleConfig | TransformerConfig,
    weights: Mapping[str, Array],
    places: NDArray[np.integer],
    vocabulary_size: int,
) -> Weights:
    """Return the weights for V characters, of which those at `places` (V0,) had these weights.

    A new character has the mean of the old ones' rows and columns: as an input it is like any
    character, and its logit is the mean logit, whatever the state. So of two old characters one
    stays as many times more likely than the other, and the new ones together take a small share.
    """
    old, new = weight_shapes(config, len(places)), weight_shapes(config, vocabulary_size)
    grown: Weights = {}
    for name, array in weights.items():
        grown[name] = array
        for axis, sizes in enumerate(zip(old[name], new[name], strict=True)):
            if sizes[0] != sizes[1]:
                mean = array.mean(axis, np.float64, keepdims=True).astype(array.dtype)
                grown[name] = np.repeat(mean, vocabulary_size, axis)
                np.moveaxis(grown[name], axis, 0)[places] = np.moveaxis(array, axis, 0)
    return grown


def from_frequencies(arrays: Mapping[str, Array], ids: Ids) -> Weights | None:
    """Return a learner's weights, but predicting each id as often as it is in ids (N,).

    That is head.b = ln((n_v + 1) / (N + V)), so that the first steps do not have to learn which of
    many ids are rare, at rates at which that saturates the cells: docs/LOG.md has what it is worth.
    None for a network whose head has no bias.
    """
    weights = {name: arrays[name] for name in arrays if not name.startswith(STATE_PREFIXES)}
    heads = {name: bias for name, bias in weights.items() if name.endswith("head.b")}
    if not heads:
        return None
    counts = np.ones(len(next(iter(heads.values()))))
    for start in range(0, len(ids), _COUNTED):
        counts += np.bincount(ids[start : start + _COUNTED], minlength=len(counts))
    logs = np.log(counts / counts.sum())
    return weights | {name: logs.astype(bias.dtype) for name, bias in heads.items()}


def initial_weights(
    config: ModelConfig | TransformerConfig, vocabulary_size: int, seed: int
) -> Weights:
    """Return float64 weights to start from: a pure function of the config, V and the seed."""
    rng = np.random.default_rng(seed)
    vector = np.zeros if isinstance(config, ModelConfig) else np.ones  # a bias, or a norm's scale
    weights: Weights = {}
    for name, shape in weight_shapes(config, vocabulary_size).items():
        if len(shape) == 1:
            weights[name] = vector(shape)
        else:
            weights[name] = rng.normal(0.0, 1.0, shape) * _initial_std(config, name, shape[0])
    if isinstance(config, ModelConfig) and config.cell == "lstm":
        H = config.hidden
        for layer in range(config.layers):
            weights[f"layer{layer}.b"][H : 2 * H] = config.forget_bias
    return weights


def _initial_std(config: ModelConfig | TransformerConfig, name: str, fan_in: int) -> float:
    """Return the standard deviation of a matrix's first values, as the configs describe them."""
    if isinstance(config, TransformerConfig):
        ends_branch = name.endswith((".Wo", ".W2"))
        return config.init_std / (math.sqrt(2 * config.layers) if ends_branch else 1)
    if config.init_std is not None:
        return config.init_std
    if name == "layer0.Wx" and not config.embedding:  # one-hot inputs: one column counts
        fan_in = config.hidden
    return 1.0 if name == "embedding" else 1 / math.sqrt(fan_in)


def check_weights(
    weights: Mapping[str, Array], config: NetworkConfig, vocabulary_size: int
) -> None:
    """Raise CharloomError unless names, shapes and values are what the config asks for."""
    check_shapes(weights, weight_shapes(config, vocabulary_size), "weights")
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise CharloomError(f"weights: {name} has NaN or infinity", "bad-array", name=name)


def check_shapes(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Raise CharloomError unless there is exactly one array of each name and shape."""
    check_names(arrays, shapes, where)
    for name, shape in shapes.items():
        if (found := arrays[name].shape) != shape:
            raise CharloomError(
                f"{where}: {name} has shape {found}, but the settings need {shape}",
                "bad-array",
                name=name,
                found=found,
                needed=shape,
            )


def check_names(found: Collection[str], wanted: Collection[str], where: str) -> None:
    """Raise CharloomError unless both have the same names."""
    missing, unknown = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
    if missing or unknown:
        raise CharloomError(
            f"{where}: not the arrays that the settings need "
            f"(missing: {_listed(missing)}; unknown: {_listed(unknown)})",
            "bad-array",
            missing=missing,
            unknown=unknown,
        )


def _listed(names: list[str]) -> str:
    """Join at most 12 names, which may come from a damaged file, in one line."""
    shown = [name if name.isprintable() and len(name) < 80 else "..." for name in names[:12]]
    rest = [f"and {len(names) - 12:,} more"] if len(names) > 12 else []
    return ", ".join(shown + rest) or "none"
