"""Your own images and masks, in folders or named by a CSV."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.data.samples import Sample
from graft.data.segmentation.checks import check_pairs
from graft.data.segmentation.folder import FolderSegmentation
from graft.data.segmentation.pairs import pair_files
from tests.data.conftest import Maker


def test_names_with_spaces_unicode_and_capital_suffixes(make_set: Maker) -> None:
    root = make_set(["a b", "Ünïcödé 图"])
    (root / "masks" / "a b.png").rename(root / "masks" / "a b.PNG")
    (root / "images" / "a b.png").rename(root / "images" / "a b.Tif")
    (root / "images" / "notes.txt").write_text("no image")
    assert [sample.name for sample in FolderSegmentation(root).find()] == ["a b", "Ünïcödé 图"]


def test_image_without_mask_and_names_twice(make_set: Maker) -> None:
    root = make_set(["a", "b", "c"])
    (root / "masks" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"without a mask of the same name in .*masks: b\.png; add"):
        FolderSegmentation(root).find()
    (root / "images" / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png differ only in the extension"):
        FolderSegmentation(root).find()


def test_missing_files_are_named(tmp_path: Path) -> None:
    gone = [Sample(f"{number}", tmp_path / f"{number}.png", tmp_path / "mask.png") for number in range(9)]
    with pytest.raises(FileNotFoundError, match=r"Not found: .*0\.png, .*mask\.png, .* and 13 more; put"):
        check_pairs(gone, 1)


def test_checks_read_the_last_part_too(make_set: Maker) -> None:
    root = make_set([f"{number:02}" for number in range(64)])
    samples = pair_files(root / "images", root / "masks")
    Image.new("L", (3, 3)).save(root / "masks" / "62.png")
    with pytest.raises(ValueError, match=r"62\.png is 3 wide and 3 high"):
        check_pairs(samples, 1)


def write_csv(root: Path, *lines: str) -> Path:
    (root / "set.csv").write_text("\n".join(lines), encoding="utf-8")
    return root / "set.csv"


def test_csv_gives_pairs_and_splits(make_set: Maker) -> None:
    root = make_set(["a", "ü b"])
    csv = write_csv(root, "image,mask,split", "images/a.png, masks/ü b.png ,train", "images/ü b.png,masks/a.png,test")
    data = FolderSegmentation(root, csv, image_size=16)
    data.setup("fit")
    assert data.samples["train"] == [Sample("a", root / "images/a.png", root / "masks/ü b.png")]
    assert data.samples["val"] == []
    assert data.samples["test"] == [Sample("ü b", root / "images/ü b.png", root / "masks/a.png")]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["image,mask", "a,b"], r"set\.csv has no column split, only image, mask; it needs image, mask, split"),
        ([""], "has no column image or mask or split, only an empty first line"),
        (["image,mask,split", "a,b,dev"], "the split of a is 'dev', but must be train, val or test"),
        (["image,mask,split", "../a,b,train"], r"set\.csv: \.\./a lies outside of"),
        (["image,mask,split", "a,/etc/b,train"], "/etc/b lies outside of"),
        (["image,mask,split", "a,,train"], "line 2: no value for mask"),
        (["image,mask,split", "a,b,train", "a,b,test"], "two rows for a"),
    ],
)
def test_bad_csv(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        FolderSegmentation(tmp_path, write_csv(tmp_path, *lines)).splits()


def test_missing_csv(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist; give a CSV"):
        FolderSegmentation(tmp_path, tmp_path / "none.csv").splits()


def test_several_classes_are_indexed(make_set: Maker) -> None:
    root = make_set(["a"], value=2)
    data = FolderSegmentation(root, classes=["liver", "spleen"], image_size=40)
    for split in ("train", "val"):
        (root / f"{split}.txt").write_text("a" if split == "val" else "")
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    assert np.unique(batch["mask"]).tolist() == [0, 2]
    with pytest.raises(ValueError, match="classes is empty"):
        FolderSegmentation(root, classes=[])
