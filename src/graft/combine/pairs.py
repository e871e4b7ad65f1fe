"""What is combined at one place: updates as pairs of thin matrices, in float64."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """An update up @ down of a weight, or of the identity before it; all scales are in `up`.

    Args:
        down: (R, d_in).
        up: (d_out, R), or (d_in, R) where it acts on the input.
    """

    down: Tensor
    up: Tensor

    @property
    def square(self) -> float:
        """The squared Frobenius norm of the update."""
        return float(((self.up.T @ self.up) * (self.down @ self.down.T)).sum())


class Merged(NamedTuple):
    """What several updates were combined into, and the squared norm of what its rank had no room for."""

    pair: Pair
    lost: float = 0.0


def total(pairs: Sequence[Pair], weights: Sequence[float]) -> Pair:
    """Their weighted sum, exactly: downs and ups side by side."""
    ups = [weight * pair.up for weight, pair in zip(weights, pairs, strict=True)]
    return Pair(torch.cat([pair.down for pair in pairs]), torch.cat(ups, dim=1))


def nearest(pair: Pair, rank: int) -> Merged:
    """The pair of this rank that is nearest in the Frobenius norm; no matrix of the weight's size is made."""
    left, small_up = torch.linalg.qr(pair.up)
    right, small_down = torch.linalg.qr(pair.down.T)
    near, lost = cut(small_up @ small_down.T, rank)
    return Merged(Pair(near.down @ right.T, left @ near.up), lost)


def cut(update: Tensor, rank: int) -> Merged:
    """The largest singular triples of an update (d_out, d_in); each factor takes the roots of the singular values."""
    left, values, right = torch.linalg.svd(update, full_matrices=False)
    root = values[:rank].sqrt()
    pair = Pair(root[:, None] * right[:rank], left[:, :rank] * root)
    return Merged(pair, float(values[rank:].square().sum()))
