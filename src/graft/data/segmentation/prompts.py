"""Boxes and points, made from a mask as a user would draw them.

Coordinates are in pixels, x to the right and y down. A box is x0, y0, x1, y1 at the outer edges of its pixels, so that
the whole image is (0, 0, width, height); a point is the column and the row of a pixel.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from graft.data.images import Pixels

Floats = NDArray[np.float32]


def box_around(mask: Pixels) -> Floats:
    """The bounding box (4,) of all foreground of a mask (height, width); of an empty mask, the whole image."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return np.array([0, 0, mask.shape[1], mask.shape[0]], dtype=np.float32)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)


def jitter(box: Floats, height: int, width: int, rng: Generator) -> Floats:
    """Move each side of a box (4,) by up to a tenth of the box's extent, evenly at random, and clip it to the image."""
    extent = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-0.1, 0.1, size=4) * extent
    return np.clip(moved, 0, [width, height, width, height]).astype(np.float32)


def random_point(mask: Pixels, rng: Generator) -> Floats:
    """Any foreground pixel (2,) of a mask (height, width), each as likely; of an empty mask, the middle."""
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return _middle(mask)
    chosen = rng.integers(rows.size)
    return np.array([columns[chosen], rows[chosen]], dtype=np.float32)


def interior_point(mask: Pixels) -> Floats:
    """The foreground pixel (2,) furthest from the background and the border; of an empty mask, the middle."""
    if not mask.any():
        return _middle(mask)
    framed = np.pad((mask > 0).astype(np.uint8), 1)  # without the frame the border would not count as an edge
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(np.argmax(distance), distance.shape)
    return np.array([column - 1, row - 1], dtype=np.float32)


def _middle(mask: Pixels) -> Floats:
    return np.array([mask.shape[1] // 2, mask.shape[0] // 2], dtype=np.float32)
