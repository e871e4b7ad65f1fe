"""Look at labelled images before training, rather than fail after an hour of it."""

import os
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from graft.data.classification.division import Division, Labelled
from graft.data.files import name_some
from graft.data.images import read_image
from graft.data.leakage import check_copies
from graft.data.samples import Sample

MOST = 50_000  # files whose bytes are compared: ImageNet's 1.3 million would take minutes


def check_splits(division: Division, published: bool) -> None:
    """Check that every class is trained, and that no image is in two splits.

    Args:
        division: The images of each split.
        published: Whether to warn, rather than refuse, if two splits hold files of the same bytes.

    Raises:
        ValueError: A class has no training image, or an image is in two splits.
    """
    trained = {sample.label for sample in division.splits["train"]}
    if rest := [name for label, name in enumerate(division.names) if label not in trained]:
        raise ValueError(f"{division.origin} has no training images of {name_some(rest)}; add some of each class.")
    owner: dict[str, str] = {}
    for split, samples in division.splits.items():
        for sample in samples:
            if owner.setdefault(image := str(sample.image), split) != split:  # paths are slow to hash
                raise ValueError(
                    f"{image} is in both {owner[image]} and {split} of {division.origin}, but an image "
                    "may be in one split only; remove it from one."
                )
    if len(owner) > MOST:
        return
    try:
        check_copies({key: [Sample(s.name, s.image) for s in found] for key, found in division.splits.items()})
    except ValueError as error:
        if not published:
            raise
        finding, _, _ = str(error).partition(", but an image may")  # what follows would be to change the splits
        rank_zero_warn(f"{finding}. {division.origin} stays as it was published, so that scores can be compared.")


def check_files(samples: Sequence[Labelled], most: int = 32) -> None:
    """Check that every image exists, and that `most`, evenly spaced, can be read.

    Raises:
        FileNotFoundError: Images are missing; they are named.
        ValueError: An image cannot be read.
    """
    images = [str(sample.image) for sample in samples]  # as text, since a million paths are slow to hash
    there = set().union(*map(_files, {image[: image.rfind(os.sep) + 1] for image in images}))
    missing = [image for image in images if image not in there and not Path(image).is_file()]
    if missing:
        raise FileNotFoundError(f"Not found: {name_some(missing)}; put each there, or take it out of the data set.")
    count = min(most, len(samples))
    for position in range(count):
        read_image(samples[position * len(samples) // count].image, least=1)


def _files(folder: str) -> set[str]:
    """What is in a folder: far cheaper than to ask for a million files one by one."""
    return {entry.path for entry in os.scandir(folder)} if folder and Path(folder).is_dir() else set()
