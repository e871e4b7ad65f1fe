"""Caltech 101: 8,242 pictures of 100 kinds of objects.

Fei-Fei et al., "Learning Generative Visual Models from Few Training Examples", CVPR Workshops 2004,
https://data.caltech.edu/records/mzrjq-6wc02. CC BY 4.0; cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification import ClassificationData
from graft.data.division import Division
from graft.data.published import (
    OR_FETCH,
    class_folders,
    divide_by_hash,
    fetch_published,
    images_in,
    label_images,
    require,
)

FILES = ("101_ObjectCategories",)
HOW = (
    "unpack caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02, and 101_ObjectCategories.tar.gz in it, "
    "so that the folder 101_ObjectCategories is there"
)
LEFT_OUT = ("BACKGROUND_Google", "Faces_easy")  # no class, and Faces once more
RENAMED = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}


class Caltech101(ClassificationData):
    """Caltech 101, fetched on first use (140 MB) unless you give a folder.

    Looked for are 101_ObjectCategories/ and, for CoOp's split, split_zhou_Caltech101.json. There is no official split:
    each class is divided 50 : 20 : 30, as CoOp does, but by a hash of the path. As in CoOp, BACKGROUND_Google and
    Faces_easy are left out.
    """

    folder = "caltech-101"
    split_file = "split_zhou_Caltech101.json"
    images = "101_ObjectCategories"
    template = "a photo of a {}."

    def fetch(self) -> None:
        fetch_published(self, datasets.Caltech101, "caltech101", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        images = self.root / self.images
        folders = [name for name in class_folders(images) if name not in LEFT_OUT]
        samples = label_images(images, images_in(images, folders), folders, images)
        names = [RENAMED.get(name, name) for name in folders]
        return Division(names, divide_by_hash(samples, images), "a division 50 : 20 : 30 by hash (none is official)")
