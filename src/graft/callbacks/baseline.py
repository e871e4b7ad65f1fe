"""The score of the untouched model, under the same names as the scores to come."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng


class Baseline(Callback):
    """Runs the validation once before the first step, logged at step 0. A resumed run has its baseline already."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0 or not trainer.enable_validation:
            return
        with isolate_rng():  # the training draws the same random numbers with and without a baseline
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
