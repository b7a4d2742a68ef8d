"""The view of neurons: a text coloured by any cell, what drives it, and how open gates are."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.neurons import Cell, Drive, Gate, Neurons
from charloom.report.pages import page

SHOWN = 8000  # characters of a text that a page holds, with every cell's value
STEPS = 127  # of a cell's value from 0 to the largest that it can have


def neurons_view(title: str, source: str, found: Neurons) -> dict[str, Any]:
    """Return the variable `view` of `_neurons.html`: `source` says which text it is."""
    shown = min(SHOWN, len(found.text))
    cells: dict[str, Cell] = {}
    for cell in (*found.top, *found.by_feature):
        cells.setdefault(cell.name, cell)
    places = {name: place for place, name in enumerate(cells)}
    ordered = sorted(found.by_feature, key=lambda cell: -abs(cell.correlation))
    gates = [_gate(gate, found.states.layers > 1) for gate in found.gates]
    return {
        "title": title,
        "source": source,
        "text": found.text[:shown],
        "left_out": len(found.text) - shown,
        "shows": found.states.name,
        "count": found.count,
        "responding": found.responding,
        "absent": list(found.absent),
        "by_feature": [_row(cell, places) for cell in ordered],
        "top": [_row(cell, places) for cell in found.top],
        "gates": gates,
        "data": {
            "text": found.text[:shown],
            "shows": found.states.name,
            "cells": [_data(found, cell, shown) for cell in cells.values()],
            "begin": places[found.top[0].name],
        },
    }


def neurons_page(view: dict[str, Any]) -> str:
    """Return a page of its own; raises CharloomError where jinja2 is not installed."""
    return page("neurons.html", title=view["title"], view=view)


def _row(cell: Cell, places: dict[str, int]) -> dict[str, Any]:
    return {
        "name": cell.name,
        "place": places[cell.name],
        "feature": cell.feature,
        "value": cell.correlation,
        "correlation": _signed(cell.correlation),
    }


def _signed(value: float) -> str:
    """A correlation with its sign; U+2212 is as wide as a plus."""
    return f"{value:+.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0.00"


def _data(found: Neurons, cell: Cell, shown: int) -> dict[str, Any]:
    """What the script needs of a cell; values are bytes, -127 to 127 of `scale`."""
    values = found.values(cell).astype(np.float64)
    scale = _scale(found, values)
    return {
        "name": cell.name,
        "feature": cell.feature,
        "values": base64.b64encode(_steps(values[:shown], scale).tobytes()).decode("ascii"),
        "scale": scale,
        "mean": cell.mean,
        "deviation": cell.deviation,
        "correlations": [[name, round(r, 4)] for name, r in cell.correlations.items()],
        "high": [_drive(drive, scale) for drive in cell.high],
        "low": [_drive(drive, scale) for drive in cell.low],
    }


def _scale(found: Neurons, values: NDArray[np.float64]) -> float:
    """1 where a tanh bounds the cells, else the largest there is."""
    return 1.0 if found.states.bounded else max(float(np.abs(values).max()), 1e-9)


def _steps(values: NDArray[np.float64], scale: float) -> NDArray[np.int8]:
    return np.clip(np.rint(values / scale * STEPS), -STEPS, STEPS).astype(np.int8)


def _drive(drive: Drive, scale: float) -> dict[str, Any]:
    return {
        "line": drive.line,
        "text": drive.text,
        "at": drive.place - drive.start,
        "value": drive.value,
        "values": _steps(np.array(drive.values), scale).tolist(),
    }


def _gate(gate: Gate, several: bool) -> dict[str, Any]:
    """A gate as a picture's points: right-saturated to the right, left-saturated up."""
    pairs = zip(gate.right.tolist(), gate.left.tolist(), strict=True)
    names = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
    layer = f", layer {gate.layer}" if several else ""
    layer += ", which keeps the past" if gate.name in "fz" else ""
    return {
        "name": f"{names[gate.name]} gate{layer}",
        "left": float(gate.left.mean()),
        "right": float(gate.right.mean()),
        "points": [(round(100 * x, 1), round(100 - 100 * y, 1)) for x, y in pairs],
    }
