"""Scores of a classification."""

import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

BINS = 15


class ClassScores(nn.Module):
    """Accumulates the mean loss (cross-entropy), and scores in 0 to 1:

        accuracy        share of the images whose best class is right
        top5            share of those whose five best hold the right one
        mean_per_class  mean over the classes of the accuracy among a class's images
        ece             expected calibration error, 15 bins of equal width (https://arxiv.org/abs/1706.04599)

    Args:
        count: Number of classes.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.loss = MeanMetric()  # over images
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(count, average="micro"),
                "top5": MulticlassAccuracy(count, average="micro", top_k=min(5, count)),
                "mean_per_class": MulticlassAccuracy(count, average="macro"),
                "ece": MulticlassCalibrationError(count, n_bins=BINS, norm="l1"),
            },
            compute_groups=False,
        )

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Add images: logits (B, count) and labels (B,)."""
        self.loss.update(F.cross_entropy(logits, label), weight=len(logits))
        self.scores.update(logits.softmax(-1), label)

    def compute(self) -> dict[str, Tensor]:
        """The mean loss and the scores so far, by name."""
        scores: dict[str, Tensor] = {"loss": self.loss.compute(), **self.scores.compute()}
        return scores

    def reset(self) -> None:
        """Begin anew."""
        self.loss.reset()
        self.scores.reset()
