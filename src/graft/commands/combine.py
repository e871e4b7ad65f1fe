"""Several trained adapters into one file."""

from collections.abc import Sequence
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from graft.combine import LEGO, SVD, TIES, Method, Orthogonal, Sum
from graft.combine.alike import check_alike
from graft.combine.forms import pairs_at, site_of
from graft.combine.parts import WAYS, said
from graft.combine.report import losses, table, titles
from graft.combine.result import write_adapter
from graft.combine.reversible import extract as take
from graft.combine.reversible import write_basis
from graft.combine.sources import open_trained

METHODS: dict[str, type[Method]] = {"sum": Sum, "svd": SVD, "ties": TIES, "lego": LEGO, "orthogonal": Orthogonal}


def combine(
    *adapters: Path,
    output: Path,
    method: Literal["sum", "svd", "ties", "lego", "orthogonal", "reversible"] = "sum",
    weights: list[float] | None = None,
    rank: int | None = None,
    density: float | None = None,
    trained_parts: Literal["average", "first", "refuse"] = "average",
    extract: int | None = None,
) -> None:
    """Combine trained adapters of one backbone into one adapter file. The backbone is needed only where a method keeps
    its factors in it (LoRAXS, MiSS, NOLA, LoLDU, SerialSB): such adapters are given as checkpoints, which build it.

    Args:
        adapters: Adapter files (.safetensors), or checkpoints (.ckpt).
        output: The adapter file to write (.safetensors), which graft.adapters.load puts into the backbone.
        method: sum: all updates, exactly; the ranks add up. svd: the sum, cut to a rank. ties: trimmed updates, their
            mean where signs agree, cut to a rank. lego: similar units of rank one become one. orthogonal: the sum of
            adapters that do not interfere. reversible: a basis, from which --extract takes each adapter again.
        weights: A factor for each adapter, such as [0.3,0.7]. null: 1 for each.
        rank: svd, ties and lego: rank of the result; null: that of the largest adapter (lego: their mean).
            reversible: number of basis vectors; null: as many as give all back exactly.
        density: ties: share of each update's entries that trimming leaves; null: 0.2.
        trained_parts: What becomes of a decoder or head that was trained beside the adapters: average (by the weights),
            first (of the adapters given), or refuse. reversible keeps each one's own, or refuses.
        extract: Take the adapter of this index, from 0, out of a reversible file.
    """
    check_output(output, adapters)
    console = Console(highlight=False)
    if extract is not None:
        given = {"weights": weights, "rank": rank, "density": density}
        refuse_options("--extract", given)
        if len(adapters) > 1:
            raise ValueError(f"--extract takes an adapter out of one file, but {len(adapters)} are given.")
        console.print(f"{output}: adapter {extract} of {adapters[0]}, which was {take(adapters[0], extract, output)}.")
        return
    sources = [open_trained(path) for path in adapters]
    check_alike(sources)
    factors = check_weights(weights, len(sources))
    if method == "reversible":
        refuse_options("--method reversible", {"weights": weights, "density": density})
        if trained_parts == "refuse":
            WAYS[trained_parts](sources, factors)
        size, lost, share = write_basis(output, sources, rank)
        console.print(table(sources, factors))
        console.print(
            f"{output}: a mean and p = {size} basis vectors for {len(sources)} adapters, {share:.0%} of the values of "
            f"their factors. Up to {lost:.1%} of an update's norm is lost. --extract 0 to {len(sources) - 1} takes one "
            "out."
        )
        return
    way = configured(method, {"rank": rank, "density": density})
    parts = WAYS[trained_parts](sources, factors)
    pairs = {name: pairs_at(name, sources, way) for name in sources[0].sites}
    way.check(pairs)
    merged = {name: way.merge(at, factors) for name, at in pairs.items()}
    made = [site_of(name, one.pair, sources, way) for name, one in merged.items()]
    write_adapter(output, made, parts, sources[0].backbone, sources[0].frozen_sha256)
    console.print(table(sources, factors))
    beside = {"average": "the average of", "first": "the first's", "refuse": "its"}[trained_parts]
    words = f"{beside} {said(parts)}" if parts else "nothing was trained beside them"
    console.print(f"{output}: {titles(made)}, at {len(made)} places; {words}.{losses(merged)}")


def configured(method: str, options: dict[str, Any]) -> Method:
    """A method with those of the options that are given, all of which it must have."""
    given = {name: value for name, value in options.items() if value is not None}
    known = {field.name for field in fields(METHODS[method])}
    refuse_options(f"--method {method}", {name: value for name, value in given.items() if name not in known})
    return METHODS[method](**given)


def refuse_options(who: str, options: dict[str, Any]) -> None:
    """Refuse options that would do nothing."""
    if odd := [f"--{name}" for name, value in options.items() if value is not None]:
        raise ValueError(f"{who} has no use for {' and '.join(odd)}: leave it out.")


def check_weights(weights: list[float] | None, count: int) -> list[float]:
    """One for each adapter."""
    if weights is not None and len(weights) != count:
        raise ValueError(f"--weights has {len(weights)}, but {count} adapters are given: give one for each.")
    if weights is not None and not all(map(isfinite, weights)):
        raise ValueError(f"--weights is {weights}; give finite numbers.")
    return [1.0] * count if weights is None else weights


def check_output(output: Path, adapters: Sequence[Path]) -> None:
    """Refuse a name that would mislead, or cost an adapter that is given."""
    if output.suffix != ".safetensors":
        raise ValueError(f"--output is {output}, but an adapter file is a .safetensors: call it so.")
    if output.resolve() in [path.resolve() for path in adapters]:
        raise ValueError(f"--output is {output}, which is one of the adapters given: choose another name.")
    output.parent.mkdir(parents=True, exist_ok=True)
