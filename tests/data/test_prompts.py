"""Boxes and points from masks."""

import numpy as np
import pytest

from graft.data.segmentation.prompts import box_around, interior_point, jitter, random_point


def test_box_holds_all_foreground() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3, 7], mask[11, 25] = 1, 2
    assert box_around(mask).tolist() == [7, 3, 26, 12]


def test_empty_mask_means_whole_image_and_middle() -> None:
    mask = np.zeros((20, 30), np.uint8)
    assert box_around(mask).tolist() == [0, 0, 30, 20]
    assert interior_point(mask).tolist() == random_point(mask, np.random.default_rng(0)).tolist() == [15, 10]


def test_jitter_stays_within_a_tenth_and_the_image() -> None:
    box = np.array([0, 40, 50, 60], np.float32)
    boxes = np.array([jitter(box, 100, 52, np.random.default_rng(seed)) for seed in range(300)])
    assert boxes.dtype == np.float32
    assert (boxes[:, 0] >= 0).all()
    assert boxes[:, 0].max() == pytest.approx(5, abs=0.3)
    assert boxes[:, 1].min() == pytest.approx(38, abs=0.1)
    assert boxes[:, 1].max() == pytest.approx(42, abs=0.1)
    assert boxes[:, 2].min() == pytest.approx(45, abs=0.3)
    assert boxes[:, 2].max() == 52
    assert (np.abs(boxes - box) <= [5, 2, 5, 2]).all()


def test_random_points_are_foreground_and_reach_all_of_it() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[2, 3:6] = 1
    points = {tuple(random_point(mask, np.random.default_rng(seed)).tolist()) for seed in range(50)}
    assert points == {(3, 2), (4, 2), (5, 2)}


def test_interior_point_is_the_deepest_and_the_border_counts_as_an_edge() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[:11, :11] = 1  # deepest at (5, 5), were the border no edge at the corner
    mask[20:25, 20:25] = 1
    assert interior_point(mask).tolist() == [5, 5]
