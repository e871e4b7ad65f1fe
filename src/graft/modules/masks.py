"""From logits in the padded square to masks as large as the images in their files."""

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor


def original_masks(logits: Tensor, sizes: Tensor, original_sizes: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Class indices (H, W), uint8, of each image; the padding is cut off before the logits are resized back.

    Args:
        logits: (B, 1, S, S) of the foreground, or (B, K + 1, S, S) of the background and K classes.
        sizes: (B, 2), height and width of each image inside the square, in pixels.
        original_sizes: (B, 2), height and width in the file.
    """
    originals = original_logits(logits, sizes, original_sizes)
    return [(each[0] > 0 if len(each) == 1 else each.argmax(0)).byte() for each in originals]


def original_probabilities(
    logits: Tensor, sizes: Tensor, original_sizes: Tensor | Sequence[Tensor]
) -> Iterator[Tensor]:
    """The probability of each class but the background, (K, H, W), of each image: one at a time, for they are large."""
    for each in original_logits(logits, sizes, original_sizes):
        yield each.sigmoid() if len(each) == 1 else each.softmax(0)[1:]


def original_logits(logits: Tensor, sizes: Tensor, original_sizes: Tensor | Sequence[Tensor]) -> Iterator[Tensor]:
    """The logits (1 or K + 1, H, W) of each image at its original size."""
    for image_logits, size, original in zip(logits.float(), sizes, original_sizes, strict=True):
        height, width = size.tolist()
        cut = image_logits[None, :, :height, :width]
        yield F.interpolate(cut, original.tolist(), mode="bilinear", align_corners=False)[0]
