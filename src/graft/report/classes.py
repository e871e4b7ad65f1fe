"""Predicted classes: how often each is right, what is taken for what, and how far probabilities can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from graft.callbacks.class_pictures import opened
from graft.modules.class_scores import BINS
from graft.report.images import data_uri

WIDTH = 160
"""Of an image, in pixels."""


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies in one of BINS equal parts of 0 to 1."""

    count: int
    confidence: float
    accuracy: float


class Classes:
    """What a run says of the images of the validation split.

    Args:
        dataset: The split, in the order of the images.
        module: The model's module, which knows the names of the classes.
    """

    def __init__(self, dataset: Any, module: Any) -> None:
        self.classes: Sequence[str] = module.names[0]
        self.names: list[str] = []
        self.paths: list[str] = []
        self.labels = torch.zeros(0, dtype=torch.int64)
        self.probabilities = torch.zeros(0, len(self.classes))

    def add(self, batch: dict[str, Any], probabilities: Tensor) -> None:
        """Add a batch and the probabilities (B, classes) that were predicted for it."""
        self.names += batch["name"]
        self.paths += batch["path"]
        self.labels = torch.cat([self.labels, batch["label"].cpu()])
        self.probabilities = torch.cat([self.probabilities, probabilities.cpu()])

    @property
    def best(self) -> Tensor:
        """The class that is seen in each image, (N,)."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> Tensor:
        """The probability of that class, (N,)."""
        return self.probabilities.amax(1)

    @property
    def accuracy(self) -> float:
        """Share of the images whose best class is right."""
        return float((self.best == self.labels).float().mean())

    @property
    def identity(self) -> str:
        """What two runs must share for their images to be the same."""
        return sha256(repr([[*self.classes], self.names, self.labels.tolist()]).encode()).hexdigest()

    def confusion(self) -> Tensor:
        """(classes, classes): images of the class of a row that are taken for the class of a column."""
        count = len(self.classes)
        return torch.bincount(self.labels * count + self.best, minlength=count**2).view(count, count)

    def mistakes(self) -> list[int]:
        """The images that are taken for another class, by confidence, the most confident first."""
        wrong = (self.best != self.labels).nonzero()[:, 0]
        order: list[int] = wrong[self.confidence[wrong].argsort(descending=True, stable=True)].tolist()
        return order

    def reliability(self) -> list[Bin]:
        """Accuracy against confidence (https://arxiv.org/abs/1706.04599), in the bins of the score `ece`."""
        right, place = (self.best == self.labels).float(), (self.confidence * BINS).long().clamp(max=BINS - 1)
        return [
            Bin(int(here.sum()), float(self.confidence[here].mean()), float(right[here].mean()))
            for k in range(BINS)
            if (here := place == k).any()
        ]

    def picture(self, index: int) -> str:
        """One image."""
        return data_uri(opened(self.paths[index]), WIDTH)
