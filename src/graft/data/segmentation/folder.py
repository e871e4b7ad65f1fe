"""Your own images and masks, in two folders or named by a CSV."""

from pathlib import Path
from typing import Any

from graft.data.samples import Sample
from graft.data.segmentation.base import SegmentationData
from graft.data.segmentation.pairs import pair_files
from graft.data.splits import SHARES, Splits
from graft.data.table import read_table


class FolderSegmentation(SegmentationData):
    """Images in `root`/images and masks of the same names in `root`/masks (png, jpg, jpeg, bmp, tif, tiff), or a CSV.

    Args:
        root: The folder. train.txt, val.txt and test.txt in it, one name a line, decide the splits; without them,
            80 : 10 : 10 by a hash of the name.
        csv: A file with the columns image, mask and split (train, val or test), instead of the folders and the lists;
            its paths are relative to `root`, and must lie in it.
        classes: Names of the classes without the background; null for one, "foreground". Masks of one class are black
            and white; masks of several hold 0 for the background and 1, 2, ... for the classes, in this order.
        kwargs: Options of all data sets.
    """

    def __init__(self, root: Path, csv: Path | None = None, classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(root, **kwargs)
        self.csv = None if csv is None else Path(csv).expanduser()
        self.classes = ["foreground"] if classes is None else classes
        if not self.classes:
            raise ValueError("classes is empty, but a mask needs at least one class; name it, or leave the option out.")

    def find(self) -> list[Sample]:
        return pair_files(self.root / "images", self.root / "masks")

    def splits(self) -> Splits:
        return super().splits() if self.csv is None else read_splits(self.csv, self.root)


def read_splits(csv: Path, root: Path) -> Splits:
    """Read the samples of each split from a CSV with the columns image, mask and split, its paths relative to `root`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, a split is unknown, a path leads out of `root`, or an image has two rows.
    """
    splits: Splits = {split: [] for split in SHARES}
    seen: set[Path] = set()
    for row in read_table(csv, ["image", "mask", "split"]):
        if row["split"] not in splits:
            raise ValueError(f"{csv}: the split of {row['image']} is {row['split']!r}, but must be train, val or test.")
        for path in (row["image"], row["mask"]):
            if not (root / path).resolve().is_relative_to(root.resolve()):
                raise ValueError(f"{csv}: {path} lies outside of {root}; move it there or change the root.")
        image = root / row["image"]
        if image in seen:
            raise ValueError(f"{csv} has two rows for {row['image']}; remove one.")
        seen.add(image)
        splits[row["split"]].append(Sample(image.stem, image, root / row["mask"]))
    return splits
