"""Charts as geometry, in the pixels of a drawing of fixed size; the template draws them as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from graft.report.axes import Points, around, finite, thinned, ticks

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 370, 12, 200
"""Edges of the field that is drawn in."""
LETTERS, RADIUS = 13, 3.0
"""Height of a label; radius of a mark."""


@dataclass(frozen=True)
class Line:
    """What a chart shows of one run.

    Args:
        run: Number of the run, which decides the colour.
        label: What stands at its end.
        points: (x, y), by x; of steps, x is where one begins, and the last ends them all.
        style: A line, whose label ends in its last value; marks, without a value; or steps, as of a histogram.
        weights: Of marks, what their areas stand for; none where all are alike.
    """

    run: int
    label: str
    points: Points
    style: Literal["line", "marks", "steps"] = "line"
    weights: Sequence[float] = ()


@dataclass(frozen=True)
class Drawn:
    """A line in pixels: its path, the area that its values take up, marks with their radii and words, and its label."""

    run: int
    style: str
    path: str
    band: str
    marks: list[tuple[float, float, float, str]]
    label: tuple[float, float, str]


@dataclass(frozen=True)
class Chart:
    """A chart in pixels, with its title and what it says to those who do not see it."""

    title: str
    x_label: str
    words: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Drawn]
    diagonal: str
    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM


def chart(
    title: str,
    lines: Sequence[Line],
    x_label: str = "step",
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
) -> Chart:
    """Lay out lines over common axes, which reach as far as the values do unless told otherwise."""
    lines = [replace(line, points=points) for line in lines if (points := finite(line.points))]
    xs, ys = ([point[axis] for line in lines for point in line.points] or [0.0, 1.0] for axis in (0, 1))
    x_range = x_range or (around(xs, 0.0) if len({*xs}) == 1 else (min(xs), max(xs)))
    y_range = y_range or around(ys, 0.05)
    x_at, y_at = between(x_range, LEFT, RIGHT), between(y_range, BOTTOM, TOP)
    return Chart(
        title,
        x_label,
        in_words(title, x_label, lines),
        [(x_at(tick), f"{tick:g}") for tick in ticks(*x_range)],
        [(y_at(tick), f"{tick:g}") for tick in ticks(*y_range)],
        apart([draw(line, x_label, x_at, y_at) for line in lines]),
        f"M{LEFT},{BOTTOM}L{RIGHT},{TOP}" if diagonal else "",
    )


def between(ends: tuple[float, float], first: float, last: float) -> Callable[[float], float]:
    """From values to pixels."""
    return lambda value: round(first + (value - ends[0]) / (ends[1] - ends[0]) * (last - first), 1)


def draw(line: Line, x_label: str, x_at: Callable[[float], float], y_at: Callable[[float], float]) -> Drawn:
    """One line in pixels."""
    thin = thinned(line.points)
    dots = [(x_at(x), y_at(y)) for x, y, _, _ in thin]
    joined = "M" + "L".join(f"{x},{y}" for x, y in dots)
    steps = f"M{dots[0][0]},{BOTTOM}" + "".join(f"H{x}V{y}" for x, y in dots)
    rim = [*((x, high) for x, _, _, high in thin), *((x, low) for x, _, low, _ in reversed(thin))]
    band = "M" + "L".join(f"{x_at(x)},{y_at(y)}" for x, y in rim) + "Z" if len(thin) < len(line.points) else ""
    words = [f"{line.label} {x_label} {x:g}: {y:.4g}".strip() for x, y, _, _ in thin]
    if line.style == "steps":
        x, y = min(dots, key=lambda dot: dot[1])  # the highest step
        return Drawn(line.run, line.style, steps, "", [], (x - LETTERS / 2, y - LETTERS, line.label))
    radii = [round(1.5 + 8 * (w / max(line.weights)) ** 0.5, 1) for w in line.weights] or [RADIUS] * len(dots)
    marks = [(x, y, radius, said) for (x, y), radius, said in zip(dots, radii, words, strict=True)]
    value = f" {line.points[-1][1]:.3g}" if line.style == "line" else ""
    return Drawn(line.run, line.style, joined, band, marks, (*dots[-1], f"{line.label}{value}".strip()))


def apart(lines: list[Drawn]) -> list[Drawn]:
    """Move labels that would cover one another."""
    room, heights = BOTTOM + LETTERS / 2, {}
    for line in sorted(lines, key=lambda line: -line.label[1]):  # from the ground up
        heights[id(line)] = room = min(line.label[1], room)
        room -= LETTERS
    return [replace(line, label=(line.label[0], heights[id(line)], line.label[2])) for line in lines]


def in_words(title: str, x_label: str, lines: Sequence[Line]) -> str:
    """What a chart says to those who do not see it."""
    said = [
        f"{line.label or 'it'} goes from {line.points[0][1]:.4g} at {line.points[0][0]:g} to {line.points[-1][1]:.4g} "
        f"at {line.points[-1][0]:g}"
        for line in lines
        if line.style != "steps"
    ]
    return f"{title} by {x_label}: {'; '.join(said) or 'a histogram'}."
