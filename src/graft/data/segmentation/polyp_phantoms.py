"""Polyp phantoms: colonoscopy-like pictures with the outlines of their polyps, drawn on first use; no network needed.

They are made to try Graft, not to judge a method: a score on them says nothing about patients.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graft.cache import cache_dir
from graft.data.files import write_once
from graft.data.samples import Sample
from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.pairs import pair_files
from graft.data.segmentation.phantom import phantom


class PolypPhantoms(SegmentationData):
    """Drawn pictures of polyps, written as PNG on first use. Picture n of a split is the same however many there are.

    Args:
        root: Folder to write to. Null for one in the cache, named by the options below.
        train_count: Number of pictures to train on.
        val_count: Number of pictures to validate on.
        test_count: Number of pictures to test on.
        height: Rows of a picture, in pixels.
        width: Columns of a picture, in pixels; not the height, so that padding plays its part.
        phantom_seed: Seed of the pictures; `seed` is that of the training.
        kwargs: Options of all data sets.
    """

    classes = ("polyp",)

    def __init__(
        self,
        root: Path | None = None,
        train_count: int = 200,
        val_count: int = 40,
        test_count: int = 40,
        height: int = 160,
        width: int = 192,
        phantom_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.counts = {"train": train_count, "val": val_count, "test": test_count}
        for name, value, least in (
            *((f"{split}_count", count, 1) for split, count in self.counts.items()),
            ("height", height, 16),
            ("width", width, 16),
            ("phantom_seed", phantom_seed, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}, but must be at least {least}.")
        self.height, self.width, self.phantom_seed = height, width, phantom_seed
        self.content = f"{self.counts}, {height} x {width} pixels, seed {phantom_seed}"
        name = f"phantoms-{sha256(self.content.encode()).hexdigest()[:8]}"
        super().__init__(cache_dir() / name if root is None else root, **kwargs)

    def fetch(self) -> None:
        if not self._label().is_file():
            write_once(self.root, self._draw)

    def find(self) -> list[Sample]:
        if not self._label().is_file() or self._label().read_text() != self.content:
            raise ValueError(
                f"{self.root} does not hold the phantoms {self.content}; choose another root, or delete it."
            )
        return pair_files(self.root / "images", self.root / "masks")

    def _label(self) -> Path:
        return self.root / "phantoms.txt"

    def _draw(self, folder: Path) -> None:
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        for number, (split, count) in enumerate(self.counts.items()):
            names = [f"{split}-{index:04}" for index in range(count)]
            for index, name in enumerate(names):
                rng = np.random.default_rng((self.phantom_seed, number, index))
                image, mask = phantom(rng, self.height, self.width)
                Image.fromarray(image).save(folder / "images" / f"{name}.png")
                Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
            (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
        (folder / "phantoms.txt").write_text(self.content)
