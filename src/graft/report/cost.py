"""What was trained, and what it costs: values, bytes, speed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from graft.modules.adapted import KEY
from graft.run import Run


@dataclass(frozen=True)
class Part:
    """A part of the backbone; `total` is None where the backbone is not there to be counted."""

    name: str
    sites: int
    trained: int
    bytes: int
    total: int | None


@dataclass(frozen=True)
class Cost:
    """What a checkpoint says of a training.

    Args:
        adapters: Each method in words, with the number of places that it adapts.
        parts: The backbone's parts that hold something trained, then all of it.
        file: Bytes of the checkpoint, the optimizer's state included.
    """

    adapters: list[str]
    parts: list[Part]
    file: int


def cost(run: Run, model: nn.Module | None) -> Cost:
    """Count what a checkpoint holds of what was trained; shares need the backbone."""
    saved: dict[str, Any] = run.checkpoint[KEY]
    trained = {name: run.checkpoint["state_dict"][f"model.{name}"] for name in saved["trained"]}
    values, sizes = Counter[str](), Counter[str]()
    for name, tensor in trained.items():
        for part in (name.partition(".")[0], "all"):
            values[part] += tensor.numel()
            sizes[part] += tensor.numel() * tensor.element_size()
    sites = Counter(block.partition(".")[0] for entry in saved["adapters"] for block in entry["where"])
    sites["all"] = sites.total()
    totals = {} if model is None else totals_of(model)
    names = [*(name for name in (totals or values) if name != "all"), "all"]
    parts = [Part(name, sites[name], values[name], sizes[name], totals.get(name)) for name in names]
    return Cost([in_words(entry) for entry in saved["adapters"]], parts, run.path.stat().st_size)


def totals_of(model: nn.Module) -> dict[str, int]:
    """The parameters of each part, and of all."""
    totals = Counter[str]()
    for name, parameter in model.named_parameters():
        totals[name.partition(".")[0]] += parameter.numel()
    return {**totals, "all": totals.total()}


def in_words(entry: Mapping[str, Any]) -> str:
    """One method with its options, its targets and its places."""
    options = ", ".join(f"{name}={value}" for name, value in entry["options"].items() if value is not None)
    method, blocks = entry["method"].rpartition(".")[2], len(entry["where"])
    return f"{method}({options}) on {', '.join(entry['targets'])} in {blocks} block{'s' if blocks > 1 else ''}"
