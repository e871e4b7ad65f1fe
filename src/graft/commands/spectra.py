"""What adapters have learnt: singular values of the weights, of their changes and of both together."""

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from graft.adapters.spec import spec
from graft.checkpoint_io import CheckpointError
from graft.drawing import SUFFIXES, save
from graft.run import Run, open_run
from graft.spectra import Spectrum, draw, effective_rank
from graft.spectra import spectra as spectra_of
from graft.spectra.draw import LINES, broken


def spectra(*checkpoints: Path, output: Path = Path("spectra.png"), blocks: list[str] | None = None) -> None:
    """Draw the singular values of each adapted projection: of W, of its change dW and of W + dW (Figure 3 of Serial
    LoRA, arXiv 2503.17750). A table says how large each change is, how many directions it has (effective rank), and
    what share of its squared norm lies in the first of them.

    Args:
        checkpoints: Checkpoints of one to four runs, drawn into one picture.
        output: The picture, .png or .svg.
        blocks: Blocks to draw, by the beginnings of their dotted names, such as '[image_encoder.blocks.0]'; null: all.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--output is {output}; give a name that ends in {' or '.join(SUFFIXES)}.")
    if len(checkpoints) > len(LINES):
        raise ValueError(f"{len(checkpoints)} checkpoints are too many for one picture: give at most {len(LINES)}.")
    runs = {path: open_run(path) for path in checkpoints}
    names = named({path: title(run) for path, run in runs.items()})
    found = {names[path]: [*spectra_of(run.module.model, blocks)] for path, run in runs.items()}
    save(draw(found), output)
    console = Console(soft_wrap=True, highlight=False)
    for name, each in found.items():
        console.print(table(name, each))
    console.print(f"The picture is {output}.")


def title(run: Run) -> str:
    """A run's adapters in a few words.

    Raises:
        CheckpointError: It has none.
    """
    entries = spec(run.module.model)
    if not entries:
        raise CheckpointError(f"{run.path} holds no adapter, so no weight has changed in a way that has a spectrum.")
    words = {f"{entry['method'].rpartition('.')[2]}{rank(entry['options'].get('rank'))}": None for entry in entries}
    return " + ".join(words)


def rank(value: int | None) -> str:
    """How a rank is said after a method's name."""
    return "" if value is None else f", r = {value}"


def named(titles: Mapping[Path, str]) -> dict[Path, str]:
    """A name for each run that no other has: its title, with what is its path's own where others are titled alike."""
    said = [*titles.values()]
    shared = os.path.commonpath([path.absolute().parent for path in titles])
    own = {path: os.path.relpath(path, shared) for path in titles}
    return {path: each if said.count(each) == 1 else f"{each}: {own[path]}" for path, each in titles.items()}


def table(name: str, spectra: Sequence[Spectrum]) -> Table:
    """A row for each block, in it a line for each projection."""
    found = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    found.add_column("block", no_wrap=True)
    found.add_column("", no_wrap=True)
    for column in ("||dW||\n/ ||W||", "effective\nrank of W", "\ndW", "\nW + dW", "first\ndirection"):
        found.add_column(column, justify="right", no_wrap=True)
    for block, each in groupby(spectra, lambda s: s.block):
        lines = [
            (s.target, f"{s.relative:#.3g}", *map(ranked, (s.before, s.change, s.after)), f"{s.top_share:.0%}")
            for s in each
        ]
        found.add_row(broken(block), *("\n".join(cells) for cells in zip(*lines, strict=True)))
    return found


def ranked(values: Tensor) -> str:
    """An effective rank, as it is said."""
    return f"{effective_rank(values):.1f}"
