"""Digits: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, written on first use; no network needed.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998, https://doi.org/10.24432/C50P49.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graft.data.classification.base import ClassificationData
from graft.data.classification.crop import GENTLE_CROP, Crop
from graft.data.classification.division import Division, Labelled
from graft.data.files import list_images, write_once
from graft.data.splits import SHARES, split_by_hash

COUNT = 1797
ZOOM = 4  # each pixel becomes 4 x 4, so that a random cut may begin between two


class Digits(ClassificationData):
    """Handwritten digits, written as PNG on first use; 80 : 10 : 10 by a hash of the number.

    Args:
        root: Folder to write to; null for one in the cache.
        augment: Random cut of the training images; null for none.
        kwargs: Options of all classification data sets.
    """

    folder = "digits"
    template = "a photo of the digit {}."

    def __init__(self, root: Path | None = None, augment: Crop | None = GENTLE_CROP, **kwargs: Any) -> None:
        super().__init__(root, augment=augment, **kwargs)

    def fetch(self) -> None:
        if not (self.root / "images").is_dir():
            write_once(self.root, lambda folder: write_digits(folder / "images"))

    def official(self) -> Division:
        samples = [Labelled(name, path, int(name[-1])) for name, path in list_images(self.root / "images").items()]
        if len(samples) != COUNT:
            raise ValueError(
                f"{self.root} holds {len(samples)} images, but there are {COUNT} digits; choose another root, or "
                "delete it."
            )
        splits: dict[str, list[Labelled]] = {split: [] for split in SHARES}
        for sample in samples:
            splits[split_by_hash(sample.name)].append(sample)
        names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        return Division(names, splits, "a hash of the numbers, 80 : 10 : 10")


def write_digits(folder: Path) -> None:
    """Write the digits as grey PNGs of 32 x 32 pixels called NUMBER-DIGIT."""
    try:
        from sklearn.datasets import load_digits  # only here: no other part of Graft needs it
    except ImportError as error:
        raise ImportError("Digits come with scikit-learn, which is not installed: pip install scikit-learn.") from error
    folder.mkdir(parents=True)
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        grey = np.round(image * (255 / 16)).astype(np.uint8).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
        Image.fromarray(grey).save(folder / f"{number:04}-{digit}.png")
