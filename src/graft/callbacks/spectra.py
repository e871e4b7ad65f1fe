"""Singular values of what is learnt, while it is learnt."""

from lightning.pytorch import Callback, LightningModule, Trainer

from graft.callbacks.boards import boards
from graft.callbacks.rules import backbone
from graft.drawing import pixels
from graft.spectra import draw, spectra


class Spectra(Callback):
    """Shows the singular values of W, dW and W + dW in TensorBoard, as `adapters/spectra`, when training ends.

    To be asked for: `--trainer.callbacks+=graft.callbacks.Spectra`. It decomposes three matrices for each projection.

    Args:
        blocks: Blocks to show, by the beginnings of their dotted names; null: all.
    """

    def __init__(self, blocks: list[str] | None = None) -> None:
        self.blocks = blocks

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and boards(trainer):
            found = [*spectra(backbone(pl_module), self.blocks)]
            picture = pixels(draw({"": found})) if found else None
            for board in boards(trainer) if picture is not None else ():
                board.add_image("adapters/spectra", picture, trainer.global_step, dataformats="HWC")
