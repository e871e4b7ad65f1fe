"""What a checkpoint or an adapter file holds, told without its backbone."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from graft.checkpoint_io import CheckpointError
from graft.inspection.held import read
from graft.inspection.say import of_adapters, of_run, of_sizes


def inspect(path: Path, /, config: bool = False) -> None:
    """Say what a checkpoint or an adapter file holds: method, places, sizes, scores, and the run that made it.

    Args:
        path: A checkpoint (.ckpt) that `fit` has written, or an adapter file (.safetensors).
        config: Print the whole configuration of the run instead.
    """
    held = read(path)
    console = Console(highlight=False)
    if config:
        if "config" not in held.checkpoint:
            raise CheckpointError(f"{path} holds no configuration: it is not of a run of main.py fit.")
        console.print(Syntax(held.checkpoint["config"].strip(), "yaml", background_color="default"))
        return
    console.print(f"\n[bold]{escape(str(path))}[/]: {held.kind}, {path.stat().st_size / 1e6:,.2f} MB\n", soft_wrap=True)
    lines = Table.grid(padding=(0, 3))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for name, words in [*of_adapters(held), *of_sizes(held), *of_run(held.checkpoint)]:
        lines.add_row(name, words if isinstance(words, Table) else escape(words))
    console.print(lines)
