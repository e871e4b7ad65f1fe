"""What the data module refuses, and how it says so."""

import time
from pathlib import Path

import pytest

from graft.data.segmentation.folder import FolderSegmentation
from tests.data.conftest import Maker


def test_without_any_image_size(make_set: Maker) -> None:
    with pytest.raises(ValueError, match="image_size was not given and the model has none"):
        FolderSegmentation(make_set(["a"])).setup("fit")


def test_empty_split_says_what_to_add(make_set: Maker) -> None:
    root = make_set(["a", "b"])
    (root / "train.txt").write_text("a")
    (root / "val.txt").write_text("b")
    data = FolderSegmentation(root, image_size=16)
    data.setup("test")
    with pytest.raises(
        ValueError, match=r"The test split of .* is empty \(of 2 images\); name its images in .*test\.txt"
    ):
        data.test_dataloader()


def test_predict_root_is_needed(make_set: Maker, tmp_path: Path) -> None:
    data = FolderSegmentation(tmp_path, image_size=16)
    data.setup("predict")
    with pytest.raises(ValueError, match="predict_root was not given"):
        data.predict_dataloader()
    (tmp_path / "empty").mkdir()
    for folder, words in (("gone", "does not exist"), ("empty", "holds no images")):
        data.predict_root = tmp_path / folder
        with pytest.raises(FileNotFoundError, match=f"{folder} {words}"):
            data.predict_dataloader()


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("num_workers", -1), ("image_size", 0), ("seed", -1)])
def test_bad_options(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}, but must be at least"):
        FolderSegmentation(tmp_path, **{option: value})


def test_checks_are_fast_on_many_and_name_the_broken(make_set: Maker) -> None:
    root = make_set([f"{number:04}" for number in range(1000)])
    data = FolderSegmentation(root, image_size=16)
    start = time.perf_counter()
    data.setup("fit")
    assert time.perf_counter() - start < 5
    broken = data.samples["train"][0].image
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{broken.name} cannot be read"):
        data.setup("fit")


def test_masks_without_any_foreground(make_set: Maker) -> None:
    data = FolderSegmentation(make_set([f"a{n}" for n in range(20)], value=100), image_size=16)
    with pytest.raises(
        ValueError, match=r"None of \d+ masks looked at, such as .*masks.*, shows anything but background"
    ):
        data.setup("fit")
