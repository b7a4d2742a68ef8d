"""Lines of many points, smoothed, and thinned to as many points as a plot can show."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HALF_WINDOW = 1 / 80  # of all points: a mean is over so many on each side
BUCKETS = 200  # across a plot, of which the lowest and the highest point are drawn


class Line(NamedTuple):
    """Points (n,) of a line, from left to right."""

    x: Floats
    y: Floats


def smooth(line: Line) -> Line:
    """Return running means over 1/40 of all points, over fewer at the steep beginning."""
    n = len(line.y)
    places = np.arange(n)
    reach = np.minimum(int(n * HALF_WINDOW), places // 4)
    start, end = places - reach, np.minimum(places + reach + 1, n)
    sums = np.append(0.0, np.cumsum(line.y))
    return Line(line.x, (sums[end] - sums[start]) / (end - start))


def thin(line: Line, log: bool = False) -> Line:
    """Return the first, the last, and of each stretch of the axis the lowest and highest point.

    The stretches are equal on a linear axis or, with `log`, on a logarithmic one.
    """
    n = len(line.x)
    if n <= 2 * BUCKETS:
        return line
    place = np.log(np.maximum(line.x, 1e-9)) if log else line.x
    bucket = ((place - place[0]) / ((place[-1] - place[0]) / BUCKETS or 1.0)).astype(int)
    order = np.lexsort((line.y, bucket))  # by stretch, and from low to high in each
    first = np.flatnonzero(np.diff(bucket[order], prepend=-1))
    ends = order[first], order[np.append(first[1:], n) - 1]
    kept = np.unique(np.concatenate([[0, n - 1], *ends]))
    return Line(line.x[kept], line.y[kept])
