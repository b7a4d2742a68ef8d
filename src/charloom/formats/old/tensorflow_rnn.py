"""Networks of TensorFlow 1: char-rnn-tensorflow's and RNN_Text_Generation_Tensorflow's.

A layer of either is a BasicLSTMCell or a BasicRNNCell: one matrix (D + H, 4H), the first D rows for
the input. Its gates are i g f o (TensorFlow calls g j), and 1 is added to f when it runs, which
the file does not hold. char-rnn-tensorflow (Sherjil Ozair, 2015) has an embedding as wide as its
layers, RNN_Text_Generation_Tensorflow (Giacomo Spigler, 2016) one-hot inputs.

A GRUCell has two such matrices, of its gates r u (D + H, 2H) and of the candidate (D + H, H), which
reads r h for h; u is the share of the state that is kept, our z.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import UNSET

from charloom.config import Cell, DataConfig, ModelConfig, TrainConfig, replace
from charloom.formats.old.found import ALL_OF_IT, MOST_STEPS, Found, RefusedError
from charloom.formats.old.tensorflow import Bundle
from charloom.models.weights import Array, Weights
from charloom.presets import preset

FORGET_BIAS = 1.0  # BasicLSTMCell's default, which neither program changes
_CELL = re.compile(
    r"(?:.*?/)??(?:cell_(\d{1,3})/)?(?:basic_(lstm|rnn)_cell|(gru)_cell/(gates|candidate))"
    r"/(weights|kernel|biases|bias)"
)
_NAMES: dict[str, Cell] = {"lstm": "lstm", "gru": "gru", "rnn": "rnn"}
_WIDTHS = {  # in H, of the matrices of a layer, by the end of their names
    "lstm": {"": 4},
    "gru": {"gates": 2, "candidate": 1},
    "rnn": {"": 1},
}
_OTHER_CELL = re.compile(r".*(gru_block|lstm_cell|nas_cell|lstm_fused|attention).*", re.IGNORECASE)
_SLOT = re.compile(r".*/(Adam|RMSProp|Momentum|Adagrad|Adadelta|Ftrl)(_\d+)?")
_HEADS = (  # the embedding's name, "" for one-hot inputs, and those of the head
    (r"(?:rnnlm/)?embedding", r"(?:rnnlm/)?softmax_w", r"(?:rnnlm/)?softmax_b"),
    ("", r"char_rnn_network/Variable", r"char_rnn_network/Variable_1"),
)


def from_tensorflow(bundle: Bundle, step: int) -> Found:
    """Return the model of a checkpoint after so many steps; raises MalformedError, RefusedError."""
    names = [name for name in bundle.entries if not _SLOT.fullmatch(name)]
    cell, layers = _cells(names)
    embedding, head, bias = _head(names)
    V = bundle.shape(bias)[0] if len(bundle.shape(bias)) == 1 else 0
    H = bundle.shape(head)[0] if len(bundle.shape(head)) == 2 else 0
    D = bundle.shape(embedding)[-1] if embedding else V
    wanted = {head: (H, V), bias: (V,)} | ({embedding: (V, D)} if embedding else {})
    for layer, parts in enumerate(layers):
        for end, G in _WIDTHS[cell].items():
            wanted[parts["W" + end]] = ((H if layer else D) + H, G * H)
            wanted[parts["b" + end]] = (G * H,)
    for name, shape in wanted.items():
        if bundle.shape(name) != shape or 0 in shape:
            raise RefusedError(
                f"{name[:80]} has shape {bundle.shape(name)}, which fits no such model"
            )
    weights: Weights = {"embedding": bundle.array(embedding)} if embedding else {}
    for layer, parts in enumerate(layers):
        arrays = _layer(bundle, cell, parts)
        weights |= {f"layer{layer}.{name}": array for name, array in arrays.items()}
    weights |= {"head.W": bundle.array(head), "head.b": bundle.array(bias)}
    known = preset("rnn-text-generation-tensorflow").train
    train = TrainConfig(optimizer="adam", batch=50, length=50) if embedding else known
    return Found(
        program="char-rnn-tensorflow" if embedding else "RNN_Text_Generation_Tensorflow",
        model=ModelConfig(
            cell=cell,
            layers=len(layers),
            hidden=H,
            embedding=D if embedding else 0,
            reset="state" if cell == "gru" else UNSET,
        ),
        weights=weights,
        size=V,
        lowered=not embedding,
        step=min(step, MOST_STEPS),
        data=DataConfig(validation=0.0),
        train=replace(train, iterations=max(1, step), epochs=None),
        held_out=ALL_OF_IT,
    )


def _cells(names: Sequence[str]) -> tuple[Cell, list[dict[str, str]]]:
    """Return the cell, and for each layer the names of its arrays by what they are: W, b.

    Those of a GRU are Wgates, bgates, Wcandidate and bcandidate.
    """
    cells = {name: match for name in names if (match := _CELL.fullmatch(name))}
    if other := [n for n in names if n not in cells and _OTHER_CELL.fullmatch(n)]:
        raise RefusedError(f"it has the cell {other[0][:80]}, which charloom does not have")
    by_layer: dict[int, dict[str, str]] = {}
    for name, match in cells.items():
        part = "W" if match[5] in ("weights", "kernel") else "b"
        by_layer.setdefault(int(match[1] or 0), {})[part + (match[4] or "")] = name
    if sum(map(len, by_layer.values())) != len(cells):
        raise RefusedError("it holds several networks: which is to be read is not known")
    kinds = {match[2] or match[3] for match in cells.values()}
    cell = _NAMES[kinds.pop()] if len(kinds) == 1 else None
    if cell is not None and sorted(by_layer) == list(range(len(by_layer))):
        parts = {kind + end for kind in "Wb" for end in _WIDTHS[cell]}
        if all({*by_layer[layer]} == parts for layer in by_layer):
            return cell, [by_layer[layer] for layer in range(len(by_layer))]
    raise RefusedError("it holds no BasicLSTMCell, GRUCell or BasicRNNCell with a known head")


def _layer(bundle: Bundle, cell: Cell, parts: Mapping[str, str]) -> Weights:
    W, b = (
        np.concatenate([bundle.array(parts[part + end]) for end in _WIDTHS[cell]], -1)
        for part in "Wb"
    )
    H = len(b) // sum(_WIDTHS[cell].values())
    if cell == "lstm":
        W, b = _gates(W), _gates(b)
        b[H : 2 * H] += FORGET_BIAS
    return {"Wx": W[:-H], "Wh": W[-H:], "b": b}


def _head(names: Sequence[str]) -> tuple[str, str, str]:
    for patterns in _HEADS:
        found = [
            next((name for name in names if re.fullmatch(pattern, name)), "")
            for pattern in patterns
        ]
        if all(found[1:]) and bool(found[0]) == bool(patterns[0]):
            return found[0], found[1], found[2]
    raise RefusedError("it has no head over characters that is known")


def _gates(array: Array) -> Array:
    """Put the last axis' gates i g f o in the order i f o g."""
    i, g, f, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, o, g], axis=-1)
