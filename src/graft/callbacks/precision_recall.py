"""Precision and recall over the threshold, of the whole validation set: what another threshold would cost and gain.

    precision(t) = TP / (TP + FP)      recall(t) = TP / (TP + FN)      where p >= t counts as found

Of masks: over all pixels at the images' original sizes, for each class against the rest; the fraction 2 TP / (2 TP + FP
+ FN) at t = 0.5 is what `val/dice_set` is for one class. Of classes: over all images, each class against the rest, and
the mean over the classes that the images hold (macro).

Only counts are kept: each probability falls between two of 101 thresholds, so that a pixel costs one search and one
addition, and what processes add up is exact.
"""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graft.callbacks.boards import boards, labels, regions

THRESHOLDS = 101
"""Evenly from 0 to 1, which is how TensorBoard reads them."""


class PrecisionRecall(Callback):
    """Shows precision-recall curves in TensorBoard for each validation; without TensorBoard it does nothing."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.classes = [] if trainer.sanity_checking or not boards(trainer) else labels(pl_module) or regions(pl_module)
        shape = (2, len(self.classes), THRESHOLDS + 1)
        self.counts = torch.zeros(shape, dtype=torch.int64, device=pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Any], batch_idx: int, *_: Any
    ) -> None:
        if self.classes and "probabilities" in outputs:
            known = torch.arange(len(self.classes), device=pl_module.device)[:, None]
            self.counts += count(outputs["probabilities"].T, batch["label"] == known)
        elif self.classes:
            known = torch.arange(1, len(self.classes) + 1, device=pl_module.device)[:, None]
            for found, truth in zip(outputs["maps"](), batch["original_mask"], strict=True):
                self.counts += count(found.flatten(1), truth.flatten() == known)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.classes:
            return
        counts: Any = trainer.strategy.reduce(self.counts, reduce_op="sum")
        curves = {name: Curve.of(each) for name, each in zip(self.classes, counts.cpu().unbind(1), strict=True)}
        curves = {name: curve for name, curve in curves.items() if curve.recall.isfinite().all()}
        tag = "val/precision_recall"
        if labels(pl_module):
            curves = {tag: mean(list(curves.values()))} if curves else {}
        else:
            curves = {tag if len(self.classes) == 1 else f"{tag}/{name}": curve for name, curve in curves.items()}
        for board in boards(trainer):
            for name, curve in curves.items():
                values = (value.numpy() for value in (curve.tp, curve.fp, curve.tn, curve.fn))
                ratios = curve.precision.numpy(), curve.recall.numpy()
                board.add_pr_curve_raw(name, *values, *ratios, trainer.global_step, THRESHOLDS)


@dataclass(frozen=True)
class Curve:
    """What is right and wrong at each threshold, each (THRESHOLDS,); a recall of nothing to be found is NaN."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor
    precision: Tensor
    recall: Tensor

    @staticmethod
    def of(counts: Tensor) -> "Curve":
        """The curve of one class, from the counts of what it is not and what it is, (2, THRESHOLDS + 1).

        Where nothing is found precision is 1, as in scikit-learn's last point.
        """
        fp, tp = counts.flip(-1).cumsum(-1).flip(-1)[:, 1:]
        absent, present = counts.sum(-1)
        precision = torch.where(tp + fp > 0, tp / (tp + fp), 1.0)
        return Curve(tp, fp, absent - fp, present - tp, precision, tp / present)


def mean(curves: list[Curve]) -> Curve:
    """The counts of all classes together, the mean of their precisions and recalls."""
    sums = (torch.stack([getattr(curve, name) for curve in curves]).sum(0) for name in ("tp", "fp", "tn", "fn"))
    means = (torch.stack([getattr(curve, name) for curve in curves]).mean(0) for name in ("precision", "recall"))
    return Curve(*sums, *means)


def count(probabilities: Tensor, truth: Tensor) -> Tensor:
    """How many probabilities lie between which thresholds: (2, K, THRESHOLDS + 1), what is false before what is true.

    Args:
        probabilities: (K, N), in 0 to 1.
        truth: (K, N), bool.
    """
    classes = len(probabilities)
    thresholds = torch.linspace(0, 1, THRESHOLDS, device=probabilities.device)
    place = torch.bucketize(probabilities.float().contiguous(), thresholds, right=True)  # how many it reaches
    place += (THRESHOLDS + 1) * (torch.arange(classes, device=truth.device)[:, None] + classes * truth)
    return place.flatten().bincount(minlength=2 * classes * (THRESHOLDS + 1)).view(2, classes, -1)
