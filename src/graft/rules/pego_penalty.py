"""PEGO's regularizer: the pairs of a group stay orthogonal to the weight and to each other.

    weight * sum over projections of  sum_i ||W dW_i^T||_1 + sum_{i < j} ||dW_i dW_j^T||_1        dW_i = s B_i A_i

W is d_out x d_in, A_i is r x d_in and B_i d_out x r, the pairs of a `LoRAGroup`, s = alpha / r; ||.||_1 sums the
absolute values of all entries. Orthogonal to W, the pairs leave alone what the model knows; orthogonal to each other,
they learn different things, which generalizes to other domains.
Hu et al., ECCV 2024, https://arxiv.org/abs/2407.15085

Weight and sums are those of the authors' code, whose pairs have no scale. A step costs N (N + 1) / 2 matrices of
d_out x d_out a projection, for N pairs, each made of factors of rank r, and as many again for the gradient; those of
one projection are held at a time.
"""

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from graft.adapters import LoRAGroup
from graft.adapters.places import Place
from graft.rules.penalty import Penalty, exact


class PEGOPenalty(Penalty):
    """weight * (sum ||W dW_i^T||_1 + sum ||dW_i dW_j^T||_1): pairs orthogonal to W and each other (arXiv 2407.15085).

    Args:
        weight: What the sum is multiplied by.
    """

    acts_on = LoRAGroup

    def __init__(self, weight: float = 1e-3) -> None:
        super().__init__(weight)

    def penalty(self, model: nn.Module, step: int) -> Tensor:
        # Computed again for the gradient: else the matrices of all projections would be held at once.
        overlaps = [checkpoint(overlap, site, use_reentrant=False) for site in self.sites(model)]
        return self.weight * torch.stack(overlaps).sum()


def overlap(site: Place) -> Tensor:
    """sum_i ||W dW_i^T||_1 + sum_{i < j} ||dW_i dW_j^T||_1 of one projection."""
    assert isinstance(site.adapter, LoRAGroup)
    weight = exact(site.weight)
    pairs = [(exact(down), exact(up)) for down, up in site.adapter.members()]
    with_weight = [(weight @ down.T @ up.T).abs().sum() for down, up in pairs]
    with_others = [(b @ (a @ c.T) @ d.T).abs().sum() for (a, b), (c, d) in combinations(pairs, 2)]
    return torch.stack(with_weight + with_others).sum()
