"""Read an image or a mask from a file, whatever its mode, into an array that means one thing."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

Pixels = NDArray[np.uint8]


def read_image(path: Path, least: int | None = None) -> Pixels:
    """Read an image as RGB, uint8 (height, width, 3), turned as its EXIF says.

    Grey, palette, CMYK and 1-bit images become RGB, transparency is dropped, and 16-bit grey is scaled by its whole
    range (65535 becomes 255) rather than clipped.

    Args:
        path: The image's file.
        least: A JPEG may be decoded at a half, a quarter or an eighth of its size, which is faster, where both its
            sides keep this many pixels; null to decode it at full size.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a whole image, is too large, or has numbers of unknown range.
    """
    image = _load(path, least)
    if _is_deep(image):
        grey = _deep_values(image, path)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if "transparency" in image.info:  # Pillow wants palettes with transparency to go through RGBA
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))  # a copy, since Pillow's own memory is read-only, which torch warns of


def jpeg_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels of a JPEG, turned as its EXIF says, without decoding it; None for any other image.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, or too large a one.
    """
    with _opened(path) as image:
        if not isinstance(image, JpegImageFile):
            return None
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation) in {5, 6, 7, 8}  # by a quarter
        return (height, width) if turned else (width, height)


def read_mask(path: Path, num_classes: int) -> Pixels:
    """Read a mask as class indices, uint8 (height, width), where 0 is the background.

    One class: a mask whose maximum is 1 is taken as it is. Any other is foreground above half its range, 127 of 255 (or
    32767 of 65535), since JPEG noise makes 0 to 7 of black and 248 to 255 of white. A JPEG is always cut there, even if
    its maximum is 1. In colour masks the brightness counts.

    Several classes: the values, or palette indices, are the classes. JPEG changes values, so it is refused.

    Args:
        path: The mask's file.
        num_classes: Number of classes without the background.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a whole image, or not a mask of `num_classes` classes.
    """
    image = _load(path)
    lossy = path.suffix.lower() in {".jpg", ".jpeg"}
    if num_classes > 1:
        return _read_indices(image, path, num_classes, lossy)
    values = _deep_values(image, path) if _is_deep(image) else np.asarray(image, dtype=np.int64)
    if values.ndim == 3 or (image.mode == "P" and values.max() > 1):
        values = np.asarray(image.convert("RGB").convert("L"), dtype=np.int64)
    highest = values.max()
    threshold = 0 if highest == 1 and not lossy else 127 if highest <= 255 else 32767
    return (values > threshold).astype(np.uint8)


def _read_indices(image: Image.Image, path: Path, num_classes: int, lossy: bool) -> Pixels:
    if lossy or image.getbands() not in {("P",), ("L",), ("1",), ("I",)}:
        raise ValueError(
            f"{path} cannot hold the indices of {num_classes} classes (mode {image.mode}, {path.suffix}); save it as a "
            "grey or palette PNG whose values are 0 for the background and 1, 2, ... for the classes."
        )
    values = _deep_values(image, path) if _is_deep(image) else np.asarray(image, dtype=np.int64)
    if values.max() > num_classes:
        raise ValueError(
            f"{path} holds the class index {values.max()}, but there are {num_classes} classes (1 to {num_classes}; 0 "
            "is the background); correct the mask or name the missing classes."
        )
    return values.astype(np.uint8)


def _load(path: Path, least: int | None = None) -> Image.Image:
    with _opened(path) as image:
        if least is not None:
            image.draft(None, (least, least))  # does nothing but to JPEGs
        image.load()
        return ImageOps.exif_transpose(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image's file, not decoded yet; whatever Pillow stumbles on within becomes a sentence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; check the name and the folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} has more than the {Image.MAX_IMAGE_PIXELS} pixels that are read at most; scale it down or tile it."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); replace or remove it.") from error


def _is_deep(image: Image.Image) -> bool:
    """Whether a value takes more than 8 bits: Pillow's modes I, I;16, I;16B, ... and F."""
    return image.mode[0] in "IF"


def _deep_values(image: Image.Image, path: Path) -> NDArray[np.int64]:
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"{path} has values outside 0 to 65535 or fractions (mode {image.mode}); save it with 8 or 16 bits."
        )
    return values.astype(np.int64)
