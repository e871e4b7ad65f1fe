"""Block-LoRA, in our reading of the paper's summary (its body was not at hand): several ups share one thin down.

    W' = W + s (B_1 + ... + B_n) A

LoRA's r is split into n blocks of r / n, and all blocks have the same A. A (`down`) is r/n x d_in, B_i (`up[i]`) is
d_out x r/n, s = alpha / r: r d_in / n + r d_out parameters a projection.
Zhou et al., 2025, https://arxiv.org/abs/2501.16720

The summary says that the down blocks are shared and that sums take the place of products. Read so, the update has
rank r / n, and the n ups are more parameters for one factor. A starts Kaiming-uniform and the ups at zero; n = 2,
alpha = r (scale 1) and the targets q, k, v of the CLIP-LoRA that the paper compares with are our defaults.
"""

import math

from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter


class BlockLoRA(LowRankAdapter):
    """W' = W + s (B_1 + ... + B_n) A: several ups beside each projection share one down (arXiv 2501.16720; our
    reading).

    Trains r * d_in // blocks + r * d_out values a projection.

    Args:
        rank: Rank r of the LoRA that is split into blocks, a multiple of their number; the update's is r / blocks.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
        blocks: Number n of ups.
    """

    targets = ("q", "k", "v")

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, blocks: int = 2) -> None:
        super().__init__(rank, alpha, dropout)
        if blocks < 1 or rank % blocks:
            raise ValueError(f"rank {rank} is no multiple of blocks, which is {blocks}: change one of them.")
        self.blocks = blocks

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank // self.blocks, d_in))
        self.up = nn.Parameter(weight.new_zeros(self.blocks, d_out, self.rank // self.blocks))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.scale * self.up.sum(0)
