"""What is said of a combination: what went in, what came out, and what was lost."""

import os
from collections.abc import Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Column, Table

from graft.combine.pairs import Merged
from graft.combine.sites import Site
from graft.combine.sources import Trained


def table(sources: Sequence[Trained], weights: Sequence[float]) -> Table:
    """The adapters that are combined, one a row."""
    which = Column("adapter", overflow="fold")  # the ends of paths are what tells runs apart
    shared = os.path.commonpath([source.path.absolute().parent for source in sources])
    rows = Table(which, "method", "places", "trained beside", "weight", box=box.SIMPLE_HEAD)
    for source, weight in zip(sources, weights, strict=True):
        method = titles(list(source.sites.values()))
        beside = ", ".join(dict.fromkeys(name.partition(".")[0] for name in source.parts)) or "-"
        rows.add_row(
            escape(os.path.relpath(source.path, shared)), method, str(len(source.sites)), beside, f"{weight:g}"
        )
    return rows


def titles(sites: Sequence[Site]) -> str:
    """The methods of adapters, with their ranks."""
    ranks: dict[str, set[int]] = {}
    for site in sites:
        ranks.setdefault(type(site.adapter).__name__, set()).add(site.adapter.rank)
    return " + ".join(f"{name}, rank {'-'.join(map(str, sorted({min(r), max(r)})))}" for name, r in ranks.items())


def losses(merged: Mapping[str, Merged]) -> str:
    """What the rank had no room for, in a sentence that goes on after another; nothing where it had."""
    lost = {name: one.lost for name, one in merged.items()}
    norms = {name: one.lost + one.pair.square for name, one in merged.items()}
    if not sum(lost.values()) > 0:
        return ""
    worst = max((name for name in lost if lost[name] > 0), key=lambda name: lost[name] / norms[name])
    share, most = (sum(lost.values()) / sum(norms.values())) ** 0.5, (lost[worst] / norms[worst]) ** 0.5
    return f" The rank leaves out {share:.1%} of the updates' norm, at most {most:.1%} (at {worst})."
