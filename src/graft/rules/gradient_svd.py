"""GradientSVD: LoRA-SB, a LoRA-XS whose frozen bases are the main directions of the data's first gradients.

    -sign(G) = U S V^T        B = U_r        A = V_r^T        R = lr S_r / s        W' = W + s B R A

G (d_out x d_in) is the gradient of the frozen weight, summed over some batches. A (`down`, r x d_in) and B (`up`,
d_out x r) of `LoRAXS` become frozen singular vectors of the step that sign descent, the first step of Adam, would take;
R (`core`, r x r) is trained, s = alpha / r.
Ponkshe et al., 2024, https://arxiv.org/abs/2411.19557

The paper's R = lr S_r takes that step, cut to rank r, before training begins. With lr = 0, our default, R starts at
zero as `LoRAXS`'s does, and the model begins as what it was: the directions alone are the method's. Its gradients are
of 50 to 170 single examples, ours of 8 batches.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from graft.adapters import LoRAXS
from graft.rules.gradients import over_batches
from graft.rules.start import StartFromGradients, leading


class GradientSVD(StartFromGradients):
    """-sign(G) = U S V^T, B = U_r, A = V_r^T: a basis from the first gradients (LoRA-SB, arXiv 2411.19557).

    Args:
        batches: Training batches that the gradient is averaged over, at least 1, on every process.
        lr: Learning rate of the paper's first step, which is taken at the start; 0 leaves the model as it is.
    """

    acts_on = LoRAXS

    def __init__(self, batches: int = 8, lr: float = 0.0) -> None:
        super().__init__(batches)
        if not 0 <= lr < float("inf"):
            raise ValueError(f"GradientSVD's lr is {lr}; give a number of at least 0.")
        self.lr = lr

    @torch.no_grad()
    def start(self, model: nn.Module, losses: Iterator[Tensor]) -> None:
        sites = self.sites(model)
        steps = (-gradient.sign() for gradient in over_batches(sites, losses, self.batches))
        for site, (left, values, right) in zip(sites, leading(sites, steps), strict=True):
            adapter = site.adapter
            assert isinstance(adapter, LoRAXS)
            adapter.core.copy_(torch.diag(self.lr / adapter.scale * values))
            # Of the data, not of the weight alone: so they are kept in files and checkpoints.
            adapter.register_buffer("down", right.to(adapter.core, copy=True))
            adapter.register_buffer("up", left.to(adapter.core, copy=True))
