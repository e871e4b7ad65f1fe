"""SORSA: the weight's largest singular values and vectors, all trained.

    W' = W - s U_r diag(S_r) V_r^T + s B diag(sigma) A

W = U diag(S) V^T. A (`down`) is r x d_in and starts as V_r^T, B (`up`) is d_out x r and starts as U_r, sigma has r
values and starts as S_r, the largest singular values; s = alpha / r: r (d_in + d_out) + r parameters a projection.
Cao and Song, 2024, https://arxiv.org/abs/2409.00055

The paper also holds A's rows and B's columns orthonormal by a penalty, which is a rule's part. alpha = r (scale 1) is
the authors' default; the targets are ours (the paper adapts language models). Dropout acts on the difference of the
two products, so that it leaves a fresh adapter the identity; in the authors' code it acts on the second alone.
"""

from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter
from graft.adapters.svd import svd


class SORSA(LowRankAdapter):
    """W' = W - s U_r S_r V_r^T + s B diag(sigma) A: the weight's largest singular triples, trained (arXiv 2409.00055).

    Trains r * (d_in + d_out) + r values a projection.

    Args:
        rank: Number r of singular triples.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the update, in training.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha, dropout)

    def setup(self, weight: Tensor) -> None:
        self.check_rank(weight, largest=min(weight.shape))
        left, values, right = svd(weight)
        self.down = nn.Parameter(right[: self.rank].clone())
        self.sigma = nn.Parameter(values[: self.rank].clone())
        self.up = nn.Parameter(left[:, : self.rank].clone())
        self.start()

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.scale * self.up * self.sigma
