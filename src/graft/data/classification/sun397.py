"""SUN397: 108,754 photos of 397 kinds of scenes, of which a split uses 39,700.

Xiao et al., "SUN Database: Large-scale Scene Recognition from Abbey to Zoo", CVPR 2010,
https://vision.princeton.edu/projects/2010/SUN. For research; cite the paper.
"""

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import label_images, read_lines, require

FILES = ("SUN397", "ClassName.txt", "Training_01.txt", "Testing_01.txt")
HOW = (
    "the set is not fetched; unpack http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz so that its "
    "folder SUN397 is there, and https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip so that its "
    "lists are beside that"
)


class SUN397(ClassificationData):
    """SUN397, which you get by hand.

    Looked for are SUN397/ and, for CoOp's split, split_zhou_SUN397.json, else ClassName.txt, Training_01.txt and
    Testing_01.txt. The official split is the first of ten, with 19,850 images each to train and to test. Names are
    CoOp's: "outdoor church" of /c/church/outdoor.
    """

    folder = "sun397"
    split_file = "split_zhou_SUN397.json"
    images = "SUN397"
    template = "a photo of a {}."

    def official(self) -> Division:
        require(self.root, FILES, HOW)
        scenes = [line.strip("/") for line in read_lines(self.root / "ClassName.txt")]
        names = [" ".join(reversed(scene.split("/")[1:])) for scene in scenes]
        splits = {
            "train": self._read("Training_01.txt", scenes),
            "val": [],
            "test": self._read("Testing_01.txt", scenes),
        }
        return Division(names, splits, "the first of ten official splits")

    def _read(self, file: str, scenes: list[str]) -> list[Labelled]:
        paths = [line.strip("/") for line in read_lines(self.root / file)]
        rows = [(path, path.rpartition("/")[0]) for path in paths]
        return label_images(self.root / self.images, rows, scenes, self.root / file)
