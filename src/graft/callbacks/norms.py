"""How far the adapters have moved the weights."""

from collections import defaultdict

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from graft.adapters.places import places
from graft.callbacks.rules import backbone
from graft.spectra import changes


class Norms(Callback):
    """Logs `adapters/<block>` at each validation: ||dW||_F over all adapted projections of the block, dW = W' - W."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero and trainer.loggers:
            found = {f"adapters/{block}": norm for block, norm in norms(backbone(pl_module)).items()}
            for logger in trainer.loggers if found else ():
                logger.log_metrics(found, step=trainer.global_step)


@torch.no_grad()
def norms(model: nn.Module) -> dict[str, float]:
    """The Frobenius norm of what adapters change, by block; computed in float64."""
    squares: defaultdict[str, float] = defaultdict(float)
    for place in places(model):
        for _, _, change in changes(place):
            squares[place.block] += float(change.square().sum())
    return {block: square**0.5 for block, square in squares.items()}
