"""Hydra: a low-rank pair in parallel with each projection, and one in series behind it.

    y = W x + b        y' = y + s B_p A_p x + s B_s A_s y        so        W' = W + s (B_p A_p + B_s A_s W)

A_p (`down`) is r x d_in, A_s (`serial_down`) r x d_out, B_p (`up`) and B_s (`serial_up`) are d_out x r, s = alpha / r:
r (d_in + 3 d_out) parameters a projection.
Kim et al., 2023, https://arxiv.org/abs/2309.06922

The serial pair reads the projection's output, its bias included, as in the authors' code; so the bias moves too, b' =
b + s B_s A_s b. Their branches also have biases of their own, which start at zero: we leave these out, as the paper's
equations do. The downs start Xavier-uniform and the ups at zero, on the attention's output projection and fc2, as in
the authors' VTAB-1k experiments. alpha = r (scale 1) is our default.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.low_rank import product


class Hydra(Adapter):
    """W' = W + s (B_p A_p + B_s A_s W): one low-rank pair beside each projection and one behind it (arXiv 2309.06922).

    Trains r * (d_in + 3 * d_out) values a projection.

    Args:
        rank: Rank r of each pair.
        alpha: Both pairs are scaled by s = alpha / rank; null means alpha = rank, so that s = 1.
    """

    targets = ("o", "fc2")

    def __init__(self, rank: int = 8, alpha: float | None = None) -> None:
        super().__init__(rank, alpha)

    def setup(self, weight: Tensor) -> None:
        d_out, d_in = weight.shape
        self.check_rank(weight, largest=min(d_out, d_in))
        self.down = nn.Parameter(weight.new_empty(self.rank, d_in))
        self.up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        self.serial_down = nn.Parameter(weight.new_empty(self.rank, d_out))
        self.serial_up = nn.Parameter(weight.new_zeros(d_out, self.rank))
        nn.init.xavier_uniform_(self.down)
        nn.init.xavier_uniform_(self.serial_down)

    def fold(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down + self.serial_up @ (self.serial_down @ weight))

    def fold_bias(self, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        return None if bias is None else bias + self.scale * self.serial_up @ (self.serial_down @ bias)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x, weight, bias)
        parallel = product(x, self.down, self.scale * self.up)
        return y + parallel + product(y, self.serial_down, self.scale * self.serial_up)
