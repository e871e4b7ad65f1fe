"""LoRA-LEGO: an adapter is a heap of units of rank one; similar units of all adapters become one.

    u = [a; b], a row of A and a column of s B        K clusters of the a / |a| and b / |b|, by k-means
    m_c = mean of c's units, times mean |u|_inf / |m_c|_inf        dW = sqrt(r / K) sum_c b_c a_c^T

Zhao et al., ICLR 2025, https://arxiv.org/abs/2409.16167

r is the mean rank of the adapters and K, the rank of the result, is r unless given. The first factor makes up for what
the mean of unlike units loses in size, the second for the number of units. Read off a port of others: whether the paper
means the largest entry or the Euclidean norm was not to be had. 10 rounds of k-means from units drawn with a fixed
seed; clusters that end empty are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.combine.method import Method, check_rank
from graft.combine.pairs import Merged, Pair, total

ROUNDS = 10
SEED = 0


@dataclass(frozen=True)
class LEGO(Method):
    """Clusters of units of rank one, each the mean of its own, of the units' mean size.

    Args:
        rank: Number K of clusters; None is the mean rank of the adapters.
    """

    rotates: ClassVar[bool] = False
    rank: int | None = None

    def __post_init__(self) -> None:
        check_rank(self.rank)

    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        down, up = total(pairs, weights)
        units = torch.cat([down, up.T], dim=1)  # (N, d_in + d_out)
        features = torch.cat([F.normalize(down, dim=1), F.normalize(up.T, dim=1)], dim=1)
        mean_rank = len(units) / len(pairs)
        count = min(self.rank or round(mean_rank), len(units))
        labels = clusters(features, count)
        groups = [units[labels == c] for c in range(count)]
        centroids = torch.stack([centroid(group) for group in groups if len(group)])
        down, up = centroids.tensor_split([down.shape[1]], dim=1)
        return Merged(Pair(down, (mean_rank / count) ** 0.5 * up.T))


def clusters(features: Tensor, count: int) -> Tensor:
    """k-means: the cluster of each row, (N,)."""
    draw = torch.randperm(len(features), generator=torch.Generator().manual_seed(SEED))
    centers = features[draw[:count]]
    for _ in range(ROUNDS):
        labels = torch.cdist(features, centers).argmin(1)
        means = [features[labels == c].mean(0) if (labels == c).any() else centers[c] for c in range(count)]
        centers = torch.stack(means)
    return torch.cdist(features, centers).argmin(1)


def centroid(units: Tensor) -> Tensor:
    """The mean of a cluster's units, whose largest entry is as large as theirs in the mean."""
    mean = units.mean(0)
    size = units.abs().amax(1).mean()
    return mean * size / mean.abs().max().clamp_min(torch.finfo(mean.dtype).tiny)
