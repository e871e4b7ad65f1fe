"""UCF101: 13,320 videos of 101 human actions, here the middle frame of each.

Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", arXiv 1212.0402,
https://www.crcv.ucf.edu/data/UCF101.php. The frames are from CoOp (Zhou et al., IJCV 2022). For research; cite both.
"""

import re

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import label_images, read_columns, read_lines, require

FILES = (
    "UCF-101-midframes",
    "ucfTrainTestlist/classInd.txt",
    "ucfTrainTestlist/trainlist01.txt",
    "ucfTrainTestlist/testlist01.txt",
)
HOW = (
    "the set is not fetched; unpack UCF-101-midframes.zip, to which "
    "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md links, so that its folder UCF-101-midframes is there, "
    "and https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip so that its folder "
    "ucfTrainTestlist is there"
)


class UCF101(ClassificationData):
    """The middle frames of UCF101, which you get by hand.

    Looked for are UCF-101-midframes/ and, for CoOp's split, split_zhou_UCF101.json, else ucfTrainTestlist/. The
    official split is the first of three, with 9,537 images to train and 3,783 to test. Names are CoOp's:
    "Apply_Eye_Makeup" of ApplyEyeMakeup.
    """

    folder = "ucf101"
    split_file = "split_zhou_UCF101.json"
    images = "UCF-101-midframes"
    template = "a photo of a person doing {}."

    def official(self) -> Division:
        require(self.root, FILES, HOW)
        names = [_apart(action) for _, action in read_columns(self.root / "ucfTrainTestlist/classInd.txt", 2)]
        splits = {
            "train": self._read("ucfTrainTestlist/trainlist01.txt", names),
            "val": [],
            "test": self._read("ucfTrainTestlist/testlist01.txt", names),
        }
        return Division(names, splits, "the first of three official splits")

    def _read(self, file: str, names: list[str]) -> list[Labelled]:
        # In the list of training videos a label follows each; in the other, none.
        videos = [line.split()[0].partition("/") for line in read_lines(self.root / file)]
        rows = [(f"{_apart(action)}/{video.removesuffix('.avi')}.jpg", _apart(action)) for action, _, video in videos]
        return label_images(self.root / self.images, rows, names, self.root / file)


def _apart(action: str) -> str:
    """The words of a name apart: "Yo_Yo" of "YoYo"."""
    return re.sub(r"(?<=.)(?=[A-Z])", "_", action)
