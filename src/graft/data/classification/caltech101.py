"""Caltech 101: 8,242 pictures of 100 kinds of objects.

Fei-Fei et al., "Learning Generative Visual Models from Few Training Examples", CVPR Workshops 2004,
https://data.caltech.edu/records/mzrjq-6wc02. CC BY 4.0; cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division
from graft.data.classification.published import OR_FETCH, fetch_published, folders_division, require

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
        return folders_division(self.root / self.images, LEFT_OUT, RENAMED)
