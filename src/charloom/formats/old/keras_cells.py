"""The arrays of Keras' recurrent layers, of each of its versions, as charloom's.

An LSTM has a kernel (D, 4H), a recurrent one (H, 4H) and a bias, with gates i f c o; in Keras 1
they are 12 arrays, W U b for each of i c f o. CuDNNLSTM's are those of PyTorch's kernels, of which
Keras transposes what it shows (keras/layers/rnn/cudnn_lstm.py), with a bias for each product: that
is what tells them apart, because files of CuDNNLSTM may call it LSTM.

A GRU has the gates z r h; in Keras 1 they are 9 arrays, W U b for each. With `reset_after`, and as
CuDNNGRU, its bias is one for each product, (2, 3H) and (6H,), that of the candidate within the
reset; without, the reset gate multiplies the state.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from charloom.config import Cell, Reset
from charloom.formats.old.found import MalformedError, RefusedError

Arrays = Sequence[NDArray[Any]]


def cell_arrays(arrays: Arrays, cell: Cell) -> tuple[dict[str, NDArray[Any]], Reset | UnsetType]:
    """Return a layer's arrays under charloom's names, and what a GRU's reset gate multiplies.

    Raises MalformedError, and RefusedError for another number of arrays.
    """
    if cell == "gru":
        return _gru(arrays)
    if cell == "lstm" and len(arrays) == 12:  # W U b for each of i c f o
        arrays = _by_gate(arrays, (0, 2, 1, 3))
    Wx, Wh, b = _three(arrays)
    if cell == "lstm":
        if b.size == 2 * Wh.shape[1]:
            Wx, Wh = _seen_by_keras(Wx, Wh, 4)
            b = b[: b.size // 2] + b[b.size // 2 :]
        Wx, Wh, b = (_gates(array) for array in (Wx, Wh, b))
    return {"Wx": Wx, "Wh": Wh, "b": b}, UNSET


def _gru(arrays: Arrays) -> tuple[dict[str, NDArray[Any]], Reset]:
    if len(arrays) == 9:
        arrays = _by_gate(arrays, (0, 1, 2))
    *kernels, b = arrays
    two = b.size == 2 * kernels[-1].shape[-1] if kernels and kernels[-1].ndim else False
    Wx, Wh, b = _three([*kernels, b.reshape(-1) if two else b])
    H = len(Wh)
    if Wh.shape[1] != 3 * H or Wx.shape[1] != 3 * H or b.size != (6 if two else 3) * H:
        raise MalformedError("a layer's arrays do not fit one another")
    if not two:
        return {"Wx": _z_r_h(Wx), "Wh": _z_r_h(Wh), "b": _z_r_h(b)}, "state"
    if arrays[2].ndim == 1:
        Wx, Wh = _seen_by_keras(Wx, Wh, 3)
    first, second = _z_r_h(b[: 3 * H]), _z_r_h(b[3 * H :])
    b = np.concatenate([(first + second)[: 2 * H], first[2 * H :]])
    parts = {"Wx": _z_r_h(Wx), "Wh": _z_r_h(Wh), "b": b, "bhn": second[2 * H :]}
    return parts, "biased-product"


def _three(arrays: Arrays) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return a kernel, a recurrent one and a bias, checked to have 2, 2 and 1 dimensions."""
    if len(arrays) != 3:
        raise RefusedError(f"a recurrent layer has {len(arrays)} arrays, not 3")
    Wx, Wh, b = arrays
    if Wh.ndim != 2 or Wx.ndim != 2 or b.ndim != 1 or Wx.shape[1] != Wh.shape[1]:
        raise MalformedError("a layer's arrays do not fit one another")
    return Wx, Wh, b


def _by_gate(arrays: Arrays, order: tuple[int, ...]) -> list[NDArray[Any]]:
    """Return W, U and b of several gates side by side, in that order of the gates."""
    if any(array.ndim != arrays[n % 3].ndim or not array.ndim for n, array in enumerate(arrays)):
        raise MalformedError("a layer's arrays do not fit one another")
    try:
        return [np.concatenate([arrays[3 * gate + n] for gate in order], -1) for n in range(3)]
    except ValueError:
        raise MalformedError("a layer's arrays do not fit one another") from None


def _seen_by_keras(
    Wx: NDArray[Any], Wh: NDArray[Any], gates: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return cuDNN's kernels, (D, G H) and (H, G H), as Keras' own cells have them."""
    D, H = len(Wx), len(Wh)
    if Wx.shape != (D, gates * H) or Wh.shape != (H, gates * H):
        raise MalformedError("a layer's arrays do not fit one another")
    kernel = np.concatenate([k.reshape(H, D).T for k in np.split(Wx, gates, axis=1)], axis=1)
    return kernel, np.concatenate([k.T for k in np.split(Wh, gates, axis=1)], axis=1)


def _gates(array: NDArray[Any]) -> NDArray[Any]:
    """Put the last axis' gates i f c o in the order i f o g."""
    if array.shape[-1] % 4:
        raise MalformedError("an LSTM has no four gates")
    i, f, c, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, o, c], axis=-1)


def _z_r_h(array: NDArray[Any]) -> NDArray[Any]:
    """Put the last axis' gates z r h in the order r z h."""
    z, r, h = np.split(array, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)
