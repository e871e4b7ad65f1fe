"""SNELL: a kernel of two thin factors makes a full matrix, of which only the largest entries count.

    W' = W + f(P, Q) - f(P_0, Q_0)        f = K |K| [|K| > t]        K_ij = .1 (||Q_i^1 - P_j^1|| - ||Q_i^2 - P_j^2||)

P^h (`down`) is d_in x r/2, Q^h (`up`) is d_out x r/2, for two heads h: r (d_in + d_out) parameters a projection, as
many as LoRA's, but distances instead of products, so that K has a rank above r. t is such that a share `sparsity` of
the |K| is at most t; it is chosen anew in every step. |K| and t count as constants where gradients are taken.
Shen et al., NeurIPS 2024, https://arxiv.org/abs/2411.01800

As in the authors' code, f weights K with |K|, where a mask would be 0 or 1, and the start is Kaiming-uniform, so that f
is not 0. That f(P_0, Q_0), the first update, is subtracted, so that a fresh adapter is the identity, is ours. It is one
matrix for all layers of a shape, which start with the same P_0 and Q_0, and is in no file: `seed` gives it again.
rank 32 and sparsity .3 are those of their script for CUB; others of theirs go from 0 to .995. Where entries tie, all
that are at most t are left out, so that no device's choice among them matters; only rounding, near t, may differ.
SNELLA (arXiv 2510.24037), which adds a softmax to K and divides the sparsity among the layers, is not here.
"""

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.bases import Shared, uniform


class SNELL(Adapter):
    """W' = W + K |K| [|K| > t] - its start: the largest entries of a kernel matrix (arXiv 2411.01800).

    Trains r * (d_in + d_out) values a projection.

    Folds the whole weight in every step: d_out x d_in x r multiplications, a selection among d_out x d_in values, and
    about four copies of the weight, kept for the gradients. Holds one copy of the weight more for each shape.

    Args:
        rank: Features r of the kernel, an even number: half of them in each head.
        sparsity: Share of the entries that are left at zero, between 0 and 1.
        seed: Of the factors' first values.
    """

    targets = ("q", "k", "v", "o", "fc1", "fc2")

    def __init__(self, rank: int = 32, sparsity: float = 0.3, seed: int = 0) -> None:
        super().__init__(rank)
        if rank % 2:
            raise ValueError(f"rank is {rank}; SNELL divides it over two heads, so give an even number.")
        if not 0 < sparsity < 1:
            raise ValueError(f"sparsity is {sparsity}; give a share above 0 and below 1.")
        self.sparsity = sparsity
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(factor(self.seed, 0, d_in, self.rank).to(weight))
        self.up = nn.Parameter(factor(self.seed, 1, d_out, self.rank).to(weight))
        origin = (SNELL, self.rank, self.sparsity, self.seed, d_out, d_in)
        key = (origin, weight.dtype, weight.device)
        if key not in self.shared:
            self.shared[key] = Shared(origin, self.update().detach())
        self.start = self.shared[key]

    def fold(self, weight: Tensor) -> Tensor:
        change: Tensor = self.update() - self.start()
        return weight + change

    def update(self) -> Tensor:
        """f(P, Q) of (d_out, d_in)."""
        exact = torch.promote_types(self.up.dtype, torch.float32)  # the distances are close to each other
        first, second = torch.cdist(self.up.to(exact), self.down.to(exact))  # (d_out, d_in) each
        kernel = 0.1 * (first - second)
        size = kernel.detach().abs()
        zeros = 1 + int(self.sparsity * (size.numel() - 1))
        threshold = size.flatten().kthvalue(zeros).values
        update: Tensor = kernel * size.where(size > threshold, 0)
        return update.to(self.up.dtype)


def factor(seed: int, stream: int, width: int, rank: int) -> Tensor:
    """P_0 or Q_0 of (2, width, rank / 2), Kaiming-uniform as in the authors' code."""
    return uniform(seed, stream, 2, width, rank // 2).div_((width * rank // 2) ** 0.5)
