"""The picture of the spectra: a row for each block, a column for each projection."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from graft.adapters.anatomy import TARGETS
from graft.drawing import BLUE, GREY, INK, PALE, SMALL, TEXT, VERMILION, panels
from graft.spectra.spectrum import Spectrum, effective_rank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES: dict[str, Any] = {"━": "-", "╍": (0, (4, 1.5)), "┉": (0, (1, 1.2)), "━·": (0, (6, 1.5, 1, 1.5))}
"""One for each run, and how it looks among letters."""

CHANGE = "\N{GREEK CAPITAL LETTER DELTA}W"
KINDS: dict[str, tuple[str, dict[str, Any], str, float]] = {
    "before": ("W", {"color": PALE, "lw": 3.5, "ls": "-"}, GREY, 0.0),
    "change": (CHANGE, {"color": VERMILION, "lw": 1.2, "marker": ".", "ms": 2.5}, VERMILION, 0.27),
    "after": (f"W + {CHANGE}", {"color": BLUE, "lw": 1.0}, BLUE, 0.54),
}
"""Of each spectrum its name, its line, and the colour and place of its number above the panel."""

LINE = 9.4
"""Height of a line of numbers, in points."""

ROUNDING = 1e-12
"""Values below this share of the largest of W are rounding, and not drawn."""


def draw(runs: Mapping[str, Sequence[Spectrum]]) -> "Figure":
    """Singular values over their index, both axes logarithmic, and above each panel the effective ranks.

    Args:
        runs: The spectra of each run, by its name; one to four.

    Raises:
        ValueError: There are more runs than lines that can be told apart.
    """
    if len(runs) > len(LINES):
        raise ValueError(f"{len(runs)} runs are too many for one picture: give at most {len(LINES)}.")
    found = {(s.block, s.target): None for spectra in runs.values() for s in spectra}
    blocks = [*dict.fromkeys(block for block, _ in found)]
    targets = [target for target in TARGETS if target in {target for _, target in found}]
    height = 0.6 + (1.15 + LINE / 72 * len(runs)) * len(blocks) + 0.2 * (len(runs) > 1)
    figure, grid = panels(len(blocks), len(targets), 1.5 + 2 * len(targets), height, sharex=True, sharey=True)
    for row, block in zip(grid, blocks, strict=True):
        for axes, target in zip(row, targets, strict=True):
            here = [
                (line, spectrum)
                for line, spectra in zip(LINES, runs.values(), strict=False)
                for spectrum in spectra
                if (spectrum.block, spectrum.target) == (block, target)
            ]
            panel(axes, here, several=len(runs) > 1)
        row[0].set_ylabel(broken(block), rotation=0, ha="right", va="center", ma="left", size=SMALL, labelpad=4)
    for axes, target in zip(grid[0], targets, strict=True):
        axes.set_title(target, size=TEXT, weight="bold", pad=8 + LINE * len(runs))
    grid[0, 0].set(xscale="log", yscale="log", ylim=(lowest([s for spectra in runs.values() for s in spectra]), None))
    grid[0, 0].xaxis.set_major_formatter("{x:g}")
    grid[0, 0].minorticks_off()
    figure.supxlabel(
        "singular values over their index; numbers: effective rank", size=SMALL, color=GREY, x=0.99, ha="right"
    )
    if len(runs) > 1:
        legend = "\n".join(f"{line}  {name}" for line, name in zip(LINES, runs, strict=False))
        figure.suptitle(legend, size=TEXT, x=0.01, ha="left")
    return figure


def panel(axes: Any, spectra: Sequence[tuple[str, Spectrum]], several: bool) -> None:
    """The spectra of one projection, each in the line of its run; an empty place where no adapter acts."""
    axes.set_axis_off() if not spectra else axes.grid(color=PALE, alpha=0.35, lw=0.5)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "size": SMALL, "va": "bottom"}
    for number, (line, spectrum) in enumerate(spectra):
        height = 3 + LINE * (len(spectra) - 1 - number)
        if several:
            axes.annotate(line, (0, 1), (-2, height), color=INK, **above)
        for kind, (name, style, color, place) in KINDS.items():
            values: Tensor = getattr(spectrum, kind)
            kept = values[values > ROUNDING * spectrum.before[0]]
            axes.plot(range(1, 1 + len(kept)), kept.tolist(), **{"ls": LINES[line], **style})
            said = f"{name} {effective_rank(values):.1f}"
            axes.annotate(said, (place, 1), (11 * several, height), color=color, **above)


def lowest(spectra: Sequence[Spectrum]) -> float:
    """Where the axis of values begins: the few smallest ones of W, which fall steeply, go below it."""
    values = [float(s.before[round(0.95 * (len(s.before) - 1))]) / 2 for s in spectra]
    values += [float(s.change[0]) / 30 for s in spectra if s.change.any()]
    return min(value for value in values if value > 0)


def broken(name: str, most: int = 20) -> str:
    """A dotted name in lines of at most so many letters, if its parts allow it; a number stays with what it counts."""
    lines = [""]
    for part in re.split(r"\.(?!\d)", name):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += f"{part}."
    return "\n".join(lines)[:-1]
