"""Images with masks, as items of fixed size with a box and a point to prompt with."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from graft.data.batch import Item
from graft.data.images import Pixels, read_image, read_mask
from graft.data.samples import Sample
from graft.data.segmentation.augment import Augment
from graft.data.segmentation.geometry import fit_image, fit_mask, pad
from graft.data.segmentation.prompts import Floats, box_around, interior_point, jitter, random_point


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
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        image_size: int,
        num_classes: int = 1,
        training: bool = False,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.samples = samples
        self.image_size = image_size
        self.num_classes = num_classes
        self.training = training
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        # Lightning's overfit_batches puts its own sampler in, which knows no epochs: then every epoch is the first.
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = self.samples[index]
        image, mask = read_pair(sample, self.num_classes)
        item = self._train(image, mask, epoch, index) if self.training else self._evaluate(image, mask)
        item["original_size"] = torch.tensor(image.shape[:2])
        item["name"], item["path"] = sample.name, str(sample.image)
        return item

    def _train(self, image: Pixels, mask: Pixels, epoch: int, index: int) -> Item:
        rng = np.random.default_rng((self.seed, epoch, index))
        image, mask = fit_image(image, self.image_size), fit_mask(mask, self.image_size)
        if self.augment is not None:
            image, mask = self.augment(image, mask, rng)
        box = jitter(box_around(mask), mask.shape[0], mask.shape[1], rng)
        return self._item(image, mask, box, random_point(mask, rng))

    def _evaluate(self, image: Pixels, mask: Pixels) -> Item:
        fitted = fit_mask(mask, self.image_size)
        item = self._item(fit_image(image, self.image_size), fitted, box_around(fitted), interior_point(fitted))
        item["original_mask"] = torch.from_numpy(mask)
        return item

    def _item(self, image: Pixels, mask: Pixels, box: Floats, point: Floats) -> Item:
        return Item(
            image=image_tensor(image, self.image_size),
            mask=torch.from_numpy(pad(mask, self.image_size)),
            size=torch.tensor(mask.shape),
            box=torch.from_numpy(box),
            point=torch.from_numpy(point),
        )


def image_tensor(image: Pixels, side: int) -> torch.Tensor:
    """Pad an RGB image (height, width, 3) to a square and put the channels first: uint8 (3, side, side)."""
    return torch.from_numpy(pad(image, side)).permute(2, 0, 1).contiguous()


def read_pair(sample: Sample, num_classes: int) -> tuple[Pixels, Pixels]:
    """Read an image (height, width, 3) and its mask (height, width), which must be of one size."""
    if sample.mask is None:
        raise ValueError(f"{sample.image} has no mask, but training and evaluation need one.")
    image, mask = read_image(sample.image), read_mask(sample.mask, num_classes)
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"{sample.image} is {image.shape[1]} pixels wide and {image.shape[0]} high, but its mask {sample.mask} is "
            f"{mask.shape[1]} wide and {mask.shape[0]} high; make them of one size."
        )
    return image, mask
