"""How figures look: thin lines, few colours that all eyes tell apart, words beside what they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graft.whole import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#aa4499",
    "#e69f00",
    "#56b4e9",
)
"""After Okabe and Ito, https://jfly.uni-koeln.de/color/."""

INK, GREY, PALE = "#333333", "#8a8f98", "#c9ced6"
SMALL, TEXT, TITLE = 7, 8, 10
"""Sizes of letters, in points."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "graft",
}

DPI = 150
SUFFIXES = (".png", ".svg")


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple["Figure", Any]:
    """A figure of rows x columns panels, and an array of them of that shape.

    Args:
        rows: Panels below one another.
        columns: Panels side by side.
        width: Of the figure, in inches.
        height: Of the figure, in inches.
        options: Of matplotlib's `Figure.subplots`.
    """
    import matplotlib  # here: the command line starts without it
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure((width, height), dpi=DPI, layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as the file's suffix says, whole or not at all."""
    import matplotlib

    with whole(path) as beside, matplotlib.rc_context(STYLE):
        figure.savefig(beside, format=path.suffix[1:].lower(), facecolor="white")


def pixels(figure: "Figure") -> NDArray[np.uint8]:
    """A figure as a picture, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
