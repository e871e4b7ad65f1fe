"""Predicted masks: the score of every image, and the pictures of some."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from graft.callbacks.pictures import GAP, row
from graft.modules.scores import SegmentationScores
from graft.report.images import data_uri

WIDTH = 512
"""Of a picture of two tiles, in pixels."""


@dataclass(frozen=True)
class Segmented:
    """One image: its scores, its truth's digest, whether that is empty, and the predicted mask, packed."""

    name: str
    path: str
    dice: float
    iou: float
    truth: str
    empty: bool
    shape: tuple[int, int]
    packed: bytes

    @property
    def mask(self) -> Tensor:
        """Class indices (H, W) at the image's original size."""
        return torch.frombuffer(bytearray(zlib.decompress(self.packed)), dtype=torch.uint8).view(self.shape)


class Masks:
    """What a run says of the images of the validation split.

    Args:
        dataset: The split, in the order of the images.
        module: The model's module, whose scores tell which classes there are.
    """

    def __init__(self, dataset: Any, module: Any) -> None:
        self.dataset = dataset
        self.classes: Sequence[str] = module.scores.classes
        self.images: list[Segmented] = []

    def add(self, batch: dict[str, Any], masks: Sequence[Tensor]) -> None:
        """Add a batch and the masks (H, W) that were predicted for it."""
        for name, path, mask, truth in zip(batch["name"], batch["path"], masks, batch["original_mask"], strict=True):
            scores = SegmentationScores(self.classes)
            mask, truth = mask.cpu(), truth.cpu()
            scores.update(mask, truth)
            dice, iou = (float(scores.compute()[score]) for score in ("dice", "iou"))
            digest = sha256(truth.numpy().tobytes()).hexdigest()
            packed = zlib.compress(mask.contiguous().numpy().tobytes())
            height, width = mask.shape
            empty = not truth.any()
            self.images.append(Segmented(name, path, dice, iou, digest, empty, (height, width), packed))

    @property
    def dice(self) -> float:
        """Mean over the images."""
        return mean(image.dice for image in self.images)

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """What two runs must share for their images to be the same."""
        return tuple((image.name, image.truth) for image in self.images)

    def pictures(self, index: int) -> tuple[str, str]:
        """Two pictures of an image: itself and the truth; the prediction and where it disagrees."""
        item = self.dataset[index]
        height, width = item["size"].tolist()
        tiles = row(item["image"][:, :height, :width], item["mask"][:height, :width], self.images[index].mask)
        half = (tiles.shape[2] - GAP) // 2
        return data_uri(tiles[:, :, :half], WIDTH), data_uri(tiles[:, :, half + GAP :], WIDTH)
