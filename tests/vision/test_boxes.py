"""Overlap of boxes, against counting cells of a fine grid; distances and losses."""

import jax
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


def test_distance_of_centres():
    a, b = boxes(6, 0), boxes(5, 1)
    middle = [(c[:, None, :2] + c[:, None, 2:]) / 2 for c in (a, b)]
    wanted = np.linalg.norm(middle[0] - middle[1].swapaxes(0, 1), axis=-1)
    np.testing.assert_allclose(vision.box_center_distance(a, b), wanted, rtol=1e-6)
    gradient = jax.grad(lambda a: vision.box_center_distance(a, a).sum())(a)
    assert np.isfinite(gradient).all()


def test_losses_of_overlap():
    a, b = boxes(6, 3), boxes(6, 4)
    iou, giou = (vision.box_iou(a, b, pairwise=False, kind=kind) for kind in ("iou", "giou"))
    np.testing.assert_allclose(vision.iou_loss(a, b, eps=1e-3), -np.log(np.maximum(iou, 1e-3)), rtol=1e-5)
    np.testing.assert_allclose(vision.giou_loss(a, b), 1 - np.asarray(giou), rtol=1e-5)
    for loss in (vision.iou_loss, vision.giou_loss):
        np.testing.assert_allclose(loss(a, a), 0.0, atol=1e-6)
        np.testing.assert_allclose(loss(4 * a, 4 * b), loss(a, b), rtol=1e-5)


def test_only_the_hull_moves_boxes_apart():
    box, far = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([8.0, 0.0, 9.0, 1.0])
    assert not np.any(jax.grad(vision.iou_loss)(box, far))
    pull = jax.grad(vision.giou_loss)(box, far)
    assert pull[2] < 0  # the nearer side grows towards the target


def test_hidden_boxes_have_no_loss():
    a, b = jnp.asarray(boxes(3, 3)), jnp.asarray(boxes(3, 4))
    where = jnp.array([True, False, True])
    dirty = a.at[1].set(jnp.nan)
    for loss in (vision.iou_loss, vision.giou_loss):
        value, gradient = jax.value_and_grad(lambda x, loss=loss: loss(x, b, where=where).sum())(dirty)
        np.testing.assert_allclose(value, loss(a, b)[jnp.array([0, 2])].sum(), rtol=1e-6)
        assert np.isfinite(gradient).all()
        assert not np.any(gradient[1])


def test_bad_input():
    with pytest.raises(ValueError, match="a must have shape"):
        vision.box_iou(jnp.ones(4), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="kind"):
        vision.box_iou(jnp.ones((1, 4)), jnp.ones((1, 4)), kind="ciou")
    with pytest.raises(TypeError, match="b must"):
        vision.box_iou(jnp.ones((1, 4)), jnp.ones((1, 4), int))
    with pytest.raises(ValueError, match="b must have shape"):
        vision.box_center_distance(jnp.ones((2, 4)), jnp.ones(4))
    for loss in (vision.iou_loss, vision.giou_loss):
        with pytest.raises(ValueError, match="prediction and target"):
            loss(jnp.ones((2, 4)), jnp.ones(4))
        with pytest.raises(TypeError, match="prediction must"):
            loss(jnp.ones((2, 4), int), jnp.ones((2, 4)))
        with pytest.raises(ValueError, match="where must"):
            loss(jnp.ones((2, 4)), jnp.ones((2, 4)), where=jnp.ones(3, bool))
    with pytest.raises(ValueError, match="eps must be > 0"):
        vision.iou_loss(jnp.ones((2, 4)), jnp.ones((2, 4)), eps=0.0)
