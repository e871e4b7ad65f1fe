"""An image tower that training does not change need look at each image only once."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader


def whole(limit: float) -> bool:
    """Whether a limit on batches is none: 1.0 means all of them, 1 a single one."""
    return isinstance(limit, float) and limit == 1.0


class Encode(Callback):
    """Encodes each image once, where the module's image tower is as it was published and the images are not augmented.

    The features are kept on disk, for this run and all that follow, and batches hold them in place of the images. They
    are known by the tower's weights, the precision, the way that files become pixels, and the files.
    """

    folder: Path | None = None  # the cache's

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not (loader := trainer.train_dataloader):
            return
        steps = trainer.max_steps * trainer.accumulate_grad_batches
        if whole(trainer.limit_train_batches) and not 0 <= steps < len(loader):  # else not all images will be seen
            self.encode(trainer, pl_module, [loader])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if whole(trainer.limit_val_batches):
            self.encode(trainer, pl_module, trainer.val_dataloaders)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if whole(trainer.limit_test_batches):
            self.encode(trainer, pl_module, trainer.test_dataloaders)

    def encode(self, trainer: Trainer, pl_module: Any, loaders: Any) -> None:
        """Give the data sets of the loaders the features of their images, where these cannot change."""
        look = self.look(pl_module)
        each: Any = [loaders] if isinstance(loaders, DataLoader) else loaders or []
        new: list[Any] = [] if look is None else [loader for loader in each if loader.dataset.features is None]
        if not new or (weights := look.sha256()) is None:
            return
        for loader in new:
            dataset = loader.dataset
            if dataset.augment is not None:
                self.augmented(dataset)
                continue

            def encoder(*tensors: Tensor) -> Tensor:
                with torch.no_grad(), trainer.precision_plugin.forward_context():
                    features: Tensor = look(*(tensor.to(pl_module.device) for tensor in tensors))
                return features

            share = (trainer.local_rank, trainer.num_devices)  # of this machine's processes: caches may not be shared
            features = dataset.encode(f"{weights} {trainer.precision}", encoder, loader, share, self.folder)
            trainer.strategy.barrier()
            dataset.features = features

    def look(self, pl_module: LightningModule) -> Any:
        """What makes features of images, and has a fingerprint; None where a module has nothing of the kind."""
        return getattr(pl_module, "look", None)

    def augmented(self, dataset: Any) -> None:
        """Say what becomes of images that change in every epoch."""
        rank_zero_info("Images are encoded in every epoch anew: with --data.augment null, once and for all.")
