"""Gradient checkpointing: memory for time, block by block."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputed(nn.Module):
    """A block that, where `recompute` is set, keeps only its input for the backward pass and computes the rest again.

    To be mixed into a block's class, before it. The gradients stay the same (https://arxiv.org/abs/1604.06174).
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        block: Callable[[Tensor], Tensor] = super().forward
        if self.recompute and torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters())):
            block = partial(checkpoint, block, use_reentrant=False)  # the other way needs an input with a gradient
        return block(x)
