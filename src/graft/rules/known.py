"""Where a model's adapters are, remembered: rules ask several times a step, and to describe every block takes long."""

from weakref import WeakKeyDictionary

import torch
from torch import nn

from graft.adapters import Adapter
from graft.adapters.places import Place, places

_known: WeakKeyDictionary[nn.Module, tuple[torch.device, list[Place]]] = WeakKeyDictionary()


def known_places(model: nn.Module) -> list[Place]:
    """`places`, looked up anew once the model holds other adapters than it did, or is on another device."""
    adapters = {module for module in model.modules() if isinstance(module, Adapter)}
    device = next(model.parameters()).device
    before, found = _known.get(model, (None, []))
    if device != before or {place.adapter for place in found} != adapters:
        _known[model] = device, list(places(model))
    return _known[model][1]
