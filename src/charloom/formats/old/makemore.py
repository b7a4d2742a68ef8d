"""makemore's models (Andrej Karpathy, 2022) of lines: its RNN, its GRU and its table of bigrams.

Each line begins with token 0 and a state that was learned, `start`, and ends with token 0 again: so
token 0 is the line end. A network of charloom knows no such state, but a GRU can be told it. Where
it reads the line end its gates are closed, z = r = 0, whatever the state: then h = tanh(x), and x
is what gives the state after `start` and token 0. Inputs are one-hot, so that this character
has weights of its own: those of the others are the product of embedding and matrix.

    RNN    h = tanh(...)                   as a GRU with z = 0, and r = 1 for the other characters
    GRU    h = (1 - z) h + z n             its z is ours with the other sign; r multiplies the state
    bigram logits[id]                      as an RNN without memory: h = tanh(20 one-hot), 1 or 0
"""

import string
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charloom.config import DataConfig, ModelConfig, TrainConfig, replace
from charloom.formats.old.found import Found, MalformedError, RefusedError, check_fit, trained
from charloom.formats.old.pytorch import Arrays
from charloom.models.weights import Array, Weights

_OPEN = 40.0  # the logit of a gate that is 0 or 1 to 4e-18
_MOST_SHARES = 100  # of one number of a state
_ONE = 20.0  # tanh of it is 1 in float64
_RNN, _GRU = ("cell.xh_to_h",), ("cell.xh_to_r", "cell.xh_to_z", "cell.xh_to_hbar")
_NAMES = "its characters are taken to be a to z, as in names.txt"
_HELD_OUT = "makemore holds out up to a thousand lines, drawn at random: which ones is not known"


def is_makemore(arrays: Arrays) -> bool:
    """Whether these are the names of a model of makemore's, or of a transformer like its own."""
    return bool({"start", "wte.weight", "transformer.wte.weight"} & {*arrays}) or _is_bigram(arrays)


def _is_bigram(arrays: Arrays) -> bool:
    return [*arrays] == ["logits"]


def from_makemore(arrays: Arrays) -> Found:
    """Return the model of a state_dict; raises MalformedError and RefusedError."""
    if "start" not in arrays and not _is_bigram(arrays):
        raise RefusedError(
            "it looks like a model of makemore that is no RNN, GRU or bigram: of its others, the "
            "transformer begins anew at each line and does not say how many heads it has, and bow "
            "and mlp carry no state from character to character"
        )
    model, weights = _bigram(arrays["logits"]) if _is_bigram(arrays) else _recurrent(arrays)
    V = len(weights["head.b"])
    check_fit(weights, model, V)
    of_names = V == len(string.ascii_lowercase) + 1
    return Found(
        program="makemore",
        model=model,
        weights=weights,
        size=V,
        tokens=("\n", *string.ascii_lowercase) if of_names else None,
        lines=True,
        data=DataConfig(validation=0.0),
        train=trained(TrainConfig(optimizer="adamw"), 0, {}),
        held_out=_HELD_OUT,
        notes=(_NAMES,) if of_names else (),
    )


def _bigram(logits: Array) -> tuple[ModelConfig, Weights]:
    V = len(logits) if logits.ndim == 2 else 0
    if logits.shape != (V, V) or not V or logits.dtype.kind != "f":
        raise MalformedError("its table of bigrams is not square")
    weights: Weights = {
        "layer0.Wx": _ONE * np.eye(V),
        "layer0.Wh": np.zeros((V, V)),
        "layer0.b": np.zeros(V),
        "head.W": logits,
        "head.b": np.zeros(V),
    }
    return ModelConfig(cell="rnn", layers=1, hidden=V), weights


def _recurrent(arrays: Arrays) -> tuple[ModelConfig, Weights]:
    of_gru = f"{_GRU[0]}.weight" in arrays
    E, start = _floats(arrays, "wte.weight", 2), _floats(arrays, "start", 2)
    head, bias = _floats(arrays, "lm_head.weight", 2), _floats(arrays, "lm_head.bias", 1)
    used = {"wte.weight", "start", "lm_head.weight", "lm_head.bias"}
    gates = _GRU if of_gru else _RNN
    used |= {f"{gate}.{part}" for gate in gates for part in ("weight", "bias")}
    if unused := sorted(arrays.keys() - used):
        raise RefusedError(f"it has {unused[0][:80]!r}, which no RNN and no GRU of makemore has")
    found = [_gate(arrays, gate, E, start) for gate in gates]
    (Wx, Wh, b), units = (_of_gru if of_gru else _of_rnn)(found, start[0])
    for k in (0, 1):  # closed at the line end, whatever the state, which is between -1 and 1
        Wx[k][0] = -_OPEN - abs(Wh[k]).sum(axis=0) - b[k]
    named: Mapping[str, list[Array]] = {"Wx": Wx, "Wh": Wh, "b": b}
    weights: Weights = {f"layer0.{name}": np.concatenate(a, -1) for name, a in named.items()}
    if head.shape != (len(E), start.size):
        raise MalformedError("its weights do not fit one another (lm_head)")
    weights |= {"head.W": head.T[units], "head.b": bias}
    model = ModelConfig(cell="gru", layers=1, hidden=len(units))
    return replace(model, reset="state") if of_gru else model, weights


def _gate(arrays: Arrays, name: str, E: Array, start: Array) -> tuple[Array, Array, Array]:
    """Return what each id brings to a gate (V, H), what the state does (H, H), and the bias."""
    W, b = _floats(arrays, f"{name}.weight", 2), _floats(arrays, f"{name}.bias", 1)
    D, H = E.shape[1], start.size
    if W.shape != (H, D + H) or b.shape != (H,) or start.shape != (1, H):
        raise MalformedError(f"its weights do not fit one another ({name})")
    return E @ W[:, :D].T, W[:, D:].T, b


Gates = tuple[list[Array], list[Array], list[Array]]  # Wx (V, H), Wh (H, H) and b (H,) of r, z, n
Units = NDArray[np.intp]  # (H,) of makemore's units, that of each of these


def _of_rnn(found: list[tuple[Array, Array, Array]], start: Array) -> tuple[Gates, Units]:
    ((Wx, Wh, b),) = found
    first = Wx[0] + start @ Wh
    Wx = np.concatenate([first[np.newaxis], Wx[1:]])
    opened, none, zero = np.full_like(Wx, _OPEN), np.zeros_like(Wh), np.zeros_like(b)
    gates = [opened, -opened, Wx], [none, none, Wh], [zero, zero, b]
    return gates, np.arange(len(b))


def _of_gru(found: list[tuple[Array, Array, Array]], start: Array) -> tuple[Gates, Units]:
    """The third gate's row of the line end is what gives the state after `start` and token 0.

    That state may be beyond 1, which no tanh is. Such a unit is the sum of several, which share it
    then: all have its gates, and one its candidate, h = (1 - z) (h1 + h2) + z (n + 0).
    """
    r, z = (1 / (1 + np.exp(-(W[0] + start @ U + b))) for W, U, b in found[:2])
    Wxn, Whn, bn = found[2]
    n = np.tanh(Wxn[0] + (r * start) @ Whn + bn)
    state = (1 - z) * start + z * n
    shares = np.floor(abs(state)).astype(int) + 1
    if not (shares <= _MOST_SHARES).all():
        raise RefusedError("the state that it learned to begin with is none that it can reach")
    units = np.repeat(np.arange(len(state)), shares)
    (Wxr, Whr, br), (Wxz, Whz, bz), (Wxn, Whn, bn) = (
        (Wx[:, units], Wh[units][:, units], b[units]) for Wx, Wh, b in found
    )
    more = np.flatnonzero(units[1:] == units[:-1]) + 1
    Wxn[:, more] = bn[more] = Whn[:, more] = 0
    Wxn[0] = np.arctanh((state / shares)[units]) - bn
    return ([Wxr, -Wxz, Wxn], [Whr, -Whz, Whn], [br, -bz, bn]), units


def _floats(arrays: Arrays, name: str, ndim: int) -> Array:
    array = arrays.get(name)
    if array is None or array.ndim != ndim or array.dtype.kind != "f" or not array.size:
        raise MalformedError(f"it has no array {name} of {ndim} dimensions")
    return array.astype(np.float64)
