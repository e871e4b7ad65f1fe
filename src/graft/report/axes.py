"""What a chart's axes and lines are made of: ranges, round numbers, and points few enough to be seen."""

from collections.abc import Sequence
from math import ceil, floor, isfinite, log10

MOST = 240

Points = Sequence[tuple[float, float]]


def finite(points: Points) -> Points:
    """Without what cannot be drawn."""
    return [(x, y) for x, y in points if isfinite(y)]


def around(values: Sequence[float], room: float) -> tuple[float, float]:
    """From the least value to the greatest, with some room around them, as a share of the range; never nothing."""
    low, high = min(values), max(values)
    spare = (high - low) * room if high > low else abs(high) * 0.1 or 1.0
    return low - spare, high + spare


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from one to another, `most` steps of them or fewer: 1, 2 or 5 times a power of ten apart."""
    unit = 10.0 ** floor(log10((high - low) / most))
    step = next(unit * times for times in (1, 2, 5, 10, 20) if high - low <= most * unit * times)
    return [round(k * step, 12) for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def thinned(points: Points) -> list[tuple[float, float, float, float]]:
    """(x, y, low, high) of at most MOST points: of more, the mean of each few neighbours, with their range."""
    size = ceil(len(points) / MOST)
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    ys = [[y for _, y in group] for group in groups]
    return [(group[-1][0], sum(y) / len(y), min(y), max(y)) for group, y in zip(groups, ys, strict=True)]
