"""What a training step multiplies, counted by torch's flop counter and held against formulas of the layers' sizes.

A frozen layer (n tokens, d_in to d_out) costs n d_in d_out going forward, and as much again for the gradient of its
input where something before it is trained; a trained factor as much a third time, for its own gradient.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModel

from graft.adapters import InputAdapter, LoRA, SerialLoRA, SerialSB, inject
from graft.adapters.base import Adapter
from graft.backbones import build_sam
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import shake

RANK = 4
Tower = tuple[nn.Module, Callable[[], Tensor]]


def sam() -> Tower:
    encoder, images = build_sam("tiny", 128).image_encoder, torch.randn(2, 3, 128, 128)
    return encoder, lambda: encoder(images)


def clip() -> Tower:
    shape: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2}
    tower = CLIPVisionModel(CLIPVisionConfig(**shape, num_hidden_layers=2, image_size=56, patch_size=8))
    images = torch.randn(4, 3, 56, 56)
    return tower, lambda: tower(pixel_values=images).last_hidden_state


each_tower = pytest.mark.parametrize("build", [sam, clip], ids=lambda build: build.__name__)
LAST = {sam: "blocks.1", clip: "encoder.layers.1"}


def counted(call: Callable[[], Tensor]) -> dict[str, int]:
    """Multiply-adds of a forward and backward pass, by operator."""
    with FlopCounterMode(display=False) as counter:
        call().square().sum().backward()
    return {str(operator): flops // 2 for operator, flops in counter.get_flop_counts()["Global"].items()}


def linear(counts: dict[str, int]) -> int:
    """Those of linear layers: attention multiplies by batches (bmm)."""
    return counts["aten.mm"] + counts["aten.addmm"]


def layers(model: nn.Module, call: Callable[[], Tensor]) -> dict[str, int]:
    """n d_in d_out of every linear layer, by name, in the order of their calls."""
    sizes: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):

            def note(layer: nn.Linear, inputs: tuple[Tensor], _: Tensor, name: str = name) -> None:
                sizes[name] = inputs[0].numel() * layer.out_features

            hooks.append(module.register_forward_hook(note))
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    return sizes


def promised(model: nn.Module, sizes: dict[str, int], adapter: Adapter, where: str | None) -> int:
    """Multiply-adds of the linear layers, frozen, and of the adapters' factors."""
    order = [name for name in sizes if where is None or name.startswith(where)]
    fused = any(name.endswith("qkv") for name in order)
    serial = isinstance(adapter, SerialLoRA)
    start = list(sizes).index(order[0]) + (0 if serial else 1 if fused else 3)  # who reads what nothing moves
    total = sum(sizes.values()) + sum(list(sizes.values())[start:])
    readers = ("qkv",) if fused else ("q_proj",) if serial else ("q_proj", "k_proj", "v_proj")
    first = None
    for name in order:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        n, d_in, d_out = sizes[name] // layer.weight.numel(), layer.in_features, layer.out_features
        if name.endswith(readers):
            rank = 3 * adapter.rank if fused and not serial else adapter.rank  # three downs as one, and three ups
            total += 3 * n * rank * (d_in + (d_in if serial else d_out))
            first = first or (n * rank * d_in * (1 if serial or fused else 3))
        elif not serial and name.endswith(("attn.proj", "out_proj")):
            total += 3 * n * adapter.rank * (d_in + d_out)
    assert first is not None
    return total - first  # what the first downs read needs no gradient


@each_tower
@pytest.mark.parametrize("adapter", [SerialLoRA(RANK), LoRA(RANK)], ids=lambda adapter: type(adapter).__name__)
@pytest.mark.parametrize("part", ["all blocks", "the last block"])
def test_a_step_costs_what_the_sizes_say(build: Callable[[], Tower], adapter: Adapter, part: str) -> None:
    model, call = build()
    where = None if part == "all blocks" else LAST[build]
    expected = promised(model, layers(model, call), adapter, where)
    inject(model, adapter, where=None if where is None else [where])
    shake(model)
    counts = counted(call)
    assert linear(counts) == expected
    if build is sam:  # the gradients of the neck's two inputs; none of the embedding of patches
        patches, tokens = 2 * 8 * 8, 32 * 32
        assert counts["aten.convolution"] == patches * (3 * 16 * 16 * 32 + tokens + 9 * tokens)
        assert counts["aten.convolution_backward"] == patches * (tokens + 9 * tokens)
    else:
        assert "aten.convolution_backward" not in counts


@each_tower
def test_a_weight_that_is_left_trainable_shows(build: Callable[[], Tower]) -> None:
    model, call = build()
    sizes = layers(model, call)
    inject(model, SerialLoRA(RANK))
    name = list(sizes)[-1]
    frozen = linear(counted(call))
    model.get_submodule(name).requires_grad_(True)
    assert linear(counted(call)) == frozen + sizes[name]


class Shapes(TorchDispatchMode):
    """Notes the operands of every product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.seen.append(tuple(tuple(matrix.shape) for matrix in args[-2:]))
        return func(*args, **kwargs or {})


def test_a_fused_layer_takes_its_three_downs_as_one() -> None:
    model, _ = sam()
    inject(model, LoRA(RANK), ["q", "k", "v"])
    with Shapes() as products:
        model.get_submodule("blocks.0.attn.qkv")(torch.randn(5, 32))
    assert products.seen == [((5, 32), (32, 96)), ((5, 32), (32, 3 * RANK)), ((5, 3 * RANK), (3 * RANK, 96))]


def moved(model: nn.Module) -> None:
    """A gradient reaches the first block's input, as it does that of all others."""
    model.get_submodule("patch_embed" if hasattr(model, "patch_embed") else "embeddings").register_forward_hook(
        lambda module, inputs, output: output.detach().requires_grad_()
    )


@pytest.mark.parametrize(
    ("build", "targets"),
    [
        pytest.param(sam, None, id="sam, each paper's targets"),
        pytest.param(sam, ["q", "k", "v"], id="sam, q k v", marks=pytest.mark.all),
        pytest.param(clip, None, id="clip, each paper's targets", marks=pytest.mark.all),
        pytest.param(clip, ["q", "k", "v"], id="clip, q k v"),
    ],
)
def test_serial_lora_is_the_cheapest(build: Callable[[], Tower], targets: list[str] | None) -> None:
    costs = {}
    for kind in ADAPTERS:
        model, call = build()
        moved(model)
        inject(model, make(kind, rank=RANK), targets)
        costs[kind] = sum(counted(call).values())
    cheaper = {kind for kind in costs if costs[kind] < costs[SerialLoRA]}
    assert cheaper == {SerialSB}  # also in series; its factors are frozen, but for r x r values between them
    assert all(issubclass(kind, InputAdapter) for kind in costs if costs[kind] == costs[SerialLoRA])
