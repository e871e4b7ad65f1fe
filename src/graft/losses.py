"""The segmentation loss: cross-entropy (focal by option) plus soft Dice, in float32."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SegmentationLoss:
    """Pixel-wise cross-entropy plus soft Dice, each computed for every image over its valid pixels, then averaged.

    One channel of logits is a binary problem (binary cross-entropy, Dice of the foreground). K + 1 channels are K
    classes and a background in channel 0 (cross-entropy, Dice averaged over the K classes).

    Args:
        dice_weight: Weight of the soft Dice term; 0 leaves the cross-entropy alone.
        focal_gamma: Exponent of the focal factor (1 - p)^gamma (https://arxiv.org/abs/1708.02002); 0 is none.
    """

    dice_weight: float = 1.0
    focal_gamma: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dice_weight", "focal_gamma"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 0.")

    def __call__(self, logits: Tensor, mask: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """
        Args:
            logits: (B, 1 or K + 1, H, W), any float dtype.
            mask: (B, H, W), class indices.
            valid: (B, H, W) bool: False in the padding.

        Returns:
            Scalars: `loss` and its terms `cross_entropy` and `dice_loss`.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            log_p, p, truth = (binary if logits.shape[1] == 1 else multiclass)(logits, mask)
            weight = valid.float()
            wrong = -torch.expm1(log_p)  # 1 - p
            focus = wrong.clamp(min=1e-12) ** self.focal_gamma  # 0 to a power below 1 has no finite gradient
            entropy = -focus * log_p  # (B, H, W)
            cross_entropy = ((entropy * weight).sum((1, 2)) / weight.sum((1, 2))).mean()
            dice_loss = 1 - soft_dice(p * weight[:, None], truth * weight[:, None]).mean()
        loss = cross_entropy + self.dice_weight * dice_loss
        return {"loss": loss, "cross_entropy": cross_entropy.detach(), "dice_loss": dice_loss.detach()}


def binary(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of the truth (B, H, W); foreground probability and truth, both (B, 1, H, W)."""
    truth = (mask > 0).float()[:, None]
    log_p = -F.binary_cross_entropy_with_logits(logits, truth, reduction="none")[:, 0]
    return log_p, logits.sigmoid(), truth


def multiclass(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of the truth (B, H, W); probabilities and truth of the classes, both (B, K, H, W)."""
    log_p = logits.log_softmax(1)
    truth = F.one_hot(mask.long(), logits.shape[1]).movedim(-1, 1).float()
    return (log_p * truth).sum(1), log_p.exp()[:, 1:], truth[:, 1:]


def soft_dice(p: Tensor, truth: Tensor, smooth: float = 1.0) -> Tensor:
    """Soft Dice of each image and class, (B, K, H, W) twice -> (B, K); `smooth` pixels make two empty masks agree."""
    overlap = (p * truth).sum((2, 3))
    return (2 * overlap + smooth) / (p.sum((2, 3)) + truth.sum((2, 3)) + smooth)
