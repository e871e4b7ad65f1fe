"""Adapters whose rank training decides: a gate for each of their pairs.

A gate of 0 shuts its pair out, so a rule that drives gates to 0 (or opens them one by one) changes the rank while all
parameters keep their shapes. For good, what is shut is cut away.
"""

import copy

import torch
from torch import nn
from typing_extensions import Self

from graft.adapters.base import Adapter


class Gated(Adapter):
    """A method with one gate g_i for each pair of a row of A and a column of B: s B diag(g) A."""

    down: nn.Parameter
    """A, (r, d_in)."""

    up: nn.Parameter
    """B, (d_out, r), or (d_in, r) where it acts on the input."""

    gate: nn.Parameter
    """g, (r,). A vector, so that it has no weight decay."""

    def cut(self) -> Self:
        """Without the pairs whose gate is 0: the same s, at the rank that is left, which is at least 1.

        Where what the factors started with is subtracted (`LowRankAdapter.start`), no pair is without use.
        """
        open_ = self.gate.detach().ne(0)
        if open_.all() or getattr(self, "start_up", None) is not None:
            return self
        open_[0] |= not open_.any()  # one pair that does nothing, where all are shut
        smaller = copy.deepcopy(self)
        smaller.rank = int(open_.sum())
        smaller.alpha = None if self.alpha is None else self.scale * smaller.rank
        with torch.no_grad():
            smaller.down = nn.Parameter(self.down[open_], self.down.requires_grad)
            smaller.up = nn.Parameter(self.up[:, open_], self.up.requires_grad)
            smaller.gate = nn.Parameter(self.gate[open_], self.gate.requires_grad)
        return smaller
