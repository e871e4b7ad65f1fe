"""LoRA-Pro: the pair's gradients, chosen so that the weight moves as full fine-tuning would move it.

    minimize ||s (B g_A + g_B A) - G||_F:       g_A = 1/s^2 (B^T B)^-1 G_A + X A
                                                g_B = 1/s^2 (I - B (B^T B)^-1 B^T) G_B (A A^T)^-1 - B X
    where X solves                              B^T B X + X A A^T = -1/s^2 (B^T B)^-1 G_A A^T

G (d_out x d_in) is the gradient of the weight, which is never computed; G_A (r x d_in) and G_B (d_out x r) are those of
A (`down`) and B (`up`), s = alpha / r. Any X (r x r) moves the weight alike; this one keeps g_A and g_B as near to G_A
and G_B as can be. Two r x r eigendecompositions a projection and step give the inverses and X; those of all projections
of one shape are computed at once.
Wang et al., ICLR 2025, https://arxiv.org/abs/2407.18242

While B = 0 the paper sets g_A = G_A, which is zero, and g_B = 1/s^2 G_B (A A^T)^-1: what the formulas say with
pseudo-inverses, which we take. The optimizer gets the pair; the paper's costly variant, whose Adam keeps moments of
the d_out x d_in gradient, is not here. Directions below single precision's reach count as absent.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graft.adapters import LoRA
from graft.rules.base import Rule


class LoRAPro(Rule):
    """min ||s (B g_A + g_B A) - G||: gradients whose step is nearest to full fine-tuning's (arXiv 2407.18242)."""

    acts_on = LoRA
    decides = "the gradients"

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)

    @torch.no_grad()
    def before_step(self, model: nn.Module, step: int) -> None:
        alike: dict[Any, list[LoRA]] = {}
        for site in self.sites(model):
            adapter = site.adapter
            assert isinstance(adapter, LoRA)
            if adapter.down.grad is not None and adapter.up.grad is not None:
                key = (adapter.down.shape, adapter.up.shape, adapter.scale, adapter.down.dtype, adapter.down.device)
                alike.setdefault(key, []).append(adapter)
        for adapters in alike.values():
            downs, ups = [adapter.down for adapter in adapters], [adapter.up for adapter in adapters]
            stacks = stack(downs), stack(ups), stack(gradients(downs)), stack(gradients(ups))
            found = nearest(*stacks, scale=adapters[0].scale)
            for factors, chosen in zip((downs, ups), found, strict=True):
                for factor, gradient in zip(factors, chosen, strict=True):
                    factor.grad = gradient


def gradients(factors: Sequence[nn.Parameter]) -> list[Tensor]:
    """Those that factors have."""
    return [factor.grad for factor in factors if factor.grad is not None]


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Those of one shape as one tensor, (number, ...)."""
    return torch.stack(tuple(tensors))


def nearest(down: Tensor, up: Tensor, of_down: Tensor, of_up: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The pairs of gradients whose s (B g_A + g_B A) are nearest to the weights' gradients.

    Args:
        down: A, (..., r, d_in).
        up: B, (..., d_out, r).
        of_down: G_A, (..., r, d_in).
        of_up: G_B, (..., d_out, r).
        scale: s.
    """
    dtype = torch.promote_types(down.dtype, torch.float32)
    a, b, of_a, of_b = (tensor.to(dtype) for tensor in (down, up, of_down / scale**2, of_up / scale**2))
    values, vectors = spectrum(torch.stack([b.mT @ b, a @ a.mT]))  # (2, ..., r), (2, ..., r, r)
    (b_values, a_values), (b_vectors, a_vectors) = values, vectors
    b_inverse, a_inverse = (vectors * inverse(values)[..., None, :]) @ vectors.mT
    straight = b_inverse @ of_a  # (..., r, d_in)
    rotated = b_vectors.mT @ straight @ a.mT @ a_vectors  # (..., r, r)
    x = -b_vectors @ (rotated * inverse(b_values[..., :, None] + a_values[..., None, :])) @ a_vectors.mT
    outside = of_b - b @ (b_inverse @ (b.mT @ of_b))
    return (straight + x @ a).to(down.dtype), (outside @ a_inverse - b @ x).to(up.dtype)


def spectrum(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of Gram matrices, (..., r) and (..., r, r); zero but for rounding is zero."""
    values, vectors = torch.linalg.eigh(gram)
    rounding = values.shape[-1] * torch.finfo(values.dtype).eps * values[..., -1:]
    return torch.where(values > rounding, values, 0.0), vectors


def inverse(values: Tensor) -> Tensor:
    """1 / value, and 0 where a value is 0."""
    return torch.where(values > 0, 1 / values, 0.0)
