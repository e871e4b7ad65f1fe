"""Masks in colour over images."""

import torch
from torch import Tensor

CLASSES = torch.tensor(
    [
        [0, 190, 160],
        [240, 140, 0],
        [90, 110, 240],
        [230, 60, 120],
        [150, 200, 40],
        [160, 80, 220],
        [0, 150, 230],
        [200, 160, 60],
    ],
    dtype=torch.uint8,
)
"""Colours of class 1, 2, ...; they begin again after the last."""

DISAGREEMENT = torch.tensor([[230, 40, 40], [250, 210, 0]], dtype=torch.uint8)
"""Predicted but not true; true but not predicted."""


def overlay(image: Tensor, mask: Tensor, colors: Tensor = CLASSES, opacity: float = 0.45) -> Tensor:
    """Lay a mask over an image: uint8 (3, H, W) and class indices (H, W) -> uint8 (3, H, W)."""
    color = colors[(mask.long() - 1) % len(colors)].permute(2, 0, 1)  # (3, H, W)
    blended = image.float() * (1 - opacity) + color.float() * opacity
    return torch.where(mask > 0, blended.byte(), image)
