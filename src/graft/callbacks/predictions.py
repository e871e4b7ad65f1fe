"""Write predictions as files: of masks a mask PNG at the original size and an overlay PNG, of classes a table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from graft.callbacks.colors import CLASSES, overlay


class SavePredictions(BasePredictionWriter):
    """Writes `<name>_mask.png` (0 and 255, or class indices with a palette) and `<name>_overlay.png`.

    Of a classification it writes predictions.csv: each image with its best class and that class's probability.

    Args:
        folder: Where to; null means `predictions` in the run's log folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__("batch")
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        log_dir = trainer.log_dir  # here, since all processes must ask together
        self.target = self.folder or Path(log_dir or trainer.default_root_dir) / "predictions"

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        self.target.mkdir(parents=True, exist_ok=True)
        if isinstance(prediction, Tensor):
            self.write_classes(trainer, pl_module, prediction.cpu(), batch, batch_idx)
            return
        several = getattr(pl_module, "num_classes", 1) > 1
        for mask, image, name in zip(prediction, batch["original_image"], batch["name"], strict=True):
            mask = mask.cpu()
            save_whole(to_image(mask, several), self.target / f"{name}_mask.png")
            picture = overlay(image.cpu(), mask).permute(1, 2, 0)
            save_whole(Image.fromarray(np.ascontiguousarray(picture.numpy())), self.target / f"{name}_overlay.png")

    def write_classes(
        self, trainer: Trainer, pl_module: Any, probabilities: Tensor, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Add a batch to the table; each process has one of its own."""
        rank = f"_{trainer.global_rank}" if trainer.world_size > 1 else ""
        with (self.target / f"predictions{rank}.csv").open(
            "a" if batch_idx else "w", newline="", encoding="utf-8"
        ) as file:
            table = csv.writer(file)
            if batch_idx == 0:
                table.writerow(["image", "class", "probability"])
            for path, probability, best in zip(batch["path"], *probabilities.max(1), strict=True):
                table.writerow([path, pl_module.names[0][best], f"{probability:.4f}"])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            print(f"The predictions are in {self.target}")


def save_whole(image: Image.Image, path: Path) -> None:
    """Write beside and rename: on a full disk the picture that bore the name is still there."""
    beside = path.with_name(f"{path.name}.part")
    try:
        image.save(beside, format="PNG")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def to_image(mask: Tensor, several: bool) -> Image.Image:
    """A mask of class indices (H, W) as an image: black and white, or indices with a palette."""
    if not several:
        return Image.fromarray((mask > 0).byte().mul(255).numpy())
    image = Image.fromarray(mask.byte().numpy()).convert("P")
    image.putpalette([0, 0, 0, *CLASSES.repeat(32, 1).flatten().tolist()][: 256 * 3])
    return image
