"""A segmentation data set for Lightning; each set is a small subclass that says where its images and masks are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from graft.data.augment import STANDARD, Augment
from graft.data.batch import collate
from graft.data.checks import check_pairs
from graft.data.dataset import Sample, SegmentationDataset
from graft.data.leakage import check_copies, warn_of_lookalikes
from graft.data.loader import EpochLoader, EpochSampler
from graft.data.predict import PredictDataset
from graft.data.splits import Splits, split_samples

USED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


class SegmentationData(LightningDataModule, ABC):
    """Loaders of images and masks; their batches are described in `graft.data.batch.Item`.

    A subclass sets `classes` and defines `find`; one that can get its files by itself defines `fetch` too.

    Args:
        root: Folder of the data set. train.txt, val.txt and test.txt in it, one name a line, decide the splits.
        batch_size: Images a step and device.
        num_workers: Processes that load images; 0 loads them in the main process. Does not change what is loaded.
        image_size: Side in pixels of the square that images are resized and padded to; null for the model's own.
        augment: Random changes of the training images; null for none.
        seed: Seed of the order and of all that is random in training.
        predict_root: Folder of images to predict; a prompts.csv in it gives boxes (columns image,x0,y0,x1,y1) or points
            (image,x,y) in pixels.
    """

    classes: Sequence[str]  # without the background

    def __init__(
        self,
        root: Path,
        batch_size: int = 4,
        num_workers: int = 2,
        image_size: int | None = None,
        augment: Augment | None = STANDARD,
        seed: int = 0,
        predict_root: Path | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}, but must be at least {least}.")
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size is {image_size}, but must be at least 1 pixel, or null for the model's own.")
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.predict_root = None if predict_root is None else Path(predict_root).expanduser()

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

    def prepare_data(self) -> None:
        if not (self.trainer and self.trainer.predicting):  # prediction needs only the images of predict_root
            self.fetch()

    def setup(self, stage: str) -> None:
        model = self.trainer.lightning_module if self.trainer else None
        side = self.image_size or getattr(model, "image_size", None)
        if side is None:
            raise ValueError("image_size was not given and the model has none; set the data's image_size in pixels.")
        self.side = int(side)
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
        return self._loader(self._dataset("train"), training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._dataset("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._dataset("test"))

    def predict_dataloader(self) -> DataLoader[Any]:
        if self.predict_root is None:
            raise ValueError("predict_root was not given; set the data's predict_root to a folder of images.")
        return self._loader(PredictDataset(self.predict_root, self.side))

    def _dataset(self, split: str) -> SegmentationDataset:
        if not self.samples[split]:
            raise ValueError(
                f"The {split} split of {self.root} is empty (of {sum(map(len, self.samples.values()))} images); name "
                f"its images in {self.root / split}.txt, or in the split column of the CSV if there is one."
            )
        training = split == "train"
        return SegmentationDataset(self.samples[split], self.side, self.num_classes, training, self.augment, self.seed)

    def _loader(self, dataset: SegmentationDataset | PredictDataset, training: bool = False) -> DataLoader[Any]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if len(dataset) < world_size:
            raise ValueError(f"{world_size} processes cannot share {len(dataset)} images: start at most as many.")
        done = self._done if training else int
        return EpochLoader(
            dataset,
            batch_size=self.batch_size,  # by keyword: Lightning builds the loader again for prediction
            sampler=EpochSampler(dataset, training, self.seed, rank, world_size, done),
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def _done(self) -> int:
        """Items of the running epoch that this process has trained on: not 0 where a run goes on."""
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer else 0
        return batches * self.batch_size
