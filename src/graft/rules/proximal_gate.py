"""Proximal gates, the rule of SoRA and CoDyRA: after every step each gate moves towards 0, where it may stay.

    g <- sign(g) max(|g| - t, 0)

g is the gate of `GatedLoRA` (dW = s B diag(g) A); a pair whose gate is 0 is out of use until a gradient opens it again.
SoRA: Ding et al., EMNLP 2023, https://arxiv.org/abs/2311.11696
CoDyRA: Lu et al., https://arxiv.org/abs/2412.01004

SoRA's equation has t = learning rate x lambda, its scripts t = lambda whatever the rate is (3e-4 to 1e-3): `threshold`
is the latter. Both papers' code then also shuts a gate that comes out below t, so all up to 2 t; this is the equation.
SoRA trains again and again with larger thresholds, CoDyRA begins after half of the steps (`begin` 0.5) and raises the
threshold from 0 (`first` 0) to 0.005, in stairs; here it rises in a line. Gates have no weight decay. Adam's momentum
goes on moving a gate after its gradient is gone: one that is at 0 may leave it for some steps. bfloat16 has no number
between 1 and 0.996: what a gate of few digits cannot lose yet is kept, in float32, for the steps that follow.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from graft.rules.base import end_of
from graft.rules.gates import GateRule


class ProximalGate(GateRule):
    """g <- sign(g) max(|g| - t, 0): gates shrink, and shut pairs that the loss does not need (arXiv 2311.11696).

    Args:
        threshold: What a gate loses in a step; at the run's end, where it rises. Above 0.
        first: What it loses at `begin`, at least 0, from which it rises in a line; null means `threshold` throughout.
        begin: Share of the run's steps without any of this, at least 0 and less than 1.
    """

    def __init__(self, threshold: float = 1e-3, first: float | None = None, begin: float = 0.0) -> None:
        if not 0 < threshold < math.inf:
            raise ValueError(f"ProximalGate's threshold is {threshold}; give a number above 0.")
        if first is not None and not 0 <= first < math.inf:
            raise ValueError(f"ProximalGate's first is {first}; give a number of at least 0, or null for no rise.")
        if not 0 <= begin < 1:
            raise ValueError(f"ProximalGate's begin is {begin}; give a share of the steps, at least 0 and less than 1.")
        self.threshold = threshold
        self.first = first
        self.begin = begin

    def prepare(self, model: nn.Module) -> None:
        self.rests = [torch.zeros(adapter.rank) for adapter in self.gated(model)]

    def with_trainer(self, total_steps: float) -> None:
        scheduled = self.begin > 0 or self.first is not None
        self.total_steps = end_of(self, total_steps) if scheduled else 0

    def threshold_at(self, step: int) -> float:
        """t at optimizer step number `step`, from 1."""
        begin = self.begin * self.total_steps
        if step <= begin:
            return 0.0
        if self.first is None:
            return self.threshold
        return self.first + (self.threshold - self.first) * (step - begin) / (self.total_steps - begin)

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int) -> None:
        for place, adapter in enumerate(self.gated(model)):
            moved = F.softshrink(adapter.gate + self.rests[place].to(adapter.gate.device), self.threshold_at(step))
            adapter.gate.copy_(moved)
            self.rests[place] = moved - adapter.gate

    def state_dict(self) -> dict[str, Any]:
        return {"rests": [rest.clone() for rest in self.rests]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rests = [rest.clone() for rest in state["rests"]]
