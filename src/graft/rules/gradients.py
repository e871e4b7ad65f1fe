"""Gradients of frozen weights over some batches, for rules that start from data."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, distributed

from graft.adapters.places import Place


@torch.enable_grad()
def over_batches(
    sites: Sequence[Place], losses: Iterator[Tensor], count: int, of: Callable[[Tensor], Tensor] = torch.clone
) -> Iterator[Tensor]:
    """For each site the mean over `count` batches (and all processes) of `of`(dL/dW), as `Place.weight`, on the CPU.

    A layer's gradient leaves the device as soon as it is there: the device never holds two.

    Raises:
        ValueError: a weight has no gradient, since its layer is bypassed, or one that is not finite.
    """
    layers = {id(p.linear.weight): p.linear.weight for site in sites for p in site.projections.values()}
    before = {key: weight.requires_grad for key, weight in layers.items()}
    total = {
        key: torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32), device="cpu")
        for key, weight in layers.items()
    }
    reached = set()

    def take(weight: Tensor) -> None:
        assert weight.grad is not None
        total[id(weight)] += of(weight.grad.to(total[id(weight)].dtype)).cpu()
        weight.grad = None
        reached.add(id(weight))

    hooks = []
    for weight in layers.values():
        weight.requires_grad_(True)
        hooks.append(weight.register_post_accumulate_grad_hook(take))  # type: ignore[no-untyped-call]
    try:
        seen = 0
        for loss in islice(losses, count):
            torch.autograd.backward(loss, inputs=list(layers.values()))
            for key in (key for key in layers if key not in reached):
                raise ValueError(
                    f"The loss does not depend on the weights of {name_of(sites, key)}, whose gradient starts the "
                    "adapter: leave it out by adapt.where or adapt.targets."
                )
            seen += 1
    finally:
        for hook in hooks:
            hook.remove()
        for key, weight in layers.items():
            weight.requires_grad_(before[key])
    for key, weight in layers.items():
        total[key] = average(total[key].div_(seen), weight.device)
        if not total[key].isfinite().all():
            raise ValueError(
                f"The gradient of the weights of {name_of(sites, key)}, which starts the adapter, holds NaN or "
                "infinite values: look at the images, or give --trainer.precision bf16-mixed or 32-true."
            )
    return (site_part(site, total) for site in sites)


def average(tensor: Tensor, device: torch.device) -> Tensor:
    """The mean over all processes of a tensor on the CPU; they talk over the device."""
    if distributed.is_available() and distributed.is_initialized():
        shared = tensor.to(device)
        distributed.all_reduce(shared)
        tensor = shared.cpu() / distributed.get_world_size()
    return tensor


def site_part(site: Place, of_layers: dict[int, Tensor]) -> Tensor:
    """The rows that a site's adapter acts on, of tensors like the layers' weights."""
    parts = [(of_layers[id(p.linear.weight)], p.rows) for p in site.projections.values()]
    return torch.cat([tensor if rows is None else tensor[rows.cpu()] for tensor, rows in parts])


def name_of(sites: Sequence[Place], key: int) -> str:
    """The first site that a layer's weight is part of."""
    return next(site.name for site in sites for p in site.projections.values() if id(p.linear.weight) == key)
