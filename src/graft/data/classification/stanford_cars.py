"""Stanford Cars: 16,185 photos of 196 models of cars.

Krause et al., "3D Object Representations for Fine-Grained Categorization", ICCV Workshops 2013,
https://ai.stanford.edu/~jkrause/cars/car_dataset.html (no longer there). For research; cite the paper.
"""

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import label_images, read_mat, require

FILES = (
    "cars_train",
    "cars_test",
    "cars_test_annos_withlabels.mat",
    "devkit/cars_meta.mat",
    "devkit/cars_train_annos.mat",
)
HOW = (
    "the set cannot be fetched, as its page https://ai.stanford.edu/~jkrause/cars/car_dataset.html is gone; "
    "https://github.com/pytorch/vision/issues/7545 says where copies of its four archives are: unpack them there"
)


class StanfordCars(ClassificationData):
    """Stanford Cars, which you get by hand.

    Looked for are cars_train/, cars_test/, devkit/, cars_test_annos_withlabels.mat and, for CoOp's split,
    split_zhou_StanfordCars.json. The official split has 8,144 images to train and 8,041 to test. Names begin with the
    year, as CoOp's.
    """

    folder = "stanford_cars"
    split_file = "split_zhou_StanfordCars.json"
    images = "."
    template = "a photo of a {}."

    def official(self) -> Division:
        require(self.root, FILES, HOW)
        models = [str(name).rsplit(" ", 1) for name in read_mat(self.root / "devkit/cars_meta.mat")["class_names"]]
        names = [f"{year} {model}" for model, year in models]
        splits = {
            "train": self._read("cars_train", "devkit/cars_train_annos.mat", names),
            "val": [],
            "test": self._read("cars_test", "cars_test_annos_withlabels.mat", names),
        }
        return Division(names, splits, "the official split")

    def _read(self, folder: str, file: str, names: list[str]) -> list[Labelled]:
        annotations = read_mat(self.root / file)["annotations"]  # of each image its box, its class from 1, its file
        rows = [(f"{folder}/{row['fname']}", int(row["class"])) for row in annotations]
        return label_images(self.root / self.images, rows, range(1, len(names) + 1), self.root / file)
