"""What a data set hands over: an item, and several of them as a batch."""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor


class Item(TypedDict, total=False):
    """One image, and what is known of it; S is the side of the padded square.

    image: uint8 (3, S, S), RGB, padded with zeros at the bottom and the right, not normalised.
    feature: In place of the image, what the part of a network that does not change has made of it.
    mask: uint8 (S, S), class indices, 0 for the background and the padding. Not in prediction.
    size: int64 (2,), height and width of the image inside the square.
    original_size: int64 (2,), height and width of the image in its file, once turned as its EXIF says.
    original_mask: uint8 (height, width), class indices at the original size. In validation and test.
    original_image: uint8 (3, height, width), the image at its original size. In prediction.
    box: float32 (4,), x0, y0, x1, y1 in pixels of the square.
    point: float32 (2,), x, y in pixels of the square.
    name: The file's name without folder and extension.
    path: The image's file.
    """

    image: Tensor
    feature: Tensor
    mask: Tensor
    size: Tensor
    original_size: Tensor
    original_mask: Tensor
    original_image: Tensor
    box: Tensor
    point: Tensor
    name: str
    path: str


def collate(items: Sequence[Item]) -> dict[str, Any]:
    """Stack the items' tensors along a new first axis; originals (sizes differ), names and paths are lists."""
    batch: dict[str, Any] = {key: [item[key] for item in items] for key in items[0]}  # type: ignore[literal-required]
    for key, values in batch.items():
        if isinstance(values[0], Tensor) and key not in ("original_mask", "original_image"):
            batch[key] = torch.stack(values)
    return batch
