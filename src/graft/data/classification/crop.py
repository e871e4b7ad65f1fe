"""Cut squares from images: at random to train on, from the middle to evaluate."""

import math
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from graft.data.images import Pixels, jpeg_size, read_image

RATIO = (3 / 4, 4 / 3)  # width to height of a random cut
ATTEMPTS = 10

Cut = tuple[int, int, int, int]
"""Left, top, width and height of a rectangle, in pixels."""


class Crop:
    """Cuts a rectangle at random, scales it to a square by bicubic interpolation and mirrors it, as CLIP-LoRA does.

    M. Zanella and I. Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", CVPRW 2024, arXiv 2405.18541;
    the cut is torchvision's RandomResizedCrop. To use another augmentation, write a subclass with its own `__call__`.

    Args:
        scale: Least share of the image's area that is cut, above 0 to 1.
        flip: Mirror left-right in half of the cases.
    """

    def __init__(self, scale: float = 0.08, flip: bool = True) -> None:
        if not 0 < scale <= 1:
            raise ValueError(f"scale is {scale}, but must be above 0 and at most 1.")
        self.scale = scale
        self.flip = flip

    def __repr__(self) -> str:  # what --help shows as the default
        return f"{type(self).__name__}(scale={self.scale}, flip={self.flip})"

    def __call__(self, image: Pixels, side: int, rng: Generator) -> Pixels:
        """A square (side, side, 3) from an image, uint8 RGB (height, width, 3); all chance comes from `rng`."""
        return self._mirror(scale_cut(image, self.cut(image.shape[1], image.shape[0], rng), side), rng)

    def read(self, path: Path, side: int, rng: Generator) -> Pixels:
        """The same from an image's file.

        A JPEG is decoded at a half, a quarter or an eighth of its size where its cut keeps twice what is needed.
        """
        ours = type(self).__call__ is Crop.__call__  # a subclass's own is given the whole image
        if not ours or (size := jpeg_size(path)) is None:
            return self(read_image(path), side, rng)
        cut = self.cut(*size, rng)
        image = read_image(path, least=math.ceil(2 * side * min(size) / min(cut[2:])))
        scale = 2 ** math.ceil(math.log2(size[0] / image.shape[1]))  # sides that cannot be halved are rounded up
        return self._mirror(scale_cut(image, cut, side, scale), rng)

    def _mirror(self, square: Pixels, rng: Generator) -> Pixels:
        return square[:, ::-1] if self.flip and rng.random() < 0.5 else square

    def cut(self, width: int, height: int, rng: Generator) -> Cut:
        """A random rectangle in an image."""
        for _ in range(ATTEMPTS):
            area = width * height * rng.uniform(self.scale, 1)
            ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
        w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))  # a long image: its middle
        return (width - w) // 2, (height - h) // 2, w, h


STANDARD_CROP = Crop()
"""What the data sets do unless told otherwise; a name, so that a saved configuration can point to it."""

GENTLE_CROP = Crop(scale=0.7, flip=False)
"""For what a mirror or a close-up would make another thing, such as digits."""


def scale_cut(image: Pixels, cut: Cut, side: int, scale: int = 1) -> Pixels:
    """The square (side, side, 3) that a rectangle of an image is scaled to, by bicubic interpolation with antialiasing.

    Args:
        image: The image (height, width, 3).
        cut: The rectangle, in the pixels of the image at full size.
        side: Side of the square, in pixels.
        scale: How many times smaller than in full `image` is.
    """
    left, top, right, bottom = (edge / scale for edge in (cut[0], cut[1], cut[0] + cut[2], cut[1] + cut[3]))
    x, y = int(left), int(top)
    part = Image.fromarray(image[y : math.ceil(bottom), x : math.ceil(right)])  # what lies around it has no influence
    box = (left - x, top - y, right - x, bottom - y)
    return np.asarray(part.resize((side, side), Image.Resampling.BICUBIC, box))


def cut_centre(image: Pixels, side: int) -> Pixels:
    """The middle square (side, side, 3) of an image (height, width, 3) whose shorter side is scaled to `side` first.

    Bicubic with antialiasing; equal to torchvision's Resize(side, BICUBIC) and CenterCrop(side) of a Pillow image.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    w, h = int(side * width / short), int(side * height / short)
    scaled = Image.fromarray(image).resize((w, h), Image.Resampling.BICUBIC)
    left, top = round((w - side) / 2), round((h - side) / 2)
    return np.asarray(scaled.crop((left, top, left + side, top + side)))
