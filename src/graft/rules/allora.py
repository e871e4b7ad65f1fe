"""ALLoRA: rows of the update that are still small learn faster.

    c_i = 1 / sqrt(||(B A)_i|| + 1 / eta^2)         dL/dA = B^T diag(c) G        dL/dB = diag(c) G A^T

G (d_out x d_in) is the gradient of the update B A, and c_i multiplies its row i, for every sample and token; what the
layer passes back to its input is not scaled, so that the layers before it learn from the true gradient. The norm is
not squared inside the root, as the paper writes it.
Huang and Balestriero, 2024, https://arxiv.org/abs/2410.09692

At B = 0 every c_i is eta, and falls as its row grows. An optimizer that normalizes gradients, such as AdamW, does not
feel a factor that all rows share: there eta alone sets how much sooner small rows move than large ones. The paper's
LoRA has no alpha and no dropout. Here the update is whatever a low-rank adapter adds to the weight, its scale
included. The paper's eta could not be found: 1, with which no gradient is ever enlarged, is our default.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graft.adapters import LowRankAdapter
from graft.rules.base import Rule


class ALLoRA(Rule):
    """c_i = 1 / sqrt(||(B A)_i|| + 1 / eta^2): row i of the update's gradient times c_i (arXiv 2410.09692).

    Args:
        eta: The factor of rows that are zero, above 0; the larger, the more small rows lead.
    """

    acts_on = LowRankAdapter
    decides = "the gradients"

    def __init__(self, eta: float = 1.0) -> None:
        if not 0 < eta < float("inf"):
            raise ValueError(f"ALLoRA's eta is {eta}; give a number above 0.")
        self.eta = eta

    def prepare(self, model: nn.Module) -> None:
        for site in self.sites(model):
            assert isinstance(site.adapter, LowRankAdapter)
            site.adapter.product = ScaledProduct(self.eta)


@dataclass(frozen=True)
class ScaledProduct:
    """The product of a low-rank adapter, with scaled gradients of its factors: an object, which pickles."""

    eta: float

    def __call__(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out): x, down and up multiplied."""
        output: Tensor = ScaledGradients.apply(x, down, up, self.eta)
        return output


class ScaledGradients(torch.autograd.Function):
    """x, down and up multiplied; backwards each row of up @ down has a factor of its own, and x has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, up: Tensor, eta: float) -> Tensor:
        ctx.save_for_backward(x, down, up)
        ctx.eta = eta
        return F.linear(F.linear(x, down), up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, down, up = (tensor.to(gradient.dtype) for tensor in ctx.saved_tensors)
        factors = row_factors(ctx.saved_tensors[1], ctx.saved_tensors[2], ctx.eta).to(gradient.dtype)
        of_x = gradient @ up @ down if ctx.needs_input_grad[0] else None
        scaled = (gradient * factors).flatten(0, -2)  # (tokens, d_out)
        x = x.flatten(0, -2)  # (tokens, d_in)
        return of_x, (scaled @ up).T @ x, scaled.T @ (x @ down.T), None


def row_factors(down: Tensor, up: Tensor, eta: float) -> Tensor:
    """c (d_out,), from the norms of the rows of up @ down, which is not computed: r^2 multiplications a row."""
    dtype = torch.promote_types(down.dtype, torch.float32)
    down, up = down.to(dtype), up.to(dtype)
    squares = (up @ (down @ down.T) * up).sum(1).clamp_min(0)
    return (squares.sqrt() + eta**-2).rsqrt()
