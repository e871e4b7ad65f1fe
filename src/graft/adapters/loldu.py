"""LoLDU: nothing is trained but a diagonal between the triangular factors of the weight, and its scale.

    W = P L diag(D) U        W' = s P L_r diag(z) U_r + (W - s0 P L_r diag(D_r) U_r)

P is a permutation, L lower and U upper triangular with ones on the diagonal. L_r are the first r columns of L (P L_r is
`lower`, d_out x r), U_r the first r rows of U (`upper`, r x d_in). z (`diagonal`) starts as D_r and s (`gain`), one
number, as s0 = alpha / r: r + 1 parameters a projection. Shi et al., 2024, https://arxiv.org/abs/2410.13618

As in the authors' code. Computed as W + P L_r diag(s z - s0 D_r) U_r, which is exactly W at the start. alpha = r (scale
1) and r = 8 are ours: the authors' default is all 768 of a 768 x 768 layer.
"""

import torch
from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter
from graft.adapters.svd import exact


class LoLDU(LowRankAdapter):
    """W = P L diag(D) U, W' = W + P L_r diag(s z - s0 D_r) U_r: the diagonal of the weight's LU (arXiv 2410.13618).

    Trains r + 1 values a projection.

    Args:
        rank: Length r of the diagonal.
        alpha: The trained scale s starts as alpha / rank; null means alpha = rank, so that it starts as 1.
    """

    lower: Tensor
    upper: Tensor
    initial_diagonal: Tensor
    initial_gain: Tensor

    def __init__(self, rank: int = 8, alpha: float | None = None) -> None:
        super().__init__(rank, alpha)

    def setup(self, weight: Tensor) -> None:
        self.check_rank(weight, largest=min(weight.shape))
        permutation, lower, upper = torch.linalg.lu(exact(weight))
        diagonal = upper.diagonal()[: self.rank]
        upper = upper[: self.rank] / diagonal.where(diagonal != 0, 1)[:, None]  # a singular weight has zeros there
        self.register_buffer("lower", (permutation @ lower[:, : self.rank]).to(weight), persistent=False)
        self.register_buffer("upper", upper.to(weight), persistent=False)
        self.register_buffer("initial_diagonal", diagonal.to(weight, copy=True), persistent=False)
        self.register_buffer("initial_gain", weight.new_full((), self.scale), persistent=False)
        self.diagonal = nn.Parameter(self.initial_diagonal.clone())
        self.gain = nn.Parameter(self.initial_gain.clone())

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.upper, self.lower * (self.gain * self.diagonal - self.initial_gain * self.initial_diagonal)
