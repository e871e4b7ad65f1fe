"""From logits in the padded square to masks as large as the images in their files."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def original_masks(logits: Tensor, sizes: Tensor, original_sizes: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Class indices (H, W), uint8, of each image; the padding is cut off before the logits are resized back.

    Args:
        logits: (B, 1, S, S) of the foreground, or (B, K + 1, S, S) of the background and K classes.
        sizes: (B, 2), height and width of each image inside the square, in pixels.
        original_sizes: (B, 2), height and width in the file.
    """
    masks = []
    for image_logits, size, original in zip(logits.float(), sizes, original_sizes, strict=True):
        height, width = size.tolist()
        cut = image_logits[None, :, :height, :width]
        resized = F.interpolate(cut, original.tolist(), mode="bilinear", align_corners=False)[0]
        masks.append((resized[0] > 0 if len(resized) == 1 else resized.argmax(0)).byte())
    return masks
