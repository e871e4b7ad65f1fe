"""SVFit, in our reading of its abstract and introduction: only the largest singular values are trained.

    W' = U_r diag(sigma) V_r^T + (W - U_r diag(S_r) V_r^T)

U_r diag(S_r) V_r^T are the r largest singular values of W with their vectors, sigma (`values`) starts as S_r: r
parameters a projection. Sun et al., 2024, https://arxiv.org/abs/2409.05926

Of the paper we could read that its r keeps more than 99 % of the weight, and that it has 16 times fewer parameters than
LoRA: at rank 8, these are all 768 values of a 768 x 768 layer; so all is our default, as are the targets. There is no
alpha. Computed as W + U_r diag(sigma - S_r) V_r^T, which is exactly W at the start.
"""

from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.svd import svd


class SVFit(Adapter):
    """W' = U_r diag(sigma) V_r^T + (W - U_r diag(S_r) V_r^T): singular values alone are trained (arXiv 2409.05926;
    our reading).

    Trains (r or min(d_out, d_in)) values a projection. Folds the whole weight in every step: d_out x d_in x r
    multiplications and a copy of the weight, which for many singular values is cheaper than a low-rank product beside
    it; U_r and V_r weigh up to as much as two more.

    Args:
        rank: Number r of singular values, the largest ones; null means all.
    """

    rank: int | None  # type: ignore[assignment]
    left: Tensor
    initial: Tensor
    right: Tensor

    def __init__(self, rank: int | None = None) -> None:
        super().__init__(rank=1 if rank is None else rank)
        self.rank = rank

    def setup(self, weight: Tensor) -> None:
        if self.rank is not None:
            self.check_rank(weight, largest=min(weight.shape))
        left, values, right = svd(weight)
        self.register_buffer("left", left[:, : self.rank].clone(), persistent=False)
        self.register_buffer("initial", values[: self.rank].clone(), persistent=False)
        self.register_buffer("right", right[: self.rank].clone(), persistent=False)
        self.values = nn.Parameter(self.initial.clone())

    def fold(self, weight: Tensor) -> Tensor:
        return weight + (self.left * (self.values - self.initial)) @ self.right
