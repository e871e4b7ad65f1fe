"""What rules share that act on gates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graft.adapters.gated import Gated
from graft.rules.base import Rule


class GateRule(Rule):
    """Decides which pairs of the adapters are in use, and how much, by their gates."""

    acts_on = Gated
    decides = "the gates"

    def prepare(self, model: nn.Module) -> None:
        self.gated(model)

    def gated(self, model: nn.Module) -> list[Gated]:
        """The adapters.

        Raises:
            ValueError: there are none.
        """
        return [site.adapter for site in self.sites(model) if isinstance(site.adapter, Gated)]


def taken(adapters: Sequence[Gated]) -> Tensor | None:
    """The gradients of the adapters' gates, (places, r) in float32 on the CPU, from where no optimizer finds them.

    None if one is not finite: a gradient scaler then leaves the step out, and so must whoever has an optimizer.
    """
    gradients = torch.stack([gradient_of(adapter.gate) for adapter in adapters]).cpu()
    for adapter in adapters:
        adapter.gate.grad = None
    return gradients if gradients.isfinite().all() else None


def gradient_of(gate: nn.Parameter) -> Tensor:
    """A gate's gradient in float32; zeros if it has none."""
    return torch.zeros_like(gate, dtype=torch.float32) if gate.grad is None else gate.grad.float()
