"""What the model sees and says of the first validation images.

Of masks: image, truth, prediction and disagreement. Of classes: image, best class and its probability.
"""

from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageOps
from torch import Tensor

from graft.callbacks.class_pictures import opened, tile
from graft.callbacks.colors import DISAGREEMENT, overlay

HEIGHT = 256
GAP = 8


class Pictures(Callback):
    """Shows the first validation images in TensorBoard and as a PNG file for each validation.

    Args:
        count: Number of images; 0 switches the pictures off.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count
        self.rows: list[Tensor] = []
        self.log_dir: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.log_dir = trainer.log_dir  # here, since all processes must ask together

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: dict[str, Any], batch_idx: int, *_: Any
    ) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        room = self.count - len(self.rows)
        if "probabilities" in outputs:
            images = batch["image"].cpu() if "image" in batch else map(opened, batch["path"])
            told = zip(images, outputs["probabilities"].cpu(), batch["label"], strict=False)
            self.rows += [tile(*each, pl_module.names[0]) for each in islice(told, room)]
            return
        for i, prediction in enumerate(outputs["masks"][:room]):
            height, width = batch["size"][i].tolist()
            image = batch["image"][i, :, :height, :width].cpu() if "image" in batch else whole(batch["path"][i])
            self.rows.append(row(image, batch["mask"][i, :height, :width].cpu(), prediction.cpu()))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.rows:
            panel = stack(beside(self.rows))
            self.rows = []
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image("val/pictures", panel, trainer.global_step)
            if self.log_dir is not None:
                folder = Path(self.log_dir) / "pictures"
                folder.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(np.ascontiguousarray(panel.permute(1, 2, 0).numpy()))
                picture.save(folder / f"step-{trainer.global_step:06d}.png")


@lru_cache(maxsize=64)
def whole(path: str) -> Tensor:
    """A file's image, uint8 (3, HEIGHT, ...), where a batch does not have it; read once."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    size = (round(image.width * HEIGHT / image.height), HEIGHT)
    return torch.from_numpy(np.array(image.resize(size))).permute(2, 0, 1)


def row(image: Tensor, truth: Tensor, prediction: Tensor) -> Tensor:
    """One image as four tiles side by side, uint8 (3, HEIGHT, ...).

    Args:
        image: uint8 (3, h, w).
        truth: Class indices (h, w).
        prediction: Class indices at the image's original size (H, W).
    """
    width = round(image.shape[2] * HEIGHT / image.shape[1])
    size = (HEIGHT, width)
    image = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].byte()
    truth, prediction = (F.interpolate(m[None, None].float(), size)[0, 0].byte() for m in (truth, prediction))
    wrong = torch.where(truth == prediction, 0, torch.where(prediction > 0, 1, 2))  # too much, missed
    tiles = [image, overlay(image, truth), overlay(image, prediction), overlay(image, wrong, DISAGREEMENT)]
    gap = torch.full((3, HEIGHT, GAP), 255, dtype=torch.uint8)
    return torch.cat([part for tile in tiles for part in (tile, gap)][:-1], dim=2)


def beside(rows: list[Tensor], across: int = 4) -> list[Tensor]:
    """Pictures that are about as wide as high, four to a row; wider ones keep a row each."""
    if any(part.shape[2] > 1.5 * part.shape[1] for part in rows):
        return rows
    gap = torch.full((3, rows[0].shape[1], GAP), 255, dtype=torch.uint8)
    grouped = [rows[k : k + across] for k in range(0, len(rows), across)]
    return [torch.cat([part for tile in group for part in (tile, gap)][:-1], dim=2) for group in grouped]


def stack(rows: list[Tensor]) -> Tensor:
    """The rows below one another, narrower ones filled with white: uint8 (3, H, W)."""
    width = max(part.shape[2] for part in rows)
    filled = [F.pad(part, (0, width - part.shape[2], 0, GAP), value=255) for part in rows]
    return torch.cat(filled, dim=1)[:, :-GAP]
