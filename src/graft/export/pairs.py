"""What adapters add to a model's linear layers, as pairs of low rank: W' = W + up down, exactly.

A LowRankAdapter has its factors. An InputAdapter, W' = W (I + M), has those of M, before every projection the same down
and behind it an up of its own, W up. Of any other method the change W' - W is taken apart by its singular values, in
float64; where the change is of no low rank, no pair can hold it, and it is refused.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graft.adapters import Adapter, DoRA, InputAdapter, LowRankAdapter
from graft.adapters.anatomy import Projection
from graft.adapters.places import Place, places

NOISE = 1e-12
"""Singular values of a change, relative to the weight, that are none but for the rounding of float64."""


@dataclass
class Pair:
    """W' = W + up down; with a magnitude (d_out,), that of DoRA, its rows rescaled to these norms.

    Args:
        down: (r, d_in).
        up: (d_out, r), the scale included.
    """

    down: Tensor
    up: Tensor
    magnitude: Tensor | None = None


@torch.no_grad()
def pairs(model: nn.Module) -> dict[str, Pair]:
    """The pair of every adapted linear layer, by name.

    On a fused layer the pairs of its projections stand side by side, each up on its own rows: of rank 3 r for q, k, v.

    Raises:
        ValueError: A method's change is of no low rank.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, Pair] = {}
    for place in places(model):
        adapter = in_float64(place)
        down, up = factors(place, adapter, place.weight.detach().cpu().double())
        ups = torch.split(up, [len(projection.weight) for projection in place.projections.values()])
        layers: dict[str, Tensor] = {}
        for projection, part in zip(place.projections.values(), ups, strict=True):
            name, d_out = names[id(projection.linear)], projection.linear.out_features
            layers.setdefault(name, up.new_zeros(d_out, len(down)))[rows_of(projection)] = part
        for name, whole in layers.items():
            before = found.get(name, Pair(down[:0], whole[:, :0]))
            found[name] = Pair(torch.cat([before.down, down]), torch.cat([before.up, whole], dim=1))
            if isinstance(adapter, DoRA):
                found[name].magnitude = adapter.magnitude.detach()
    return found


@torch.no_grad()
def moved_biases(model: nn.Module) -> dict[str, Tensor]:
    """The biases that adapters move, by name."""
    names = {id(module): name for name, module in model.named_modules()}
    moved: dict[str, Tensor] = {}
    for place in places(model):
        for projection in place.projections.values():
            if (bias := projection.linear.bias) is None:
                continue
            rows, name = rows_of(projection), f"{names[id(projection.linear)]}.bias"
            before = bias.cpu().double()
            after = in_float64(place).fold_bias(projection.weight.cpu().double(), before[rows])
            if after is not None and not torch.equal(after, before[rows]):
                moved[name] = moved.get(name, before).index_copy(0, rows, after)
    return moved


def in_float64(place: Place) -> Adapter:
    """A copy of a place's adapter, as small as may be, to compute with."""
    return copy.deepcopy(place.adapter).cut().cpu().double()


def rows_of(projection: Projection) -> Tensor:
    """The indices of a projection's rows in its layer's weight."""
    return torch.arange(projection.linear.out_features) if projection.rows is None else projection.rows.cpu()


def factors(place: Place, adapter: Adapter, weight: Tensor) -> tuple[Tensor, Tensor]:
    """down (r, d_in) and up (d_out, r) of one adapter, for the weight of all projections that it acts on."""
    if isinstance(adapter, LowRankAdapter):
        return adapter.update()
    if isinstance(adapter, DoRA):
        if any(projection.rows is not None for projection in place.projections.values()):
            raise no_pair(place, "takes its norms of each projection, which this network has in one layer")
        return adapter.down, adapter.scale * adapter.up
    if isinstance(adapter, InputAdapter):
        identity = torch.eye(weight.shape[1], dtype=weight.dtype)
        down, turn = taken_apart(adapter.fold(identity) - identity, identity)
        return down, weight @ turn
    down, up = taken_apart(adapter.fold(weight) - weight, weight)
    if 2 * len(down) > min(weight.shape):
        raise no_pair(place, f"changes a weight of {tuple(weight.shape)} by one of rank {len(down)}")
    return down, up


def taken_apart(change: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """down and up with up down = change, of the smallest rank but at least 1."""
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    rank = max(1, int((values > NOISE * weight.norm()).sum()))
    return right[:rank], left[:, :rank] * values[:rank]


def no_pair(place: Place, reason: str) -> ValueError:
    """Why a method cannot be written for PEFT."""
    method = type(place.adapter).__name__
    return ValueError(
        f"{method} {reason} ({place.name}), and no LoRA of PEFT's is that: give --to native, which holds every method."
    )
