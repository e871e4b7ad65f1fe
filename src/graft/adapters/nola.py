"""NOLA: LoRA whose factors are mixtures of random frozen ones, so that their size no longer counts.

    W' = W + s B A        A = A_0 + sum_i a_i A_i        B = sum_j b_j B_j        i, j = 1 .. k

A_i (`down`) are r x d_in and B_j (`up`) d_out x r: random, frozen, the same for all layers of a width. a (`mix_down`)
and b (`mix_up`) are k mixing coefficients each, trained; s = alpha / r. 2 k parameters a projection, whatever r and d.
Koohpayegani et al., ICLR 2024, https://arxiv.org/abs/2310.02556

This is the variant of the authors' language models: a = b = 0 beside a frozen Kaiming-uniform A_0 (and a B_0 of zero),
so that it starts as the identity; entries of A_i and B_j between -1 and 1, over sqrt(k). Their ViT variant starts with
a_i = b_j = 1/k and no A_0, which is not the identity; from there we take k = 1024, and one seed for all layers, which
makes their bases the same. That A_0 is one for all layers too, is ours. They adapt q and v in GPT-2, the MLP in a ViT.
"""

import torch
from torch import Tensor, nn

from graft.adapters.bases import shared, uniform
from graft.adapters.low_rank import LowRankAdapter


class NOLA(LowRankAdapter):
    """W' = W + s (sum_j b_j B_j) (A_0 + sum_i a_i A_i): mixtures of random frozen factors (arXiv 2310.02556).

    Trains 2 * count values a projection.

    Holds count x r x (d_in + d_out) random values once for all layers of a shape, and mixes them in every step.

    Args:
        rank: Rank r of the update.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
        count: Number k of random matrices that each factor is mixed from.
        seed: Of the random matrices.
    """

    targets = ("q", "v")

    def __init__(
        self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, count: int = 1024, seed: int = 0
    ) -> None:
        super().__init__(rank, alpha, dropout)
        if count < 1:
            raise ValueError(f"count is {count}; NOLA mixes each factor from at least 1 random matrix.")
        self.count = count
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.mix_down = nn.Parameter(weight.new_zeros(self.count))
        self.mix_up = nn.Parameter(weight.new_zeros(self.count))
        self.first = shared(self, weight, first, self.seed, self.rank, d_in)
        self.down = shared(self, weight, matrices, self.seed, 1, self.count, self.rank, d_in)
        self.up = shared(self, weight, matrices, self.seed, 2, self.count, d_out, self.rank)

    def factors(self) -> tuple[Tensor, Tensor]:
        down = self.first() + torch.tensordot(self.mix_down, self.down(), 1)
        return down, self.scale * torch.tensordot(self.mix_up, self.up(), 1)


def first(seed: int, rank: int, d_in: int) -> Tensor:
    """A_0 of (rank, d_in), as a linear layer's weight starts."""
    return uniform(seed, 0, rank, d_in).div_(d_in**0.5)


def matrices(seed: int, stream: int, count: int, rows: int, columns: int) -> Tensor:
    """All A_i, or all B_j: (count, rows, columns)."""
    return uniform(seed, stream, count, rows, columns).div_(count**0.5)
