"""Into the square: the longest side becomes `side` pixels, zeros fill the bottom and the right; and back out."""

import cv2
import numpy as np
from torch import Tensor

from graft.data.images import Pixels


def fitted_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width, in pixels, once the longest side is `side`; rounded as segment-anything does, at least 1."""
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def fit_image(image: Pixels, side: int) -> Pixels:
    """Resize (height, width, 3) so that its longest side is `side`: by area when it shrinks, bilinear when it grows."""
    height, width = fitted_size(image.shape[0], image.shape[1], side)
    shrinks = max(image.shape[:2]) > side
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def fit_mask(mask: Pixels, side: int) -> Pixels:
    """Resize class indices (height, width) so that the longest side is `side`; no new values appear."""
    height, width = fitted_size(mask.shape[0], mask.shape[1], side)
    # INTER_NEAREST_EXACT looks up pixel centres as the image's resize does; INTER_NEAREST is shifted by up to a pixel.
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)


def pad(array: Pixels, side: int) -> Pixels:
    """Fill (height, width, ...) with zeros at the bottom and the right to (side, side, ...)."""
    square = np.zeros((side, side, *array.shape[2:]), dtype=np.uint8)
    square[: array.shape[0], : array.shape[1]] = array
    return square


def unpad(square: Tensor, size: Tensor) -> Tensor:
    """Cut the padding off again: (..., side, side) to (..., height, width), given an item's `size`, (2,)."""
    height, width = size.tolist()
    return square[..., :height, :width]
