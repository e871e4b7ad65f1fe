"""Dice and IoU of predicted masks, without the background.

    dice      mean over images of 2 |P and T| / (|P| + |T|)
    dice_set  the same fraction of the pixels of the whole set
    iou       mean over images of |P and T| / |P or T|

With several classes an image's score is the mean over the classes in its truth. An image whose truth holds none scores
1 if nothing was predicted, else 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class SegmentationScores(Metric):
    """Accumulates `dice`, `dice_set` and `iou`, and `dice/<class>` and `iou/<class>` where there are several classes.

    Args:
        classes: Names of the classes, background excluded; class k has index k + 1 in the masks.
    """

    full_state_update = False
    image_dice: Tensor
    image_iou: Tensor
    images: Tensor
    class_dice: Tensor
    class_iou: Tensor
    class_images: Tensor
    overlap: Tensor
    total: Tensor

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = classes
        for name in ("image_dice", "image_iou"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum", persistent=True)
        for name in ("class_dice", "class_iou"):
            self.add_state(name, torch.zeros(len(classes)), dist_reduce_fx="sum", persistent=True)
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum", persistent=True)
        for name in ("class_images", "overlap", "total"):  # counts of pixels outgrow float32
            self.add_state(name, torch.zeros(len(classes), dtype=torch.int64), dist_reduce_fx="sum", persistent=True)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add one image: two masks of class indices, both (H, W)."""
        classes = torch.arange(1, len(self.classes) + 1, device=truth.device)[:, None, None]
        p, t = prediction == classes, truth == classes  # (K, H, W)
        overlap, union = (p & t).sum((1, 2)), (p | t).sum((1, 2))
        total = overlap + union  # |P| + |T|
        present = t.any(2).any(1)
        dice, iou = 2 * overlap / total.clamp(min=1), overlap / union.clamp(min=1)
        if present.any():
            self.image_dice += dice[present].mean()
            self.image_iou += iou[present].mean()
        else:
            empty = (~p.any()).float()
            self.image_dice += empty
            self.image_iou += empty
        self.images += 1
        self.class_dice += dice * present
        self.class_iou += iou * present
        self.class_images += present
        self.overlap += overlap
        self.total += total

    def compute(self) -> dict[str, Tensor]:
        """The scores so far, by name, in 0 to 1; a class that no truth holds has none."""
        seen = self.total > 0
        per_class = 2 * self.overlap[seen] / self.total[seen]
        scores = {
            "dice": self.image_dice / self.images,
            "dice_set": per_class.mean() if seen.any() else per_class.new_ones(()),
            "iou": self.image_iou / self.images,
        }
        if len(self.classes) > 1:
            for k, name in enumerate(self.classes):
                if self.class_images[k] > 0:
                    scores[f"dice/{name}"] = self.class_dice[k] / self.class_images[k]
                    scores[f"iou/{name}"] = self.class_iou[k] / self.class_images[k]
        return scores
