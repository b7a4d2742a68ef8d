"""Models that PyTorch saved: char-rnn.pytorch's and Udacity's, others like them, and nanoGPT's.

nn.LSTM and nn.RNN have matrices (G H, D) and (G H, H), with a bias each, which are added. The gates
of an LSTM are i f g o, those of a GRU r z n: ours. The second bias of a GRU's candidate stands
within the reset, n = tanh(x Wxn + bxn + r (h Whn + bhn)).

nanoGPT's blocks without biases are charloom's transformer; its matrices are (outputs, inputs).
"""

import string
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.config import Cell, DataConfig, ModelConfig, TrainConfig, TransformerConfig, replace
from charloom.errors import CharloomError
from charloom.formats.old.found import (
    MOST_STEPS,
    Found,
    MalformedError,
    RefusedError,
    history,
    trained,
    whole,
)
from charloom.formats.old.pickled import Made
from charloom.formats.old.pytorch import entries, scalar, tensors
from charloom.models.weights import Weights, weight_shapes
from charloom.presets import preset

Arrays = Mapping[str, NDArray[Any]]

_CELLS: dict[int, Cell] = {1: "rnn", 3: "gru", 4: "lstm"}
_PRINTABLE = "its characters are taken to be Python's string.printable, as in char-rnn.pytorch"
_ALL = "its program trained on all of the text: nothing of it is held out"
_WRAPPED = "_orig_mod."  # by torch.compile


def from_pytorch(root: Any) -> Found:
    """Return the model of a checkpoint; raises MalformedError and RefusedError."""
    top = entries(root)
    if "model_args" in top and "model" in top:
        return _nanogpt(top)
    tokens = top.get("tokens")
    arrays = tensors(top.get("state_dict", root))
    if not arrays:
        raise RefusedError("it is a file of PyTorch, but it holds no weights")
    if "start" in arrays or any(name.startswith("transformer.") for name in arrays):
        raise RefusedError(
            "it looks like a model of makemore, whose recurrent cells have a first state that was "
            "learned, and whose transformer has biases: charloom's have neither"
        )
    return _recurrent(arrays, tokens, _modes(root))


def _modes(root: Any) -> set[Any]:
    """Return what the recurrent modules of a model saved whole call themselves: LSTM, RNN_RELU."""
    state = root.state if isinstance(root, Made) else None
    modules = entries(state.get("_modules")).values() if isinstance(state, dict) else []
    states = [module.state for module in modules if isinstance(module, Made)]
    return {state.get("mode") for state in states if isinstance(state, dict)} - {None}


def _recurrent(arrays: Arrays, tokens: Any, modes: set[Any]) -> Found:
    prefixes = [name.removesuffix("weight_ih_l0") for name in arrays if "weight_ih_l0" in name]
    if len(prefixes) != 1 or prefixes[0].endswith("_reverse"):
        raise RefusedError(
            "it holds no single nn.LSTM, nn.GRU or nn.RNN with a head over characters"
        )
    prefix = prefixes[0]
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    if any(name.endswith("_reverse") or "weight_hr" in name for name in own):
        raise RefusedError("its network reads backwards or is projected, which charloom's is not")
    L = sum(name.startswith("weight_ih_l") for name in own)
    H = own["weight_hh_l0"].shape[-1] if "weight_hh_l0" in own else 0
    G = own["weight_ih_l0"].shape[0] // H if H else 0
    if G not in _CELLS or "RNN_RELU" in modes:
        raise RefusedError("its cell is no LSTM, GRU or RNN with tanh")
    cell = _CELLS[G]
    heads = [
        name for name, a in arrays.items() if a.ndim == 2 and _bias_of(name, arrays) is not None
    ]
    tables = [
        name
        for name, a in arrays.items()
        if a.ndim == 2 and not name.startswith(prefix) and name not in heads
    ]
    if len(heads) != 1 or len(tables) > 1:
        raise RefusedError("it has more parts than an embedding, one network and a head")
    V = arrays[heads[0]].shape[0]
    D = arrays[tables[0]].shape[1] if tables else 0
    weights: Weights = {"embedding": arrays[tables[0]]} if tables else {}
    for layer in range(L):
        parts = [own.get(f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")]
        if any(part is None for part in parts):
            raise MalformedError(f"layer {layer} is not complete")
        Wx, Wh = (_gates(part.T, cell) for part in parts if part is not None)
        biases = [own.get(f"{name}_l{layer}") for name in ("bias_ih", "bias_hh")]
        b = sum((bias for bias in biases if bias is not None), np.zeros(G * H, np.float32))
        weights |= {f"layer{layer}.Wx": Wx, f"layer{layer}.Wh": Wh}
        weights[f"layer{layer}.b"] = _gates(b, cell)
    each = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    used = {f"{prefix}{part}_l{layer}" for part in each for layer in range(L)}
    used |= {*heads, *tables, heads[0].removesuffix("weight") + "bias"}
    if unused := sorted(arrays.keys() - used):
        raise RefusedError(f"it has {unused[0][:80]!r}, which no such network has")
    model = ModelConfig(cell=cell, layers=L, hidden=H, embedding=D)
    if cell == "gru":
        model = _within_the_reset(model, weights, own)
    bias = _bias_of(heads[0], arrays)
    weights |= {"head.W": arrays[heads[0]].T, "head.b": np.asarray(bias)}
    _check(weights, model, V)
    notes, characters = [_ALL], _tokens(tokens)
    if characters is None and len(string.printable) == V and heads[0].startswith("decoder."):
        characters = tuple(string.printable)
        notes.append(_PRINTABLE)
    return Found(
        program="char-rnn.pytorch" if tables else "PyTorch",
        model=model,
        weights=weights,
        size=V,
        tokens=characters,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adam"), 0, {}),
        notes=tuple(notes),
    )


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


def _bias_of(name: str, arrays: Arrays) -> NDArray[Any] | None:
    """Return the bias of a Linear whose weight has that name; None if it is none."""
    bias = arrays.get(name.removesuffix("weight") + "bias") if name.endswith(".weight") else None
    return bias if bias is not None and bias.shape == arrays[name].shape[:1] else None


def _gates(array: NDArray[Any], cell: Cell) -> NDArray[Any]:
    """Put the last axis' gates i f g o of an LSTM in the order i f o g."""
    if cell != "lstm" or array.shape[-1] % 4:
        return array
    i, f, g, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, o, g], axis=-1)


def _check(weights: Weights, model: ModelConfig | TransformerConfig, size: int) -> None:
    for name, shape in weight_shapes(model, size).items():
        found = weights.get(name)
        if found is None or found.shape != shape or found.dtype.kind != "f":
            raise MalformedError(f"its weights do not fit one another ({name})")


def _tokens(found: Any) -> tuple[str, ...] | None:
    if isinstance(found, tuple | list) and found and all(isinstance(t, str) for t in found):
        return tuple(found) if all(len(t) == 1 for t in found) else None
    return None


def _nanogpt(top: Mapping[Any, Any]) -> Found:
    args = entries(top["model_args"])
    arrays = {name.removeprefix(_WRAPPED): a for name, a in tensors(top["model"]).items()}
    C, L, heads, D, V = (
        whole(args.get(name), 1, 2**20)
        for name in ("block_size", "n_layer", "n_head", "n_embd", "vocab_size")
    )
    if C is None or L is None or heads is None or D is None or V is None:
        raise MalformedError("it does not say how large its model is")
    if any(name.endswith(("ln_f.bias", "c_fc.bias", "c_attn.bias")) for name in arrays):
        raise RefusedError(
            "its blocks have biases (bias=True), which charloom's do not: nanoGPT's models of "
            "characters have none"
        )
    try:
        model = TransformerConfig(layers=L, width=D, heads=heads, context=C, positions="learned")
    except CharloomError as error:
        raise RefusedError(f"{error}") from None
    names = {"embedding": "wte", "position": "wpe", "norm": "ln_f"}
    of_block = {"norm1": "ln_1", "norm2": "ln_2", "Wx": "attn.c_attn", "Wo": "attn.c_proj"}
    of_block |= {"W1": "mlp.c_fc", "W2": "mlp.c_proj"}
    for layer in range(L):
        names |= {f"layer{layer}.{ours}": f"h.{layer}.{part}" for ours, part in of_block.items()}
    weights: Weights = {}
    for ours, theirs in names.items():
        array = arrays.get(f"transformer.{theirs}.weight")
        if array is None:
            raise MalformedError(f"it has no array transformer.{theirs}.weight")
        weights[ours] = array.T if ".W" in ours else array
    _check(weights, model, V)
    used = {f"transformer.{theirs}.weight" for theirs in names.values()} | {"lm_head.weight"}
    unused = [name for name in arrays if name not in used and not name.endswith(".attn.bias")]
    if unused:  # attn.bias is a mask, and no bias
        raise RefusedError(f"it has {unused[0][:80]!r}, which no such transformer has")
    head = arrays.get("lm_head.weight")
    if head is not None and not np.array_equal(head, weights["embedding"]):
        raise RefusedError("its head is not its embedding, as charloom's is")
    step = whole(top.get("iter_num"), 0, MOST_STEPS) or 0
    loss = scalar(top.get("best_val_loss"))
    return Found(
        program="nanoGPT",
        model=model,
        weights=weights,
        size=V,
        step=step,
        validation=history({step: loss}),
        data=DataConfig(validation=0.1),
        train=trained(preset("nanogpt-char").train, step, {"length": C}),
        notes=("nanoGPT's data/NAME/prepare.py holds out the last tenth",),
    )
