"""Sparse LoRA: SLTrain's low-rank pair and sparse matrix, added to a frozen weight (as an adapter it is ours).

    W' = W + s B A + S

A (`down`) is r x d_in, B (`up`) is d_out x r, s = alpha / r. S is zero but for a share of its entries (`values`), at
random places that are drawn once: r (d_in + d_out) + density d_in d_out parameters a projection. The sum has full rank
where the pair alone has rank r.
Han et al. (SLTrain), NeurIPS 2024, https://arxiv.org/abs/2406.02214

SLTrain trains a network from nothing: s B A + S is the weight, and S starts uniform. Beside a frozen weight S starts
at zero, so that a fresh adapter is the identity. A starts Kaiming-uniform and B at zero; 1 % of the entries is the
authors' code's default; alpha = r (scale 1) and the targets are ours. The places are drawn again from the seed, never
stored; layers of one shape have the same.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter


class SparseLoRA(Adapter):
    """W' = W + s B A + S: a low-rank pair and a few single entries of the weight (ours, after arXiv 2406.02214).

    Trains r * (d_in + d_out) + count(density, d_out, d_in) values a projection.

    Folds the whole weight in every step: d_out x d_in x r multiplications, a copy of the weight and a gradient of its
    size.

    Args:
        rank: Rank r of the pair.
        alpha: The pair is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        density: Share of the weight's entries that S has, above 0 and at most 1.
        seed: Seed of their places.
    """

    places: Tensor

    def __init__(self, rank: int = 8, alpha: float | None = None, density: float = 0.01, seed: int = 0) -> None:
        super().__init__(rank, alpha)
        if not 0 < density <= 1:
            raise ValueError(f"density is {density}; give a share above 0 and at most 1.")
        self.density = density
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        self.values = nn.Parameter(weight.new_zeros(count(self.density, d_out, d_in)))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        order = torch.randperm(d_out * d_in, generator=torch.Generator().manual_seed(self.seed))
        places = order[: len(self.values)].sort().values
        self.register_buffer("places", places.to(weight.device), persistent=False)

    def fold(self, weight: Tensor) -> Tensor:
        sparse = weight.flatten().index_add(0, self.places, self.values).view_as(weight)
        return sparse + self.scale * self.up @ self.down


def count(density: float, d_out: int, d_in: int) -> int:
    """Number of entries that S has: at least one."""
    return max(1, round(density * d_out * d_in))
