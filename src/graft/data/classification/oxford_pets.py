"""Oxford-IIIT Pet: 7,349 photos of cats and dogs of 37 breeds.

Parkhi et al., "Cats and Dogs", CVPR 2012, https://www.robots.ox.ac.uk/~vgg/data/pets. CC BY-SA 4.0; cite the paper.
"""

from torchvision import datasets  # type: ignore[import-untyped]

from graft.data.classification.base import ClassificationData
from graft.data.classification.division import Division, Labelled
from graft.data.classification.published import OR_FETCH, fetch_published, label_images, read_columns, require

FILES = ("images", "annotations/trainval.txt", "annotations/test.txt")
HOW = (
    "unpack images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets/data so that the "
    "folders images and annotations are there"
)


class OxfordPets(ClassificationData):
    """Oxford-IIIT Pet, fetched on first use (800 MB) unless you give a folder.

    Looked for are images/, annotations/ and, for CoOp's split, split_zhou_OxfordPets.json. The official split has 3,680
    images to train and 3,669 to test. The names of breeds are in lower case, as CoOp's.
    """

    folder = "oxford_pets"
    split_file = "split_zhou_OxfordPets.json"
    template = "a photo of a {}, a type of pet."

    def fetch(self) -> None:
        fetch_published(self, datasets.OxfordIIITPet, "oxford-iiit-pet", HOW)

    def official(self) -> Division:
        require(self.root, FILES, f"{HOW}, {OR_FETCH}")
        listed = read_columns(self.root / "annotations/trainval.txt", 4)  # name, label from 1, species, breed
        breeds = {int(label): _breed(name) for name, label, *_ in listed}
        names = [breeds[label] for label in sorted(breeds)]
        splits = {
            "train": self._read("annotations/trainval.txt", names),
            "val": [],
            "test": self._read("annotations/test.txt", names),
        }
        return Division(names, splits, "the official split")

    def _read(self, file: str, names: list[str]) -> list[Labelled]:
        rows = [(f"{name}.jpg", _breed(name)) for name, *_ in read_columns(self.root / file, 4)]
        return label_images(self.root / self.images, rows, names, self.root / file)


def _breed(name: str) -> str:
    """The breed in an image's name: "american_bulldog" of "american_bulldog_100"."""
    return name.rsplit("_", 1)[0].lower()
