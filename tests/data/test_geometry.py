"""Into the square and out again."""

import numpy as np
import pytest
import torch

from graft.data.segmentation.geometry import fit_image, fit_mask, fitted_size, pad, unpad


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(30, 40, (48, 64)), (40, 30, (64, 48)), (500, 1, (64, 1)), (3, 4, (48, 64))]
)
def test_longest_side_becomes_the_side(height: int, width: int, expected: tuple[int, int]) -> None:
    assert fitted_size(height, width, 64) == expected
    assert fit_image(np.zeros((height, width, 3), np.uint8), 64).shape == (*expected, 3)
    assert fit_mask(np.zeros((height, width), np.uint8), 64).shape == expected


def test_shrinking_averages_areas() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[::4] = 200  # one row in four: bilinear, which reads the middle two, would miss it
    assert (fit_image(image, 4) == 50).all()


def test_masks_get_no_new_values_and_keep_their_place() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 4:8] = 3
    twice = np.kron(mask, np.ones((2, 2), np.uint8))
    assert (fit_mask(mask, 16) == twice).all()
    assert (fit_mask(twice, 8) == mask).all()


def test_padding_is_bottom_right_and_comes_off() -> None:
    image = np.full((3, 5, 3), 9, np.uint8)
    square = pad(image, 8)
    assert square.shape == (8, 8, 3)
    assert (square[:3, :5] == 9).all()
    assert square.sum() == image.sum()
    logits = torch.from_numpy(square).permute(2, 0, 1)
    assert (unpad(logits, torch.tensor([3, 5])) == 9).all()
    assert unpad(logits, torch.tensor([3, 5])).shape == (3, 3, 5)
