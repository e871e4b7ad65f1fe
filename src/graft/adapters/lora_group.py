"""LoRA group: several low-rank pairs in parallel with each projection, for a rule that keeps them apart.

    W' = W + s (B_1 A_1 + ... + B_N A_N)

A_i (r rows of `down`) is r x d_in, B_i (r columns of `up`) is d_out x r, s = alpha / r: N r (d_in + d_out) parameters
a projection.
Hu et al. (PEGO), ECCV 2024, https://arxiv.org/abs/2407.15085

By itself a group is a LoRA of rank N r. The paper trains it with a penalty that keeps the pairs orthogonal to W and
to each other, which is a rule's part. Its four pairs of rank 4 and its targets q and v are the defaults, with scale 1.
The downs start Kaiming-uniform and the ups at zero, as in the authors' code.
"""

import math

from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter


class LoRAGroup(LowRankAdapter):
    """W' = W + s sum_i B_i A_i: several low-rank pairs beside each projection (arXiv 2407.15085).

    Trains pairs * r * (d_in + d_out) values a projection.

    Args:
        rank: Rank r of each pair.
        alpha: Each pair is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pairs, in training.
        pairs: Number N of pairs.
    """

    targets = ("q", "v")

    def __init__(self, rank: int = 4, alpha: float | None = None, dropout: float = 0.0, pairs: int = 4) -> None:
        super().__init__(rank, alpha, dropout)
        if pairs < 1:
            raise ValueError(f"pairs is {pairs}; a group needs a whole number of at least 1.")
        self.pairs = pairs

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.pairs * self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.pairs * self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.scale * self.up

    def members(self) -> list[tuple[Tensor, Tensor]]:
        """A_i of (r, d_in) and B_i of (d_out, r), the scale included, of each pair."""
        down, up = self.factors()
        return list(zip(down.chunk(self.pairs), up.chunk(self.pairs, dim=1), strict=True))
