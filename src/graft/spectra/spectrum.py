"""Singular values of the adapted projections, and what is read off them."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from graft.adapters.places import Place, places


@dataclass(frozen=True)
class Spectrum:
    """Singular values of one projection, each (min(d_out, d_in),), falling, in float64.

    Args:
        block: Dotted name of the block.
        target: Of "q", "k", "v", "o", "fc1", "fc2".
        before: Of the frozen weight W.
        change: Of dW = W' - W.
        after: Of W'.
    """

    block: str
    target: str
    before: Tensor
    change: Tensor
    after: Tensor

    @property
    def relative(self) -> float:
        """||dW||_F / ||W||_F."""
        return float(self.change.norm() / self.before.norm())

    @property
    def top_share(self) -> float:
        """The share of ||dW||_F^2 that the largest singular value has; 0 where nothing has changed."""
        energy = self.change.square()
        return float(energy[0] / energy.sum()) if energy.any() else 0.0


def effective_rank(values: Tensor) -> float:
    """exp(H(p)) of p = s / sum s: 1 where a single value is not zero, n where n are alike, 0 where there is none.

    Roy and Vetterli, EUSIPCO 2007, https://ieeexplore.ieee.org/document/7098875

    Args:
        values: Singular values s, (n,).
    """
    if not values.any():
        return 0.0
    return float(torch.special.entr(values / values.sum()).sum().exp())


def spectra(model: nn.Module, blocks: Sequence[str] | None = None) -> Iterator[Spectrum]:
    """The spectra of all projections that an adapter changes, in the model's own order.

    Args:
        model: An adapted model.
        blocks: Dotted-name prefixes of the blocks that are wanted; None means all.

    Raises:
        ValueError: No adapter lies below a prefix.
    """
    for prefix in blocks or ():
        if not any(below(place, prefix) for place in places(model)):
            near = get_close_matches(prefix, [place.block for place in places(model)], cutoff=0)
            raise ValueError(f"No adapter lies in {prefix}; near are {', '.join(dict.fromkeys(near))}.")
    for place in places(model):
        if blocks is None or any(below(place, prefix) for prefix in blocks):
            for target, weight, change in changes(place):
                values = (torch.linalg.svdvals(matrix) for matrix in (weight, change, weight + change))
                yield Spectrum(place.block, target, *values)


def below(place: Place, prefix: str) -> bool:
    """Whether a place lies in a part of the model."""
    return f"{place.block}.".startswith(f"{prefix}.")


@torch.no_grad()
def changes(place: Place) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Target, W and dW = W' - W of each projection that an adapter acts on, in float64 and on the CPU."""
    exact = copy.deepcopy(place.adapter).cpu().double()
    for target, projection in place.projections.items():
        weight = projection.weight.detach().cpu().double()
        yield target, weight, exact.fold(weight) - weight
