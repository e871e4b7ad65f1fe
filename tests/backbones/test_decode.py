"""Batches, prompts, classes: the published decoder, called once for a batch."""

import pickle

import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor

from graft.backbones import Sam, build_sam

PLACES = torch.tensor([[4.0, 8, 40, 50], [0, 0, 64, 64], [30, 2, 33, 60]]), torch.tensor([[9.0, 60], [0, 0], [31, 7]])
PROMPTS = {
    "none": {},
    "boxes": {"boxes": PLACES[0]},
    "points": {"points": PLACES[1]},
    "both": {"boxes": PLACES[0], "points": PLACES[1]},
}


def published(sam: Sam, embedding: Tensor, boxes: Tensor | None = None, points: Tensor | None = None) -> Tensor:
    """What segment-anything's own decoder says of one image after the other."""
    masks = []
    for i, image in enumerate(embedding):
        box = None if boxes is None else boxes[i][None]
        point = None if points is None else (points[i][None, None], torch.ones(1, 1))
        sparse, dense = sam.prompt_encoder(points=point, boxes=box, masks=None)
        masks += sam.mask_decoder.predict_masks(image[None], sam.prompt_encoder.get_dense_pe(), sparse, dense)[0]
    return torch.stack(masks)[:, : sam.channels]


def exact(num_classes: int) -> Sam:
    """A SAM in float64, but for the places of prompts, which segment-anything computes in float32 always."""
    torch.manual_seed(0)
    sam = build_sam("tiny", 64, num_classes=num_classes).double()
    sam.prompt_encoder.pe_layer.float()
    return sam


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_batch_is_the_published_decoder_image_by_image(num_classes: int, prompt: dict[str, Tensor]) -> None:
    sam = exact(num_classes)
    embedding = torch.randn(3, 32, 4, 4, dtype=torch.float64, requires_grad=True)
    wanted = {"embedding": embedding} | {name: p for name, p in sam.named_parameters() if "image_encoder" not in name}
    masks, expected = sam.decode(embedding, **prompt), published(sam, embedding, **prompt)
    assert masks.shape == (3, 1 if num_classes == 1 else num_classes + 1, 16, 16)
    assert (masks - expected).abs().max() < 1e-10
    weights, reached = torch.randn_like(masks), 0
    ours, theirs = (
        torch.autograd.grad((m * weights).sum(), [*wanted.values()], allow_unused=True) for m in (masks, expected)
    )
    for name, gradient, other in zip(wanted, ours, theirs, strict=True):
        assert (gradient is None) == (other is None), name
        if gradient is not None:
            rounding = 1e-5 if "point" in name else 1e-10  # the place of a prompt is rounded to float32, whoever asks
            size = other.abs().max().clamp(min=1e-4)  # that of a key's bias is 0
            assert (gradient - other).abs().max() < rounding * size, name
            reached += bool(other.any())
    assert reached > 50


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_batch_is_one_call(sam: Sam, prompt: dict[str, Tensor]) -> None:
    calls = []
    sam.mask_decoder.transformer.register_forward_hook(lambda *_: calls.append(1))
    sam.decode(torch.randn(3, 32, 4, 4), **prompt)
    assert len(calls) == 1


def test_the_decoder_stays_the_published_one(sam: Sam) -> None:
    assert {type(part).__module__.partition(".")[0] for part in (sam.mask_decoder, sam.prompt_encoder)} == {
        "segment_anything"
    }
    other, embedding = pickle.loads(pickle.dumps(sam)), torch.randn(3, 32, 4, 4)
    assert torch.equal(other.decode(embedding, **PROMPTS["both"]), sam.decode(embedding, **PROMPTS["both"]))


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
