"""Frozen tensors that the layers of a model share: random bases and transforms. Each is there once, and in no file."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graft.adapters.base import Adapter


class Shared(nn.Module):
    """A frozen tensor that several adapters refer to.

    A module, because a module that is referred to twice stays one when the model is moved, copied or pickled; a tensor
    does not. No file holds it: it is a function of plain values that files do hold.

    Args:
        origin: What it was made of: the function and its arguments.
        tensor: The tensor.
    """

    tensor: Tensor

    def __init__(self, origin: tuple[Any, ...], tensor: Tensor) -> None:
        super().__init__()
        self.origin = origin
        self.register_buffer("tensor", tensor, persistent=False)

    def forward(self) -> Tensor:
        return self.tensor


def shared(adapter: Adapter, weight: Tensor, make: Callable[..., Tensor], *given: Any) -> Shared:
    """make(*given), on the weight's device and in its dtype: the same one for all adapters of a model.

    Args:
        adapter: Who asks, in its `setup`.
        weight: Whose device and dtype count.
        make: A module-level function that always answers the same.
        given: Its arguments, plain values.
    """
    key = ((make, *given), weight.dtype, weight.device)
    if key not in adapter.shared:
        adapter.shared[key] = Shared((make, *given), make(*given).to(weight))
    made = adapter.shared[key]
    assert isinstance(made, Shared)
    return made


def held(model: nn.Module) -> dict[Any, nn.Module]:
    """What the adapters of a model share already, under the keys by which they find it."""
    found = [module for module in model.modules() if isinstance(module, Shared)]
    return {(module.origin, module.tensor.dtype, module.tensor.device): module for module in found}


def uniform(seed: int, stream: int, *shape: int) -> Tensor:
    """Values between -1 and 1 in float32, from an own generator; those of a longer first dimension begin alike."""
    return torch.empty(shape).uniform_(-1, 1, generator=generator(seed, stream))


def orthogonal(seed: int, stream: int, size: int) -> Tensor:
    """A random orthogonal matrix (size, size)."""
    gaussian = torch.randn(size, size, generator=generator(seed, stream), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    unique: Tensor = q * r.diagonal().sign()  # else the signs are the algorithm's choice
    return unique


def generator(seed: int, stream: int) -> torch.Generator:
    """A generator on the CPU, so that all devices get the same numbers; another one for each stream of a seed."""
    return torch.Generator().manual_seed((1_000_003 * seed + stream) % 2**32)
