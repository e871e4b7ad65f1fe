"""Dice and IoU, held against MONAI's and scikit-learn's."""

import pytest
import torch
import torch.nn.functional as F
from monai.metrics import compute_dice, compute_iou
from sklearn.metrics import f1_score

from graft.modules.scores import SegmentationScores


def masks(num_classes, images=6):
    """Pairs of prediction and truth, of several sizes; some lack classes, some are empty."""
    generator = torch.Generator().manual_seed(num_classes)
    pairs = []
    for i in range(images):
        shape = (10 + i, 17 - i)
        truth = torch.randint(0, num_classes + 1, shape, generator=generator)
        noise = torch.randint(0, num_classes + 1, shape, generator=generator)
        prediction = torch.where(torch.rand(shape, generator=generator) < 0.6, truth, noise)
        if i % 2:
            truth[truth == 1 + i % num_classes] = 0  # a class that is only predicted
        pairs.append((prediction.byte(), truth.byte()))
    empty = torch.zeros(5, 6, dtype=torch.uint8)
    something = empty.clone()
    something[2, 3] = 1
    return [*pairs, (empty, empty), (something, empty), (empty, something)]


def scored(pairs, num_classes):
    scores = SegmentationScores([f"class_{k + 1}" for k in range(num_classes)])
    for prediction, truth in pairs:
        scores.update(prediction, truth)
    return scores


def one_hot(mask, num_classes):
    return F.one_hot(mask.long(), num_classes + 1).movedim(-1, 0)[None]


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize(("name", "reference"), [("dice", compute_dice), ("iou", compute_iou)])
def test_the_score_of_images_is_monais_over_the_classes_in_the_truth(name, reference, num_classes):
    pairs = masks(num_classes)
    each, by_class = [], {k: [] for k in range(num_classes)}
    for prediction, truth in pairs:
        p, t = one_hot(prediction, num_classes), one_hot(truth, num_classes)
        theirs = reference(p, t, include_background=False, ignore_empty=False)[0]
        present = [k for k in range(num_classes) if (truth == k + 1).any()]
        nothing = 1.0 - prediction.any().float()  # no class in the truth
        each.append(theirs[present].mean() if present else nothing)
        for k in present:
            by_class[k].append(theirs[k])
    ours = scored(pairs, num_classes).compute()
    assert torch.allclose(ours[name], torch.stack(each).mean(), atol=1e-6)
    for k, values in by_class.items():
        if num_classes > 1:
            assert torch.allclose(ours[f"{name}/class_{k + 1}"], torch.stack(values).mean(), atol=1e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_the_score_of_the_set_is_scikit_learns_over_all_pixels(num_classes):
    pairs = masks(num_classes)
    prediction, truth = (torch.cat([mask.flatten() for mask in column]) for column in zip(*pairs, strict=True))
    theirs = f1_score(truth, prediction, labels=range(1, num_classes + 1), average="macro")
    assert scored(pairs, num_classes).compute()["dice_set"].item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("num_classes", [1, 3])
def test_an_image_without_truth_scores_one_if_nothing_is_predicted_and_zero_otherwise(num_classes):
    empty = torch.zeros(4, 4, dtype=torch.uint8)
    something = torch.eye(4, dtype=torch.uint8)
    for prediction, expected in ((empty, 1.0), (something, 0.0)):
        scores = scored([(prediction, empty)], num_classes).compute()
        assert scores["dice"] == scores["iou"] == scores["dice_set"] == expected
        assert not any("/" in name for name in scores)  # a class that no truth holds has no score


@pytest.mark.parametrize("num_classes", [1, 3])
def test_two_processes_states_together_are_those_of_one(num_classes):
    pairs = masks(num_classes)
    first, second, whole = (scored(part, num_classes) for part in (pairs[:4], pairs[4:], pairs))
    first.merge_state(second)
    merged, expected = first.compute(), whole.compute()
    assert merged.keys() == expected.keys()
    for name, score in expected.items():
        assert torch.allclose(merged[name], score, atol=1e-6), name


def test_after_a_reset_nothing_is_remembered():
    scores = scored(masks(3), 3)
    scores.reset()
    perfect = torch.ones(4, 4, dtype=torch.uint8)
    scores.update(perfect, perfect)
    assert scores.compute()["dice"] == 1
