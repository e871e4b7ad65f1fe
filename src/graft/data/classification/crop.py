"""Cut squares from images: at random to train on, from the middle to evaluate."""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image

from graft.data.images import Pixels

RATIO = (3 / 4, 4 / 3)  # width to height of a random cut
ATTEMPTS = 10


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
        left, top, width, height = self.cut(image.shape[1], image.shape[0], rng)
        part = Image.fromarray(image[top : top + height, left : left + width])
        square = np.asarray(part.resize((side, side), Image.Resampling.BICUBIC))
        return square[:, ::-1] if self.flip and rng.random() < 0.5 else square

    def cut(self, width: int, height: int, rng: Generator) -> tuple[int, int, int, int]:
        """Left, top, width and height, in pixels, of a random rectangle in an image."""
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
