"""What each method's update is as a pair of thin matrices; a method without a line here is refused."""

from functools import singledispatch

from torch import Tensor

from graft.adapters import Adapter, GatedSerialLoRA, LowRankAdapter, SerialLoRA, SerialSB


@singledispatch
def factors(adapter: Adapter) -> tuple[Tensor, Tensor]:
    """down and up with W' = W + up @ down, or with W' = W (I + up @ down) for a method that acts on the input.

    Raises:
        ValueError: the method's update is no such product.
        AttributeError: the factors that it keeps frozen are not there.
    """
    raise ValueError(
        f"the update of {type(adapter).__name__} is no product of two thin matrices, so there is nothing to combine: "
        "give adapters such as LoRA, GatedLoRA or SerialLoRA."
    )


@factors.register
def low_rank(adapter: LowRankAdapter) -> tuple[Tensor, Tensor]:
    return adapter.update()


@factors.register
def serial(adapter: SerialLoRA) -> tuple[Tensor, Tensor]:
    return adapter.down, adapter.scale * adapter.up


@factors.register
def gated_serial(adapter: GatedSerialLoRA) -> tuple[Tensor, Tensor]:
    return adapter.down, adapter.scale * adapter.gate * adapter.up


@factors.register
def serial_sb(adapter: SerialSB) -> tuple[Tensor, Tensor]:
    return adapter.basis, adapter.scale * adapter.basis.T @ adapter.core
