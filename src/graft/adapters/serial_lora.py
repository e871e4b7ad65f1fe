"""Serial LoRA: one low-rank pair, in series with the projections of an attention block.

    x' = x + s B A x        q, k, v = W_q x', W_k x', W_v x'        so        W' = W (I + s B A)

A (`down`) is r x d, B (`up`) is d x r, s = alpha / r. One pair serves q, k and v: 2 r d parameters a block, a quarter
of LoRA's on q, k, v and o. Zhong et al., ICME 2025, https://arxiv.org/abs/2503.17750

The paper does not say, where it could be read, how A and B start, nor alpha or dropout: A Kaiming-uniform, B zero,
alpha = r and no dropout are our choice.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import InputAdapter, check_dropout


class SerialLoRA(InputAdapter):
    """W' = W (I + s B A): one shared low-rank pair before q, k and v (arXiv 2503.17750).

    Trains 2 * r * d_in values a block.

    Args:
        rank: Rank r of the pair.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha)
        check_dropout(dropout)
        self.dropout = dropout
        self.drop = nn.Dropout(dropout)

    def setup(self, weight: Tensor) -> None:
        d = weight.shape[1]
        self.check_rank(weight, largest=d)
        self.down = nn.Parameter(weight.new_empty(self.rank, d))
        self.up = nn.Parameter(weight.new_zeros(d, self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def shift(self, x: Tensor) -> Tensor:
        return x + F.linear(F.linear(self.drop(x), self.down), self.scale * self.up)

    def fold(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (weight @ self.up) @ self.down
