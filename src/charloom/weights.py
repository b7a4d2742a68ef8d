"""CONTRACT: the names and shapes of a recurrent network's weights, the same for every engine.

    embedding (V, D)         only where config.embedding > 0; otherwise inputs are one-hot, D = V
    layerN.Wx (D, G*H)       D is the input's width at layer 0 and H above
    layerN.Wh (H, G*H)
    layerN.b  (G*H,)
    head.W    (H, V)
    head.b    (V,)

G is the number of gates, side by side in the columns: one for the RNN, i f o g for the
LSTM, r z n for the GRU, whose reset gate acts after the recurrent product,
n = tanh(x Wxn + bn + r * (h Whn)): PyTorch's and cuDNN's form with one bias.
"""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import ModelConfig
from charloom.errors import CharloomError

Array = NDArray[np.floating]
Weights = dict[str, Array]

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
STATE_PREFIXES = ("optimizer.", "state.", "rng.")  # of what a learner saves beside its weights


def weight_shapes(config: ModelConfig, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in the order in which engines keep them."""
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


def parameter_count(config: ModelConfig, vocabulary_size: int) -> int:
    """How many numbers the network learns."""
    return sum(int(np.prod(s)) for s in weight_shapes(config, vocabulary_size).values())


def initial_weights(config: ModelConfig, vocabulary_size: int, seed: int) -> Weights:
    """Float64 weights to start from: a pure function of the config, V and the seed."""
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


def check_weights(
    weights: Mapping[str, Array], config: ModelConfig, vocabulary_size: int, where: str = "weights"
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
