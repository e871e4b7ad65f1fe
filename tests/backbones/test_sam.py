"""Sizes, weights, copies: what is added to segment-anything changes nothing of what was there."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from graft.backbones import Sam, build_sam


def stock_encoder(size: int) -> nn.Module:
    return ImageEncoderViT(
        img_size=size,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=32,
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(1,),
    )


def test_vit_b_has_the_published_keys() -> None:
    ours, stock = build_sam("vit_b", 64, checkpoint=None), sam_model_registry["vit_b"]()
    stock.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(stock.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(stock.state_dict())


def test_at_1024_the_encoder_is_the_published_one(sam: Sam) -> None:
    ours, stock = build_sam("tiny").image_encoder, stock_encoder(1024)
    ours.load_state_dict(sam.image_encoder.state_dict())
    stock.load_state_dict(ours.state_dict())
    image = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        assert (ours(image) - stock(image)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [16, 64, 240])
def test_at_another_size_only_the_positions_are_resized(sam: Sam, size: int) -> None:
    ours, stock, side = build_sam("tiny", size).image_encoder, stock_encoder(size), size // 16
    ours.load_state_dict(sam.image_encoder.state_dict())
    state = ours.state_dict() | {"pos_embed": ours.positions()}
    for key in ("blocks.1.attn.rel_pos_h", "blocks.1.attn.rel_pos_w"):
        state[key] = F.interpolate(state[key].T[None], 2 * side - 1, mode="linear")[0].T
    stock.load_state_dict(state)
    image = torch.randn(2, 3, size, size)
    assert torch.allclose(ours(image), stock(image), atol=1e-5)


def test_positions_follow_a_trained_table(sam: Sam) -> None:
    encoder = copy.deepcopy(sam).image_encoder
    encoder.positions().sum().backward()
    assert encoder.pos_embed.grad is not None
    encoder.pos_embed.data.zero_()
    assert not encoder.positions().any()


def test_padding_is_zero_after_normalisation(sam: Sam) -> None:
    image, size = torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.tensor([[64, 40], [30, 64]])
    for padded, (height, width) in zip(image, size.tolist(), strict=True):
        padded[:, :height, :width] = torch.randint(256, (3, height, width))
    expected = [sam.preprocess(x[:, :h, :w].float()) for x, (h, w) in zip(image, size.tolist(), strict=True)]
    assert torch.allclose(sam.normalize(image, size), torch.stack(expected))
    with pytest.raises(ValueError, match=r"tiny was built for images \(B, 3, 64, 64\), but got \(2, 3, 32, 64\)"):
        sam.normalize(image[:, :, :32], size)


def test_random_weights_come_from_the_name_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_sam("tiny", 64, None, num_classes=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    second = build_sam("tiny", 64, None, num_classes=2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(module.training for module in first.modules())


def test_copies_are_whole(sam: Sam) -> None:
    image = torch.randn(1, 3, 64, 64)
    for other in (copy.deepcopy(sam), pickle.loads(pickle.dumps(sam))):
        assert (other.name, other.image_size) == ("tiny", 64)
        assert torch.equal(other.image_encoder(image), sam.image_encoder(image))


@pytest.mark.parametrize("name", ["tiny", "vit_t"])
def test_the_published_predictor_takes_it(name: str) -> None:
    sam = build_sam(name, 64)
    predictor = SamPredictor(sam)
    image = torch.randint(256, (50, 100, 3), dtype=torch.uint8).numpy()
    predictor.set_image(image)
    box = torch.tensor([10.0, 5, 60, 40])
    _, _, logits = predictor.predict(box=box.numpy(), multimask_output=False)
    small = torch.from_numpy(predictor.transform.apply_image(image)).permute(2, 0, 1)  # 32 x 64
    padded, size = F.pad(small, (0, 0, 0, 32))[None], torch.tensor([[32, 64]])
    with torch.no_grad():
        ours = sam.decode(sam.image_encoder(sam.normalize(padded, size)), boxes=box[None] * 0.64)
    assert torch.allclose(ours[0], torch.from_numpy(logits), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "vit_x"}, "There is no SAM called 'vit_x': choose one of vit_b, vit_l, vit_h, vit_t, tiny"),
        ({"name": "tiny", "image_size": 100}, "tiny needs an image_size that is a positive multiple of 16, not 100"),
        ({"name": "vit_t", "image_size": 66}, "vit_t needs an image_size that is a positive multiple of 4, not 66"),
        ({"name": "vit_b", "image_size": 0}, "positive multiple of 16, not 0"),
        ({"name": "tiny", "num_classes": 0}, "num_classes must be 1 or more"),
    ],
)
def test_bad_options(options: dict[str, str | int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_sam(**options)
