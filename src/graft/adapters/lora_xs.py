"""LoRA-XS: a small square matrix between frozen singular vectors of the weight.

    W' = W + s B R A        A = diag(S_r) V_r^T        B = U_r

U_r diag(S_r) V_r^T are the r largest singular values of W with their vectors. A (`down`) is r x d_in and B (`up`) is
d_out x r, both frozen; R (`core`) is r x r, s = alpha / r: r^2 parameters a projection.
Balazy et al., 2024, https://arxiv.org/abs/2405.17604

As in the authors' code, the singular values stand in one of the factors. Theirs draws R with a deviation of
1e-5; R = 0, which has a gradient all the same, and alpha = r (scale 1) are ours. LoRA-SB (Ponkshe et al., 2024,
https://arxiv.org/abs/2411.19557) is the same with A, B and R found in the first gradients of the data.
"""

from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter
from graft.adapters.svd import svd


class LoRAXS(LowRankAdapter):
    """W' = W + s B R A: an r x r matrix between frozen singular vectors of W (arXiv 2405.17604).

    Trains r * r values a projection.

    Args:
        rank: Number r of singular vectors on each side.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the update, in training.
    """

    down: Tensor
    up: Tensor

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha, dropout)

    def setup(self, weight: Tensor) -> None:
        self.check_rank(weight, largest=min(weight.shape))
        left, values, right = svd(weight)
        self.register_buffer("down", values[: self.rank, None] * right[: self.rank], persistent=False)
        self.register_buffer("up", left[:, : self.rank].clone(), persistent=False)
        self.core = nn.Parameter(weight.new_zeros(self.rank, self.rank))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.core @ self.down, self.scale * self.up
