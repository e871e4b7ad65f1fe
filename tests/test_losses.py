"""The loss, held against torch's and MONAI's, image by image."""

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor

from graft.losses import SegmentationLoss

SIZES = [(12, 16), (16, 10), (7, 16)]


def example(channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, masks and where they are valid, of images that fill their squares more or less."""
    torch.manual_seed(channels)
    logits, mask = 3 * torch.randn(3, channels, 16, 16), torch.randint(0, max(2, channels), (3, 16, 16))
    valid = torch.zeros(3, 16, 16, dtype=torch.bool)
    for i, (height, width) in enumerate(SIZES):
        valid[i, :height, :width] = True
    return logits, mask.to(torch.uint8), valid


def reference(logits: Tensor, mask: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy and Dice loss of one image without padding, (1, C, h, w) and (1, h, w), by others' code."""
    several = logits.shape[1] > 1
    kinds = {"softmax": several, "sigmoid": not several, "to_onehot_y": several, "include_background": not several}
    dice = DiceLoss(**kinds, smooth_nr=1, smooth_dr=1)(logits, mask[:, None].float())
    if gamma:
        focal = FocalLoss(gamma=gamma, use_softmax=several, to_onehot_y=several)(logits, mask[:, None].float())
        return focal * logits.shape[1], dice  # MONAI averages over the channels, of which one is true
    if several:
        return F.cross_entropy(logits, mask.long()), dice
    return F.binary_cross_entropy_with_logits(logits[:, 0], mask.float()), dice


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_loss_is_the_mean_over_images_of_the_published_losses_without_the_padding(channels, gamma):
    logits, mask, valid = example(channels)
    ours = SegmentationLoss(dice_weight=0.7, focal_gamma=gamma)(logits, mask, valid)
    each = [reference(logits[i : i + 1, :, :h, :w], mask[i : i + 1, :h, :w], gamma) for i, (h, w) in enumerate(SIZES)]
    entropy, dice = (torch.stack(terms).mean() for terms in zip(*each, strict=True))
    assert torch.allclose(ours["cross_entropy"], entropy, atol=1e-5)
    assert torch.allclose(ours["dice_loss"], dice, atol=1e-5)
    assert torch.allclose(ours["loss"], entropy + 0.7 * dice, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_padding_gets_no_gradient(channels):
    logits, mask, valid = example(channels)
    SegmentationLoss()(logits.requires_grad_(), mask, valid)["loss"].backward()
    touched = logits.grad.abs().sum(1) > 0
    assert torch.equal(touched, valid)


@pytest.mark.parametrize("channels", [1, 4])
def test_under_autocast_the_loss_is_that_of_the_same_logits_in_float32(channels):
    logits, mask, valid = example(channels)
    rough = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        ours = SegmentationLoss(focal_gamma=2.0)(rough, mask, valid)
    exact = SegmentationLoss(focal_gamma=2.0)(rough.float(), mask, valid)
    for name, term in ours.items():
        assert term.dtype == torch.float32
        assert torch.equal(term, exact[name])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [100.0, -100.0, 0.0])
def test_sure_logits_and_empty_or_full_masks_give_finite_losses_and_gradients(size, channels, truth, gamma):
    logits = torch.zeros(2, channels, 8, 8)
    logits[:, 0] = size
    mask, valid = torch.full((2, 8, 8), truth), torch.ones(2, 8, 8, dtype=torch.bool)
    valid[0, 4:] = False
    loss = SegmentationLoss(focal_gamma=gamma)(logits.requires_grad_(), mask, valid)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_an_empty_image_predicted_empty_costs_nothing():
    mask, valid = torch.zeros(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    assert SegmentationLoss()(torch.full((1, 1, 8, 8), -100.0), mask, valid)["loss"] < 1e-6


@pytest.mark.parametrize("name", ["dice_weight", "focal_gamma"])
def test_negative_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is -1, but must be at least 0"):
        SegmentationLoss(**{name: -1})
