"""SALT: the largest singular values scaled and shifted, a low-rank pair among the others.

    W = U diag(S) V^T        W' = U relu( [diag(a * S_k + b)] (+) [diag(S_rest) + X Y] ) V^T

k of the m = min(d_out, d_in) singular values are scaled by a (`gain`, k) and shifted by b (`offset`, k). X (`up`) is
(m - k) x r, Y (`down`) is r x (m - k): 2 k + 2 r (m - k) parameters a projection. U, S and V come from W alone.
Elsayed et al., BMVC 2025, https://arxiv.org/abs/2503.16055

As in the authors' code: a = 1, b = 0, Y = 0, X Kaiming-uniform with a = sqrt(20), and the relu acts on the whole core,
not on its diagonal alone. S is not negative, so a fresh core passes it unchanged; of X Y only what is above zero counts
off the diagonal. Computed as W + U (core' - core) V^T, which is exactly W at the start. The ratio k / m was not found:
1/2 is ours, and so is the rank. The authors' penalty on a, b, X and Y, which their configuration weights by 0, is left
out.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.svd import svd


class SALT(Adapter):
    """W = U diag(S) V^T, W' = U relu([a S_k + b] (+) [S_rest + X Y]) V^T: scaled and shifted singular values, and a
    low-rank rest (arXiv 2503.16055).

    Trains 2 * ceil(ratio * min(d_out, d_in)) + 2 * r * (min(d_out, d_in) - ceil(ratio * min(d_out, d_in)))
    values a projection. Folds the whole weight in every step: d_out x m x d_in + d_out x (m - k)^2 multiplications,
    with m = min(d_out, d_in) and k = ceil(ratio * m), and a copy of the weight; U and V weigh up to two more.

    Args:
        rank: Rank r of the pair among the smaller singular values, at most as many as they are.
        ratio: Share of the singular values that are scaled and shifted, above 0 and below 1.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    def __init__(self, rank: int = 8, ratio: float = 0.5) -> None:
        super().__init__(rank)
        if not 0 < ratio < 1:
            raise ValueError(f"ratio is {ratio}; give the share of singular values to scale, above 0 and below 1.")
        self.ratio = ratio

    def setup(self, weight: Tensor) -> None:
        m = min(weight.shape)
        k = math.ceil(self.ratio * m)
        self.check_rank(weight, largest=m - k)
        for name, part in zip(("left", "values", "right"), svd(weight), strict=True):
            self.register_buffer(name, part, persistent=False)
        self.gain = nn.Parameter(weight.new_ones(k))
        self.offset = nn.Parameter(weight.new_zeros(k))
        self.up = nn.Parameter(weight.new_empty(m - k, self.rank))
        self.down = nn.Parameter(weight.new_zeros(self.rank, m - k))
        nn.init.kaiming_uniform_(self.up, a=math.sqrt(20))

    def fold(self, weight: Tensor) -> Tensor:
        top, rest = self.values.tensor_split([len(self.gain)])
        scaled = (self.gain * top + self.offset).relu() - top  # (k,)
        mixed = (rest.diag() + self.up @ self.down).relu() - rest.diag()  # (m - k, m - k)
        left_top, left_rest = self.left.tensor_split([len(top)], dim=1)
        return weight + torch.cat([left_top * scaled, left_rest @ mixed], dim=1) @ self.right
