"""Images with their masks at the model's size, as they are before anything random happens to them."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import PIL
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from graft.data.images import Pixels, read_image, read_mask
from graft.data.samples import Sample
from graft.data.segmentation.geometry import fit_image, fit_mask
from graft.whole import whole


class Resized(NamedTuple):
    """An image and its mask.

    image: uint8 (h, w, 3), the longest side of which is that of the square.
    mask: uint8 (h, w), class indices.
    original: uint8 (height, width), the mask at its own size, which is the image's too.
    """

    image: Pixels
    mask: Pixels
    original: Pixels


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


def resize(sample: Sample, side: int, num_classes: int) -> Resized:
    """Read an image and its mask, each once, and fit them to a square."""
    image, mask = read_pair(sample, num_classes)
    return Resized(fit_image(image, side), fit_mask(mask, side), mask)


def resize_once(sample: Sample, side: int, num_classes: int, folder: Path) -> Resized:
    """The same from a folder, into which it is written where it is not yet.

    A file holds one image with its mask, not compressed, and is named by what decides it: both files' paths, sizes and
    times of change, the square, the classes, and who decodes. So a changed image has another file, and a file that is
    there is never out of date; one that is not whole is written again.

    Raises:
        ValueError: The image or its mask cannot be read, or the file not be written.
    """
    file = folder / f"{_name(sample, side, num_classes)}.safetensors"
    if file.is_file():
        with suppress(SafetensorError, OSError, TypeError):  # of one that is not as long as it says, or says others
            return Resized(**load_file(file))
    resized = resize(sample, side, num_classes)
    try:
        with whole(file) as beside:
            save_file(resized._asdict(), beside)
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"Resized images cannot be kept in {folder} ({reason}): make room there, choose another folder with "
            "--cache, or leave out data.keep_resized."
        ) from error
    return resized


def _name(sample: Sample, side: int, num_classes: int) -> str:
    words = [f"{side} {num_classes} {PIL.__version__} {cv2.__version__}"]
    for path in (sample.image, sample.mask):
        if path is not None and path.is_file():  # what is missing is said where it is read
            state = path.stat()
            words.append(f"{path.absolute()} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
