"""WaRA, in our reading of the paper's v1: one low-rank pair, shared by the wavelet bands of the features.

    W' = W + s H_out^T (I_2 (x) B A) H_in = W + s (L_out^T B A L_in + D_out^T B A D_in)

A (`down`) is r x d_in/2, B (`up`) is d_out/2 x r, s = alpha / r. H = [L; D] is the orthonormal Haar transform of the
features: L takes the sums of neighbours, D their differences, over sqrt 2. r (d_in + d_out) / 2 parameters a
projection, half of LoRA's, for an update of rank 2r.
Heidari et al., 2025, https://arxiv.org/abs/2506.24092

Read off the figure of v1 and the abstracts: v1 transforms the activations (tokens x features) in both directions,
adapts the four bands with the same pair and transforms back. The pair acts on features alone, so the transform of the
tokens cancels and the static form above remains. Haar's own mixing cancels too: what remains of it is (B A) (x) I_2,
the pair on the even and on the odd features alike. v2 transforms only the tokens: with a linear pair that is shared by
all bands it is plain LoRA, for the same reason, and there is no class for it here.
B = 0, Kaiming-uniform A and alpha = r are ours, as in LoRA.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.low_rank import LowRankAdapter


class WaRA(LowRankAdapter):
    """W' = W + s H_out^T (I_2 (x) B A) H_in: one pair for both Haar bands (arXiv 2506.24092, v1; our reading).

    Trains r * (d_in + d_out) // 2 values a projection.

    Args:
        rank: Rank r of the pair; the update has rank 2r.
        alpha: The update is scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
        dropout: Probability of dropping an input feature on its way through the pair, in training.
    """

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha, dropout)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        if d_out % 2 or d_in % 2:
            raise ValueError(
                f"WaRA halves the features, which a {d_out} x {d_in} layer does not allow; choose layers of even width."
            )
        self.check_rank(weight, largest=min(d_out, d_in) // 2)
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in // 2))
        self.up = nn.Parameter(weight.new_zeros(d_out // 2, self.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        return from_bands(self.down), self.scale * from_bands(self.up.T).T


def from_bands(half: Tensor) -> Tensor:
    """(r, d/2) -> (2r, d): the rows as Haar's sums, transformed back, and then as Haar's differences."""
    sums = torch.stack([half, half], dim=-1).flatten(-2)
    differences = torch.stack([half, -half], dim=-1).flatten(-2)
    return torch.cat([sums, differences]) / math.sqrt(2)
