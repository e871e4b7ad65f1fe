"""Where a model's adapters are: for whoever reads, counts, trains or replaces them one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graft.adapters.anatomy import Projection, describe
from graft.adapters.base import Adapter, InputAdapter
from graft.adapters.linear import AdaptedLinear, Fused


@dataclass(frozen=True)
class Place:
    """An adapter, and the projections of a block that it acts on: one, or all that read its input.

    Args:
        block: Dotted name of the block.
        targets: Of "q", "k", "v", "o", "fc1", "fc2".
        adapter: The adapter.
        projections: By target.
        owner: The module whose child the adapter is.
        child: Its name there.
    """

    block: str
    targets: tuple[str, ...]
    adapter: Adapter
    projections: dict[str, Projection]
    owner: nn.Module
    child: str

    @property
    def name(self) -> str:
        """Block and targets, such as blocks.3.attn.qkv."""
        return f"{self.block}.{''.join(self.targets)}"

    @property
    def weight(self) -> Tensor:
        """What the adapter was set up for, (d_out, d_in): its projection's part of a layer's weight, or all stacked."""
        return torch.cat([projection.weight for projection in self.projections.values()])

    def replace(self, adapter: Adapter) -> None:
        """Put another adapter here."""
        setattr(self.owner, self.child, adapter)


@contextmanager
def at_size(model: nn.Module) -> Iterator[None]:
    """For a while, every adapter is the smallest that does the same."""
    replaced = []
    for place in places(model):
        if (smaller := place.adapter.cut()) is not place.adapter:
            replaced.append(place)
            place.replace(smaller)
    try:
        yield
    finally:
        for place in replaced:
            place.replace(place.adapter)


def places(model: nn.Module) -> Iterator[Place]:
    """All adapters of a model, in its own order."""
    for name, module in list(model.named_modules()):  # a list: who asks may replace them
        adapted = any(isinstance(part, Adapter) for part in module.modules())  # else it may be of a kind nobody knows
        if not adapted or (block := describe(name, module)) is None:
            continue
        shared = (block.reader or module)._modules.get("adapter")
        rest = block.projections
        if isinstance(shared, InputAdapter):
            read = {target: rest[target] for target in InputAdapter.targets}
            yield Place(name, tuple(read), shared, read, block.reader or module, "adapter")
            rest = {target: projection for target, projection in rest.items() if target not in read}
        for target, projection in rest.items():
            if isinstance(linear := projection.linear, AdaptedLinear):
                fused = isinstance(linear.adapter, Fused)
                owner, child = (linear.adapter, target) if fused else (linear, "adapter")
                if isinstance(adapter := owner._modules.get(child), Adapter):
                    yield Place(name, (target,), adapter, {target: projection}, owner, child)
