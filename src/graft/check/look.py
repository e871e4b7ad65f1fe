"""Every file is read once, and what it is becomes plain facts that others draw conclusions from."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from graft.data.classification.division import Labelled
from graft.data.images import jpeg_size, read_image, read_mask
from graft.data.samples import Sample
from graft.data.segmentation.resized import read_pair

S = TypeVar("S")

MOST = 5000
"""Files of a split that are read, evenly spaced if there are more: what is wrong with many shows in these."""
RANGE = 65535


@dataclass(frozen=True)
class Mask:
    """What a mask holds.

    Args:
        values: Pixels of each value in the file; None for a JPEG, which changes values, and for colours.
        classes: Pixels of each class index as training reads them, the background first; None if an index has no class.
    """

    values: dict[int, int] | None
    classes: tuple[int, ...] | None


@dataclass(frozen=True)
class Look:
    """What an image's file is.

    Args:
        split: train, val or test.
        path: The file.
        size: Width and height in pixels.
        mode: Pillow's, such as RGB, L (grey), RGBA or I;16.
        peak: Its largest value, of a 16-bit image alone.
        digest: SHA-256 of its bytes.
        label: Index of its class, in a classification.
        mask: In a segmentation.
        error: Why it or its mask cannot be read.
    """

    split: str
    path: Path
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    peak: int | None = None
    digest: bytes = b""
    label: int | None = None
    mask: Mask | None = None
    error: str = ""


def look_at_all(splits: Mapping[str, Sequence[S]], look: Callable[[str, S], Look], console: Console) -> list[Look]:
    """Look at the samples of all splits, at most `MOST` of each, with a progress bar."""
    chosen = [
        (split, samples[position * len(samples) // count])
        for split, samples in splits.items()
        for count in [min(MOST, len(samples))]
        for position in range(count)
    ]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda each: look(*each), chosen)
        bar = partial(track, console=console, transient=True, disable=not console.is_terminal)
        return list(bar(found, "reading images", total=len(chosen)))


def look_at_pair(split: str, sample: Sample, num_classes: int) -> Look:
    """Look at an image with a mask of `num_classes` classes."""
    values = None
    try:
        if sample.mask is not None:
            values = values_of(sample.mask)
        _, mask = read_pair(sample, num_classes)
        size, mode, peak = facts(sample.image)
    except (OSError, ValueError) as error:
        known = Mask(values, None) if values and max(values) > num_classes > 1 else None  # the error is in the names
        return Look(split, sample.image, mask=known, error=str(error))
    classes = tuple(np.bincount(mask.ravel(), minlength=num_classes + 1).tolist())
    return Look(split, sample.image, size, mode, peak, digest(sample.image), mask=Mask(values, classes))


def look_at_image(split: str, sample: Labelled) -> Look:
    """Look at an image with a class."""
    try:
        read_image(sample.image, least=1)  # a JPEG is decoded at an eighth of its size, but all of its bytes are read
        size, mode, peak = facts(sample.image)
    except (OSError, ValueError) as error:
        return Look(split, sample.image, label=sample.label, error=str(error))
    return Look(split, sample.image, size, mode, peak, digest(sample.image), sample.label)


def facts(path: Path) -> tuple[tuple[int, int], str, int | None]:
    """Width and height, Pillow's mode, and of a 16-bit image the largest value."""
    turned = jpeg_size(path)
    with Image.open(path) as image:
        deep = image.mode[0] in "IF"
        return turned or image.size, image.mode, int(np.asarray(image).max()) if deep else None


def values_of(path: Path) -> dict[int, int] | None:
    """Pixels of each value of a mask's file, where its values mean something."""
    read_mask(path, 1)  # says in a sentence what is no image
    with Image.open(path) as image:
        if image.format == "JPEG" or len(image.getbands()) > 1:
            return None
        values, counts = np.unique(np.asarray(image).astype(np.int64), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def digest(path: Path) -> bytes:
    return sha256(path.read_bytes()).digest()
