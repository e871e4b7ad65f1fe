"""Which classes a classifier takes for which: the confusion matrix of the validation set, as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graft.callbacks.boards import boards, labels
from graft.drawing import BLUE, GREY, PALE, SMALL, VERMILION, panels, pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 40
"""Classes in a picture: of more, those that are confused most."""

NUMBERED = 20
"""Classes up to which the cells hold their numbers."""

LONGEST = 24
"""Letters of a class's name."""


class Confusion(Callback):
    """Shows a classifier's confusion matrix in TensorBoard for each validation; without TensorBoard it does nothing."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.names = [] if trainer.sanity_checking or not boards(trainer) else labels(pl_module)
        self.counts = torch.zeros((len(self.names),) * 2, dtype=torch.int64, device=pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int, *_: Any
    ) -> None:
        if self.names:
            cells = batch["label"] * len(self.names) + outputs["probabilities"].argmax(-1)
            self.counts += cells.bincount(minlength=self.counts.numel()).view_as(self.counts)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.names:
            counts: Any = trainer.strategy.reduce(self.counts, reduce_op="sum")
            if trainer.is_global_zero:
                picture = pixels(draw(counts.cpu(), self.names))
                for board in boards(trainer):
                    board.add_image("val/confusion", picture, trainer.global_step, dataformats="HWC")


def draw(counts: Tensor, names: Sequence[str]) -> "Figure":
    """A row for each true class, a column for each predicted one; colours are shares of the row.

    Args:
        counts: Number of images, (K, K), true classes below one another.
        names: Of the K classes.
    """
    shown = most_confused(counts)
    total, counts = counts.sum(1)[shown], counts[shown][:, shown]
    side = 0.24 * len(shown)
    figure, ((axes,),) = panels(1, 1, max(side, 1.6) + 1.6, max(side, 1.6) + 1.5)
    figure.set_dpi(100)
    axes.imshow(colored(counts / total.clamp(min=1)[:, None]))
    for edge in np.arange(-0.5, len(shown)):
        axes.axhline(edge, color="white", lw=0.8)
        axes.axvline(edge, color="white", lw=0.8)
    axes.spines[:].set_visible(False)
    said = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in (names[k] for k in shown)]
    axes.set_xticks(range(len(shown)), said, rotation=90 if max(map(len, said)) > 2 else 0)
    axes.set_yticks(range(len(shown)), said)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted", color=GREY)
    axes.set_ylabel("true", color=GREY)
    if len(shown) < len(names):
        axes.set_title(f"the {len(shown)} most confused of {len(names)} classes", loc="left", size=SMALL, color=GREY)
    if len(shown) <= NUMBERED:
        for row, column in counts.nonzero().tolist():
            full = counts[row, column] > 0.6 * total[row]
            color = "white" if full else "black"
            number = int(counts[row, column])
            axes.text(column, row, number, size=SMALL - 1, color=color, ha="center", va="center")
    return figure


def most_confused(counts: Tensor) -> list[int]:
    """The classes that are taken for others, or others for them, most often; at most MOST, in their own order."""
    wrong = counts.sum(0) + counts.sum(1) - 2 * counts.diag()
    chosen: list[int] = wrong.argsort(descending=True, stable=True)[:MOST].sort().values.tolist()
    return chosen


def colored(share: Tensor) -> Any:
    """Shares (K, K) as colours (K, K, 3): what is right in one, what is wrong in the other, zero in neither."""
    right, wrong, none = (torch.tensor([int(c[k : k + 2], 16) for k in (1, 3, 5)]) for c in (BLUE, VERMILION, PALE))
    none = 255 - (255 - none.float()) / 3
    full = torch.where(torch.eye(len(share), dtype=torch.bool)[..., None], right, wrong)
    weight = share.sqrt()[..., None]  # a tenth of a row can be seen
    return (none + (full - none) * weight).round().byte().numpy()
