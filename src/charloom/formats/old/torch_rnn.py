"""torch-rnn's checkpoints (Justin Johnson, 2016): a table with a model, its options and losses.

A layer's `weight` is (D + H, G H), the first D rows for the input, and its gates are i f o g: ours.
Batch normalization (`-batchnorm 1`) acts on a layer's output alone, y = (h - mean) s + t with
s = weight / sqrt(var + eps) and mean and var those that training has averaged, so the next
product takes it in: y W + b = h (s W) + ((t - mean s) W + b).
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import Cell, ModelConfig
from charloom.formats.old.found import (
    MOST_STEPS,
    Found,
    MalformedError,
    RefusedError,
    characters,
    history,
    trained,
    whole,
)
from charloom.formats.old.torch7 import Object, Table, Tensor
from charloom.models.weights import Weights
from charloom.presets import preset

PROGRAM = "torch-rnn"
_CLASSES: dict[str, Cell] = {"nn.LSTM": "lstm", "nn.VanillaRNN": "rnn"}
_SETTINGS = {  # of ours, by the names that its options have
    "batch": "batch_size",
    "length": "seq_length",
    "learning_rate": "learning_rate",
    "dropout": "dropout",
    "clip_value": "grad_clip",
    "decay_factor": "lr_decay_factor",
    "decay_every": "lr_decay_every",
}
# How its preprocessing names bytes that are not ASCII, and under Python 3 code points instead.
_NUMBER = re.compile(rb"\[(\d{3,7})\]")

Normalization = tuple[NDArray[Any], NDArray[Any]]  # s and t (H,) each: what comes out is h s + t


def is_torch_rnn(root: object) -> bool:
    """Whether this is what torch-rnn saved."""
    model = root.get("model") if isinstance(root, Table) else None
    return isinstance(model, Object) and model.name == "nn.LanguageModel"


def from_torch_rnn(root: Table) -> Found:
    """Return the model of a checkpoint with its history; raises MalformedError and RefusedError."""
    fields = root.get("model").fields
    cells, weights = _network(fields)
    if not cells or "head.W" not in weights or len({*cells}) > 1:
        raise MalformedError("the model is not an embedding, layers of one kind and a head")
    V, D = weights["embedding"].shape
    H = len(weights["layer0.Wh"])
    sizes = ("wordvec_dim", "rnn_size", "num_layers")
    if [whole(fields.get(name), 1, 65536) for name in sizes] != [D, H, len(cells)]:
        raise MalformedError("its weights are of another size than its settings")
    step = whole(root.get("i"), 0, MOST_STEPS) or 0
    opt = root.get("opt") if isinstance(root.get("opt"), Table) else Table()
    usual = preset("torch-rnn")
    return Found(
        program=PROGRAM,
        model=ModelConfig(cell=cells[0], layers=len(cells), hidden=H, embedding=D),
        weights=weights,
        size=V,
        tokens=_tokens(fields, V),
        step=step,
        losses=history(_numbered(root.get("train_loss_history"))),
        validation=history(_validation(root)),
        data=usual.data,
        train=trained(usual.train, step, {ours: opt.get(name) for ours, name in _SETTINGS.items()}),
        held_out="torch-rnn holds out a tenth for validation and one for test, if not told other",
    )


def _network(fields: Table) -> tuple[list[Cell], Weights]:
    """Return the cell of each layer, and the weights, into which normalizations are folded."""
    net = fields.get("net")
    if not isinstance(net, Object) or not isinstance(net.fields.get("modules"), Table):
        raise MalformedError("the model has no layers")
    cells: list[Cell] = []
    weights: Weights = {}
    folded: Normalization | None = None
    for module in net.fields.get("modules").listed():
        if not isinstance(module, Object):
            raise MalformedError("a layer is none")
        kind, part = module.name, module.fields
        if kind == "nn.LookupTable" and not weights:
            weights["embedding"] = array(part, "weight", 2)
        elif kind in _CLASSES and "embedding" in weights and "head.W" not in weights:
            layer = f"layer{len(cells)}"
            width = _width(weights, len(cells))
            weights |= {f"{layer}.{name}": a for name, a in _layer(part, width).items()}
            cells.append(_CLASSES[kind])
            _fold(weights, f"{layer}.Wx", f"{layer}.b", folded)
            folded = None
        elif kind == "nn.BatchNormalization" and cells and folded is None:
            folded = _normalization(part)
        elif kind == "nn.Linear" and cells and "head.W" not in weights:
            weights["head.W"] = array(part, "weight", 2).T
            weights["head.b"] = array(part, "bias", 1)
            _fold(weights, "head.W", "head.b", folded)
            folded = None
        elif kind not in ("nn.View", "nn.Dropout"):
            raise RefusedError(
                f"it has a layer of the class {kind[:40]}, which torch-rnn does not have"
            )
    return cells, weights


def array(fields: Table, name: str, dimensions: int) -> NDArray[Any]:
    """Return a tensor among the fields of an object; raises MalformedError."""
    tensor = fields.get(name)
    if not isinstance(tensor, Tensor) or len(tensor.sizes) != dimensions:
        raise MalformedError(f"{name} is no tensor of {dimensions} dimensions")
    found = tensor.array()
    if found.dtype.kind != "f" or not found.size:
        raise MalformedError(f"{name} holds no numbers")
    return found


def _width(weights: Weights, layer: int) -> int:
    return weights["embedding"].shape[1] if layer == 0 else len(weights[f"layer{layer - 1}.Wh"])


def _layer(fields: Table, width: int) -> Weights:
    weight, bias = array(fields, "weight", 2), array(fields, "bias", 1)
    return {"Wx": weight[:width], "Wh": weight[width:], "b": bias}


def _normalization(fields: Table) -> Normalization:
    mean, variance = array(fields, "running_mean", 1), array(fields, "running_var", 1)
    eps = fields.get("eps")
    if not isinstance(eps, float) or not 0 <= eps < 1 or mean.shape != variance.shape:
        raise MalformedError("a normalization has no mean, variance and eps")
    if (variance < 0).any():
        raise MalformedError("a normalization has a negative variance")
    scale = 1 / np.sqrt(variance.astype(np.float64) + eps)
    shift = np.zeros_like(scale)
    if isinstance(fields.get("weight"), Tensor):
        weight, shift = array(fields, "weight", 1), array(fields, "bias", 1).astype(np.float64)
        if not weight.shape == shift.shape == scale.shape:
            raise MalformedError("a normalization has several sizes")
        scale = scale * weight
    return scale, shift - mean * scale


def _fold(weights: Weights, matrix: str, bias: str, folded: Normalization | None) -> None:
    """Take the normalization of what a product reads into its weights."""
    if folded is not None:
        scale, shift = folded
        W, b = weights[matrix], weights[bias]
        if len(scale) != len(W) or W.shape[1] != len(b):
            raise MalformedError("a normalization has another size than what it is for")
        weights[bias] = b + shift @ W
        weights[matrix] = scale[:, None] * W


def _tokens(fields: Table, size: int) -> tuple[str, ...] | bytes:
    table = fields.get("idx_to_token")
    found = table.by_number() if isinstance(table, Table) else {}
    if sorted(found) != list(range(1, size + 1)):
        raise MalformedError(f"its vocabulary has no {size:,} characters")
    return characters([_token(found[number]) for number in range(1, size + 1)])


def _token(token: object) -> str | int:
    if isinstance(token, bytes):
        if match := _NUMBER.fullmatch(token):
            number = int(match[1])
            if 128 <= number < 0xD800 or 0xE000 <= number < 0x110000:
                return number
        try:
            if len(text := token.decode()) == 1:
                return text
        except UnicodeDecodeError:
            pass
    raise MalformedError("its vocabulary holds what is no character")


def _numbered(table: object) -> dict[int, Any]:
    return table.by_number() if isinstance(table, Table) else {}


def _validation(root: Table) -> dict[int, Any]:
    """Return the validation losses by iteration, which stand in two lists."""
    losses = _numbered(root.get("val_loss_history"))
    steps = _numbered(root.get("val_loss_history_it"))
    pairs = ((whole(steps.get(n), 1, MOST_STEPS), loss) for n, loss in losses.items())
    return {step: loss for step, loss in pairs if step is not None}
