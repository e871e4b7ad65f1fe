"""Images to predict, and the prompts beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graft.data.segmentation.predict import PredictDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with images of 50 x 100 and 40 x 20 pixels (height x width)."""
    for name, size in (("a b.png", (100, 50)), ("ü.jpg", (20, 40))):
        Image.fromarray(np.full((size[1], size[0], 3), 9, np.uint8)).save(tmp_path / name)
    (tmp_path / "deeper").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "deeper" / "c.png")
    return tmp_path


def prompt(root: Path, *lines: str) -> PredictDataset:
    (root / "prompts.csv").write_text("\n".join(lines), encoding="utf-8")
    return PredictDataset(root, 80)


def test_items_without_prompts(root: Path) -> None:
    dataset = PredictDataset(root, 80)
    assert [dataset[0, index]["name"] for index in range(len(dataset))] == ["a b", "ü"]
    assert set(dataset[0]) == {"image", "original_image", "size", "original_size", "name", "path"}
    assert dataset[0]["size"].tolist() == [40, 80]
    assert dataset[0]["original_size"].tolist() == [50, 100]
    assert dataset[0]["image"].shape == (3, 80, 80)
    assert torch.equal(dataset[0]["original_image"], torch.full((3, 50, 100), 9, dtype=torch.uint8))


def test_boxes_are_scaled_to_the_square(root: Path) -> None:
    dataset = prompt(root, "image,x0,y0,x1,y1", "a b.png,10,20,100,50", "ü,1,2,3.5,4")
    assert dataset[0, 0]["box"].tolist() == [8, 16, 80, 40]
    assert dataset[0, 1]["box"].tolist() == [2, 4, 7, 8]
    assert "point" not in dataset[0]


def test_each_axis_has_its_own_scale(tmp_path: Path) -> None:
    Image.new("L", (100, 3)).save(tmp_path / "flat.v2.png")  # becomes 80 x 2, since pixels are whole
    assert prompt(tmp_path, "image,x,y", "flat.v2,50,3")[0]["point"].tolist() == [40, 2]


def test_points_and_both(root: Path) -> None:
    assert prompt(root, "image,x,y", "a b,50,25", "ü.jpg,0,40")[0]["point"].tolist() == [40, 20]
    item = prompt(root, "image,x0,y0,x1,y1,x,y", "a b,0,0,10,10,5,5", "ü,0,0,1,1,0,0")[0]
    assert (item["box"].tolist(), item["point"].tolist()) == ([0, 0, 8, 8], [4, 4])


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["image,x,y", "a b,1,2"], r"prompts\.csv has no row for ü\.jpg; add one"),
        (["image,x0,y0,x1", "a b,1,2,3"], r"prompts\.csv has no column y1"),
        (["image", "a b"], "has no column x0 or y0 or x1 or y1"),
        (["image,x,y", "a b,1,two"], "y of a b is 'two', but must be a number of pixels"),
        (["image,x,y", "a b,1,nan"], "y of a b is 'nan'"),
        (["image,x,y", "a b,1"], "line 2: no value for y"),
        (["image,x,y", "a b,1,1", "a b.png,1,1"], r"two rows for a b\.png"),
        (["image,x0,y0,x1,y1", "a b,5,1,4,2"], "box of a b is 5.0, 1.0, 4.0, 2.0, but needs x0 < x1"),
    ],
)
def test_bad_prompts(root: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        prompt(root, *lines)


def test_prompt_outside_the_image(root: Path) -> None:
    with pytest.raises(ValueError, match=r"the point \[10\.0, 51\.0\] lies outside a b\.png, which is 100 pixels wide"):
        prompt(root, "image,x,y", "a b,10,51", "ü,0,0")[0]
