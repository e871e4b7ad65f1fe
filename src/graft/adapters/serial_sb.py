"""Serial-SB, ours, not published: Serial LoRA with a small square matrix between frozen singular vectors.

    x' = x + s V_r R V_r^T x        so        W' = W (I + s V_r R V_r^T)

V_r^T (`basis`) are the top r right singular vectors of the stacked [W_q; W_k; W_v], r x d and frozen: the directions of
the input that these three answer to most. R (`core`) is r x r, s = alpha / r: r^2 parameters a block.

A cross of Serial LoRA (https://arxiv.org/abs/2503.17750) with the layout of LoRA-XS (https://arxiv.org/abs/2405.17604)
and LoRA-SB (https://arxiv.org/abs/2411.19557). R starts at zero, alpha = r.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import InputAdapter, check_dropout
from graft.adapters.svd import svd


class SerialSB(InputAdapter):
    """W' = W (I + s V_r R V_r^T): Serial LoRA with an r x r matrix between frozen singular vectors (ours).

    Trains r * r values a block.

    Args:
        rank: Number r of singular vectors.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the update, in training.
    """

    basis: Tensor

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha)
        check_dropout(dropout)
        self.dropout = dropout
        self.drop = nn.Dropout(dropout)

    def setup(self, weight: Tensor) -> None:
        self.check_rank(weight, largest=min(weight.shape))
        _, _, right = svd(weight)
        self.register_buffer("basis", right[: self.rank].clone(), persistent=False)
        self.core = nn.Parameter(weight.new_zeros(self.rank, self.rank))

    def shift(self, x: Tensor) -> Tensor:
        return x + F.linear(F.linear(self.drop(x), self.basis), self.scale * self.basis.T @ self.core)

    def fold(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (weight @ self.basis.T) @ self.core @ self.basis
