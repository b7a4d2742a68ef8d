"""Models that PyTorch saved: char-rnn.pytorch's and Udacity's, and others like them.

nn.LSTM and nn.RNN have matrices (G H, D) and (G H, H), with a bias each, which are added. The gates
of an LSTM are i f g o, those of a GRU r z n: ours. The second bias of a GRU's candidate stands
within the reset, n = tanh(x Wxn + bxn + r (h Whn + bhn)).
"""

import string
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import Cell, DataConfig, ModelConfig, TrainConfig, replace
from charloom.formats.old.found import (
    ALL_OF_IT,
    Found,
    MalformedError,
    RefusedError,
    check_fit,
    trained,
)
from charloom.formats.old.makemore import from_makemore, is_makemore
from charloom.formats.old.nanogpt import from_nanogpt, is_nanogpt
from charloom.formats.old.pickled import Made
from charloom.formats.old.pytorch import Arrays, entries, tensors
from charloom.models.weights import GATES, Weights

_CELLS: dict[int, Cell] = {1: "rnn", 3: "gru", 4: "lstm"}
_PRINTABLE = "its characters are taken to be Python's string.printable, as in char-rnn.pytorch"


def from_pytorch(root: Any) -> Found:
    """Return the model of a checkpoint; raises MalformedError and RefusedError."""
    top = entries(root)
    if is_nanogpt(top):
        return from_nanogpt(top)
    arrays = tensors(top.get("state_dict", root))
    if not arrays:
        raise RefusedError("it is a file of PyTorch, but it holds no weights")
    if is_makemore(arrays):
        return from_makemore(arrays)
    return _recurrent(arrays, top.get("tokens"), _modes(root))


def _modes(root: Any) -> set[Any]:
    """Return what the recurrent modules of a model saved whole call themselves: LSTM, RNN_RELU."""
    state = root.state if isinstance(root, Made) else None
    modules = entries(state.get("_modules")).values() if isinstance(state, dict) else []
    states = [module.state for module in modules if isinstance(module, Made)]
    return {state.get("mode") for state in states if isinstance(state, dict)} - {None}


def _recurrent(arrays: Arrays, tokens: Any, modes: set[Any]) -> Found:
    prefix, own = _network(arrays)
    L = sum(name.startswith("weight_ih_l") for name in own)
    H, rows = (
        _size(own.get(name), axis) for name, axis in (("weight_hh_l0", 1), ("weight_ih_l0", 0))
    )
    G = rows // H if H else 0
    if G not in _CELLS or "RNN_RELU" in modes:
        raise RefusedError("its cell is no LSTM, GRU or RNN with tanh")
    head, table = _head_and_table(arrays, prefix)
    each = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    used = {f"{prefix}{part}_l{layer}" for part in each for layer in range(L)}
    used |= {head, _bias_name(head), table}
    if unused := sorted(arrays.keys() - used):
        raise RefusedError(f"it has {unused[0][:80]!r}, which no such network has")
    V, D = len(arrays[head]), arrays[table].shape[1] if table else 0
    model = ModelConfig(cell=_CELLS[G], layers=L, hidden=H, embedding=D)
    weights: Weights = {"embedding": arrays[table]} if table else {}
    for layer in range(L):
        of_layer = _layer(own, layer, model)
        weights |= {f"layer{layer}.{name}": array for name, array in of_layer.items()}
    if model.cell == "gru":
        model = _within_the_reset(model, weights, own)
    weights |= {"head.W": arrays[head].T, "head.b": arrays[_bias_name(head)]}
    check_fit(weights, model, V)
    notes, characters = [], _tokens(tokens)
    if characters is None and len(string.printable) == V and head.startswith("decoder."):
        characters = tuple(string.printable)
        notes.append(_PRINTABLE)
    return Found(
        program="char-rnn.pytorch" if table else "PyTorch",
        model=model,
        weights=weights,
        size=V,
        tokens=characters,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adam"), 0, {}),
        held_out=ALL_OF_IT,
        notes=tuple(notes),
    )


def _network(arrays: Arrays) -> tuple[str, Arrays]:
    """Return what the names of its arrays begin with, and these by the rest of their names."""
    prefixes = [name.removesuffix("weight_ih_l0") for name in arrays if "weight_ih_l0" in name]
    if len(prefixes) != 1 or prefixes[0].endswith("_reverse"):
        raise RefusedError(
            "it holds no single nn.LSTM, nn.GRU or nn.RNN with a head over characters"
        )
    (prefix,) = prefixes
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    if any(name.endswith("_reverse") or "weight_hr" in name for name in own):
        raise RefusedError("its network reads backwards or is projected, which charloom's is not")
    return prefix, own


def _head_and_table(arrays: Arrays, prefix: str) -> tuple[str, str]:
    """Return the name of the head's matrix, and that of the embedding, "" without one."""
    matrices = [name for name, a in arrays.items() if a.ndim == 2]
    heads = [name for name in matrices if _has_bias(name, arrays)]
    tables = [name for name in matrices if name not in heads and not name.startswith(prefix)]
    if len(heads) != 1 or len(tables) > 1:
        raise RefusedError("it has more parts than an embedding, one network and a head")
    return heads[0], tables[0] if tables else ""


def _layer(own: Arrays, layer: int, model: ModelConfig) -> Weights:
    Wx, Wh = (own.get(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh"))
    if Wx is None or Wh is None:
        raise MalformedError(f"layer {layer} is not complete")
    biases = [own.get(f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
    b = np.zeros(GATES[model.cell] * model.hidden, np.float32)
    for bias in (bias for bias in biases if bias is not None):
        if bias.shape != b.shape:
            raise MalformedError(f"a bias of layer {layer} does not fit it")
        b = b + bias
    return {name: _gates(a, model.cell) for name, a in (("Wx", Wx.T), ("Wh", Wh.T), ("b", b))}


def _within_the_reset(model: ModelConfig, weights: Weights, own: Arrays) -> ModelConfig:
    """Take the second biases of a GRU's candidates out of the sums, if they are not 0."""
    H, layers = model.hidden, range(model.layers)
    biases = [[own.get(f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")] for layer in layers]
    if not any(second is not None and second[2 * H :].any() for _, second in biases):
        return model
    for layer, (first, second) in enumerate(biases):
        if first is None or second is None or not len(first) == len(second) == 3 * H:
            raise MalformedError(f"layer {layer} is not complete")
        b = np.concatenate([weights[f"layer{layer}.b"][: 2 * H], first[2 * H :]])
        weights |= {f"layer{layer}.b": b, f"layer{layer}.bhn": second[2 * H :]}
    return replace(model, reset="biased-product")


def _size(array: NDArray[Any] | None, axis: int) -> int:
    """Return a side of a matrix; 0 for none."""
    return array.shape[axis] if array is not None and array.ndim == 2 else 0


def _bias_name(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _has_bias(name: str, arrays: Arrays) -> bool:
    """Whether this is the weight of a Linear, which has a bias as well."""
    bias = arrays.get(_bias_name(name)) if name.endswith(".weight") else None
    return bias is not None and bias.shape == arrays[name].shape[:1]


def _gates(array: NDArray[Any], cell: str) -> NDArray[Any]:
    """Put the last axis' gates i f g o of an LSTM in the order i f o g."""
    if cell != "lstm" or array.shape[-1] % 4:
        return array
    i, f, g, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, o, g], axis=-1)


def _tokens(found: Any) -> tuple[str, ...] | None:
    if isinstance(found, tuple | list) and found and all(isinstance(t, str) for t in found):
        return tuple(found) if all(len(t) == 1 for t in found) else None
    return None
