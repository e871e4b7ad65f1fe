"""Your own images in a folder for each class, or named by a CSV."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled, below
from graft.data.files import list_images, name_some
from graft.data.splits import SHARES, split_by_hash
from graft.data.table import read_table

Row = tuple[str, str, Path]
"""A split, the folder's or the CSV's name of a class, and an image of it."""


class FolderClassification(ClassificationData):
    """Images (png, jpg, jpeg, bmp, tif, tiff) in a folder for each class, or in a CSV.

    The folders are `root`/train/CLASS, `root`/val/CLASS and `root`/test/CLASS; or `root`/CLASS, divided 80 : 10 : 10 by
    a hash of the path. The labels follow the order of the folders' names.

    Args:
        root: The folder. Without val, or with nothing for it in the CSV, a tenth of train is held out.
        csv: A file with the columns image, label (the name of the class) and split (train, val or test), instead of
            folders; its paths are relative to `root`, and must lie in it.
        names: What people call the classes, by folder or label; null to read the underscores as blanks.
        kwargs: Options of all classification data sets.
    """

    published = False

    def __init__(self, root: Path, csv: Path | None = None, names: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.csv = None if csv is None else Path(csv).expanduser()
        self.renamed = names or {}

    def official(self) -> Division:
        if self.csv is not None:
            return divide(read_rows(self.csv, self.root), self.renamed, f"the splits in {self.csv}")
        if (self.root / "train").is_dir():
            rows = [
                (split, *found)
                for split in SHARES
                if split == "train" or (self.root / split).is_dir()
                for found in find_classes(self.root / split)
            ]
            return divide(rows, self.renamed, f"the folders of {self.root}")
        rows = [(split_by_hash(below(path, self.root)), name, path) for name, path in find_classes(self.root)]
        return divide(rows, self.renamed, f"a hash of the paths in {self.root}, 80 : 10 : 10")


def find_classes(folder: Path) -> list[tuple[str, Path]]:
    """The images of all folders in a folder, each with its folder's name, in the order of names.

    Raises:
        FileNotFoundError: The folder does not exist or holds no folders, or one of these holds no images.
    """
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not (visible := [name for name in folders if not name.startswith(".")]):
        raise FileNotFoundError(
            f"{folder} holds no folders; make one for each class and put its images there (or in train, val and test "
            "a folder for each class), or name the images in a CSV."
        )
    return [(name, path) for name in visible for path in list_images(folder / name).values()]


def read_rows(csv: Path, root: Path) -> list[Row]:
    """Read a CSV with the columns image, label and split, its paths relative to `root`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, a split is unknown, a path leads out of `root`, or an image has two rows.
    """
    rows: dict[Path, Row] = {}
    for row in read_table(csv, ["image", "label", "split"]):
        image = root / row["image"]
        if row["split"] not in SHARES:
            raise ValueError(f"{csv}: the split of {row['image']} is {row['split']!r}, but must be train, val or test.")
        if not image.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{csv}: {row['image']} lies outside of {root}; move it there or change the root.")
        if image in rows:
            raise ValueError(f"{csv} has two rows for {row['image']}; remove one.")
        rows[image] = (row["split"], row["label"], image)
    return list(rows.values())


def divide(rows: Iterable[Row], renamed: dict[str, str], origin: str) -> Division:
    """Number the classes in the order of their names, and call them what people do.

    Raises:
        ValueError: A class is not trained, is renamed but not there, or bears the name of another.
    """
    rows = list(rows)
    classes = sorted({name for _, name, _ in rows})
    known = {name for split, name, _ in rows if split == "train"}
    if strange := [f"{path} ({name!r})" for _, name, path in rows if name not in known]:
        raise ValueError(
            f"By {origin}, train has no image of the class of {name_some(strange, 3)}, only of "
            f"{name_some(sorted(known)) or 'none'}; correct the name, or add training images."
        )
    if unknown := [name for name in renamed if name not in known]:
        raise ValueError(f"names renames {name_some(unknown)}, but the classes are {name_some(classes)}; correct it.")
    names = [renamed.get(name, name.replace("_", " ")) for name in classes]
    for name in names:
        if names.count(name) > 1:
            same = [folder for folder, other in zip(classes, names, strict=True) if other == name]
            raise ValueError(f"The classes {name_some(same)} are all called {name!r}; rename them by `names`.")
    labels = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[Labelled]] = {split: [] for split in SHARES}
    for split, name, path in rows:
        splits[split].append(Labelled(path.stem, path, labels[name]))
    return Division(names, splits, origin)
