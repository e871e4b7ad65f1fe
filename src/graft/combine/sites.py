"""Where the adapters of a file are, told from the names of its tensors and its spec: no backbone is needed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from graft.adapters import Adapter, InputAdapter
from graft.adapters.anatomy import MLPS, SEPARATE
from graft.adapters.spec import method, subclasses

TARGET = {child: target for names in ({"o": "proj"}, SEPARATE, *MLPS) for target, child in names.items()}
"""The projection that a linear layer of this name is."""


@dataclass(frozen=True)
class Site:
    """An adapter with its trained values, in no model.

    Args:
        name: The adapter's dotted name in the model.
        block: That of the block that it adapts.
        targets: Of "q", "k", "v", "o", "fc1", "fc2".
        adapter: What it is; what it keeps frozen and no file holds is not there.
    """

    name: str
    block: str
    targets: tuple[str, ...]
    adapter: Adapter


def sites(entries: list[dict[str, Any]], tensors: Mapping[str, Tensor], source: str) -> dict[str, Site]:
    """The adapters by name.

    Raises:
        ValueError: a method is unknown here, or the spec does not describe what the tensors are.
    """
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in subclasses(Adapter)}  # type: ignore[type-abstract]
    for entry in entries:
        if entry["method"] not in known:
            raise ValueError(f"{source} holds {entry['method']}, which is unknown here: import its module first.")
    leaves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if ".adapter." in name:
            owner, _, leaf = name.rpartition(".")
            leaves.setdefault(owner, {})[leaf] = tensor
    places = [(entry, block) for entry in entries for block in entry["where"]]
    found = {}
    for owner, values in leaves.items():
        path, _, fused = owner.rpartition(".adapter")
        matches = []
        for entry, block in places:
            child = path.removeprefix(block).removeprefix(".")
            one = fused.removeprefix(".") or TARGET.get(child)
            targets = (one,) if one else InputAdapter.targets
            if path in (block, f"{block}.{child}") and {*targets} <= {*entry["targets"]} and "." not in child:
                alone = issubclass(known[entry["method"]], InputAdapter) == (one is None)
                matches.append((alone, Site(owner, block, targets, filled(known[entry["method"]], entry, values))))
        if not matches:
            raise ValueError(f"{source} holds {owner}, which its own description leaves out: it is damaged.")
        found[owner] = max(matches, key=lambda match: match[0])[1]
    return found


def filled(kind: type[Adapter], entry: Mapping[str, Any], values: Mapping[str, Tensor]) -> Adapter:
    """An adapter with these values, in float64."""
    adapter = kind(**entry["options"])
    for leaf, tensor in values.items():
        if leaf in adapter._buffers:
            adapter._buffers[leaf] = tensor
        else:
            adapter.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    return adapter.double().eval()


def described(found: Iterable[Site]) -> list[dict[str, Any]]:
    """The spec of adapters, as `graft.adapters.spec` would give it: method, options, targets and places."""
    blocks: dict[str, dict[str, Any]] = {}
    for site in found:
        entry = {"method": method(site.adapter), "options": site.adapter.options()}
        at = blocks.setdefault(json.dumps([entry, site.block]), entry | {"targets": [], "where": [site.block]})
        at["targets"] += site.targets
    merged: dict[str, dict[str, Any]] = {}
    for entry in blocks.values():
        key = json.dumps([entry["method"], entry["options"], entry["targets"]])
        merged.setdefault(key, entry | {"where": []})["where"] += entry["where"]
    return list(merged.values())
