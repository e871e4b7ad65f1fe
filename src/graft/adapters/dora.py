"""DoRA: the weight taken apart into magnitude and direction, and a low-rank pair that turns the direction.

    V = W + s B A        W' = m V / ||V||

The norm is that of each row of V, one for each output feature. m (`magnitude`) has d_out values, A (`down`) is r x
d_in, B (`up`) is d_out x r, s = alpha / r: r (d_in + d_out) + d_out parameters a projection.
Liu et al., ICML 2024, https://arxiv.org/abs/2402.09353

m starts as the norms of W's rows, A Kaiming-uniform and B at zero. ||V|| follows V but gets no gradient, as section
4.3 of the paper advises. A row of zeros, which has no direction, stays as it is. alpha = r (scale 1) and the targets
are our defaults (the paper adapts language models); dropout is not offered, since a folded weight has no input to
drop.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.low_rank import product


class DoRA(Adapter):
    """W' = m (W + s B A) / ||W + s B A||: magnitudes, and a low-rank pair for directions (arXiv 2402.09353).

    Trains r * (d_in + d_out) + d_out values a projection.

    The norms cost d_out x d_in x r multiplications and a copy of the weight in every step.

    Args:
        rank: Rank r of each pair.
        alpha: The pair is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None) -> None:
        super().__init__(rank, alpha)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        self.magnitude = nn.Parameter(weight.detach().norm(dim=1))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def direction(self, weight: Tensor) -> Tensor:
        """V of (d_out, d_in)."""
        return weight + self.scale * self.up @ self.down

    def gain(self, weight: Tensor) -> Tensor:
        """m / ||V|| of (d_out,), the norm a constant to the gradient."""
        norm: Tensor = self.direction(weight).detach().norm(dim=1)
        return self.magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)

    def fold(self, weight: Tensor) -> Tensor:
        return self.gain(weight)[:, None] * self.direction(weight)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x, weight) + product(x, self.down, self.scale * self.up)
        y = self.gain(weight).to(y) * y
        return y if bias is None else y + bias.to(y)
