"""What was trained whole beside the adapters, a decoder or a head: averaged, one's taken, or refused."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graft.combine.sources import Trained


def average(sources: Sequence[Trained], weights: Sequence[float]) -> dict[str, Tensor]:
    """The mean, by the weights, value by value.

    Raises:
        ValueError: shapes or classes differ, or the weights have no mean.
    """
    first, parts = sources[0], sources[0].parts
    if parts and not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} give no mean of {said(parts)}: add --trained_parts first.")
    for other in sources[1:]:
        for name, tensor in parts.items():
            shapes = tuple(tensor.shape), tuple(other.parts[name].shape)
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{first.path} and {other.path} hold {name} of shapes {shapes[0]} and {shapes[1]}, which have no "
                    "mean: add --trained_parts first for that of the first."
                )
        if first.classes != other.classes and first.classes and other.classes and "head.weight" in parts:
            raise ValueError(
                f"The heads of {first.path} and {other.path} tell different classes apart, so their mean tells none: "
                "add --trained_parts first for that of the first."
            )
    share = [weight / sum(weights) for weight in weights] if parts else []
    return {
        name: sum(
            (w * source.parts[name].double() for w, source in zip(share, sources, strict=True)),
            start=torch.zeros((), dtype=torch.float64),
        ).to(tensor.dtype)
        for name, tensor in parts.items()
    }


def first(sources: Sequence[Trained], weights: Sequence[float]) -> dict[str, Tensor]:
    """Those of the first."""
    return sources[0].parts


def refuse(sources: Sequence[Trained], weights: Sequence[float]) -> dict[str, Tensor]:
    """None, unless there is one adapter alone.

    Raises:
        ValueError: there are some.
    """
    if len(sources) > 1 and (parts := sources[0].parts):
        raise ValueError(
            f"{sources[0].path} holds {said(parts)} beside its adapters, and so do the others: give --trained_parts "
            "average for their mean, or first for those of the first."
        )
    return sources[0].parts


WAYS: dict[str, Callable[[Sequence[Trained], Sequence[float]], dict[str, Tensor]]] = {
    "average": average,
    "first": first,
    "refuse": refuse,
}


def said(parts: dict[str, Tensor]) -> str:
    """Which parts, and how many values each has."""
    counts: dict[str, int] = {}
    for name, tensor in parts.items():
        part = name.partition(".")[0]
        counts[part] = counts.get(part, 0) + tensor.numel()
    return ", ".join(f"{part} ({count:,} values)" for part, count in counts.items())
