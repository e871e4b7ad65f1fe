"""What all data modules share: batches of images for the model's size, in an order that a seed decides."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from graft.data.loader import EpochLoader, EpochSampler


class ImageData(LightningDataModule, ABC):
    """Loaders of images; a task says what else is in their batches.

    Args:
        batch_size: Images a step and device.
        num_workers: Processes that load images; 0 loads them in the main process. Does not change what is loaded.
        image_size: Side in pixels of the square that images are made to fit; null for the model's own.
        seed: Seed of the order and of all that is random in training.
        predict_root: Folder of images to predict.
    """

    classes: Sequence[str]  # a segmentation's without the background
    collate: Callable[[Sequence[Any]], dict[str, Any]]

    def __init__(
        self,
        batch_size: int = 4,
        num_workers: int = 2,
        image_size: int | None = None,
        seed: int = 0,
        predict_root: Path | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}, but must be at least {least}.")
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size is {image_size}, but must be at least 1 pixel, or null for the model's own.")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.image_size = image_size
        self.seed = seed
        self.predict_root = None if predict_root is None else Path(predict_root).expanduser()

    @abstractmethod
    def fetch(self) -> None:
        """Put the files in place if they are missing; once a machine."""

    def prepare_data(self) -> None:
        if not (self.trainer and self.trainer.predicting):  # prediction needs only the images of predict_root
            self.fetch()

    def setup(self, stage: str) -> None:
        model = self.trainer.lightning_module if self.trainer else None
        theirs = getattr(model, "image_size", None)
        side = self.image_size or theirs
        if theirs is not None and side != theirs:
            raise ValueError(f"The data's image_size is {side}, the model's {theirs}: leave out the data's.")
        if side is None:
            raise ValueError("image_size was not given and the model has none; set the data's image_size in pixels.")
        self.side = int(side)

    def prediction_folder(self) -> Path:
        """The folder of images to predict."""
        if self.predict_root is None:
            raise ValueError("predict_root was not given; set the data's predict_root to a folder of images.")
        return self.predict_root

    def loader(self, dataset: Dataset[Any], training: bool = False) -> DataLoader[Any]:
        """Batches of a data set for this process; in training shuffled, and from where a stopped run had come to."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if (count := len(cast("Sized", dataset))) < world_size:
            raise ValueError(f"{world_size} processes cannot share {count} images: start at most as many.")
        done = self._done if training else int
        return EpochLoader(
            dataset,
            batch_size=self.batch_size,  # by keyword: Lightning builds the loader again for prediction
            sampler=EpochSampler(dataset, training, self.seed, rank, world_size, done),
            num_workers=self.num_workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def _done(self) -> int:
        """Items of the running epoch that this process has trained on: not 0 where a run goes on."""
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer else 0
        return batches * self.batch_size
