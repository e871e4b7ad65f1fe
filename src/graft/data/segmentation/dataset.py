"""Images with masks, as items of fixed size with a box and a point to prompt with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from graft.data.batch import Item
from graft.data.feature_files import Features
from graft.data.features import Encoder, encode
from graft.data.images import Pixels, read_mask
from graft.data.samples import Sample
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.geometry import fit_mask, pad
from graft.data.segmentation.prompts import Floats, box_around, interior_point, jitter, random_point
from graft.data.segmentation.resized import Resized, resize, resize_once


class SegmentationDataset(Dataset[Item]):
    """Items (see `graft.data.batch.Item`) of images with masks, indexed by `dataset[epoch, index]`.

    In training all randomness of an item is drawn from (seed, epoch, index), whichever process or worker reads it.

    Args:
        samples: Images with masks.
        image_size: Side of the padded square, in pixels.
        num_classes: Number of classes without the background.
        training: Whether to augment, jitter the box and draw the point at random, rather than to add the original mask.
        augment: Random changes in training.
        seed: Seed of all that is random.
        keep: Folder where resized images and masks are kept, so that each is decoded once; None to keep none.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_size: int,
        num_classes: int = 1,
        training: bool = False,
        augment: Augment | None = None,
        seed: int = 0,
        keep: Path | None = None,
    ) -> None:
        self.samples = samples
        self.image_size = image_size
        self.num_classes = num_classes
        self.training = training
        self.augment = augment if training else None
        self.seed = seed
        self.keep = keep
        self.features: Features | None = None  # once there, no image is read any more

    def encode(
        self, key: str, encoder: Encoder, like: DataLoader[Item], share: tuple[int, int], folder: Path | None = None
    ) -> Features:
        """The features of all images (see `graft.data.features.encode`), a file each, for whoever sets `features`."""
        images = [sample.image for sample in self.samples]
        return encode(images, self, key, encoder, like, share, folder, ("image", "size"), count=1)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        # Lightning's overfit_batches puts its own sampler in, which knows no epochs: then every epoch is the first.
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = self.samples[index]
        read = self._read(sample)
        item = self._train(read, epoch, index) if self.training else self._evaluate(read)
        if self.features is not None:
            item["feature"] = self.features[index]
        item["original_size"] = torch.tensor(read.original.shape)
        item["name"], item["path"] = sample.name, str(sample.image)
        return item

    def _read(self, sample: Sample) -> Resized:
        if self.keep is not None:
            return resize_once(sample, self.image_size, self.num_classes, self.keep)
        if self.features is not None and sample.mask is not None:
            mask = read_mask(sample.mask, self.num_classes)
            return Resized(np.empty(0, np.uint8), fit_mask(mask, self.image_size), mask)
        return resize(sample, self.image_size, self.num_classes)

    def _train(self, read: Resized, epoch: int, index: int) -> Item:
        rng = np.random.default_rng((self.seed, epoch, index))
        image, mask, _ = read
        if self.augment is not None:
            image, mask = self.augment(image, mask, rng)
        box = jitter(box_around(mask), mask.shape[0], mask.shape[1], rng)
        return self._item(image, mask, box, random_point(mask, rng))

    def _evaluate(self, read: Resized) -> Item:
        image, mask, original = read
        item = self._item(image, mask, box_around(mask), interior_point(mask))
        item["original_mask"] = torch.from_numpy(original)
        return item

    def _item(self, image: Pixels, mask: Pixels, box: Floats, point: Floats) -> Item:
        item = Item(
            mask=torch.from_numpy(pad(mask, self.image_size)),
            size=torch.tensor(mask.shape),
            box=torch.from_numpy(box),
            point=torch.from_numpy(point),
        )
        if self.features is None:
            item["image"] = image_tensor(image, self.image_size)
        return item


def image_tensor(image: Pixels, side: int) -> torch.Tensor:
    """Pad an RGB image (height, width, 3) to a square and put the channels first: uint8 (3, side, side)."""
    return torch.from_numpy(pad(image, side)).permute(2, 0, 1).contiguous()
