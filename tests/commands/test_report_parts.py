"""What a report is made of: counts and charts, on numbers that no training is needed for."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, recall_score
from torchmetrics.classification import MulticlassCalibrationError

from graft.modules.class_scores import BINS
from graft.report.axes import MOST, thinned, ticks
from graft.report.charts import BOTTOM, LEFT, LETTERS, RIGHT, TOP, Line, chart
from graft.report.class_section import LARGEST, class_section
from graft.report.classes import Classes
from graft.report.configurations import differences
from graft.report.mask_section import chosen, histogram
from graft.report.masks import Masks


class Named:
    """A module, as far as a report asks it."""

    def __init__(self, count):
        self.names = [[f"kind {k}" for k in range(count)]]
        self.scores = self
        self.classes = self.names[0]


def said(count, images=400, seed=0):
    """Random predictions that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(count, (images,), generator=generator)
    logits = torch.randn(images, count, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, count)
    told = Classes(None, Named(count))
    names = [f"image-{k}" for k in range(images)]
    for part in torch.arange(images).split(64):
        batch = {"name": [names[k] for k in part], "path": [names[k] for k in part], "label": labels[part]}
        told.add(batch, logits[part].softmax(-1))
    return told


def test_confusions_and_accuracies_are_sklearns():
    told = said(7)
    truth, best = told.labels.numpy(), told.probabilities.numpy().argmax(1)
    assert np.array_equal(told.confusion().numpy(), confusion_matrix(truth, best))
    recall = recall_score(truth, best, average=None)
    rows = class_section_without_pictures([0], [""], [told]).per_class
    assert {name: share for name, _, (share,) in rows} == pytest.approx(dict(zip(told.classes, recall, strict=True)))
    assert [share for _, _, (share,) in rows] == sorted(recall)
    assert told.accuracy == pytest.approx(np.mean(truth == best))


def test_reliability_is_sklearns_and_adds_up_to_the_logged_error():
    told = said(7)
    confidence, right = told.probabilities.amax(1), told.probabilities.argmax(1) == told.labels
    accuracy, mean = calibration_curve(right.numpy(), confidence.numpy(), n_bins=BINS)
    bins = told.reliability()
    assert [each.accuracy for each in bins] == pytest.approx([*accuracy])
    assert [each.confidence for each in bins] == pytest.approx([*mean])
    error = sum(each.count * abs(each.accuracy - each.confidence) for each in bins) / len(told.names)
    expected = MulticlassCalibrationError(7, n_bins=BINS, norm="l1")(told.probabilities, told.labels)
    assert error == pytest.approx(float(expected), abs=1e-6)


def test_mistakes_are_all_and_only_those_and_the_surest_come_first():
    told = said(5)
    order = told.mistakes()
    assert {*order} == {*np.flatnonzero(told.probabilities.argmax(1) != told.labels)}
    sure = [float(told.probabilities[index].max()) for index in order]
    assert sure == sorted(sure, reverse=True)


def test_of_many_classes_the_commonest_confusions_are_listed():
    told = said(LARGEST + 1, images=900)
    (confusion,) = class_section_without_pictures([0], [""], [told]).confusions
    matrix = confusion_matrix(told.labels, told.probabilities.argmax(1))
    np.fill_diagonal(matrix, 0)
    assert confusion.matrix == []
    counts = [count for _, _, count in confusion.pairs]
    assert counts == sorted(matrix.flatten())[::-1][: len(counts)]
    for name, other, count in confusion.pairs:
        assert matrix[told.classes.index(name), told.classes.index(other)] == count


def class_section_without_pictures(*args):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classes, "picture", lambda *_: "data:,")
        return class_section(*args)


def predicted(count, seed, empty=()):
    """Masks that a run has predicted, each right in its own share of the pixels."""
    rng = np.random.default_rng(seed)
    told = Masks(None, Named(1))
    for k in range(count):
        truth = torch.zeros(8, 8, dtype=torch.uint8) if k in empty else torch.ones(8, 8, dtype=torch.uint8)
        mask = torch.from_numpy((rng.random((8, 8)) < rng.random()).astype(np.uint8))
        mask = torch.zeros_like(mask) if k in empty else mask
        told.add({"name": [f"{k}"], "path": [f"{k}.png"], "original_mask": [truth]}, [mask])
        assert torch.equal(told.images[-1].mask, mask)
    return told


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 40])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_images_that_are_shown(count, runs):
    told = [predicted(count, seed) for seed in range(runs)]
    means = [np.mean([run.images[k].dice for run in told]) for k in range(count)]
    order = sorted(range(count), key=means.__getitem__)
    groups = chosen(order, told)
    shown = [index for indices in groups.values() for index in indices]
    assert len(shown) == len({*shown})
    worst, best = groups["Worst"], groups["Best"]
    assert {*worst} == {*order[: len(worst)]}
    assert {*best} == {*order[count - len(best) :]}
    assert worst
    if count >= 9:
        assert len(worst) == len(best) == len(groups["Median"]) == 3
        assert all(order.index(index) in range(count // 2 - 1, count // 2 + 2) for index in groups["Median"])
    apart = [
        max(dice) - min(dice) for dice in zip(*([image.dice for image in run.images] for run in told), strict=True)
    ]
    widest = sorted(range(count), key=apart.__getitem__)[-max(1, min(3, count // 3)) :] if runs > 1 else []
    assert {*groups["Where the runs differ most"]} == {*widest} - {*worst, *best, *groups["Median"]}


def test_the_best_are_images_with_something_to_find():
    told = predicted(9, 0, empty={2, 5})
    order = sorted(range(9), key=lambda k: told.images[k].dice)
    assert {*order[-2:]} == {2, 5}  # nothing there, nothing found
    assert not {2, 5} & {*chosen(order, [told])["Best"]}


def test_a_histogram_counts_every_value_once():
    values = [random.Random(k).random() for k in range(500)] + [0.0, 1.0, 1.0]
    points = histogram(values)
    expected, _ = np.histogram(values, bins=len(points) - 1, range=(0, 1))
    assert [count for _, count in points[:-1]] == [*expected]
    assert [edge for edge, _ in points] == pytest.approx([*np.linspace(0, 1, len(points))])


@pytest.mark.parametrize("seed", range(30))
def test_ticks_are_few_round_and_within(seed):
    draw = random.Random(seed)
    low = draw.uniform(-1, 1) * 10 ** draw.randint(-7, 7)
    high = low + draw.random() * 10 ** draw.randint(-5, 7) + abs(low) * 1e-3
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    gap = found[1] - found[0]
    assert all(low - 1e-6 * gap <= tick <= high + 1e-6 * gap for tick in found)
    assert round(gap / 10 ** math.floor(math.log10(gap * (1 + 1e-6))), 3) in (1, 2, 5)


@pytest.mark.parametrize("count", [1, MOST, MOST + 1, 10_000])
def test_many_points_become_few_that_say_the_same(count):
    points = [(float(k), math.sin(k)) for k in range(count)]
    thin = thinned(points)
    assert len(thin) <= MOST
    assert thin[-1][0] == points[-1][0]
    assert max(high for *_, high in thin) == max(y for _, y in points)
    assert min(low for _, _, low, _ in thin) == min(y for _, y in points)
    if count <= MOST:
        assert [(x, y) for x, y, _, _ in thin] == points


def test_a_chart_keeps_within_its_field_and_its_labels_apart():
    lines = [Line(k, "ABCDE"[k], [(s, 0.5 + s / 100 + k * 1e-4) for s in range(5)]) for k in range(5)]
    drawn = chart("a score", [*lines, Line(5, "F", [(0.0, math.nan)])])
    assert len(drawn.lines) == 5  # what is no number is not drawn
    for line in drawn.lines:
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y, _, _ in line.marks)
    heights = sorted(line.label[1] for line in drawn.lines)
    assert all(after - before >= LETTERS for before, after in itertools.pairwise(heights))


def test_a_chart_of_one_value_can_be_drawn():
    (line,) = chart("a score", [Line(0, "", [(3.0, 0.0)])]).lines
    assert len(line.marks) == 1


def test_differences_are_the_keys_that_differ():
    first = {"a": {"b": 1, "c": None}, "same": [1, 2], "only": {}}
    second = {"a": {"b": 2, "c": None}, "same": [1, 2]}
    assert differences([first, second]) == [("a.b", ["1", "2"]), ("only", ["{}", "-"])]
    assert differences([first, first]) == []
