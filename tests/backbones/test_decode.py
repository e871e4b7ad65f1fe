"""Batches, prompts, classes: the published decoder, called once or image by image."""

import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor

from graft.backbones import Sam, build_sam


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_batch_is_a_loop(num_classes: int) -> None:
    sam, embedding = build_sam("tiny", 64, num_classes=num_classes), torch.randn(3, 32, 4, 4)
    boxes, points = torch.tensor([[4.0, 8, 40, 50]] * 3) + torch.arange(3)[:, None], torch.rand(3, 2) * 64
    for prompt in ({}, {"boxes": boxes}, {"points": points}, {"boxes": boxes, "points": points}):
        masks = sam.decode(embedding, **prompt)
        loop = [sam.decode(embedding[i : i + 1], **{k: v[i : i + 1] for k, v in prompt.items()}) for i in range(3)]
        assert masks.shape == (3, 1 if num_classes == 1 else num_classes + 1, 16, 16)
        assert torch.allclose(masks, torch.cat(loop), atol=1e-6)


def test_decoding_is_the_published_one(sam: Sam) -> None:
    embedding, point, box = torch.randn(1, 32, 4, 4), torch.tensor([[20.0, 30.0]]), torch.tensor([[1.0, 2, 30, 40]])
    labelled = (point[:, None], torch.ones(1, 1, dtype=torch.int))
    for ours, theirs in (({}, {}), ({"boxes": box}, {"boxes": box}), ({"points": point}, {"points": labelled})):
        sparse, dense = sam.prompt_encoder(**({"points": None, "boxes": None, "masks": None} | theirs))
        places = sam.prompt_encoder.get_dense_pe()
        expected = sam.mask_decoder(embedding, places, sparse, dense, multimask_output=False)[0]
        assert torch.allclose(sam.decode(embedding, **ours), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"boxes": torch.zeros(1, 4)}, r"boxes must be \(2, 4\), one for each image, not \(1, 4\)"),
        ({"points": torch.zeros(2, 1, 2)}, r"points must be \(2, 2\), one for each image, not \(2, 1, 2\)"),
    ],
)
def test_one_prompt_for_each_image(sam: Sam, prompt: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sam.decode(torch.zeros(2, 32, 4, 4), **prompt)


def test_every_class_starts_from_the_single_mask_token() -> None:
    single, several = build_sam("tiny", 64), build_sam("tiny", 64, num_classes=5)
    embedding = torch.randn(2, 32, 4, 4)
    masks = several.decode(embedding)
    assert masks.shape == (2, 6, 16, 16)
    assert torch.allclose(masks, masks[:, :1].expand_as(masks), atol=1e-6)
    assert several.mask_decoder.mask_tokens.weight.equal(single.mask_decoder.mask_tokens.weight[:1].expand(6, -1))
    for mlp in several.mask_decoder.output_hypernetworks_mlps:
        state = single.mask_decoder.output_hypernetworks_mlps[0].state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in mlp.state_dict().items())
    stock = MaskDecoder(
        transformer_dim=32,
        transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=256, num_heads=8),
        num_multimask_outputs=5,
        iou_head_hidden_dim=32,
    )
    stock.load_state_dict(several.mask_decoder.state_dict(), strict=True)
    quality = several.mask_decoder.iou_prediction_head(torch.ones(1, 32))
    assert torch.allclose(quality, single.mask_decoder.iou_prediction_head(torch.ones(1, 32))[:, :1].expand(-1, 6))
    several.decode(embedding)[:, 2].sum().backward()
    assert several.mask_decoder.mask_tokens.weight.grad is not None


def test_prompts_keep_their_place_in_half_precision(sam: Sam) -> None:
    box, seen = torch.tensor([[1.0, 2, 30, 41]]), []
    sam.mask_decoder.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2][:, -2:]))
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled):
            sam.decode(torch.randn(1, 32, 4, 4), boxes=box)
    assert torch.equal(*seen)
