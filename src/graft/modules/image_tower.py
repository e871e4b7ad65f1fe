"""Images: what CLIP's image tower makes of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.adapters.files import fingerprint

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's; SigLIP's are 0.5


class ImageTower:
    """Turns images into unit vectors.

    Args:
        clip: The transformers model whose image tower is asked.
    """

    def __init__(self, clip: Any) -> None:
        self.clip = clip
        mean, std = ((0.5,) * 3, (0.5,) * 3) if clip.config.model_type == "siglip" else (MEAN, STD)
        self.mean = 255 * torch.tensor(mean)[:, None, None]
        self.std = 255 * torch.tensor(std)[:, None, None]

    def parameters(self) -> dict[str, Tensor]:
        """Of the tower and its projection, by name."""
        return {name: p for name, p in self.clip.named_parameters() if name.startswith(("vision_", "visual_"))}

    def sha256(self) -> str | None:
        """The fingerprint of all that makes a vector of an image's pixels; None where training changes it."""
        parameters = self.parameters()
        if any(".adapter." in name or p.requires_grad for name, p in parameters.items()):
            return None
        return fingerprint({**parameters, "mean": self.mean, "std": self.std})

    def __call__(self, images: Tensor) -> Tensor:
        """(B, d) for images (B, 3, S, S), uint8."""
        self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)  # copied once
        pixels = (images - self.mean) / self.std
        return F.normalize(self.clip.get_image_features(pixels).pooler_output, dim=-1)
