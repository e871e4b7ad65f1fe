"""What a model's adapters are, as plain values: enough to inject them again into a fresh copy of the backbone."""

import json
from typing import Any

from torch import nn

from graft.adapters.anatomy import describe
from graft.adapters.base import Adapter, InputAdapter
from graft.adapters.inject import inject
from graft.adapters.linear import AdaptedLinear


def spec(model: nn.Module) -> list[dict[str, Any]]:
    """How to inject the model's adapters again: method, options, targets and places, as plain values."""
    found: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        for target, adapter in adapters_of(name, module).items():
            entry = {"method": method(adapter), "options": adapter.options()}
            at = found.setdefault(json.dumps([entry, name]), entry | {"targets": [], "where": [name]})
            at["targets"].append(target)
    merged: dict[str, dict[str, Any]] = {}
    for entry in found.values():
        key = json.dumps([entry["method"], entry["options"], entry["targets"]])
        merged.setdefault(key, entry | {"where": []})["where"] += entry["where"]
    return list(merged.values())


def method(adapter: Adapter) -> str:
    """The dotted name of an adapter's class."""
    return f"{type(adapter).__module__}.{type(adapter).__qualname__}"


def adapters_of(name: str, module: nn.Module) -> dict[str, Adapter]:
    """The adapters of one block by the projection they act on; empty where the module is no block."""
    shared = module._modules.get("adapter")
    block = describe(name, module)
    if block is None:
        return {}
    if isinstance(shared, InputAdapter):
        return dict.fromkeys(InputAdapter.targets, shared)
    adapters = {}
    for target, projection in block.projections.items():
        if isinstance(projection.linear, AdaptedLinear):
            adapter = projection.linear.adapter
            if isinstance(adapter, Adapter):
                adapters[target] = adapter
            elif target in dict(adapter.named_children()):
                adapters[target] = getattr(adapter, target)
    return adapters


def restore(model: nn.Module, entries: list[dict[str, Any]]) -> None:
    """Inject what `spec` described. Only classes that are imported already are used: a file imports nothing."""
    for entry in entries:
        known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in subclasses(Adapter)}  # type: ignore[type-abstract]
        if entry["method"] not in known:
            raise ValueError(f"The adapter {entry['method']} is unknown here; import the module that defines it first.")
        inject(model, known[entry["method"]](**entry["options"]), entry["targets"], entry["where"])


def subclasses(kind: type[Adapter]) -> set[type[Adapter]]:
    """All classes below one."""
    return {below for child in kind.__subclasses__() for below in {child, *subclasses(child)}}
