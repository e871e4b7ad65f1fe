"""What a classifier sees and says: images with the class that it sees in them, in green or, where it is wrong, red."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

SIDE = 256
STRIP = 26
RIGHT, WRONG = (0, 110, 60), (190, 30, 30)


def tile(image: Tensor, probabilities: Tensor, label: int, names: Sequence[str]) -> Tensor:
    """One image and what is said of it, uint8 (3, SIDE + STRIP, SIDE).

    Args:
        image: uint8 (3, S, S).
        probabilities: (classes,).
        label: Index of the true class.
        names: Of the classes.
    """
    best = int(probabilities.argmax())
    said = f"{names[best]} {probabilities[best]:.2f}" + ("" if best == label else f", not {names[label]}")
    enlarged = F.interpolate(image[None].float(), (SIDE, SIDE), mode="bilinear", antialias=True)[0].byte()
    picture = Image.new("RGB", (SIDE, SIDE + STRIP), "white")
    picture.paste(Image.fromarray(np.ascontiguousarray(enlarged.permute(1, 2, 0).numpy())), (0, STRIP))
    text = ImageDraw.Draw(picture)
    text.text((4, 5), said, fill=RIGHT if best == label else WRONG, font=ImageFont.load_default(size=15))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@lru_cache(maxsize=64)
def opened(path: str) -> Tensor:
    """The middle of a file's image, uint8 (3, SIDE, SIDE), where a batch does not have it; read once."""
    with Image.open(path) as image:
        square = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (SIDE, SIDE))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)
