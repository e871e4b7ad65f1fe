"""Checkpoints that do not fit: of another backbone, adapter or configuration, or damaged. Each is refused by name."""

from typing import Any

import torch
from torch import nn

from graft.adapters.files import trained
from graft.adapters.spec import spec

OWN = "; go on with the config.yaml of its own run, or give another checkpoint."


def refuse_another(saved: dict[str, Any], backbone: str, model: nn.Module) -> None:
    """Refuse a checkpoint of another backbone or of other adapters than the model's.

    Raises:
        ValueError: it is.
    """
    if saved["backbone"] != backbone:
        raise ValueError(f"This checkpoint was trained on {saved['backbone']}, not on {backbone}{OWN}")
    if (mine := spec(model)) != saved["adapters"]:
        asked, held = said(mine), said(saved["adapters"])
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
