"""TeRA: a random frozen tensor network that vectors scale. The structure is the paper's, the formula OUR READING of it.

    W' = W + alpha X        X = G x_1 U_1 diag(d_1) x_2 U_2 diag(d_2) x_3 U_3 diag(d_3) x_4 U_4 diag(d_4)

d_out = I_1 I_2 and d_in = I_3 I_4, each split as evenly as it can be (768 = 24 x 32); the I_1 x I_2 x I_3 x I_4 tensor
X is read as d_out x d_in. The core G, of the size of X, and the I_n x I_n factors U_n (`factors`) are random, frozen
and the same for all layers of a shape; the vectors d_n (`gates`) of length I_n are trained: I_1 + I_2 + I_3 + I_4
parameters a projection, 112 at 768 x 768, for an update of full rank.
Gu et al., ACL 2026, https://arxiv.org/abs/2509.03234

Of the paper we could read that a large random tensor network of Tucker's form is shared and frozen and only diagonal
factors train. Square modes, orthogonal U_n, entries of G of variance 1 / d_in, d_1 = 0 and the others 1 are ours.
"""

import math

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.bases import generator, orthogonal, shared


class TeRA(Adapter):
    """W' = W + alpha G x_n U_n diag(d_n): vectors that scale a random frozen tensor (arXiv 2509.03234; our reading).

    Trains sum(split(d_out)) + sum(split(d_in)) values a projection.

    Folds the whole weight in every step: d_out x d_in x (I_1 + I_2 + I_3 + I_4) multiplications and copies of the
    weight. Holds one random tensor of the weight's size for all layers of a shape.

    Args:
        alpha: The update is multiplied by it.
        seed: Of the random tensors.
    """

    def __init__(self, alpha: float = 1.0, seed: int = 0) -> None:
        super().__init__(rank=1, alpha=alpha)  # so that s = alpha
        self.seed = seed

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.modes = [*split(d_out), *split(d_in)]
        gates = weight.new_ones(sum(self.modes))  # d_1 to d_4, one after the other
        gates[: self.modes[0]] = 0
        self.gates = nn.Parameter(gates)
        self.core = shared(self, weight, core, self.seed, *self.modes)
        self.factors = nn.ModuleList(
            shared(self, weight, orthogonal, self.seed, 1 + mode, size) for mode, size in enumerate(self.modes)
        )

    def fold(self, weight: Tensor) -> Tensor:
        gates = torch.split(self.gates, self.modes)
        gated = [factor() * gate for factor, gate in zip(self.factors, gates, strict=True)]
        update = torch.einsum("abcd,ia,jb,kc,ld->ijkl", self.core(), *gated)
        return weight + self.scale * update.reshape(weight.shape)


def core(seed: int, *modes: int) -> Tensor:
    """G of shape `modes`, with entries of variance 1 / d_in."""
    return torch.randn(modes, generator=generator(seed, 0)).div_((modes[2] * modes[3]) ** 0.5)


def split(size: int) -> tuple[int, int]:
    """Two factors of a size, as close to each other as they can be, the smaller first."""
    smaller = max(factor for factor in range(1, math.isqrt(size) + 1) if size % factor == 0)
    return smaller, size // smaller
