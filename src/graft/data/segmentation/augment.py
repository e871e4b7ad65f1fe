"""Random changes of an image together with its mask. The only file that knows albumentations."""

import os
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from graft.data.images import Pixels


class Augment:
    """Flips, turns, zooms and lights a training image at random, and its mask with it.

    To use another augmentation, write a subclass with its own `__call__` and name it in the configuration.

    Args:
        flip: Mirror left-right and top-bottom, each in half of the cases.
        rotate: Turn by up to this many degrees either way; what comes in from outside is black, and background.
        scale: Zoom by up to this fraction either way, 0 to less than 1.
        brightness: Change brightness and contrast by up to this fraction either way, 0 to 1.
    """

    def __init__(self, flip: bool = True, rotate: float = 15.0, scale: float = 0.1, brightness: float = 0.2) -> None:
        if not 0 <= rotate <= 180:
            raise ValueError(f"rotate is {rotate}, but must lie between 0 and 180 degrees.")
        if not 0 <= scale < 1:
            raise ValueError(f"scale is {scale}, but must be at least 0 and less than 1.")
        if not 0 <= brightness <= 1:
            raise ValueError(f"brightness is {brightness}, but must lie between 0 and 1.")
        self.flip = flip
        self.rotate = rotate
        self.scale = scale
        self.brightness = brightness

    def __repr__(self) -> str:  # what --help shows as the default
        options = (f"{name}={getattr(self, name)}" for name in ("flip", "rotate", "scale", "brightness"))
        return f"{type(self).__name__}({', '.join(options)})"

    def __call__(self, image: Pixels, mask: Pixels, rng: Generator) -> tuple[Pixels, Pixels]:
        """Change an image, uint8 RGB (height, width, 3), and its mask, uint8 (height, width); the sizes stay.

        All that is random comes from `rng`: the same state gives the same result.
        """
        self._pipeline.set_random_seed(int(rng.integers(2**32)))
        changed = self._pipeline(image=image, mask=mask)
        return np.asarray(changed["image"]), np.asarray(changed["mask"])

    @cached_property
    def _pipeline(self) -> Any:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # read at import; without it the network is asked for news
        import albumentations as A

        flips = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)] if self.flip else []
        turn = A.Affine(rotate=(-self.rotate, self.rotate), scale=(1 - self.scale, 1 + self.scale), p=1)
        light = A.RandomBrightnessContrast(self.brightness, self.brightness, p=1)
        return A.Compose([*flips, turn, light])


STANDARD = Augment()
"""What the data sets do unless told otherwise; a name, so that a saved configuration can point to it."""
