"""What rules share that set the factors before the first step."""

import torch
from torch import Tensor, nn

from graft.adapters import Adapter, LowRankAdapter
from graft.rules.base import Rule


class Start(Rule):
    """Sets the first factors of the adapters; what the model computes stays the same."""

    decides = "the start"

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)


class StartFromGradients(Start):
    """Sets the first factors by the weights' gradients.

    Args:
        batches: Training batches that the gradients are averaged over, at least 1, on every process.
    """

    def __init__(self, batches: int = 8) -> None:
        if batches < 1:
            raise ValueError(f"{type(self).__name__}'s batches is {batches}; give a whole number of at least 1.")
        self.batches = batches


@torch.no_grad()
def begin(adapter: Adapter, **factors: Tensor) -> None:
    """Give the factors their first values; their product is subtracted from then on."""
    for name, value in factors.items():
        getattr(adapter, name).copy_(value)
    assert isinstance(adapter, LowRankAdapter)
    adapter.start()
