"""Methods whose update is a product of two thin matrices."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import Adapter, check_dropout


class LowRankAdapter(Adapter):
    """A method that adds a low-rank product: W' = W + up @ down.

    On a fused layer the products of several projections are computed as one (see `linear.Fused`). What does not start
    at zero is begun with `start`: its first product is subtracted from then on, and a fresh adapter is the identity.
    """

    start_down: Tensor | None
    start_up: Tensor | None

    def __init__(self, rank: int = 8, alpha: float | None = None, dropout: float = 0.0) -> None:
        super().__init__(rank, alpha)
        check_dropout(dropout)
        self.dropout = dropout
        self.drop = nn.Dropout(dropout)
        self.product = product
        self.register_buffer("start_down", None)
        self.register_buffer("start_up", None)

    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor]:
        """down of (R, d_in) and up of (d_out, R), the scale included."""

    @torch.no_grad()
    def start(self) -> None:
        """From now on W' = W - B0 A0 + B A, where B0 and A0 are what the factors are now; files hold them."""
        down, up = self.factors()
        self.start_down, self.start_up = down.clone(), up.clone()

    def update(self) -> tuple[Tensor, Tensor]:
        """The factors of W' - W: those of the method, less those that it started with."""
        down, up = self.factors()
        if self.start_down is None or self.start_up is None:
            return down, up
        # B A - B0 A0 = (B - B0) A + B0 (A - A0): of what autocast rounds, nothing large cancels
        return torch.cat([down, down - self.start_down]), torch.cat([up - self.start_up, self.start_up], dim=1)

    def fold(self, weight: Tensor) -> Tensor:
        down, up = self.update()
        return weight + up @ down

    def delta(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.product(self.drop(x), *self.update())


def product(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """(..., d_in) -> (..., d_out): x, down and up multiplied."""
    return F.linear(F.linear(x, down), up)
