"""LoCA: a few cosines, whose amplitudes and frequencies are learned.

    W' = W + alpha C_out^T S C_in        S zero but for S[l_k] = a_k, k = 1 .. n

C_out (d_out x d_out) and C_in (d_in x d_in) are orthonormal DCT-II matrices, so the update is the inverse discrete
cosine transform of S. Trained are n amplitudes a (`coefficients`) and n locations l in parts of the whole, u (`rows`)
and v (`columns`): l = round(clamp(u, 0, .999) (d_out - 1)), round(clamp(v, 0, .999) (d_in - 1)). 3 n parameters a
projection; the paper counts n, since its locations stop moving after the first tenth of the training.
Du et al., ICLR 2025, https://arxiv.org/abs/2502.06820

With K = DCT2(dL/ddW), the gradient of a_k is K[l_k]; that of a location goes straight through the rounding and is the
central difference a_k / 2 (K[l + 1] - K[l - 1]), at most 1 in size, a neighbour beyond the edge being the edge.
a = 0, u and v uniform, n = 1000, alpha = 1, q and v are the paper's. It trains coefficients and locations in turns,
which the rule `LoCAAlternation` does; without it both are trained in every step. Where locations meet, a_k add up.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from graft.adapters.base import Adapter
from graft.adapters.bases import shared


class LoCA(Adapter):
    """W' = W + alpha iDCT2(S): cosines of learned amplitude and frequency (arXiv 2502.06820).

    Trains 3 * count values a projection.

    Folds the whole weight in every step: d_out x d_in x (d_out + d_in) multiplications, the same again for the
    gradients, and copies of the weight. Holds a d x d transform once for all layers of a width d.

    Args:
        alpha: The update is multiplied by it.
        count: Number n of cosines.
    """

    targets = ("q", "v")

    def __init__(self, alpha: float = 1.0, count: int = 1000) -> None:
        super().__init__(rank=1, alpha=alpha)  # so that s = alpha
        if count < 1:
            raise ValueError(f"count is {count}; LoCA needs at least 1 cosine.")
        self.count = count

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.coefficients = nn.Parameter(weight.new_zeros(self.count))
        self.rows = nn.Parameter(weight.new_empty(self.count).uniform_())
        self.columns = nn.Parameter(weight.new_empty(self.count).uniform_())
        self.cosines_out = shared(self, weight, cosines, d_out)
        self.cosines_in = shared(self, weight, cosines, d_in)

    def fold(self, weight: Tensor) -> Tensor:
        exact = torch.promote_types(weight.dtype, torch.float32)
        rows, columns = (
            part.float().clamp(0, 0.999) * (size - 1)  # in every dtype the same location
            for part, size in zip((self.rows, self.columns), weight.shape, strict=True)
        )
        spectrum = Spectrum.apply(self.coefficients.to(exact), rows, columns, *weight.shape)
        with torch.autocast(weight.device.type, enabled=False):  # a thousand cosines, one upon the other
            update: Tensor = self.cosines_out().T.to(exact) @ spectrum @ self.cosines_in().to(exact)
        return weight + self.scale * update.to(weight.dtype)


class Spectrum(Function):
    """S of (d_out, d_in), from n coefficients and their n rows and columns, which need not be whole numbers."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, rows: Tensor, columns: Tensor, d_out: int, d_in: int) -> Tensor:
        ctx.save_for_backward(coefficients, rows, columns)
        places = rows.round().long(), columns.round().long()
        return coefficients.new_zeros(d_out, d_in).index_put(places, coefficients, accumulate=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        coefficients, rows, columns = ctx.saved_tensors
        i, j = rows.round().long(), columns.round().long()
        above, below = (i - 1).clamp(min=0), (i + 1).clamp(max=len(gradient) - 1)
        left, right = (j - 1).clamp(min=0), (j + 1).clamp(max=gradient.shape[1] - 1)
        by_row = (coefficients / 2 * (gradient[below, j] - gradient[above, j])).clamp(-1, 1)
        by_column = (coefficients / 2 * (gradient[i, right] - gradient[i, left])).clamp(-1, 1)
        return gradient[i, j], by_row, by_column, None, None


def cosines(size: int) -> Tensor:
    """The orthonormal DCT-II matrix: row k holds the cosine of frequency k, at size points."""
    points = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    matrix = (math.pi * torch.arange(size, dtype=torch.float64)[:, None] * points).cos()
    matrix[0] /= 2**0.5
    return matrix.mul_((2 / size) ** 0.5)
