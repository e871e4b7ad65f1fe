"""DTD, the Describable Textures Dataset: 5,640 photos of 47 textures.

Cimpoi et al., "Describing Textures in the Wild", CVPR 2014, https://www.robots.ox.ac.uk/~vgg/data/dtd. For research;
cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import (
    OR_FETCH,
    class_folders,
    fetch_published,
    label_images,
    read_lines,
    require,
)

FILES = ("images", "labels/train1.txt", "labels/val1.txt", "labels/test1.txt")
HOW = (
    "unpack https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz so that its folders images and labels "
    "are there"
)


class DTD(ClassificationData):
    """DTD, fetched on first use (600 MB) unless you give a folder.

    Looked for are images/, labels/ and, for CoOp's split, split_zhou_DescribableTextures.json. The official split is
    the first of ten, with 1,880 images each to train, validate and test.
    """

    folder = "dtd"
    split_file = "split_zhou_DescribableTextures.json"
    template = "{} texture."

    def fetch(self) -> None:
        fetch_published(self, datasets.DTD, "dtd/dtd", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        names = class_folders(self.root / self.images)
        splits = {split: self._read(f"labels/{split}1.txt", names) for split in ("train", "val", "test")}
        return Division(names, splits, "the first of ten official splits")

    def _read(self, file: str, names: list[str]) -> list[Labelled]:
        rows = [(line, line.split("/")[0]) for line in read_lines(self.root / file)]
        return label_images(self.root / self.images, rows, names, self.root / file)
