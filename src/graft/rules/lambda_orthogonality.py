"""Lambda-orthogonality of Serial LoRA's map (our cross): what q, k and v read may turn, but hardly stretch.

    weight * mean over blocks of sigmoid(slope (N - threshold)) N        N = ||T T^T - I||_F,  T = I + s B A

T (d x d) is the map of `SerialLoRA`, A (`down`) is r x d, B (`up`) is d x r, s = alpha / r. Below the threshold (the
paper's lambda) the penalty fades out, above it T is drawn back towards a rotation, which keeps the angles between
features. T is never computed: with P = [B, A^T] (d x 2r) and K = [[s^2 A A^T, s I], [s I, 0]], T T^T - I = P K P^T, so
N^2 = tr(K P^T P K P^T P), a trace of 2r x 2r matrices.
Ricci et al., lambda-Orthogonality Regularization, NeurIPS 2025, https://arxiv.org/abs/2509.16664

The penalty is the paper's, which puts it on one dense map of features with threshold 12 and weight 1. To put it on
Serial LoRA is ours, and so are the threshold, for a map that differs from I by rank r alone, the slope, which the paper
shows only in a figure, and the mean over blocks.
"""

import torch
from torch import Tensor, nn

from graft.adapters import SerialLoRA
from graft.rules.penalty import Penalty, exact


class LambdaOrthogonality(Penalty):
    """N = ||T T^T - I||_F, + weight * sigmoid(slope (N - threshold)) N: T = I + s B A nearly orthogonal (ours, after
    arXiv 2509.16664).

    Args:
        weight: What the mean over blocks is multiplied by.
        threshold: The distance N from a rotation that is let be, at least 0.
        slope: How sharply the penalty sets in there, above 0.
    """

    acts_on = SerialLoRA

    def __init__(self, weight: float = 1.0, threshold: float = 1.0, slope: float = 10.0) -> None:
        super().__init__(weight)
        if not threshold >= 0:
            raise ValueError(f"LambdaOrthogonality's threshold is {threshold}; give a distance of at least 0.")
        if not slope > 0:
            raise ValueError(f"LambdaOrthogonality's slope is {slope}; give a number above 0.")
        self.threshold = threshold
        self.slope = slope

    def penalty(self, model: nn.Module, step: int) -> Tensor:
        adapters = [site.adapter for site in self.sites(model)]
        norms = torch.stack([from_rotation(a.down, a.up, a.scale) for a in adapters if isinstance(a, SerialLoRA)])
        return self.weight * (torch.sigmoid(self.slope * (norms - self.threshold)) * norms).mean()


def from_rotation(down: Tensor, up: Tensor, scale: float) -> Tensor:
    """||T T^T - I||_F of T = I + scale * up @ down; its gradient at T = I is 0."""
    down, up = exact(down), exact(up)
    p = torch.cat([up, down.T], dim=1)  # (d, 2r)
    s = scale * torch.eye(len(down), dtype=down.dtype, device=down.device)
    k = torch.cat([torch.cat([scale**2 * down @ down.T, s], dim=1), torch.cat([s, torch.zeros_like(s)], dim=1)])
    product = k @ (p.T @ p)  # (2r, 2r)
    square = (product * product.T).sum()  # the trace of its square
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
