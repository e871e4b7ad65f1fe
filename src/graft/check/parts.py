"""The data of each task, looked at: first every file, then what training itself would say of them."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

from graft.check import classification, images, segmentation
from graft.check.finding import Finding, noted
from graft.check.look import look_at_all, look_at_image, look_at_pair
from graft.check.show import show_classes, show_masks, show_splits
from graft.data.base import ImageData
from graft.data.classification.base import ClassificationData
from graft.data.samples import Sample
from graft.data.segmentation.base import SegmentationData


def look_at(data: ImageData, model: Any, console: Console) -> list[Finding]:
    """All findings in the data; after them a set that has no fatal one is ready for `fit`."""
    findings: list[Finding] = []
    with noted(findings):
        data.prepare_data()
    if not findings:
        for kind, look in TASKS.items():
            if isinstance(data, kind):
                findings += look(data, model, console)
    if not any(finding.fatal for finding in findings):
        with noted(findings), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of look-alikes, which are among the findings already
            data.setup("fit")
    return findings


def look_at_segmentation(data: SegmentationData, model: Any, console: Console) -> list[Finding]:
    """Pairs of images and masks."""
    findings = [*segmentation.other_count(data.num_classes, getattr(model, "num_classes", None))]
    with noted(findings):
        splits = data.splits()
        classes = [*data.classes]
        looks = look_at_all(splits, partial(look_at_pair, num_classes=data.num_classes), console)
        show_splits(console, looks)
        show_masks(console, looks, classes)
        findings += images.findings(looks, splits, data.root, published=False)
        misread = [*segmentation.indexed(looks, classes), *segmentation.beyond(looks, classes)]
        findings += misread or [
            *segmentation.grey(looks, classes),
            *segmentation.empty(looks),
            *segmentation.inverted(looks),
            *segmentation.unused(looks, classes),
        ]
    return findings


def look_at_classification(data: ClassificationData, model: Any, console: Console) -> list[Finding]:
    """Images of classes."""
    refusals: list[Finding] = []
    with noted(refusals), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copies in a published set, which are found below
        data.setup("fit")
    division = getattr(data, "division", None)
    if division is None:  # the images could not be listed
        return refusals
    splits, names = (data.samples, data.names) if data.names else (division.splits, division.names)
    looks = look_at_all(splits, look_at_image, console)
    show_splits(console, looks)
    show_classes(console, splits, names)
    pairs = {split: [Sample(sample.name, sample.image) for sample in found] for split, found in splits.items()}
    return [
        *images.findings(looks, pairs, data.root, data.published),
        *classification.untrained(splits, names),
        *classification.unseen(splits, names),
        *classification.uneven(splits, names),
        *classification.contradictory(looks, names),
    ]


TASKS: dict[Any, Callable[[Any, Any, Console], list[Finding]]] = {
    SegmentationData: look_at_segmentation,
    ClassificationData: look_at_classification,
}
