"""TIES-Merging: trim each update, elect a sign for each entry, and take the mean of those that agree with it.

    t_i = the `density` largest entries of dW_i        g = sign(t_1 + ... + t_n)
    dW = mean of w_i t_i over the i whose sign is g, entry by entry

Yadav et al., NeurIPS 2023, https://arxiv.org/abs/2306.01708

It acts on the updates dW = s B A themselves, not on A and B, whose entries mean nothing by themselves: A and B may be
mixed by any invertible r x r matrix. What comes out has full rank, so it is cut to `rank` by its singular values, and
the share of the norm that is lost is said. The paper trims over all layers at once, and scales the result by one factor
for all; here each place is trimmed by itself, as PEFT does, and the weights are that factor. It is no sum: two equal
updates give one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graft.combine.method import Method, check_rank, largest_rank
from graft.combine.pairs import Merged, Pair, cut


@dataclass(frozen=True)
class TIES(Method):
    """The mean of trimmed updates where their signs agree, cut to a rank.

    Args:
        rank: None is that of the largest of the updates.
        density: Share of each update's entries that trimming leaves, above 0 and at most 1.
    """

    rotates: ClassVar[bool] = False
    rank: int | None = None
    density: float = 0.2

    def __post_init__(self) -> None:
        check_rank(self.rank)
        if not 0 < self.density <= 1:
            raise ValueError(f"density is {self.density}; give a share above 0 and at most 1.")

    def merge(self, pairs: Sequence[Pair], weights: Sequence[float]) -> Merged:
        trimmed = torch.stack([self.trim(pair.up @ pair.down) for pair in pairs])
        elected = torch.where(trimmed.sum(0) >= 0, 1.0, -1.0)
        agree = trimmed.sign() == elected
        sizes = trimmed.new_tensor(weights)[:, None, None] * trimmed
        mean = (sizes * agree).sum(0) / agree.sum(0).clamp_min(1)
        return cut(mean, self.rank or largest_rank(pairs))

    def trim(self, update: Tensor) -> Tensor:
        """The largest entries of an update, and zeros."""
        kept = update.abs().flatten().topk(max(1, int(self.density * update.numel()))).indices
        return torch.zeros_like(update).flatten().index_copy(0, kept, update.flatten()[kept]).view_as(update)
