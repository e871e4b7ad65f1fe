"""TLoRA: the weight turned by a full-rank tensor-ring matrix, and a tensor ring added.

    W' = W T + R        T[i1 i2 i3, j1 j2 j3] = tr( A1[i1, j1] A2[i2, j2] A3[i3, j3] )
                        R[i1 i2 i3, j1 j2 j3] = tr( B1[i1] B2[i2] B3[i3] C1[j1] C2[j2] C3[j3] )

d_in = I1 I2 I3 and d_out alike are split into three factors that are as near to each other as can be, such as 768 =
8 x 8 x 12 (a prime has factors of 1). An entry of A (`transform`) is R_T x R_T, one of B (`rows`) and C (`columns`) is
R x R; the matrix rank of what is added is at most R^2: R_T^2 sum I^2 + R^2 (sum I_in + sum I_out) parameters a
projection. The paper writes TLoRA(R_T, R) for what are `transform_rank` and `rank` here.
Tao et al., ICCV 2025, https://arxiv.org/abs/2501.08727

The paper's start: A = identity / R_T throughout, so that T = I; B1 = 0 and the other B and C from N(0, sigma^2) with
sigma of the order sqrt(R) / (I R). Ours: the split, the ranks, the constant 1 of sigma; there is no alpha. Ours also is
what breaks the paper's symmetry, in which the R_T^2 slices of A have equal gradients and stay equal for good: A2 and A3
start with noise of the same sigma, whose mean over the ring is zero, so that T is still I, to rounding. What is trained
and stored is A less identity / R_T: weight decay pulls T towards I.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter


class TLoRA(Adapter):
    """W' = W T + R: a tensor-ring matrix T times the weight and a tensor ring R beside it (arXiv 2501.08727).

    Trains transform_rank**2 * sum(i * i for i in split(d_in)) + r**2 * (sum(split(d_in)) + sum(split(d_out)))
    values a projection. Folds the whole weight in every step: d_out x d_in x d_in multiplications, and about
    (transform_rank x d_in)^2 + r^2 x d_in x d_out for the rings; holds T, R and a copy of the weight.

    Args:
        rank: Ring rank R of what is added.
        transform_rank: Ring rank R_T of what the weight is multiplied with.
    """

    def __init__(self, rank: int = 4, transform_rank: int = 2) -> None:
        super().__init__(rank)
        if transform_rank < 1:
            raise ValueError(f"transform_rank is {transform_rank}; a ring needs a whole number of at least 1.")
        self.transform_rank = transform_rank

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        ring, inner = (self.rank,) * 2, (self.transform_rank,) * 2
        self.transform = nn.ParameterList(nn.Parameter(weight.new_zeros(i, i, *inner)) for i in split(d_in))
        self.rows = nn.ParameterList(nn.Parameter(weight.new_zeros(i, *ring)) for i in split(d_out))
        self.columns = nn.ParameterList(nn.Parameter(weight.new_zeros(i, *ring)) for i in split(d_in))
        for core in [*self.transform[1:], *self.rows[1:], *self.columns]:
            nn.init.normal_(core, std=1 / (len(core) * core.shape[-1] ** 0.5))
        for core in self.transform[1:]:
            core.data -= core.data.mean(-1, keepdim=True)

    def turn(self) -> Tensor:
        """T, (d_in, d_in), at least in float32: what is trained are small differences from 1."""
        exact = torch.promote_types(self.transform[0].dtype, torch.float32)
        cores = [core.to(exact) + eye(core, exact)[:, :, None, None] / self.transform_rank for core in self.transform]
        with torch.autocast(cores[0].device.type, enabled=False):
            return torch.einsum("aipq,bjqr,ckrp->abcijk", *cores).flatten(3).flatten(0, 2)

    def residual(self) -> Tensor:
        """R, (d_out, d_in)."""
        rows = torch.einsum("apq,bqr,crs->abcps", *self.rows).flatten(3).flatten(0, 2)  # (d_out, R^2)
        columns = torch.einsum("xst,ytu,zup->xyzps", *self.columns).flatten(3).flatten(0, 2)  # (d_in, R^2)
        return rows @ columns.T

    def fold(self, weight: Tensor) -> Tensor:
        turn = self.turn()
        return weight + weight @ (turn - eye(turn, turn.dtype)).to(weight.dtype) + self.residual()


def eye(like: Tensor, dtype: torch.dtype) -> Tensor:
    """The identity with as many rows as a tensor, on its device."""
    return torch.eye(len(like), dtype=dtype, device=like.device)


def split(n: int) -> tuple[int, int, int]:
    """n as a product of three rising factors, with the smallest sum."""
    pairs = [(a, b) for a in range(1, n + 1) if n % a == 0 for b in range(a, math.isqrt(n // a) + 1) if n // a % b == 0]
    return min(((a, b, n // (a * b)) for a, b in pairs), key=sum)
