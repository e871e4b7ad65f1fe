"""Images with their classes, as items of fixed size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graft.data.classification.crop import Crop, cut_centre
from graft.data.classification.division import Labelled
from graft.data.feature_files import Features
from graft.data.features import Encoder, encode
from graft.data.files import list_images
from graft.data.images import Pixels, read_image


class LabelledItem(TypedDict, total=False):
    """One image, and what is known of it; S is the side of the square.

    image: uint8 (3, S, S), RGB, not normalised.
    feature: In place of the image, what a network that does not change has made of it.
    label: int64 (), index of the class. Not in prediction.
    name: The file's name without folder and extension.
    path: The image's file.
    """

    image: Tensor
    feature: Tensor
    label: Tensor
    name: str
    path: str


class ClassificationDataset(Dataset[LabelledItem]):
    """Items (see `LabelledItem`) of images with classes, indexed by `dataset[epoch, index]`.

    In training all randomness of an item is drawn from (seed, epoch, index), whichever process or worker reads it.

    Args:
        samples: Images with their classes.
        image_size: Side of the square, in pixels.
        augment: Random cut; null for the middle of the image, as in evaluation.
        seed: Seed of all that is random.
    """

    def __init__(
        self, samples: Sequence[Labelled], image_size: int, augment: Crop | None = None, seed: int = 0
    ) -> None:
        self.samples = samples
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.features: Features | None = None  # once there, no image is read any more

    def encode(
        self, key: str, encoder: Encoder, like: DataLoader[Any], share: tuple[int, int], folder: Path | None = None
    ) -> Features:
        """The features of all images (see `graft.data.features.encode`), for whoever sets `features`."""
        return encode([sample.image for sample in self.samples], self, key, encoder, like, share, folder)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> LabelledItem:
        # Lightning's overfit_batches puts its own sampler in, which knows no epochs: then every epoch is the first.
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = self.samples[index]
        known = LabelledItem(label=torch.tensor(sample.label), name=sample.name, path=str(sample.image))
        if self.features is not None:
            return LabelledItem(feature=self.features[index], **known)
        if self.augment is None:
            square = read_centre(sample.image, self.image_size)
        else:
            rng = np.random.default_rng((self.seed, epoch, index))
            square = self.augment.read(sample.image, self.image_size, rng)
        return LabelledItem(image=channels_first(square), **known)


class UnlabelledDataset(Dataset[LabelledItem]):
    """Items (see `LabelledItem`, without labels) of the images in a folder, indexed by `dataset[epoch, index]`.

    Args:
        root: The folder; folders in it are not searched.
        image_size: Side of the square, in pixels.
    """

    def __init__(self, root: Path, image_size: int) -> None:
        self.images = list(list_images(root).items())
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> LabelledItem:
        name, path = self.images[key[1] if isinstance(key, tuple) else key]
        return LabelledItem(image=channels_first(read_centre(path, self.image_size)), name=name, path=str(path))


def read_centre(path: Path, side: int) -> Pixels:
    """Read the middle square (side, side, 3) of an image.

    A large JPEG is decoded at a half, a quarter or an eighth of its size, never at less than twice what is needed.
    """
    return cut_centre(read_image(path, least=2 * side), side)


def channels_first(image: Pixels) -> Tensor:
    """An RGB image (height, width, 3) as uint8 (3, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
