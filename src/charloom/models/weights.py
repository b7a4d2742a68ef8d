"""CONTRACT: the names and shapes of a network's weights, the same for every engine.

Of a recurrent network:

    embedding (V, D)         only where config.embedding > 0; otherwise inputs are one-hot, D = V
    layerN.Wx (D, G*H)       D is the input's width at layer 0 and H above
    layerN.Wh (H, G*H)
    layerN.b  (G*H,)
    head.W    (H, V)
    head.b    (V,)

G is the number of gates, side by side in the columns: one for the RNN, i f o g for the
LSTM, r z n for the GRU, whose reset gate acts after the recurrent product,
n = tanh(x Wxn + bn + r * (h Whn)): PyTorch's and cuDNN's form with one bias.

Of a transformer of width D and context C, whose head is the embedding:

    embedding (V, D)
    position (C, D)          only where positions are learned
    layerN.norm1 (D,)        scales of a layer norm without bias, before the mixer
    layerN.Wx (D, G*D)       attention: queries, keys, values; minGRU: z n; minLSTM: f i n
    layerN.Wo (D, D)         the end of the mixer's branch
    layerN.norm2 (D,)
    layerN.W1 (D, 4D)
    layerN.W2 (4D, D)
    norm (D,)

Of a pretrained model: the names and shapes that its config holds.
"""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import ModelConfig, NetworkConfig, PretrainedConfig, TransformerConfig
from charloom.errors import CharloomError

Array = NDArray[np.floating]
Weights = dict[str, Array]

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
MIXER_COLUMNS = {"attention": 3, "mingru": 2, "minlstm": 3}  # of Wx, each D wide
STATE_PREFIXES = ("optimizer.", "state.", "rng.")  # of what a learner saves beside its weights


def weight_shapes(config: NetworkConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in the order in which engines keep them."""
    match config:
        case ModelConfig():
            return _recurrent_shapes(config, vocabulary_size)
        case TransformerConfig():
            return _transformer_shapes(config, vocabulary_size)
        case PretrainedConfig():
            return dict(config.shapes)


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
    shapes["head.W"] = (H, V)
    shapes["head.b"] = (V,)
    return shapes


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
    """Name and shape of the state that is carried from step to step: lanes first."""
    if isinstance(config, ModelConfig):
        parts, width = "hc" if config.cell == "lstm" else "h", config.hidden
    elif isinstance(config, TransformerConfig) and config.mixer != "attention":
        parts, width = "h", config.width
    else:
        return {}
    return {f"layer{n}.{part}": (batch, width) for n in range(config.layers) for part in parts}


def parameter_count(config: NetworkConfig, vocabulary_size: int) -> int:
    """How many numbers the network learns."""
    return sum(int(np.prod(s)) for s in weight_shapes(config, vocabulary_size).values())


def initial_weights(
    config: ModelConfig | TransformerConfig, vocabulary_size: int, seed: int
) -> Weights:
    """Float64 weights to start from: a pure function of the config, V and the seed."""
    if isinstance(config, TransformerConfig):
        return _initial_transformer(config, vocabulary_size, seed)
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in weight_shapes(config, vocabulary_size).items():
        if len(shape) == 1:
            weights[name] = np.zeros(shape)
            continue
        one_hot = name == "layer0.Wx" and not config.embedding
        fan_in = 1 if name == "embedding" else config.hidden if one_hot else shape[0]
        std = 1 / np.sqrt(fan_in) if config.init_std is None else config.init_std
        weights[name] = rng.normal(0.0, 1.0, shape) * std
    if config.cell == "lstm":
        H = config.hidden
        for layer in range(config.layers):
            weights[f"layer{layer}.b"][H : 2 * H] = config.forget_bias
    return weights


def _initial_transformer(config: TransformerConfig, vocabulary_size: int, seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in _transformer_shapes(config, vocabulary_size).items():
        if len(shape) == 1:
            weights[name] = np.ones(shape)
            continue
        ends_branch = name.endswith((".Wo", ".W2"))
        std = config.init_std / (np.sqrt(2 * config.layers) if ends_branch else 1)
        weights[name] = rng.normal(0.0, 1.0, shape) * std
    return weights


def check_weights(
    weights: Mapping[str, Array],
    config: NetworkConfig,
    vocabulary_size: int,
    where: str = "weights",
) -> None:
    """Raise CharloomError unless names, shapes and values are what the config asks for."""
    check_shapes(weights, weight_shapes(config, vocabulary_size), where)
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise CharloomError(f"{where}: {name} holds NaN or infinity")


def check_shapes(
    arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Raise CharloomError unless there is exactly one array of each name and shape."""
    check_names(arrays, shapes, where)
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise CharloomError(
                f"{where}: {name} has shape {arrays[name].shape}, but the settings need {shape}"
            )


def check_names(found: Collection[str], wanted: Collection[str], where: str) -> None:
    """Raise CharloomError unless both hold the same names."""
    missing, unknown = ({*wanted} - {*found}, {*found} - {*wanted})
    if missing or unknown:
        raise CharloomError(
            f"{where}: not what the settings ask for "
            f"(missing: {_listed(missing)}; unknown: {_listed(unknown)})"
        )


def _listed(names: Collection[str], most: int = 12) -> str:
    shown = [name if name.isprintable() and len(name) < 80 else "..." for name in sorted(names)]
    rest = [f"and {len(shown) - most:,} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + rest) or "none"
