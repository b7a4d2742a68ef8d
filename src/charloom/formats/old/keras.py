"""Keras' models: a stack of LSTM, GRU or SimpleRNN and a softmax over characters, of Keras 1 to 3.

keras_files.py reads the layers, keras_weights.py tells what those are whose file has weights alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from charloom.config import Cell, DataConfig, Gate, ModelConfig, TrainConfig, replace
from charloom.formats.old.found import (
    ALL_OF_IT,
    Found,
    MalformedError,
    RefusedError,
    check_fit,
    trained,
)
from charloom.formats.old.keras_cells import cell_arrays
from charloom.formats.old.keras_files import (
    CHARACTERS,
    VERSION,
    WEIGHTS,
    Layer,
    as_dict,
    read_layers,
)
from charloom.formats.old.keras_weights import assumed, with_classes
from charloom.formats.old.textgenrnn import from_textgenrnn, is_textgenrnn, settings_beside
from charloom.models.weights import Weights

_PASSED = {"InputLayer", "Dropout", "SpatialDropout1D"}
_CELLS: dict[str, Cell] = {
    "LSTM": "lstm",
    "CuDNNLSTM": "lstm",
    "GRU": "gru",
    "CuDNNGRU": "gru",
    "SimpleRNN": "rnn",
}
_FROM_NOTHING = "it was trained on windows that begin from nothing; here its state is kept"


def from_keras(path: Path) -> Found:
    """Return the model in a file.

    Raises MalformedError, RefusedError, and CharloomError without h5py.
    """
    layers, notes = read_layers(path), []
    if layers and layers[0][0] == WEIGHTS:
        named = {config["name"]: arrays for _, config, arrays in layers}
        if is_textgenrnn(named):
            return from_textgenrnn(named, settings_beside(path))
        layers = with_classes(layers)
        notes.append(assumed(layers))
    table, recurrent, head = _parts(_stack(layers))
    model, weights = _network(recurrent)
    W, b = _arrays(head, 2)
    weights |= {"head.W": W, "head.b": b}
    if table is not None:
        (weights["embedding"],) = _arrays(table, 1)
        model = replace(model, embedding=weights["embedding"].shape[-1])
    check_fit(weights, model, b.size)
    if not recurrent[-1][1].get("return_sequences"):
        notes.append(_FROM_NOTHING)
    return Found(
        program="Keras",
        model=model,
        weights=weights,
        size=b.size,
        tokens=_characters(layers),
        lowered=True,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adam"), 0, {}),
        held_out=ALL_OF_IT,
        notes=tuple(notes),
    )


def _parts(stack: list[Layer]) -> tuple[Layer | None, list[Layer], Layer]:
    """Return the embedding, if there is one, the recurrent layers, and the head."""
    recurrent = [layer for layer in stack if layer[0] in _CELLS]
    tables = [layer for layer in stack if layer[0] == "Embedding"]
    heads = [layer for layer in stack if layer[0] == "Dense"]
    order = [kind for kind, _, _ in stack]
    expected = [kind for kind, _, _ in (*tables, *recurrent, *heads)]
    if order != expected or len(tables) > 1 or not recurrent or len(heads) != 1:
        shown = ", ".join(kind[:40] for kind in order[:12]) or "no layers"
        raise RefusedError(
            f"it has {shown}: a stack of LSTM, GRU or SimpleRNN below one Dense layer is read"
        )
    return tables[0] if tables else None, recurrent, heads[0]


def _network(recurrent: Sequence[Layer]) -> tuple[ModelConfig, Weights]:
    """Return the settings, for one-hot inputs, and the weights of the recurrent layers."""
    weights: Weights = {}
    kinds = set()
    for number, layer in enumerate(recurrent):
        cell = _CELLS[layer[0]]
        parts, reset = cell_arrays(layer[2], cell)
        kinds.add((cell, reset, _gate(layer)))
        weights |= {f"layer{number}.{name}": array for name, array in parts.items()}
    if len(kinds) > 1:
        raise RefusedError("its layers are of several kinds")
    sizes = {len(weights[f"layer{number}.Wh"]) for number in range(len(recurrent))}
    if len(sizes) > 1:
        raise RefusedError("its layers have different sizes, and charloom's all have one")
    ((cell, reset, gate),), (H,) = kinds, sizes
    try:
        model = ModelConfig(cell=cell, layers=len(recurrent), hidden=H, reset=reset, gate=gate)
    except ValueError:
        raise MalformedError("its layers have no size") from None
    return model, weights


def _characters(layers: Sequence[Layer]) -> tuple[str, ...] | None:
    """Return those that `charloom export` writes beside a model; None if there are none."""
    codes = layers[0][1].get(CHARACTERS) if layers else None
    if not isinstance(codes, list) or not all(isinstance(code, int) for code in codes):
        return None
    if any(not 0 <= code < 0x110000 for code in codes):
        raise MalformedError("its characters are none")
    return tuple(map(chr, codes))


def _gate(layer: Layer) -> Gate | UnsetType:
    """Return the function of a layer's gates; UNSET for the sigmoid, and if it has none.

    It was the hard sigmoid unless told other before Keras 2.3, and has another slope in Keras 3.
    """
    kind, config, _ = layer
    has = config.get("recurrent_activation", config.get("inner_activation", "sigmoid"))
    if kind not in ("LSTM", "GRU") or has == "sigmoid":
        return UNSET
    if has != "hard_sigmoid":
        raise RefusedError(
            f"its gates are a {str(has)[:40]}, and charloom's a sigmoid or hard_sigmoid"
        )
    return "hard-sigmoid-1/6" if str(config.get(VERSION)).startswith("3.") else "hard-sigmoid-1/5"


def _stack(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers that have weights, checked to do what charloom's do."""
    found: list[Layer] = []
    for kind, config, arrays in layers:
        if kind == "TimeDistributed":
            inner = as_dict(config.get("layer"))
            kind, config = str(inner.get("class_name")), as_dict(inner.get("config"))
        if "ttention" in kind:
            raise RefusedError(
                "it looks back over its last characters with attention: of such models, the "
                "weights that textgenrnn saves are read"
            )
        if kind in _PASSED:
            continue
        if kind == "Activation" and config.get("activation") == "softmax" and found:
            found[-1][1]["activation"] = "softmax"
            continue
        found.append((kind, config, arrays))
    for kind, config, _ in found:
        _check_activations(kind, config)
    return found


def _check_activations(kind: str, config: Mapping[str, Any]) -> None:
    """Raise RefusedError unless a layer has the functions that charloom's has."""
    functions = {
        "LSTM": {"activation": "tanh"},
        "GRU": {"activation": "tanh"},
        "SimpleRNN": {"activation": "tanh"},
        "Dense": {"activation": "softmax"},
    }
    wanted = functions.get(kind, {})
    for name, function in wanted.items():
        if (has := config.get(name)) != function:
            raise RefusedError(
                f"a layer's {name} is {str(has)[:40]}, and charloom's is {function}: the model "
                "would predict something else"
            )
    if config.get("go_backwards"):
        raise RefusedError("it reads the text backwards")


def _arrays(layer: Layer, count: int) -> list[NDArray[Any]]:
    kind, _, arrays = layer
    if len(arrays) != count:
        raise RefusedError(f"its {kind[:40]} has {len(arrays)} arrays, not {count}")
    return arrays
