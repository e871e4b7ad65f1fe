"""An adapter that can be taken out of its model and put back: by reference, so that no weight is copied."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.bases import Shared
from graft.adapters.inject import shift_input
from graft.adapters.linear import AdaptedLinear, Fused
from graft.adapters.merge import remove_input_adapter


@dataclass
class Home:
    """An adapter and where it belongs: in a linear layer, or before an attention module."""

    module: nn.Module
    adapter: Adapter | Fused

    def put_on(self) -> None:
        self.adapter.to(next(self.module.parameters())).train(self.module.training)
        if isinstance(self.module, nn.Linear):
            AdaptedLinear.adapt(self.module, self.adapter)
        else:
            self.module.add_module("adapter", self.adapter)
            self.module.register_forward_pre_hook(shift_input, with_kwargs=True)

    def take_off(self) -> None:
        if isinstance(self.module, AdaptedLinear):
            del self.module.adapter
            self.module.__class__ = nn.Linear  # type: ignore[assignment]
        else:
            remove_input_adapter(self.module)


@dataclass
class Part:
    """A parameter or buffer that is there twice, an adapter's and the bare backbone's: one in the model, one aside."""

    owner: nn.Module
    leaf: str
    aside: Tensor

    def swap(self) -> None:
        slots: dict[str, Tensor | None] = self.owner._parameters  # type: ignore[assignment]
        slots = slots if self.leaf in slots else self.owner._buffers
        standing = slots[self.leaf]
        assert standing is not None
        self.aside.data = self.aside.data.to(standing)  # the same tensor, unless the model was moved
        slots[self.leaf], self.aside = self.aside, standing


@dataclass
class Kept:
    """An adapter with all that was trained beside it."""

    homes: list[Home]
    parts: list[Part]

    def put_on(self) -> None:
        for home in self.homes:
            home.put_on()
        for part in self.parts:
            part.swap()

    def take_off(self) -> None:
        for home in self.homes:
            home.take_off()
        for part in self.parts:
            part.swap()

    def shared(self) -> set[nn.Module]:
        """What its adapters refer to together with others'."""
        return {module for home in self.homes for module in home.adapter.modules() if isinstance(module, Shared)}


def homes(model: nn.Module) -> list[Home]:
    """Where the model is adapted now."""
    found = [(module, module._modules.get("adapter")) for module in model.modules()]
    return [Home(module, adapter) for module, adapter in found if isinstance(adapter, Adapter | Fused)]


def second(model: nn.Module, names: Mapping[str, object]) -> list[Part]:
    """Room beside the parameters and buffers of these names, not filled; in all places of one that modules share."""
    named: dict[str, Tensor] = dict([*model.named_parameters(), *model.named_buffers()])
    rooms: dict[Tensor, Tensor] = {}
    for bare in (named[name] for name in names if name in named):
        room = torch.empty_like(bare)
        rooms[bare] = nn.Parameter(room) if isinstance(bare, nn.Parameter) else room
    slots = [(m, leaf, t) for m in model.modules() for leaf, t in [*m._parameters.items(), *m._buffers.items()]]
    return [Part(module, leaf, rooms[bare]) for module, leaf, bare in slots if bare is not None and bare in rooms]
