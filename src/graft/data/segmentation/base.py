"""A segmentation data set for Lightning; each set is a small subclass that says where its images and masks are."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from graft.cache import cache_dir
from graft.data.base import ImageData
from graft.data.batch import collate
from graft.data.leakage import check_copies, warn_of_lookalikes
from graft.data.samples import Sample
from graft.data.segmentation.augment import STANDARD, Augment
from graft.data.segmentation.checks import check_pairs
from graft.data.segmentation.dataset import SegmentationDataset
from graft.data.segmentation.predict import PredictDataset
from graft.data.splits import Splits, split_samples

USED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


class SegmentationData(ImageData):
    """Loaders of images and masks; their batches are described in `graft.data.batch.Item`.

    A subclass sets `classes` and defines `find`; one that can get its files by itself defines `fetch` too.

    Args:
        root: Folder of the data set. train.txt, val.txt and test.txt in it, one name a line, decide the splits.
        augment: Random changes of the training images; null for none.
        predict_root: Folder of images to predict; a prompts.csv in it gives boxes (columns image,x0,y0,x1,y1) or points
            (image,x,y) in pixels.
        keep_resized: Keep images and masks in the cache folder as they are once resized, before any random change, so
            that each is decoded once and not once an epoch. What is trained stays the same. An image takes 3 bytes a
            pixel of the square: about 3 MB at 1024 pixels.
        kwargs: Options of all data modules.
    """

    collate = staticmethod(collate)

    def __init__(
        self,
        root: Path,
        augment: Augment | None = STANDARD,
        predict_root: Path | None = None,
        keep_resized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(predict_root=predict_root, **kwargs)
        self.root = Path(root).expanduser()
        self.augment = augment
        self.keep_resized = keep_resized

    @property
    def num_classes(self) -> int:
        """Number of classes without the background."""
        return len(self.classes)

    @abstractmethod
    def find(self) -> list[Sample]:
        """All images with their masks, in an order that does not change."""

    def splits(self) -> Splits:
        """The images of "train", "val" and "test": by the lists in the folder, else by a hash of the name."""
        return split_samples(self.find(), self.root)

    def fetch(self) -> None:
        """Put the files in place if they are missing; once a machine."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        model = self.trainer.lightning_module if self.trainer else None
        if (theirs := getattr(model, "num_classes", self.num_classes)) != self.num_classes:
            raise ValueError(
                f"{type(self).__name__} has {self.num_classes} classes ({', '.join(self.classes)}), but "
                f"{type(model).__name__} has num_classes {theirs}; make them equal."
            )
        if stage in USED:
            self.samples = self.splits()
            for split in USED[stage]:
                check_pairs(self.samples[split], self.num_classes)
            check_copies(self.samples)
            if stage == "fit":
                warn_of_lookalikes(self.samples)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self._dataset("train"), training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self._dataset("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self._dataset("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.loader(PredictDataset(self.prediction_folder(), self.side))

    def _dataset(self, split: str) -> SegmentationDataset:
        if not self.samples[split]:
            raise ValueError(
                f"The {split} split of {self.root} is empty (of {sum(map(len, self.samples.values()))} images); name "
                f"its images in {self.root / split}.txt, or in the split column of the CSV if there is one."
            )
        samples, training = self.samples[split], split == "train"
        keep = cache_dir() / "resized" if self.keep_resized else None
        return SegmentationDataset(samples, self.side, self.num_classes, training, self.augment, self.seed, keep)
