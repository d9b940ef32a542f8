"""Overlap of boxes, against counting cells of a fine grid."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import vision


def cells(box, step=0.5):
    """Which cells of a grid lie in the box; exact for boxes with corners on the grid."""
    at = np.arange(0.0, 10.0, step) + step / 2
    inside = [(at > box[i]) & (at < box[i + 2]) for i in (0, 1)]
    return inside[0][:, None] & inside[1]


def boxes(count, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 17, (count, 2, 2)) / 2, axis=1)
    corners[:, 1] += 0.5
    return corners.reshape(count, 4).astype(np.float32)


def test_overlap_by_counting():
    a, b = boxes(6, 0), boxes(5, 1)
    wanted = [[(cells(p) & cells(q)).sum() / (cells(p) | cells(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(vision.box_iou(a, b), wanted, rtol=1e-5)
    np.testing.assert_allclose(vision.box_iou(a[:5], b, pairwise=False), np.diagonal(wanted), rtol=1e-5)


def test_the_hull_tells_apart_what_does_not_touch():
    box, near, far = np.array([[0, 0, 1, 1]]), np.array([[2, 0, 3, 1]]), np.array([[8, 0, 9, 1]])
    giou = [vision.box_iou(box.astype(np.float32), other.astype(np.float32), kind="giou") for other in (near, far)]
    np.testing.assert_allclose(np.ravel(giou), [-(3 - 2) / 3, -(9 - 2) / 9], rtol=1e-6)
    np.testing.assert_allclose(vision.box_iou(boxes(4, 2), boxes(4, 2), pairwise=False, kind="giou"), 1.0)


def test_pixels_are_inclusive():
    one, two = jnp.array([[0.0, 0.0, 0.0, 0.0]]), jnp.array([[0.0, 0.0, 1.0, 0.0]])
    assert vision.box_iou(one, two) == 0.0
    assert vision.box_iou(one, two, inclusive=True) == 0.5


def test_bad_input():
    with pytest.raises(ValueError, match="a must have shape"):
        vision.box_iou(jnp.ones(4), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="kind"):
        vision.box_iou(jnp.ones((1, 4)), jnp.ones((1, 4)), kind="ciou")
    with pytest.raises(TypeError, match="b must"):
        vision.box_iou(jnp.ones((1, 4)), jnp.ones((1, 4), int))
