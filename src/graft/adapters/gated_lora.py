"""Gated LoRA, the adapter of SoRA and CoDyRA: a gate between the factors of each pair.

    W' = W + s B diag(g) A

A (`down`) is r x d_in, B (`up`) is d_out x r, g (`gate`) has r entries, s = alpha / r: r (d_in + d_out + 1) parameters
a projection, fewer once pairs whose gate is 0 are cut away.
SoRA: Ding et al., EMNLP 2023, https://arxiv.org/abs/2311.11696
CoDyRA: Lu et al., https://arxiv.org/abs/2412.01004

A starts Kaiming-uniform and B at zero, as in the authors' code. Both draw the gates from N(0, 1), which is
`random_gate`. That they start at 1 is our default: so this is LoRA until a rule acts on the gates.
"""

import math

from torch import Tensor, nn

from graft.adapters.gated import Gated
from graft.adapters.low_rank import LowRankAdapter


class GatedLoRA(Gated, LowRankAdapter):
    """W' = W + s B diag(g) A: a low-rank pair with a gate for each rank (arXiv 2311.11696).

    Trains r * (d_in + d_out + 1) values a projection.

    Args:
        rank: Rank r of each pair; the largest, where a rule decides how much of it is used.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
        random_gate: Draw the gates' first values from N(0, 1), as SoRA and CoDyRA do, rather than begin with 1.
    """

    def __init__(
        self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, random_gate: bool = False
    ) -> None:
        super().__init__(rank, alpha, dropout)
        self.random_gate = random_gate

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        self.gate = nn.Parameter(weight.new_ones(self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        if self.random_gate:
            nn.init.normal_(self.gate)

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.scale * self.gate * self.up
