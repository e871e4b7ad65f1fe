"""Small generated data sets, and the real one where it is at hand."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., Path]


@pytest.fixture
def make_set(tmp_path: Path) -> Maker:
    """Write a folder of images and masks: a grey picture of 30 x 40 pixels with a white rectangle."""

    def make(names: list[str], folder: str = "set", value: int = 255, suffix: str = ".png") -> Path:
        root = tmp_path / folder
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            image = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            mask = np.zeros((30, 40), dtype=np.uint8)
            mask[5:15, 10:30] = value
            Image.fromarray(image).save(root / "images" / f"{name}{suffix}")
            Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        return root

    return make


@pytest.fixture
def kvasir() -> Path:
    """The folder of the real Kvasir-SEG: $GRAFT_KVASIR, or beside the project."""
    root = Path(os.environ.get("GRAFT_KVASIR") or Path(__file__).parents[3] / "shared" / "data" / "Kvasir-SEG")
    if not (root / "images").is_dir():
        pytest.skip(f"Kvasir-SEG is not at {root}; set GRAFT_KVASIR to its folder")
    return root


@pytest.fixture
def make_classes(tmp_path: Path) -> Callable[..., Path]:
    """Write images of 30 x 40 pixels, all different, into folders: {"train/cat": 3} makes train/cat/cat0.jpg, ..."""

    def make(counts: dict[str, int], folder: str = "classes", suffix: str = ".png") -> Path:
        for name, count in counts.items():
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng([number, *name.encode()])
                image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
                image.save(tmp_path / folder / name / f"{Path(name).name}{number}{suffix}")
        return tmp_path / folder

    return make
