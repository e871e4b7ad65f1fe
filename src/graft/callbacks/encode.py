"""An image tower that training does not change need look at each image only once."""

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
        look = getattr(pl_module, "look", None)
        if look is None or (weights := look.sha256()) is None:
            return
        for loader in [loaders] if isinstance(loaders, DataLoader) else loaders:
            dataset: Any = loader.dataset
            if dataset.features is not None:
                continue
            if dataset.augment is not None:
                rank_zero_info("Images are encoded in every epoch anew: with --data.augment null, once and for all.")
                continue

            def encoder(images: Tensor) -> Tensor:
                with torch.no_grad(), trainer.precision_plugin.forward_context():
                    features: Tensor = look(images.to(pl_module.device))
                return features

            share = (trainer.local_rank, trainer.num_devices)  # of this machine's processes: caches may not be shared
            features = dataset.encode(f"{weights} {trainer.precision}", encoder, loader, share)
            trainer.strategy.barrier()
            dataset.features = features
