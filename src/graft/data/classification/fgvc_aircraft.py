"""FGVC-Aircraft: 10,000 photos of 100 variants of aircraft.

Maji et al., "Fine-Grained Visual Classification of Aircraft", arXiv 1306.5151,
https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft. For non-commercial research; cite the report.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import (
    OR_FETCH,
    fetch_published,
    label_images,
    read_columns,
    read_lines,
    require,
)

FILES = (
    "images",
    "variants.txt",
    "images_variant_train.txt",
    "images_variant_val.txt",
    "images_variant_test.txt",
)
HOW = (
    "unpack https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz and put there what "
    "its folder data holds: the folder images and the lists"
)


class FGVCAircraft(ClassificationData):
    """FGVC-Aircraft, fetched on first use (2.8 GB) unless you give a folder.

    Looked for are images/, variants.txt and images_variant_*.txt. The official split, which is CoOp's too, has 3,334
    images to train, 3,333 to validate and 3,333 to test.
    """

    folder = "fgvc_aircraft"
    split_file = None
    template = "a photo of a {}, a type of aircraft."

    def fetch(self) -> None:
        fetch_published(self, datasets.FGVCAircraft, "fgvc-aircraft-2013b/data", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        names = read_lines(self.root / "variants.txt")
        splits = {split: self._read(f"images_variant_{split}.txt", names) for split in ("train", "val", "test")}
        return Division(names, splits, "the official split")

    def _read(self, file: str, names: list[str]) -> list[Labelled]:
        rows = [(f"{number}.jpg", variant) for number, variant in read_columns(self.root / file, 2)]
        return label_images(self.root / self.images, rows, names, self.root / file)
