"""What a model's adapters are, as plain values: enough to inject them again into a fresh copy of the backbone."""

import json
from typing import Any

from torch import nn

from graft.adapters.base import Adapter
from graft.adapters.inject import inject
from graft.adapters.places import places


def spec(model: nn.Module) -> list[dict[str, Any]]:
    """How to inject the model's adapters again: method, options, targets and places, as plain values."""
    found: dict[str, dict[str, Any]] = {}
    for place in places(model):
        entry = {"method": method(place.adapter), "options": place.adapter.options()}
        at = found.setdefault(json.dumps([entry, place.block]), entry | {"targets": [], "where": [place.block]})
        at["targets"] += place.targets
    merged: dict[str, dict[str, Any]] = {}
    for entry in found.values():
        key = json.dumps([entry["method"], entry["options"], entry["targets"]])
        merged.setdefault(key, entry | {"where": []})["where"] += entry["where"]
    return list(merged.values())


def method(adapter: Adapter) -> str:
    """The dotted name of an adapter's class."""
    return f"{type(adapter).__module__}.{type(adapter).__qualname__}"


def restore(model: nn.Module, entries: list[dict[str, Any]]) -> None:
    """Inject what `spec` described. Only classes that are imported already are used: a file imports nothing."""
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in subclasses(Adapter)}  # type: ignore[type-abstract]
    wanted: dict[tuple[str, str], dict[str, Any]] = {}  # by block and method: the options of each target
    for entry in entries:
        if entry["method"] not in known:
            raise ValueError(f"The adapter {entry['method']} is unknown here; import the module that defines it first.")
        for block in entry["where"]:
            options = wanted.setdefault((block, entry["method"]), {})
            options |= dict.fromkeys(entry["targets"], entry["options"])
    alike: dict[str, list[str]] = {}
    for (block, name), options in wanted.items():
        first = next(iter(options.values()))
        alike.setdefault(json.dumps([name, first, list(options)]), []).append(block)
    for key, where in alike.items():
        name, first, targets = json.loads(key)
        inject(model, known[name](**first), targets, where)
    for place in places(model):  # a block whose adapters were cut to sizes of their own
        options = wanted[place.block, method(place.adapter)][place.targets[0]]
        if place.adapter.options() != options:
            place.replace(type(place.adapter)(**options).on(place.weight).train(place.adapter.training))


def subclasses(kind: type[Adapter]) -> set[type[Adapter]]:
    """All classes below one."""
    return {below for child in kind.__subclasses__() for below in {child, *subclasses(child)}}
