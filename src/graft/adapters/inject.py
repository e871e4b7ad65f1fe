"""Put adapters into a model: `inject`."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from graft.adapters.anatomy import TARGETS, Block, Projection, blocks
from graft.adapters.base import Adapter, InputAdapter
from graft.adapters.bases import held
from graft.adapters.linear import AdaptedLinear, Fused, FusedLowRank
from graft.adapters.low_rank import LowRankAdapter


@dataclass(frozen=True)
class Site:
    """One adapted place: a linear layer, or an attention module whose q, k and v read one tensor."""

    name: str
    module: nn.Module
    targets: tuple[str, ...]
    adapter: Adapter | Fused

    @property
    def parameters(self) -> int:
        """Number of trained values at this site."""
        return sum(parameter.numel() for parameter in self.adapter.parameters())


def inject(
    model: nn.Module, adapter: Adapter, targets: Sequence[str] | None = None, where: Sequence[str] | None = None
) -> list[Site]:
    """Freeze the model and adapt its attention blocks and MLPs, in place. What it computes stays the same.

    Args:
        model: Any network that `anatomy` knows. Its own parameters are frozen; unfreeze afterwards what else trains.
        adapter: A configured prototype, such as `SerialLoRA(rank=8)`; each site gets a fresh copy.
        targets: Of "q", "k", "v", "o", "fc1", "fc2"; None means what the method's paper adapts.
        where: Dotted-name prefixes of the parts to adapt, such as ["image_encoder"]; None means the whole model.

    Raises:
        ValueError: nothing matched, a target or prefix is unknown, a site is adapted already, the rank is too large.
        TypeError: an attention block of unknown anatomy.
    """
    targets = adapter.targets if targets is None else targets
    check_targets(adapter, targets)
    check_prefixes(model, where)
    adapter = copy.deepcopy(adapter)
    adapter.shared = held(model)  # what its copies share is this model's alone
    found = tqdm(list(blocks(model, where)), "adapting", delay=3, leave=False, disable=None)  # an SVD takes a while
    sites = [site for block in found for site in plan(block, adapter, targets)]
    if not sites:
        place = "the model" if where is None else " or ".join(where)
        raise ValueError(
            f"No {', '.join(targets)} projection lies in {place}: there is nothing to adapt; change where or targets."
        )
    for parameter in trunk(model):
        parameter.requires_grad_(False)
    for site in sites:
        if isinstance(site.module, nn.Linear):
            AdaptedLinear.adapt(site.module, site.adapter)
        else:
            site.module.add_module("adapter", site.adapter)
            site.module.register_forward_pre_hook(shift_input, with_kwargs=True)
        site.adapter.train(site.module.training)
    return sites


def plan(block: Block, adapter: Adapter, targets: Sequence[str]) -> Iterator[Site]:
    """The sites of one block, each with its adapter, before anything is changed."""
    chosen = {target: block.projections[target] for target in TARGETS if target in {*targets} & {*block.projections}}
    try:
        if chosen and isinstance(adapter, InputAdapter) and block.reader is not None:
            stacked = torch.cat([projection.weight for projection in chosen.values()])
            name = f"{block.name}.{chosen['q'].child}" if isinstance(block.reader, nn.Linear) else block.name
            yield site(name, block.reader, tuple(chosen), adapter.on(stacked))
            return
        for child in dict.fromkeys(projection.child for projection in chosen.values()):
            group = {target: projection for target, projection in chosen.items() if projection.child == child}
            linear = next(iter(group.values())).linear
            yield site(f"{block.name}.{child}", linear, tuple(group), adapter_of(group, adapter))
    except ValueError as error:
        raise ValueError(f"{block.name}: {error}") from error


def site(name: str, module: nn.Module, targets: tuple[str, ...], adapter: Adapter | Fused) -> Site:
    """A place that is free to be adapted."""
    if "adapter" in module._modules:
        raise ValueError(f"{name} has an adapter already; merge(model) it first, or leave it out by `where`.")
    return Site(name, module, targets, adapter)


def adapter_of(group: dict[str, Projection], adapter: Adapter) -> Adapter | Fused:
    """The adapter of one linear layer: a copy of the prototype, or one for each projection that the layer fuses."""
    rows = {target: projection.rows for target, projection in group.items() if projection.rows is not None}
    if not rows:
        (projection,) = group.values()
        return adapter.on(projection.weight)
    fused = FusedLowRank if isinstance(adapter, LowRankAdapter) else Fused
    d_out = next(iter(group.values())).linear.out_features
    return fused({target: adapter.on(projection.weight) for target, projection in group.items()}, rows, d_out)


def shift_input(attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Forward pre-hook. It reads the adapter off its module: a closure would feed from the old one after a deepcopy."""
    adapter = attention.adapter
    assert isinstance(adapter, InputAdapter)
    if args:
        return (adapter.shift(args[0]), *args[1:]), kwargs
    x: Tensor = kwargs["hidden_states"]  # transformers passes it by keyword
    return args, kwargs | {"hidden_states": adapter.shift(x)}


def trunk(model: nn.Module) -> list[nn.Parameter]:
    """The model's own parameters: all but those of adapters."""
    adapters = {p for module in model.modules() if isinstance(module, Adapter) for p in module.parameters()}
    return [parameter for parameter in model.parameters() if parameter not in adapters]


def check_targets(adapter: Adapter, targets: Sequence[str]) -> None:
    """Refuse projections that do not exist, and a shared input of fewer than all its readers."""
    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        raise ValueError(f"targets {list(targets)} were given; choose from {', '.join(TARGETS)}.")
    if isinstance(adapter, InputAdapter) and set(targets) != set(InputAdapter.targets):
        raise ValueError(
            f"{type(adapter).__name__} adapts the one input that q, k and v share, so its targets are exactly q, k, v; "
            f"given {', '.join(targets)}."
        )


def check_prefixes(model: nn.Module, where: Sequence[str] | None) -> None:
    """Refuse a prefix that names no part of the model."""
    if where is not None and not where:
        raise ValueError("`where` is an empty list: name the parts to adapt, or give null for the whole model.")
    names = [name for name, _ in model.named_modules() if name]
    for prefix in where or ():
        if prefix not in names:
            near = get_close_matches(prefix, names, n=3, cutoff=0.4) or [name for name, _ in model.named_children()]
            raise ValueError(f"`where` names {prefix!r}, which the model does not have; near are {', '.join(near)}.")
