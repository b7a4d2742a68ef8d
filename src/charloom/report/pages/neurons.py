"""The view of neurons: a text coloured by any cell, its extremes, and how open gates are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charloom.analysis.neurons import Cell, Drive, Neurons
from charloom.formatting import whole_words
from charloom.report.pages import packed

SHOWN_LENGTH = 8000  # characters of a text that a page has, with every cell's value
STEPS = 127  # of a cell's value from 0 to the largest possible one


def neurons_view(label: str, found: Neurons, length: int = SHOWN_LENGTH) -> dict[str, Any]:
    """Return the variable `view` of `neurons.html`; `label` says which text it is.

    The page has the first `length` characters with the values of each cell. Features come in the
    order of how well a cell remembers them.
    """
    _, end = whole_words(found.text, 0, min(length, len(found.text)))
    shown = found.text[:end]
    by_feature = sorted(found.by_feature, key=lambda c: (-abs(c.memory), -abs(c.correlation)))
    cells: dict[str, Cell] = {}
    for cell in (*by_feature, *found.top):
        cells.setdefault(cell.name, cell)
    places = {name: place for place, name in enumerate(cells)}
    return {
        "label": label,
        "text": shown,
        "found": found,
        "by_feature": by_feature,
        "places": places,
        "data": {
            "text": shown,
            "cells": [_data(found, cell, len(shown)) for cell in cells.values()],
            "begin": places[by_feature[0].name],
            "feature": by_feature[0].feature,
        },
    }


def _data(found: Neurons, cell: Cell, shown: int) -> dict[str, Any]:
    """Return what the script needs of a cell; values are bytes, -127 to 127 of `scale`."""
    values = found.values(cell).astype(np.float64)
    scale = 1.0 if found.states.bounded else max(float(np.abs(values).max()), 1e-9)
    return {
        "name": cell.name,
        "feature": cell.feature,
        "values": packed(_steps(values[:shown], scale)),
        "scale": scale,
        "memory": cell.memory,
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
