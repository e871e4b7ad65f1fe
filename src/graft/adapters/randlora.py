"""RandLoRA: many random frozen low-rank products, weighted by trained diagonals, so that the update has full rank.

    W' = W + s sum_n B_n L_n A G_n        n = 1 .. N, N = ceil(m / r), m = min(d_out, d_in)

B_n is max(d_out, d_in) x r and A is r x m (`bases`): random, frozen, the same for all layers, of which a smaller one
reads the first rows and columns. L_n = diag(`gate`[n]) is r x r and G_n = diag(`stretch`[n]) m x m, trained;
s = alpha / r. The sum is transposed where d_in > d_out. N (r + m) parameters a projection: a smaller rank trains more.
Albert et al., ICLR 2025, https://arxiv.org/abs/2502.00987

One A for all n, uniform bases of variance 1, L = 0, G = 1 / max(N, m) and rank 32 are as in PEFT, which, like the
authors' code, numbers the columns of the B_n differently: as they are random, that is the same method. PEFT's alpha is
20 r and asks for a lower learning rate; alpha = r (scale 1) is ours. So is that the bases are drawn row by row, so that
those of a layer do not depend on what other layers there are.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.bases import Shared, uniform


class RandLoRA(Adapter):
    """W' = W + s sum_n B_n L_n A G_n: random bases under trained diagonals, of full rank (arXiv 2502.00987).

    Trains ceil(min(d_in, d_out) / r) * (r + min(d_in, d_out)) values a projection.

    Folds the whole weight in every step: d_out x d_in x min(d_out, d_in) multiplications and a copy of the weight.

    Args:
        rank: Rank r of each random product; the smaller, the more of them.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        seed: Of the random bases.
    """

    targets = ("q", "k", "v", "o", "fc1", "fc2")

    def __init__(self, rank: int = 32, alpha: float | None = None, seed: int = 0) -> None:
        super().__init__(rank, alpha)
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        small, large = sorted(weight.shape)
        self.check_rank(weight, largest=small)
        count = math.ceil(small / self.rank)
        self.gate = nn.Parameter(weight.new_zeros(count, self.rank))
        self.stretch = nn.Parameter(weight.new_full((count, small), 1 / max(count, small)))
        made = RandomPairs(self.rank, self.seed, weight)
        bases = self.shared.setdefault((made.origin, weight.dtype, weight.device), made)
        assert isinstance(bases, RandomPairs)
        bases.cover(count, small, large)
        self.bases = bases

    def fold(self, weight: Tensor) -> Tensor:
        (small, large), count = sorted(weight.shape), len(self.gate)
        up = self.bases()[:large, :count].flatten(1)  # (large, N r)
        weights = self.scale * self.gate[:, :, None] * self.stretch[:, None]  # (N, r, small)
        update: Tensor = up @ (weights * self.bases.down[:, :small]).flatten(0, 1)  # (large, small)
        return weight + (update if update.shape == weight.shape else update.T)


class RandomPairs(Shared):
    """All B_n, (max(d_out, d_in), N, r), and A for the largest layer; a smaller one's are their first entries."""

    down: Tensor

    def __init__(self, rank: int, seed: int, weight: Tensor) -> None:
        super().__init__((RandomPairs, rank, seed), weight.new_empty(0, 0, rank))
        self.rank, self.seed = rank, seed
        self.register_buffer("down", weight.new_empty(rank, 0), persistent=False)  # (r, m)

    def cover(self, count: int, small: int, large: int) -> None:
        """Be large enough for one more layer; what is there already stays as it is."""
        if small > self.down.shape[1]:
            self.down = (3**0.5 * uniform(self.seed, 0, small, self.rank).T).to(self.down)
        if large > self.tensor.shape[0] or count > self.tensor.shape[1]:
            large, count = max(large, self.tensor.shape[0]), max(count, self.tensor.shape[1])
            drawn = [uniform(self.seed, 1 + n, large, self.rank) for n in range(count)]
            self.tensor = (3**0.5 * torch.stack(drawn, dim=1)).to(self.tensor)
