"""LoRA: one low-rank pair in parallel with each projection.

    W' = W + s B A

A (`down`) is r x d_in, B (`up`) is d_out x r, s = alpha / r: r (d_in + d_out) parameters a projection.
Hu et al., ICLR 2022, https://arxiv.org/abs/2106.09685

A starts Kaiming-uniform and B at zero, as in the authors' code. alpha = r (scale 1) is our default.
"""

import math

from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter


class LoRA(LowRankAdapter):
    """W' = W + s B A: one low-rank pair beside each projection (arXiv 2106.09685).

    Trains r * (d_in + d_out) values a projection.

    Args:
        rank: Rank r of each pair.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha, dropout)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.scale * self.up
