"""Oxford 102 Flowers: 8,189 photos of 102 flowers that are common in the United Kingdom.

Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes", ICVGIP 2008,
https://www.robots.ox.ac.uk/~vgg/data/flowers/102. No licence is stated: for research; cite the paper.
"""

import json

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division
from graft.data.classification.published import OR_FETCH, fetch_published, label_images, read_mat, require
from graft.data.table import read_text

FILES = ("jpg", "imagelabels.mat", "setid.mat")
HOW = (
    "unpack 102flowers.tgz from https://www.robots.ox.ac.uk/~vgg/data/flowers/102 so that its folder jpg is there, "
    "with imagelabels.mat and setid.mat beside it"
)
LISTS = {"train": "trnid", "val": "valid", "test": "tstid"}  # in setid.mat


class Flowers102(ClassificationData):
    """Oxford 102 Flowers, fetched on first use (350 MB) unless you give a folder.

    Looked for are jpg/, imagelabels.mat, setid.mat and, for CoOp's split, split_zhou_OxfordFlowers.json. The official
    split has 1,020 images to train, 1,020 to validate and 6,149 to test. Its classes are numbers: the names are those
    of CoOp's cat_to_name.json if that is there too, else torchvision's, of which two differ.
    """

    folder = "oxford_flowers"
    split_file = "split_zhou_OxfordFlowers.json"
    images = "jpg"
    template = "a photo of a {}, a type of flower."

    def fetch(self) -> None:
        fetch_published(self, datasets.Flowers102, "flowers-102", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        names = self._names()
        classes = read_mat(self.root / "imagelabels.mat")["labels"].tolist()  # from 1, of image_00001 and so on
        splits = {}
        for split, ids in LISTS.items():
            rows = [(f"image_{n:05d}.jpg", classes[n - 1]) for n in read_mat(self.root / "setid.mat")[ids].tolist()]
            splits[split] = label_images(self.root / self.images, rows, range(1, len(names) + 1), self.root)
        return Division(names, splits, "the official split")

    def _names(self) -> list[str]:
        path = self.root / "cat_to_name.json"
        if not path.is_file():
            return [str(name).rstrip("?") for name in datasets.Flowers102.classes]  # one of them is marked as doubtful
        try:
            named = {int(number): str(name) for number, name in json.loads(read_text(path)).items()}
        except (AttributeError, ValueError) as error:
            raise ValueError(f"{path} is no table of numbers and names ({error}); get it again.") from error
        return [named[number] for number in sorted(named)]
