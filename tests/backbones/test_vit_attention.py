"""SAM's attention says what segment-anything's says, gradients and all, and holds no N x N numbers."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from segment_anything.modeling import image_encoder as stock
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from graft.adapters import LoRA, SerialLoRA, inject
from graft.adapters.base import Adapter
from graft.backbones import build_sam
from graft.backbones.build import PLANS, ViT
from graft.backbones.vit import ImageEncoder
from graft.backbones.vit_attention import Attention, attention_in_parts, fused_attention
from tests.adapters.kinds import ADAPTERS, make
from tests.adapters.networks import noise, shake

FLOAT64, FLOAT32 = (torch.float64, 1e-10), (torch.float32, 1e-5)
SIZES = [80, 240, 272]  # 5, 15 and 17 tokens: less than a window of 14, and one or three tokens more


def encoder(size: int, name: str = "tiny", dtype: torch.dtype = torch.float64) -> ImageEncoder:
    """Ours, in which all positions count."""
    ours = build_sam(name, size, checkpoint=None).image_encoder.to(dtype)
    assert isinstance(ours, ImageEncoder)
    for number, (parameter_name, parameter) in enumerate(ours.named_parameters()):
        if "pos" in parameter_name:
            values = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
            parameter.data.copy_(0.3 * values)
    return ours


def published(ours: ImageEncoder, name: str = "tiny") -> stock.ImageEncoderViT:
    """segment-anything's with the same weights; its table of positions, at the size of ours, is not a parameter."""
    plan = PLANS[name]
    assert isinstance(plan, ViT)
    theirs = stock.ImageEncoderViT(
        embed_dim=plan.width, depth=plan.depth, num_heads=plan.heads, out_chans=plan.channels, use_rel_pos=True,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6), window_size=14, global_attn_indexes=plan.global_blocks,
    ).to(ours.pos_embed.dtype)  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    del theirs.pos_embed
    theirs.pos_embed = ours.positions().detach()
    return theirs


def in_stocks_way(adapted: ImageEncoder) -> ImageEncoder:
    """A copy of an encoder, adapters and all, whose blocks run segment-anything's lines."""
    other = copy.deepcopy(adapted)
    for block in other.blocks:
        block.__class__, block.attn.__class__ = stock.Block, stock.Attention
    return other


def answers(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """What a model says, and the gradient of a number that depends on all of it, by parameter."""
    said = model(image)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and name != "pos_embed"}
    number = (said * noise(*said.shape, dtype=said.dtype)).mean()
    gradients = torch.autograd.grad(number, list(trained.values()))
    return {"said": said.detach()} | dict(zip(trained, gradients, strict=True))


def furthest(these: dict[str, Tensor], those: dict[str, Tensor]) -> float:
    """The largest difference of any number, in units of the largest of its tensor."""
    assert list(these) == list(those)
    return max(((a - those[name]).abs().max() / those[name].abs().max()).item() for name, a in these.items())


def same(size: int, name: str, dtype: torch.dtype, tolerance: float, batch: int = 2) -> None:
    ours = encoder(size, name, dtype)
    image = noise(batch, 3, size, size, dtype=dtype)
    here, there = answers(ours, image), answers(published(ours, name), image)
    assert here["blocks.1.attn.rel_pos_h"].any()
    assert furthest(here, there) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [FLOAT64, FLOAT32])
@pytest.mark.parametrize("size", SIZES)
def test_output_and_gradients_are_those_of_segment_anything(size: int, dtype: torch.dtype, tolerance: float) -> None:
    same(size, "tiny", dtype, tolerance)


@pytest.mark.all
@pytest.mark.parametrize(("name", "size"), [("vit_b", 256), ("vit_b", 512), ("vit_l", 256), ("vit_h", 256)])
def test_the_published_sizes_too(name: str, size: int) -> None:
    same(size, name, *FLOAT32, batch=1)


def some(kind: type[Adapter]) -> Any:
    return pytest.param(kind, marks=[] if kind.__name__ in {"SerialLoRA", "LoRA", "Hydra"} else pytest.mark.all)


@pytest.mark.parametrize("kind", [some(kind) for kind in ADAPTERS], ids=lambda kind: kind.__name__)
def test_adapters_see_what_they_see_in_segment_anything(kind: type[Adapter]) -> None:
    ours = encoder(240)
    inject(ours, make(kind, rank=4))
    shake(ours)
    other = in_stocks_way(ours)
    image = noise(2, 3, 240, 240, dtype=torch.float64)
    here, there = answers(ours, image), answers(other, image)
    assert len(here) > 2
    assert furthest(here, there) < 1e-10
    assert (here["said"] - encoder(240)(image)).abs().max() > 1e-3  # the adapter says something


class Largest(TorchDispatchMode):
    """Watches for the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.operation = 0, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor) and tensor.numel() > self.numbers:
                self.numbers, self.operation = tensor.numel(), str(func)
        return made


@pytest.fixture(params=[attention_in_parts, fused_attention], ids=["in parts", "fused"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """Of attention, the CPU's own (in parts that are not too large for small tests) and the other devices'."""
    monkeypatch.setattr("graft.backbones.vit_attention.attention_in_parts", request.param)
    monkeypatch.setattr("graft.backbones.attention_in_parts.PART", 5000)
    return request.param


@pytest.mark.parametrize("side", [4, 9, 20], ids=["some heads a part", "rows of a head", "fewer rows at the end"])
def test_both_ways_say_what_the_formula_says(side: int, way: Callable[..., Tensor]) -> None:
    values = torch.randn(2, 3, side, side + 1, 8 * 3 + 2 * side + 1, dtype=torch.float64).requires_grad_()
    q, k, v, to_row, to_column = values.split([8, 8, 8, side, side + 1], -1)
    flat = [tensor.flatten(2, 3) for tensor in (q, k, v)]
    added = to_row[..., None] + to_column[..., None, :]
    expected = (0.3 * flat[0] @ flat[1].mT + added.flatten(2, 3).flatten(3)).softmax(-1) @ flat[2]
    found = way(q, k, v, to_row, to_column, 0.3)
    assert torch.allclose(found.flatten(2, 3), expected, rtol=0, atol=1e-12)
    weights = noise(*found.shape, dtype=torch.float64)
    (ours,), (theirs,) = (
        torch.autograd.grad((said.view_as(weights) * weights).sum(), values) for said in (found, expected)
    )
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_matrix_of_all_tokens_by_all_tokens(dtype: torch.dtype) -> None:
    ours = encoder(512, dtype=dtype)  # 32 x 32 tokens, two heads
    attention, tokens = ours.blocks[1].attn, noise(1, 32, 32, 32, dtype=dtype)
    largest = {}
    for kind in (Attention, stock.Attention):
        attention.__class__ = kind
        with Largest() as largest[kind]:
            attention(tokens).square().sum().backward()
    assert largest[Attention].numbers < 1024**2 / 2, largest[Attention].operation
    assert largest[stock.Attention].numbers == 2 * 1024**2


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("block", [0, 1], ids=["windows", "global"])
def test_in_half_precision_the_error_is_below_segment_anythings(block: int) -> None:
    ours = encoder(240, dtype=torch.float32).blocks[block]
    ours.attn.qkv.weight.data.mul_(3)  # so that a token looks at some more than at others
    theirs = copy.deepcopy(ours)
    theirs.__class__, theirs.attn.__class__ = stock.Block, stock.Attention
    tokens = noise(4, 15, 15, 32, dtype=torch.float32)
    exact = answers(theirs, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        here, there = answers(ours, tokens), answers(theirs, tokens)
    for name in ("said", "norm1.weight", "attn.rel_pos_h", "attn.rel_pos_w", "attn.qkv.weight", "attn.proj.weight"):
        error, allowed = ((each[name] - exact[name]).square().mean() for each in (here, there))
        assert 0 < error < allowed, name


COPIES: list[Callable[[nn.Module], nn.Module]] = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


@pytest.mark.parametrize("remake", COPIES, ids=["deepcopy", "pickle"])
@torch.no_grad()
def test_copies_say_the_same_in_another_dtype_too(remake: Callable[[nn.Module], nn.Module]) -> None:
    ours, image = encoder(240), noise(1, 3, 240, 240, dtype=torch.float64)
    keys, said = list(ours.state_dict()), ours(image)  # whatever is kept from the first call is copied along
    other = remake(ours)
    assert torch.equal(other(image), said)
    assert (other.float()(image.float()) - said).abs().max() < 1e-5
    assert list(ours.state_dict()) == list(other.state_dict()) == keys


def test_inference_first_does_not_spoil_training() -> None:
    ours, image = encoder(80), noise(1, 3, 80, 80, dtype=torch.float64)
    with torch.inference_mode():
        said = ours(image)
    assert torch.equal(answers(ours, image)["said"], said)


@pytest.mark.parametrize("adapter", [SerialLoRA(rank=2, dropout=0.3), LoRA(rank=2)], ids=lambda a: type(a).__name__)
def test_recomputed_blocks_have_the_same_gradients(adapter: Adapter) -> None:
    ours = encoder(240)
    inject(ours, adapter)
    shake(ours)
    ours.train()
    image, results = noise(1, 3, 240, 240, dtype=torch.float64), []
    for recompute in (False, True):
        for block in ours.blocks:
            block.recompute = recompute
        torch.manual_seed(1)  # the same dropout
        results.append(answers(ours, image))
    assert furthest(*results) == 0


def test_size_may_change_from_call_to_call() -> None:
    ours = encoder(80)
    for size in (80, 240, 80):
        ours.img_size = size
        image = noise(1, 3, size, size, dtype=torch.float64)
        assert torch.allclose(ours(image), published(ours)(image), rtol=0, atol=1e-10)


def test_it_compiles_as_one_graph() -> None:
    attention, tokens = encoder(240).blocks[0].attn, noise(1, 15, 15, 32, dtype=torch.float64)
    compiled = torch.compile(attention, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(tokens), attention(tokens), rtol=0, atol=1e-12)
