"""Copies of images: turns and orders of colours against numpy, and what is refused."""

import itertools

import numpy as np
import pytest

from jaxlab import vision

IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)


def test_turns():
    found = np.asarray(vision.rotations(IMAGES))
    assert found.shape == (2, 4, 4, 4, 3)
    np.testing.assert_array_equal(found[:, 0], IMAGES)
    for turn in range(4):
        np.testing.assert_array_equal(found[1, turn], np.rot90(IMAGES[1], turn))
    again = np.asarray(vision.rotations(vision.rotations(IMAGES)[:, 3]))[:, 1]
    np.testing.assert_array_equal(again, IMAGES)
    np.testing.assert_array_equal(vision.rotations(IMAGES[0])[2], found[0, 2])  # a single image


def test_half_turns_of_images_that_are_not_square():
    wide = IMAGES[:, :3].astype(np.uint8)
    found = vision.rotations(wide, quarter_turns=(0, 2))
    assert found.shape == (2, 2, 3, 4, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 1], wide[:, ::-1, ::-1])


def test_orders_of_colours():
    found = np.asarray(vision.color_permutations(IMAGES))
    assert found.shape == (2, 6, 4, 4, 3)
    for copy, order in enumerate(itertools.permutations(range(3))):
        np.testing.assert_array_equal(found[:, copy], IMAGES[..., order])
    np.testing.assert_array_equal(vision.color_permutations(IMAGES, kind=3), found[:, [0, 3, 4]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vision.rotations(IMAGES[0, 0]), r"x must have shape \[..., H, W, C\]"),
        (lambda: vision.rotations(IMAGES[:, :3]), "x must be square"),
        (lambda: vision.rotations(IMAGES, quarter_turns=()), "quarter_turns must name"),
        (lambda: vision.color_permutations(IMAGES[..., :2]), r"x must have shape \[..., H, W, 3\]"),
        (lambda: vision.color_permutations(IMAGES, kind=4), "kind must be one of 3, 6"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
