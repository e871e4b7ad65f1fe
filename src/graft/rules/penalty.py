"""Penalties that keep factors orthogonal: what they share."""

import torch
from torch import Tensor, nn

from graft.rules.base import Rule


class Penalty(Rule):
    """Adds a weighted penalty to the loss.

    Args:
        weight: What the penalty is multiplied by, above 0.
    """

    def __init__(self, weight: float) -> None:
        if not 0 < weight < float("inf"):
            raise ValueError(f"{type(self).__name__}'s weight is {weight}; give a number above 0.")
        self.weight = weight

    def prepare(self, model: nn.Module) -> None:
        self.sites(model)


def from_identity(gram: Tensor) -> Tensor:
    """||gram - I||_F."""
    norm: Tensor = torch.linalg.matrix_norm(gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    return norm


def exact(tensor: Tensor) -> Tensor:
    """At least in float32: what squares and cancels."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
