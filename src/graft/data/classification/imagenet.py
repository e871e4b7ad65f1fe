"""ImageNet-1k, of the challenge of 2012: 1.28 million photos of 1,000 kinds of things.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, https://image-net.org. For
non-commercial research and education, after registration; cite the paper.
"""

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division
from graft.data.classification.published import class_folders, label_folders, read_columns, require
from graft.data.files import name_some

FILES = ("images/train", "images/val", "classnames.txt")
HOW = (
    "the set cannot be fetched; get it from https://image-net.org, put its training and validation images, in folders "
    "such as n01440764, into images/train and images/val there, and beside images the classnames.txt that "
    "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md links to"
)


class ImageNet(ClassificationData):
    """ImageNet-1k, which you get by hand.

    Looked for are images/train/, images/val/ (or train/ and val/ without images/) and classnames.txt, with lines such
    as "n01440764 tench". As in CoOp, the 50,000 validation images are there to test.
    """

    folder = "imagenet"
    split_file = None
    template = "a photo of a {}."

    def official(self) -> Division:
        bare = (self.root / "train").is_dir()
        require(self.root, [name.removeprefix("images/") for name in FILES] if bare else FILES, HOW)
        images = self.root if bare else self.root / self.images
        synsets = class_folders(images / "train")
        words = dict(read_columns(self.root / "classnames.txt", 2))
        if nameless := [synset for synset in synsets if synset not in words]:
            raise ValueError(f"{self.root / 'classnames.txt'} has no name for {name_some(nameless)}; get it again.")
        splits = {
            "train": label_folders(images / "train", synsets, synsets),
            "val": [],
            "test": label_folders(images / "val", class_folders(images / "val"), synsets),
        }
        return Division(
            [words[synset] for synset in synsets], splits, "the official split (its validation images to test)"
        )
