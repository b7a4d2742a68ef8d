"""Lines of many points made even, and as short as a picture needs; no library is loaded."""

import math
from typing import NamedTuple

SHARE = 80  # of all points, that lie on each side of the one that they are averaged into
BUCKETS = 200  # across a picture, of which the lowest and the highest point are drawn


class Line(NamedTuple):
    """Points of a line, from left to right."""

    x: list[float]
    y: list[float]


def smooth(line: Line) -> Line:
    """Return running means, over 1/40 of all points, and over few where the line begins.

    The first point and the last stay: a mean is over as many points on one side as on the other.
    """
    n, sums = len(line.x), [0.0]
    for y in line.y:
        sums.append(sums[-1] + y)
    even = []
    for k in range(n):
        reach = min(n // SHARE, k // 4, n - 1 - k)
        even.append((sums[k + reach + 1] - sums[k - reach]) / (2 * reach + 1))
    return Line(line.x, even)


def outline(line: Line, log: bool = False) -> Line:
    """Return the points that draw the same picture: of each stretch the lowest and the highest.

    The stretches are even on a linear axis or, with `log`, on a logarithmic one. The first point
    and the last stay.
    """
    if len(line.x) <= 2 * BUCKETS:
        return line
    place = [math.log(max(x, 1e-9)) for x in line.x] if log else line.x
    width = (place[-1] - place[0]) / BUCKETS or 1.0
    lowest: dict[int, int] = {}
    highest: dict[int, int] = {}
    for k, y in enumerate(line.y):
        bucket = int((place[k] - place[0]) / width)
        if y < line.y[lowest.setdefault(bucket, k)]:
            lowest[bucket] = k
        if y > line.y[highest.setdefault(bucket, k)]:
            highest[bucket] = k
    kept = sorted({0, len(line.x) - 1, *lowest.values(), *highest.values()})
    return Line([line.x[k] for k in kept], [line.y[k] for k in kept])
