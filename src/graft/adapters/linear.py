"""The layers that adapters live in: a linear layer with an adapter, and several adapters on one fused layer."""

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.adapters.base import Adapter
from graft.adapters.low_rank import LowRankAdapter


class Fused(nn.Module):
    """One adapter for each of the projections that share a fused layer, each on its own rows of the weight.

    Args:
        adapters: By projection, each set up for its rows.
        rows: By projection, the indices of its rows in the fused weight, of shape (d_projection,).
        d_out: Number of all rows.
    """

    rest: Tensor
    order: Tensor | None

    def __init__(self, adapters: dict[str, Adapter], rows: dict[str, Tensor], d_out: int) -> None:
        super().__init__()
        for target, adapter in adapters.items():
            self.add_module(target, adapter)
            self.register_buffer(f"rows_{target}", rows[target], persistent=False)
        taken = torch.cat([rows[target] for target in adapters])
        free = taken.new_ones(d_out).index_fill(0, taken, 0)
        rest = free.argsort(descending=True)[: d_out - len(taken)]
        order = torch.cat([taken, rest]).argsort()  # of the adapters' outputs, put side by side
        ordered = not order.is_meta and torch.equal(order, torch.arange(d_out, device=order.device))
        self.register_buffer("rest", rest, persistent=False)
        self.register_buffer("order", None if ordered else order, persistent=False)

    def parts(self) -> Iterator[tuple[Adapter, Tensor]]:
        """Each adapter with the indices of its rows."""
        for target, adapter in self.named_children():
            assert isinstance(adapter, Adapter)
            yield adapter, self.get_buffer(f"rows_{target}")

    def fold(self, weight: Tensor) -> Tensor:
        for adapter, rows in self.parts():
            weight = weight.index_copy(0, rows, adapter.fold(weight[rows]))
        return weight

    def fold_bias(self, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        for adapter, rows in self.parts():
            part = adapter.fold_bias(weight[rows], None if bias is None else bias[rows])
            if part is not None and bias is not None:
                bias = bias.index_copy(0, rows, part)
        return bias

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        outputs = [adapter(x, weight[rows], None if bias is None else bias[rows]) for adapter, rows in self.parts()]
        if len(self.rest):
            outputs.append(F.linear(x, weight[self.rest], None if bias is None else bias[self.rest]))
        output = torch.cat(outputs, dim=-1)
        return output if self.order is None else output.index_select(-1, self.order)


class FusedLowRank(Fused):
    """The low-rank adapters of a fused layer, computed as one pair: their downs stacked, each up on its own rows."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        downs, ups = [], []
        for adapter, rows in self.parts():
            assert isinstance(adapter, LowRankAdapter)
            down, up = adapter.update()
            downs.append(down)
            ups.append(up.new_zeros(len(weight), up.shape[1]).index_copy(0, rows, up))
            drop, product = adapter.drop, adapter.product  # alike in all: one mask for one product
        return F.linear(x, weight, bias) + product(drop(x), torch.cat(downs), torch.cat(ups, dim=1))


class AdaptedLinear(nn.Linear):
    """A linear layer with an adapter: its weight and bias keep their names, `adapter.*` stands beside them.

    A plain layer becomes one by a change of its class and is given back likewise, so that its identity, its parameters,
    its hooks and whoever refers to it are untouched; it pickles, copies and compiles.
    """

    adapter: Adapter | Fused

    @staticmethod
    def adapt(linear: nn.Linear, adapter: Adapter | Fused) -> None:
        """Turn the plain layer into an adapted one, in place."""
        linear.__class__ = AdaptedLinear
        linear.adapter = adapter

    def merge(self) -> None:
        """Fold the adapter into the weight and become a plain `nn.Linear` again."""
        fold_into(self, self.adapter)
        del self.adapter
        self.__class__ = nn.Linear  # type: ignore[assignment]

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.adapter(input, self.weight, self.bias)
        return output


@torch.no_grad()
def fold_into(linear: nn.Linear, adapter: Adapter | Fused) -> None:
    """Write the folded weight and bias into the layer; computed in float64, whatever the layer's dtype."""
    exact = copy.deepcopy(adapter).cpu().double()
    weight = linear.weight.cpu().double()
    bias = None if linear.bias is None else linear.bias.cpu().double()
    folded_bias = exact.fold_bias(weight, bias)
    linear.weight.copy_(exact.fold(weight))
    if linear.bias is not None and folded_bias is not None:
        linear.bias.copy_(folded_bias)
