"""nanoGPT's checkpoints (Andrej Karpathy, 2022) of models of characters.

Its blocks without biases are charloom's transformer; its matrices are (outputs, inputs).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from charloom.config import DataConfig, TransformerConfig
from charloom.errors import CharloomError
from charloom.formats.old.found import (
    MOST_STEPS,
    Found,
    MalformedError,
    RefusedError,
    check_fit,
    history,
    trained,
    whole,
)
from charloom.formats.old.pytorch import Arrays, entries, scalar, tensors
from charloom.models.weights import Weights
from charloom.presets import preset

_WRAPPED = "_orig_mod."  # by torch.compile
_NAMES = {"embedding": "wte", "position": "wpe", "norm": "ln_f"}
_OF_BLOCK = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "Wx": "attn.c_attn",
    "Wo": "attn.c_proj",
    "W1": "mlp.c_fc",
    "W2": "mlp.c_proj",
}


def is_nanogpt(top: Mapping[Any, Any]) -> bool:
    """Whether this is what nanoGPT saved."""
    return "model_args" in top and "model" in top


def from_nanogpt(top: Mapping[Any, Any]) -> Found:
    """Return the model of a checkpoint; raises MalformedError and RefusedError."""
    arrays = {name.removeprefix(_WRAPPED): a for name, a in tensors(top["model"]).items()}
    if any(name.endswith(("ln_f.bias", "c_fc.bias", "c_attn.bias")) for name in arrays):
        raise RefusedError(
            "its blocks have biases (bias=True), which charloom's do not: nanoGPT's models of "
            "characters have none"
        )
    model, V = _model(entries(top["model_args"]))
    weights = _weights(arrays, model.layers)
    check_fit(weights, model, V)
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
        train=trained(preset("nanogpt-char").train, step, {"length": model.context}),
        held_out="nanoGPT's data/NAME/prepare.py holds out the last tenth",
    )


def _model(args: Mapping[Any, Any]) -> tuple[TransformerConfig, int]:
    """Return the settings, and how many characters it knows."""
    names = ("block_size", "n_layer", "n_head", "n_embd", "vocab_size")
    C, L, heads, D, V = (whole(args.get(name), 1, 2**20) for name in names)
    if C is None or L is None or heads is None or D is None or V is None:
        raise MalformedError("it does not say how large its model is")
    try:
        model = TransformerConfig(layers=L, width=D, heads=heads, context=C, positions="learned")
    except CharloomError as error:
        raise RefusedError(f"{error}") from None
    return model, V


def _weights(arrays: Arrays, layers: int) -> Weights:
    blocks = {
        f"layer{n}.{ours}": f"h.{n}.{theirs}"
        for n in range(layers)
        for ours, theirs in _OF_BLOCK.items()
    }
    names = {ours: f"transformer.{theirs}.weight" for ours, theirs in (_NAMES | blocks).items()}
    if missing := [name for name in names.values() if name not in arrays]:
        raise MalformedError(f"it has no array {missing[0]}")
    known = {*names.values(), "lm_head.weight"}
    unused = [name for name in arrays if name not in known and not name.endswith(".attn.bias")]
    if unused:  # attn.bias is a mask, and no bias
        raise RefusedError(f"it has {unused[0][:80]!r}, which no such transformer has")
    head = arrays.get("lm_head.weight")
    if head is not None and not np.array_equal(head, arrays[names["embedding"]]):
        raise RefusedError("its head is not its embedding, as charloom's is")
    return {
        ours: arrays[theirs].T if ".W" in ours else arrays[theirs] for ours, theirs in names.items()
    }
