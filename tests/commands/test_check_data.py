"""Each thing that may be wrong with data is provoked in a set that is sound but for it, and found."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from graft.check.finding import Finding
from graft.check.parts import look_at
from graft.data import DTD, FolderClassification, FolderSegmentation
from graft.data.base import ImageData
from tests.layouts import make_dtd

COUNTS = {"train": 6, "val": 2, "test": 2}
SIDE = 64
TWO = {"classes": ["first", "second"]}


def picture(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Clouds of colour: no two alike."""
    grid = np.random.default_rng(seed).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def square(value: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A mask with a rectangle of a value in the upper left."""
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[10:40, 20:60] = value
    return Image.fromarray(mask)


def masks(root: Path) -> list[Path]:
    return sorted((root / "masks").iterdir())


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A sound segmentation of one class."""
    root = tmp_path / "pairs"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for split, count in COUNTS.items():
        names = [f"{split}{number}" for number in range(count)]
        (root / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            picture(sum(name.encode())).save(root / "images" / f"{name}.png")
            square(255).save(root / "masks" / f"{name}.png")
    return root


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A sound classification of three classes."""
    root = tmp_path / "classes"
    for label, name in enumerate(("ant", "bee", "cat")):
        for split, count in COUNTS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                picture(1000 * label + sum(split.encode()) + number).save(root / split / name / f"{name}{number}.png")
    return root


def found(data: ImageData, num_classes: int | None = None) -> list[Finding]:
    return look_at(data, SimpleNamespace(num_classes=num_classes), Console(quiet=True))


def cut_off(root: Path) -> None:
    path = root / "images/train3.png"
    path.write_bytes(path.read_bytes()[:500])


def no_image(root: Path) -> None:
    (root / "masks/test1.png").write_text("no image")


def other_size(root: Path) -> None:
    square(255, (90, 80)).save(root / "masks/val1.png")


def no_mask(root: Path) -> None:
    (root / "masks/train3.png").unlink()


def fill(value: int) -> Callable[[Path], None]:
    """Have all masks hold this value."""

    def spoil(root: Path) -> None:
        for path in masks(root):
            square(value).save(path)

    return spoil


def three(root: Path) -> None:
    for number, path in enumerate(masks(root)):
        square(1 + number % 3).save(path)


def two_of_three(root: Path) -> None:
    fill(1)(root)
    square(5).save(root / "masks/val0.png")


def two_and_ignore(root: Path) -> None:
    three(root)
    for path in masks(root):
        values = np.asarray(Image.open(path)).copy()
        values[values == 3] = 2
        values[-5:] = 255
        Image.fromarray(values).save(path)


def mostly_empty(root: Path) -> None:
    for path in masks(root)[4:-2]:
        square(0).save(path)


def inverted(root: Path) -> None:
    for path in masks(root):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def greys(root: Path) -> None:
    for path in masks(root):
        values = np.asarray(Image.open(path)).copy()
        values[50:70, 20:60] = 128
        Image.fromarray(values).save(path)


def one_split(root: Path) -> None:
    names = [path.stem for path in masks(root)]
    for split in COUNTS:
        (root / f"{split}.txt").write_text("\n".join(names) if split == "train" else "")


def copied(root: Path) -> None:
    shutil.copy(root / "images/train0.png", root / "images/val0.png")


def relit(root: Path) -> None:
    values = np.asarray(Image.open(root / "images/train0.png")) * 0.8
    Image.fromarray(values.astype(np.uint8)).save(root / "images/val0.png")


def doubled(root: Path) -> None:
    shutil.copy(root / "images/train0.png", root / "images/train1.png")


def long(root: Path) -> None:
    picture(7, (400, 80)).save(root / "images/train2.png")
    square(255, (400, 80)).save(root / "masks/train2.png")


def transparent(root: Path) -> None:
    picture(8).convert("RGBA").save(root / "images/train2.png")


def dark(root: Path) -> None:
    values = np.asarray(picture(9).convert("L")).astype(np.uint16) * 16
    Image.fromarray(values).save(root / "images/train2.png")


PAIRS: dict[str, tuple[Callable[[Path], None], dict[str, list[str]], bool, str, str]] = {
    "an image is cut off": (cut_off, {}, True, r"train3.png cannot be read", ""),
    "a mask is no image": (no_image, {}, True, r"test1.png cannot be read", ""),
    "a mask has another size": (other_size, {}, True, r"val1.png is 90 wide", ""),
    "a mask is missing": (no_mask, {}, True, r"without a mask of the same name", ""),
    "masks of indices for one class": (
        *(three, {}, True, r"hold 3 classes \(the values 1, 2, 3\)"),
        "data.init_args.classes: [class_1, class_2, class_3]\nmodel.init_args.num_classes: 3",
    ),
    "an index without a class": (
        *(two_of_three, TWO, True, r"1 masks hold 5, but 2 classes are configured"),
        "data.init_args.classes: [first, second, class_3, class_4, class_5]\nmodel.init_args.num_classes: 5",
    ),
    "masks with 255 to be ignored": (two_and_ignore, TWO, True, r"255 often marks what is to be ignored", ""),
    "all masks are empty": (fill(0), {}, True, r"All of 6 training masks are empty", ""),
    "most masks are empty": (mostly_empty, {}, False, r"4 of 6 training masks are empty", ""),
    "black and white are swapped": (inverted, {}, False, r"84% of the masks' pixels are foreground", ""),
    "greys may be classes": (greys, {}, False, r"the greys 128", "data.init_args.classes: [class_1, class_2]"),
    "a class that no mask shows": (fill(1), TWO, False, r"No training mask shows second", ""),
    "everything is in one split": (one_split, {}, True, r"val split is empty \(train 10, val 0, test 0\)", ""),
    "an image is in two splits": (copied, {}, True, r"train0.png .* and .*val0.png .* byte for byte", ""),
    "images of two splits are alike": (relit, {}, False, r"train0.png .* and .*val0.png .* \(pairs found: 1\)", ""),
    "an image is in a split twice": (doubled, {}, False, r"1 image is there more than once", ""),
    "an image is very long": (long, {}, False, r"1 of 10 images are more than 3 times .*400 x 80", ""),
    "an image is transparent": (transparent, {}, False, r"1 of 10 images have transparency", ""),
    "16 bits of which 12 are used": (dark, {}, False, r"no value above \d{4} of 65535", ""),
}


@pytest.mark.parametrize("case", PAIRS)
def test_what_is_wrong_with_masks_is_found_and_nothing_else(case: str, pairs: Path) -> None:
    spoil, options, fatal, says, change = PAIRS[case]
    spoil(pairs)
    data = FolderSegmentation(pairs, image_size=SIDE, **options)
    (finding,) = found(data, data.num_classes)
    assert (finding.fatal, finding.change) == (fatal, change)
    assert re.search(says, finding.says), finding.says


def test_a_sound_segmentation_has_no_findings(pairs: Path) -> None:
    assert found(FolderSegmentation(pairs, image_size=SIDE), 1) == []


def test_the_configuration_that_is_proposed_mends_the_set(pairs: Path) -> None:
    three(pairs)
    (finding,) = found(FolderSegmentation(pairs, image_size=SIDE), 1)
    classes, count = (line.partition(": ")[2] for line in finding.change.splitlines())
    mended = FolderSegmentation(pairs, image_size=SIDE, classes=classes.strip("[]").split(", "))
    assert found(mended, int(count)) == []


def test_a_model_of_other_classes_is_told(pairs: Path) -> None:
    (finding,) = found(FolderSegmentation(pairs, image_size=SIDE), 3)
    assert (finding.fatal, finding.change) == (True, "model.init_args.num_classes: 1")


def test_several_things_are_all_told(pairs: Path) -> None:
    for spoil in (cut_off, copied, transparent):
        spoil(pairs)
    assert [finding.fatal for finding in found(FolderSegmentation(pairs, image_size=SIDE))].count(True) == 2
    assert len(found(FolderSegmentation(pairs, image_size=SIDE))) == 3


def class_cut_off(root: Path) -> None:
    path = root / "val/bee/bee1.png"
    path.write_bytes(path.read_bytes()[:500])


def class_empty(root: Path) -> None:
    for path in (root / "train/bee").iterdir():
        path.unlink()


def class_untrained(root: Path) -> None:
    shutil.rmtree(root / "train/bee")


def class_unseen(root: Path) -> None:
    shutil.rmtree(root / "val/bee")


def class_small(root: Path) -> None:
    for path in sorted((root / "train/bee").iterdir())[1:]:
        path.unlink()
    for number in range(6, 20):
        picture(5000 + number).save(root / f"train/ant/ant{number}.png")


def class_twice(root: Path) -> None:
    shutil.copy(root / "train/ant/ant0.png", root / "train/bee/bee0.png")


def class_copied(root: Path) -> None:
    shutil.copy(root / "train/ant/ant0.png", root / "test/ant/ant0.png")


CLASSES: dict[str, tuple[Callable[[Path], None], list[bool], str]] = {
    "an image is cut off": (class_cut_off, [True], r"bee1.png cannot be read"),
    "a class is empty": (class_empty, [True], r"train.bee holds no images"),
    "a class is not trained": (class_untrained, [True], r"no image of the class of"),
    "a class is not validated": (class_unseen, [False], r"No validation image shows bee \(1 of 3 classes\)"),
    "a class is small": (class_small, [False], r"ant has 20 training images, bee 1:"),
    "an image has two classes": (class_twice, [False, False], r"ant0.png \(ant\) and .*bee0.png \(bee\) are the same"),
    "an image is in two splits": (class_copied, [True], r"byte for byte"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_what_is_wrong_with_classes_is_found(case: str, classes: Path) -> None:
    spoil, fatal, says = CLASSES[case]
    spoil(classes)
    findings = found(FolderClassification(classes, image_size=SIDE))
    assert [finding.fatal for finding in findings] == fatal, findings
    assert any(re.search(says, finding.says) for finding in findings), findings


def test_a_class_that_a_published_split_does_not_train_is_named(tmp_path: Path) -> None:
    make_dtd(tmp_path)
    path = tmp_path / "split_zhou_DescribableTextures.json"
    split = json.loads(path.read_text())
    split["train"] = [row for row in split["train"] if row[2] != "banded"]
    path.write_text(json.dumps(split))
    (finding,) = found(DTD(tmp_path, image_size=SIDE))
    assert (finding.fatal, finding.says) == (True, "No training image shows banded: add some of each class.")


def test_a_sound_classification_has_no_findings(classes: Path) -> None:
    assert found(FolderClassification(classes, image_size=SIDE)) == []
