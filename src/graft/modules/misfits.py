"""What does not fit a model is refused by name: data of another task or of other classes, another's checkpoint."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from graft.adapters.files import trained
from graft.adapters.spec import spec

OWN = "; go on with the config.yaml of its own run, or give another checkpoint."


def refuse_other_data(model: type, data: type) -> None:
    """Refuse data of another task than a model's, which says by `learns_from` what class its data are of.

    Raises:
        ValueError: they are another task's.
    """
    needs, kinds = getattr(model, "learns_from", None), {kind.__name__ for kind in data.__mro__}
    if needs is not None and "ImageData" in kinds and needs not in kinds:  # a stranger's may give what is needed
        raise ValueError(
            f"{model.__name__} learns from {needs}, but {data.__name__} is none: give another --data, such as "
            f"Folder{needs.removesuffix('Data')}, or another --model."
        )


def refuse_classes(head: str, known: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> None:
    """Refuse classes that a head cannot tell apart: one alone, and if it is linear novel ones or others than its own.

    Args:
        head: text or linear.
        known: The classes it was made for, as the only set; empty where there is no head yet.
        given: The classes of the data: those that are trained, then perhaps novel ones.

    Raises:
        ValueError: it cannot.
    """
    if head == "linear" and len(given) > 1:
        raise ValueError("A linear head knows no novel classes: give --model.head text, or --data.classes all.")
    if head == "linear" and known and [*known[0]] != [*given[0]]:
        pairs = zip_longest(map(repr, known[0]), map(repr, given[0]), fillvalue="none")
        label, (mine, other) = next((label, pair) for label, pair in enumerate(pairs) if pair[0] != pair[1])
        raise ValueError(
            f"The linear head knows {len(known[0])} classes, {mine} as number {label}, but the data have "
            f"{len(given[0])}, {other} there: give data of the same classes, or train with --model.head text, which "
            "takes any by their names."
        )
    if alone := next((names for names in given if len(names) < 2), None):
        raise ValueError(f"{alone[0]!r} is the only class, but a classifier tells two or more apart: add another.")


def refuse_another_head(saved: str, classes: list[str], head: str, names: Sequence[Sequence[str]]) -> None:
    """Refuse a checkpoint with another head than the model's, or with a linear one for other classes than `names`.

    Raises:
        ValueError: it is one.
    """
    if saved != head:
        raise ValueError(f"This checkpoint was trained with --model.head {saved}, not with {head}{OWN}")
    refuse_classes(head, [classes], names or [classes])


def refuse_another(saved: dict[str, Any], backbone: str, model: nn.Module) -> None:
    """Refuse a checkpoint of another backbone or of other adapters than the model's.

    Raises:
        ValueError: it is.
    """
    if saved["backbone"] != backbone:
        raise ValueError(f"This checkpoint was trained on {saved['backbone']}, not on {backbone}{OWN}")
    if (mine := spec(model)) != saved["adapters"]:
        asked, held = said(mine), said(saved["adapters"])
        if asked == held:  # but in other places
            pairs = zip(mine, saved["adapters"], strict=True)
            odd = next({*one["where"]} ^ {*other["where"]} for one, other in pairs if one != other)
            raise ValueError(f"This checkpoint and the configuration adapt other parts: {min(odd)} differs{OWN}")
        raise ValueError(f"This checkpoint holds {held}; the configuration asks for {asked}{OWN}")


def refuse_other_parts(saved: dict[str, Any], model: nn.Module) -> None:
    """Refuse to go on with a training of other parts.

    Raises:
        ValueError: the configuration trains what the checkpoint does not hold, or the reverse.
    """
    if odd := {*saved["trained"]} ^ {*trained(model)}:
        raise ValueError(f"This checkpoint and the configuration do not train the same parts: {min(odd)} differs{OWN}")


def said(adapters: list[dict[str, Any]]) -> str:
    """An adapter spec in words."""
    words = [f"{a['method'].rsplit('.', 1)[-1]} {a['options']} on {', '.join(a['targets'])}" for a in adapters]
    return " and ".join(words) or "no adapter"


def check_tensors(model: dict[str, Any], saved: dict[str, Any], needed: set[str]) -> None:
    """Refuse a checkpoint with a missing, unknown or misshapen tensor, by name."""
    for name in sorted(needed):
        if name not in saved:
            raise ValueError(f"This checkpoint lacks {name}, which was trained: it is damaged or was cut.")
    for name, tensor in saved.items():
        if name not in model:
            raise ValueError(f"This checkpoint holds {name}, which this model does not have.")
        if isinstance(tensor, torch.Tensor) and tensor.shape != model[name].shape:
            given, expected = tuple(tensor.shape), tuple(model[name].shape)
            raise ValueError(f"This checkpoint holds {name} of shape {given}; this model needs {expected}.")
