"""Food-101: 101,000 photos of 101 dishes.

Bossard et al., "Food-101: Mining Discriminative Components with Random Forests", ECCV 2014,
https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101. The photos are Foodspotting's: for research; cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import OR_FETCH, fetch_published, label_images, read_lines, require

FILES = ("images", "meta/classes.txt", "meta/train.txt", "meta/test.txt")
HOW = "unpack https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz so that its folders images and meta are there"


class Food101(ClassificationData):
    """Food-101, fetched on first use (5 GB) unless you give a folder.

    Looked for are images/, meta/ and, for CoOp's split, split_zhou_Food101.json. The official split has 75,750 images
    to train and 25,250 to test.
    """

    folder = "food-101"
    split_file = "split_zhou_Food101.json"
    template = "a photo of {}, a type of food."

    def fetch(self) -> None:
        fetch_published(self, datasets.Food101, "food-101", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        names = read_lines(self.root / "meta/classes.txt")
        splits = {"train": self._read("meta/train.txt", names), "val": [], "test": self._read("meta/test.txt", names)}
        return Division(names, splits, "the official split")

    def _read(self, file: str, names: list[str]) -> list[Labelled]:
        rows = [(f"{line}.jpg", line.split("/")[0]) for line in read_lines(self.root / file)]
        return label_images(self.root / self.images, rows, names, self.root / file)
