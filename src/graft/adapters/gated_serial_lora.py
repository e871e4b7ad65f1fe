"""Gated Serial LoRA, a cross of ours that nobody has published: Serial LoRA's shared pair with SoRA's gates.

    x' = x + s B diag(g) A x        q, k, v = W_q x', W_k x', W_v x'        so        W' = W (I + s B diag(g) A)

A (`down`) is r x d, B (`up`) is d x r, g (`gate`) has r entries, s = alpha / r. One pair serves q, k and v: (2 d + 1) r
parameters a block, fewer once pairs whose gate is 0 are cut away.
Of Serial LoRA (Zhong et al., ICME 2025, https://arxiv.org/abs/2503.17750) and SoRA (Ding et al., EMNLP 2023,
https://arxiv.org/abs/2311.11696).

A Kaiming-uniform, B zero and gates of 1 are our choice, so this is Serial LoRA until a rule acts on the gates.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import InputAdapter, check_dropout
from graft.adapters.gated import Gated


class GatedSerialLoRA(Gated, InputAdapter):
    """W' = W (I + s B diag(g) A): one shared pair before q, k and v, with a gate for each rank (ours).

    Trains r * (2 * d_in + 1) values a block.

    Args:
        rank: Rank r of the pair; the largest, where a rule decides how much of it is used.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
        random_gate: Draw the gates' first values from N(0, 1), as SoRA does, rather than begin with 1.
    """

    def __init__(
        self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, random_gate: bool = False
    ) -> None:
        super().__init__(rank, alpha)
        check_dropout(dropout)
        self.dropout = dropout
        self.drop = nn.Dropout(dropout)
        self.random_gate = random_gate

    def setup(self, weight: Tensor) -> None:
        d = weight.shape[1]
        self.check_rank(weight, largest=d)
        self.down = nn.Parameter(weight.new_empty(self.rank, d))
        self.up = nn.Parameter(weight.new_zeros(d, self.rank))
        self.gate = nn.Parameter(weight.new_ones(self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        if self.random_gate:
            nn.init.normal_(self.gate)

    def shift(self, x: Tensor) -> Tensor:
        return x + F.linear(F.linear(self.drop(x), self.down), self.scale * self.gate * self.up)

    def fold(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (weight @ (self.gate * self.up)) @ self.down
