"""Items of training and evaluation, and their randomness."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graft.data.batch import Item, collate
from graft.data.samples import Sample
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.dataset import SegmentationDataset

SHAPES = {"image": (3, 64, 64), "mask": (64, 64), "size": (2,), "original_size": (2,), "box": (4,), "point": (2,)}
TYPES = {"image": torch.uint8, "mask": torch.uint8, "size": torch.int64, "original_size": torch.int64}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A picture of 100 x 128 pixels (height x width) with a rectangle in it: columns 20 to 79, rows 10 to 59."""
    mask = np.zeros((100, 128), np.uint8)
    mask[10:60, 20:80] = 255
    image = np.stack([mask, 255 - mask, np.full_like(mask, 9)], axis=2)
    Image.fromarray(image).save(tmp_path / "été 1.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return Sample("été 1", tmp_path / "été 1.png", tmp_path / "mask.png")


def same(one: Item, other: Item) -> bool:
    return all(torch.equal(one[key], other[key]) for key in SHAPES)  # type: ignore[literal-required]


@pytest.mark.parametrize("training", [False, True])
def test_item_is_what_the_contract_says(sample: Sample, training: bool) -> None:
    item = SegmentationDataset([sample], 64, training=training)[5, 0]
    for key, shape in SHAPES.items():
        assert item[key].shape == shape, key  # type: ignore[literal-required]
        assert item[key].dtype == TYPES.get(key, torch.float32), key  # type: ignore[literal-required]
    assert item["size"].tolist() == [50, 64]
    assert item["original_size"].tolist() == [100, 128]
    assert (item["name"], item["path"]) == ("été 1", str(sample.image))
    assert ("original_mask" in item) is not training
    expected = torch.zeros(64, 64, dtype=torch.uint8)
    expected[5:30, 10:40] = 1
    assert torch.equal(item["mask"], expected)
    inside, padding = item["image"][:, 10, 20], item["image"][:, 50:]
    assert inside.tolist() == [255, 0, 9]
    assert not padding.any()


def test_evaluation_prompts_are_exact(sample: Sample) -> None:
    item = SegmentationDataset([sample], 64)[0, 0]
    assert item["box"].tolist() == [10, 5, 40, 30]
    x, y = item["point"].tolist()
    assert y == 17  # the middle of 25 rows; any column 13 from both sides is as deep
    assert 22 <= x <= 27
    assert item["original_mask"].shape == (100, 128)
    assert item["original_mask"].sum() == 50 * 60


def test_training_prompts_fit_the_augmented_mask(sample: Sample) -> None:
    dataset = SegmentationDataset([sample], 64, training=True, augment=Augment())
    for epoch in range(10):
        item = dataset[epoch, 0]
        x, y = item["point"].long().tolist()
        assert item["mask"][y, x] == 1
        rows, columns = torch.nonzero(item["mask"], as_tuple=True)
        edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        extent = (edges[2:] - edges[:2]).repeat(2)
        assert ((item["box"] - edges).abs() <= 0.1 * extent + 1e-4).all()
        red = item["image"][0].float() > item["image"][1]
        assert ((red == (item["mask"] == 1))[:50]).float().mean() > 0.95  # image and mask moved together


def test_randomness_is_of_seed_epoch_and_index_alone(sample: Sample) -> None:
    def dataset(seed: int) -> SegmentationDataset:
        return SegmentationDataset([sample] * 3, 64, training=True, augment=Augment(), seed=seed)

    used = dataset(0)
    for index in (2, 0, 1):
        used[0, index]
    assert same(used[1, 2], dataset(0)[1, 2])
    assert not same(used[1, 2], used[2, 2])
    assert not same(used[1, 2], used[1, 1])
    assert not same(used[1, 2], dataset(1)[1, 2])


def test_evaluation_is_the_same_in_every_epoch_and_without_one(sample: Sample) -> None:
    dataset = SegmentationDataset([sample], 64, augment=Augment())
    assert same(dataset[0, 0], dataset[7, 0])
    assert same(dataset[0, 0], dataset[0])


def test_augment_off_changes_nothing_and_bad_options_are_refused() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    off = Augment(flip=False, rotate=0, scale=0, brightness=0)
    changed, mask = off(image, image[..., 0] // 128, np.random.default_rng(1))
    assert (changed == image).all()
    assert (mask == image[..., 0] // 128).all()
    for option, value in (("rotate", 181), ("scale", 1.0), ("brightness", -0.1)):
        with pytest.raises(ValueError, match=f"{option} is {value}, but must"):
            Augment(**{option: value})


def test_collate_stacks_and_lists(sample: Sample) -> None:
    dataset = SegmentationDataset([sample, sample], 64)
    batch = collate([dataset[0, 0], dataset[0, 1]])
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["size"].tolist() == [[50, 64], [50, 64]]
    assert isinstance(batch["original_mask"], list)
    assert batch["name"] == ["été 1", "été 1"]


def test_mask_of_another_size(sample: Sample, tmp_path: Path) -> None:
    Image.new("L", (127, 100)).save(tmp_path / "small.png")
    odd = Sample("odd", sample.image, tmp_path / "small.png")
    with pytest.raises(
        ValueError, match=r"128 pixels wide and 100 high, but its mask .*small\.png is 127 wide and 100"
    ):
        SegmentationDataset([odd], 64)[0, 0]
