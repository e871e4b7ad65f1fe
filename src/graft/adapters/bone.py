"""Bone: the weight in square blocks, each moved along itself by the matrix of its row of blocks.

    W'_ij = W_ij + W_ij D_i + D_i

W_ij are the r x r blocks of W, so r must divide d_in and d_out. D_i (`blocks[i]`) is r x r, one for each
row of blocks: r d_out parameters a projection.
Kang, 2024, https://arxiv.org/abs/2409.15371

This is the form that the paper calls "Bat", and an earlier version of it Bone; `MiSS` is what became of the method.
The update is W (block by block) times D, so its rank is not bounded by r. D starts at zero; there is no scale. The
rank and the targets are our defaults: the paper adapts language models, at rank 64.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter


class Bone(Adapter):
    """W'_ij = W_ij + W_ij D_i + D_i: square blocks of the weight, moved along themselves (arXiv 2409.15371).

    Trains r * d_out values a projection.

    Folds the whole weight in every step: d_out x d_in x r multiplications, a copy of the weight and a gradient of its
    size.

    Args:
        rank: Width r of a block: a divisor of the layer's input and output features.
    """

    def __init__(self, rank: int = 8) -> None:
        super().__init__(rank)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        if d_out % self.rank or d_in % self.rank:
            raise ValueError(
                f"rank {self.rank} does not divide the {d_in} input and {d_out} output features of a {d_out} x {d_in} "
                f"layer; choose a divisor of {math.gcd(d_in, d_out)}."
            )
        self.blocks = nn.Parameter(weight.new_zeros(d_out // self.rank, self.rank, self.rank))

    def fold(self, weight: Tensor) -> Tensor:
        r = self.rank
        parts = weight.reshape(len(weight) // r, r, -1, r)  # (d_out / r, r, d_in / r, r)
        update = torch.einsum("iajb,ibc->iajc", parts, self.blocks) + self.blocks[:, :, None]
        return weight + update.reshape(weight.shape)
