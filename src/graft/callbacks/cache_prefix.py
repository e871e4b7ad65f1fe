"""The frozen beginning of SAM's image encoder need look at each image only once, in all runs together."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import Dataset

from graft.callbacks.encode import Encode


class CachePrefix(Encode):
    """Keeps on disk what SAM's image encoder, up to the first part that is trained or adapted, makes of each image.

    For training the decoder alone, or the last blocks: from then on, and in all runs that follow, batches hold these
    features in place of the images, and what comes before is not computed. The losses and gradients are the same.

    They are known by the weights before that part, the precision, the model's size, the way that files become pixels,
    and each image's path, size and time of change. An image takes, in float32 at 1024 pixels, 64 * 64 * 768 * 4 bytes
    = 12.6 MB before a block of ViT-B and 64 * 64 * 256 * 4 = 4.2 MB where the whole encoder is frozen.

    Args:
        folder: Where the files are kept; null for `features` in the cache folder.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.encode(trainer, pl_module, trainer.train_dataloader)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.encode(trainer, pl_module, trainer.val_dataloaders)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.encode(trainer, pl_module, trainer.test_dataloaders)

    def look(self, pl_module: LightningModule) -> Any:
        """The frozen beginning of the module's image encoder."""
        prefix = getattr(pl_module, "prefix", None)
        if prefix is None:
            raise ValueError(
                f"CachePrefix is for SAM's image encoder, and {type(pl_module).__name__} has none: leave it out."
            )
        if not prefix.joint:
            raise ValueError(
                "CachePrefix has nothing to keep: the image encoder is trained or adapted from its beginning. Name "
                "later parts of it in adapt.where (or adapt.train), train the decoder alone with --adapt.adapter null, "
                "or leave CachePrefix out."
            )
        return prefix

    def augmented(self, dataset: Dataset[Any]) -> None:
        """Features of images that change in every epoch are of no use."""
        raise ValueError(
            "CachePrefix keeps the features of images that stay as they are, but the training images are augmented: "
            "set --data.augment null, or leave CachePrefix out."
        )
