"""The view of neurons: a text coloured by any cell, its extremes, and how open gates are."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.neurons import Cell, Drive, Neurons

SHOWN_LENGTH = 8000  # characters of a text that a page has, with every cell's value
STEPS = 127  # of a cell's value from 0 to the largest possible one


def neurons_view(label: str, found: Neurons) -> dict[str, Any]:
    """Return the variable `view` of `neurons.html`; `label` says which text it is."""
    shown = found.text[:SHOWN_LENGTH]
    cells: dict[str, Cell] = {}
    for cell in (*found.top, *found.by_feature):
        cells.setdefault(cell.name, cell)
    places = {name: place for place, name in enumerate(cells)}
    return {
        "label": label,
        "text": shown,
        "found": found,
        "by_feature": sorted(found.by_feature, key=lambda cell: -abs(cell.correlation)),
        "places": places,
        "data": {
            "text": shown,
            "cells": [_data(found, cell, len(shown)) for cell in cells.values()],
            "begin": places[found.top[0].name],
        },
    }


def _data(found: Neurons, cell: Cell, shown: int) -> dict[str, Any]:
    """Return what the script needs of a cell; values are bytes, -127 to 127 of `scale`."""
    values = found.values(cell).astype(np.float64)
    scale = 1.0 if found.states.bounded else max(float(np.abs(values).max()), 1e-9)
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
