"""The contact sheet: training images exactly as the model will see them, with what they are said to show."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from graft.callbacks.colors import overlay
from graft.callbacks.pictures import beside, stack
from graft.whole import whole

COUNT = 16
SIDE = 256
STRIP = 26
INK = (40, 40, 40)


def contact_sheet(dataset: Any, path: Path, names: list[str], prompt: str) -> int:
    """Write a PNG of training images, evenly spaced over the set, augmented and padded; the number of tiles.

    Args:
        dataset: Of training items, indexed by (epoch, index).
        path: The PNG's file; its folder is made.
        names: Of the classes.
        prompt: What the model is told beside the image: none, box or point; it is drawn.
    """
    count = min(COUNT, len(dataset))
    items = [dataset[0, position * len(dataset) // count] for position in range(count)]
    sheet = stack(beside([tile(item, names, prompt) for item in items]))
    with whole(path) as part:
        Image.fromarray(np.ascontiguousarray(sheet.permute(1, 2, 0).numpy())).save(part, "PNG")
    return count


def tile(item: Any, names: list[str], prompt: str) -> Tensor:
    """One image under a line of words, uint8 (3, STRIP + SIDE, SIDE): its mask in colour and its name, or its class."""
    image = resized(item["image"], "bilinear")
    words = names[int(item["label"])] if "label" in item else f"{item['name']} {(item['mask'] > 0).float().mean():.0%}"
    if "mask" in item:
        image = overlay(image, resized(item["mask"][None], "nearest")[0])
    picture = Image.new("RGB", (SIDE, STRIP + SIDE), "white")
    picture.paste(Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())), (0, STRIP))
    draw = ImageDraw.Draw(picture)
    draw.text((4, 5), words, fill=INK, font=ImageFont.load_default(size=15))
    if prompt in item:
        x0, y0, *rest = (value * SIDE / item["image"].shape[-1] for value in item[prompt].tolist())
        x1, y1 = rest or (x0, y0)
        reach = 0 if rest else 4  # a point is drawn as a small square
        box = (x0 - reach, y0 - reach + STRIP, x1 + reach, y1 + reach + STRIP)
        draw.rectangle(box, outline="red", width=2)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def resized(image: Tensor, mode: str) -> Tensor:
    """uint8 (C, S, S) -> uint8 (C, SIDE, SIDE)."""
    smooth = {"antialias": True} if mode == "bilinear" else {}
    return F.interpolate(image[None].float(), (SIDE, SIDE), mode=mode, **smooth)[0].byte()
