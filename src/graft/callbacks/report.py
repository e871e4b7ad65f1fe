"""The start-up table: what is adapted, what is trained, what it weighs."""

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table
from torch import nn

from graft.adapters import Adapter
from graft.adapters.spec import spec


@rank_zero_only
def report(model: nn.Module) -> None:
    """Print one table: for each part of the backbone its adapters, trained and total parameters, and trained MB."""
    table = Table(title=" + ".join(titles(model)) or "No adapter", title_justify="left", title_style="bold")
    table.add_column("part")
    for column in ("adapters", "trained", "total", "share", "trained MB"):
        table.add_column(column, justify="right")
    for name, part in model.named_children():
        table.add_row(name, *cells(part))
    table.add_section()
    table.add_row("all", *cells(model), style="bold")
    Console().print(table)


def titles(model: nn.Module) -> list[str]:
    """Each method with its options and targets, in words."""
    return [
        f"{entry['method'].rsplit('.', 1)[-1]}"
        f"({', '.join(f'{name}={value}' for name, value in entry['options'].items() if value is not None)})"
        f" on {', '.join(entry['targets'])} in {len(entry['where'])} blocks"
        for entry in spec(model)
    ]


def cells(part: nn.Module) -> tuple[str, ...]:
    """One row: adapters, trained and total parameters, their ratio, and the megabytes of what is trained."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    count, total = sum(p.numel() for p in trained), sum(p.numel() for p in part.parameters())
    adapters = sum(isinstance(module, Adapter) for module in part.modules())
    megabytes = sum(p.numel() * p.element_size() for p in trained) / 1e6
    share = f"{count / total:.2%}" if total else "-"
    return str(adapters or "-"), f"{count:,}", f"{total:,}", share, f"{megabytes:.2f}"
