"""The pictures are what they promise, and a set of them is complete or absent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from graft.data import PolypPhantoms
from graft.data.segmentation.phantom import phantom

Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Images (120, 160, 192, 3) and masks (120, 160, 192)."""
    images, masks = zip(*(phantom(np.random.default_rng((1, n)), 160, 192) for n in range(120)), strict=True)
    return np.stack(images), np.stack(masks)


def small(root: Path, **options: Any) -> PolypPhantoms:
    counts = {"train_count": 3, "val_count": 2, "test_count": 2}
    return PolypPhantoms(root, **{**counts, "height": 40, "width": 48, "image_size": 64, **options})


def drawn(root: Path, **options: Any) -> dict[str, bytes]:
    small(root, **options).prepare_data()
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.png"))}


@pytest.mark.parametrize("size", [(160, 192), (97, 64), (256, 256)])
def test_size_and_values(size: tuple[int, int]) -> None:
    image, mask = phantom(np.random.default_rng(0), *size)
    assert image.shape == (*size, 3)
    assert mask.shape == size
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}


def test_polyps_vary_and_some_pictures_have_none(pictures: Pictures) -> None:
    images, masks = pictures
    share = (masks > 0).mean((1, 2))
    assert 0.05 < (share == 0).mean() < 0.25
    share = share[share > 0]
    assert share.min() > 0.0005
    assert share.max() < 0.35  # a disc of 0.6 of the height covers 0.24, and polyps are stretched
    assert np.percentile(share, 90) > 4 * np.percentile(share, 10)
    assert images[masks > 0].mean() > 40  # a polyp is in the light, not in the black corners


def test_no_threshold_finds_the_polyp(pictures: Pictures) -> None:
    images, masks = pictures
    polyps = masks[masks.any((1, 2))] > 0
    colours = images[masks.any((1, 2))].astype(np.float32)
    red, green, blue = np.moveaxis(colours, -1, 0)
    best = 0.0
    for feature in (red, green, blue, colours.mean(-1), green / (red + 1), blue / (red + 1)):
        for threshold in np.percentile(feature, np.arange(2, 100, 4)):
            for guess in (feature > threshold, feature <= threshold):
                overlap = 2 * (guess & polyps).sum((1, 2)) / (guess.sum((1, 2)) + polyps.sum((1, 2)))
                best = max(best, float(overlap.mean()))
    assert best < 0.6


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = drawn(tmp_path / "a")
    assert len(first) == 14
    assert first == drawn(tmp_path / "b")
    assert not set(first.values()) & {
        data for name, data in drawn(tmp_path / "c", phantom_seed=1).items() if "images" in name
    }


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, many = drawn(tmp_path / "few"), drawn(tmp_path / "many", train_count=5, val_count=3)
    assert few.items() < many.items()


def test_files_and_lists(tmp_path: Path) -> None:
    data = small(tmp_path)
    data.prepare_data()
    assert {split: len(samples) for split, samples in data.splits().items()} == {"train": 3, "val": 2, "test": 2}
    assert (tmp_path / "val.txt").read_text().split() == ["val-0000", "val-0001"]
    with Image.open(tmp_path / "images" / "val-0001.png") as image:
        assert (image.mode, image.size) == ("RGB", (48, 40))
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].shape == (3, 3, 64, 64)


def test_what_a_killed_process_left_is_drawn_again(tmp_path: Path) -> None:
    whole = drawn(tmp_path / "whole")
    (tmp_path / "half.part" / "images").mkdir(parents=True)
    (tmp_path / "half.part" / "images" / "train-0000.png").write_bytes(b"half")
    assert drawn(tmp_path / "half") == whole
    assert not (tmp_path / "half.part").exists()


def test_a_complete_set_is_left_alone(tmp_path: Path) -> None:
    drawn(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    drawn(tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_another_set_is_not_mistaken_for_this_one(tmp_path: Path) -> None:
    drawn(tmp_path)
    other = small(tmp_path, phantom_seed=1)
    other.prepare_data()
    with pytest.raises(ValueError, match="choose another root"):
        other.find()


def test_default_folder_depends_on_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path))
    assert PolypPhantoms().root == PolypPhantoms().root
    assert PolypPhantoms().root.parent == tmp_path
    assert PolypPhantoms().root != PolypPhantoms(train_count=10).root


@pytest.mark.parametrize("option", [{"train_count": 0}, {"height": 3}, {"phantom_seed": -1}])
def test_bad_option(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} is"):
        PolypPhantoms(**option)
