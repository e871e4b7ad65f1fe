"""MiSS: one small matrix, shared by all slices of the input.

    W' = W + D [I I ... I]        that is        y' = W x + D (x_1 + x_2 + ...)

x_j are the slices of r input features each, the last one shorter where r does not divide d_in. D (`up`) is d_out x r:
r d_out parameters a projection.
Kang and Yin, 2024, https://arxiv.org/abs/2409.15371

D starts at zero; there is no scale. This is the paper's default form. Where r does not divide d_in, and on a fused
layer, whose projections then share it, adding the slices is a product with the identities, which costs no more than
LoRA's A. The rank and the targets are our defaults: the paper adapts language models, at rank 64.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter


class MiSS(LowRankAdapter):
    """W' = W + D [I I ... I]: one matrix for all slices of the input (arXiv 2409.15371).

    Trains r * d_out values a projection.

    Args:
        rank: Width r of a slice, and the rank of the update.
        dropout: Probability of dropping an input feature on its way to the slices' sum, in training.
    """

    down: Tensor

    def __init__(self, rank: int = 8, dropout: float = 0.0) -> None:
        super().__init__(rank, dropout=dropout)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=d_in)
        slices = torch.eye(self.rank, device=weight.device, dtype=weight.dtype).repeat(1, -(-d_in // self.rank))
        self.register_buffer("down", slices[:, :d_in].contiguous(), persistent=False)
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up

    def delta(self, x: Tensor, weight: Tensor) -> Tensor:
        if x.shape[-1] % self.rank:
            return super().delta(x, weight)
        slices = self.drop(x).unflatten(-1, (-1, self.rank))
        return F.linear(slices.sum(dim=-2), self.up)
