"""Anchors of a pyramid, boxes written relative to them and read back, and the bias that says how rare they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import vision

RNG = np.random.default_rng(0)


def boxes(count):
    low = RNG.uniform(0, 20, (count, 2))
    return np.concatenate([low, low + RNG.uniform(1, 20, (count, 2))], axis=1).astype(np.float32)


def test_anchors_stand_in_the_middle_of_their_cells():
    anchors = vision.make_anchors([(2, 3), (1, 2)], [4, 8], size=1.0)
    cells = [[4 * j, 4 * i, 4 * j + 4, 4 * i + 4] for i in range(2) for j in range(3)]
    cells += [[8 * j, 0, 8 * j + 8, 8] for j in range(2)]
    np.testing.assert_array_equal(anchors, cells)
    wide = vision.make_anchors([(2, 3), (1, 2)], [4, 8])
    np.testing.assert_allclose(0.5 * (wide[:, :2] + wide[:, 2:]), 0.5 * (anchors[:, :2] + anchors[:, 2:]))
    np.testing.assert_allclose(wide[:, 2:] - wide[:, :2], 8 * (anchors[:, 2:] - anchors[:, :2]))


def test_deltas_are_undone():
    anchors, targets = boxes(7), boxes(7)
    deltas = vision.encode_deltas(anchors, targets)
    np.testing.assert_allclose(vision.decode_deltas(anchors, deltas), targets, rtol=1e-4, atol=1e-4)
    # A box of twice the width, moved by half an anchor.
    np.testing.assert_allclose(
        vision.encode_deltas(jnp.array([0.0, 0, 4, 4]), jnp.array([0.0, 0, 8, 4])), [0.5, 0, np.log(2), 0], rtol=1e-6
    )
    huge = vision.decode_deltas(jnp.array([0.0, 0, 1, 1]), jnp.full(4, 1e3), max_ratio=8.0)
    np.testing.assert_allclose(huge[2:] - huge[:2], 8.0, rtol=1e-4)


def test_distances_to_the_sides_are_undone():
    targets = boxes(7)
    points = targets[:, :2] + RNG.uniform(0.05, 0.95, (7, 2)).astype(np.float32) * (targets[:, 2:] - targets[:, :2])
    strides = np.float32([4, 4, 8, 8, 8, 16, 16])
    distances = vision.encode_tblr(points, targets, normalizer=4 * strides)
    assert (np.asarray(distances) > 0).all()
    np.testing.assert_allclose(vision.decode_tblr(points, distances, normalizer=4 * strides), targets, rtol=1e-4)
    # Up, down, left, right.
    np.testing.assert_allclose(vision.encode_tblr(jnp.array([1.0, 2.0]), jnp.array([0.0, 0, 9, 5])), [2, 3, 1, 8])


def test_centerness_and_effective_region():
    box = jnp.array([[0.0, 0.0, 8.0, 4.0]])
    points = jnp.array([[4.0, 2.0], [2.0, 2.0], [4.0, 1.0], [2.0, 1.0], [0.0, 2.0], [-1.0, 2.0]])
    np.testing.assert_allclose(
        vision.centerness(points, box), [1, np.sqrt(1 / 3), np.sqrt(1 / 3), 1 / 3, 0, 0], rtol=1e-6
    )
    for scale, inside in ((1.0, [1, 1, 1, 1, 0, 0]), (0.5, [1, 0, 0, 0, 0, 0]), (0.51, [1, 1, 1, 1, 0, 0])):
        np.testing.assert_array_equal(vision.effective_region(points, box, scale=scale)[:, 0], np.bool_(inside))


def test_bias_is_the_best_constant():
    """Its sigmoid is the rate, and the gradient of the mean binary cross entropy by the bias is 0 there."""
    targets = jnp.arange(200) < 3
    bias = vision.prior_bias(3.0, 200.0)
    np.testing.assert_allclose(jax.nn.sigmoid(bias), 3 / 200, rtol=1e-5)

    def loss(b):
        return jnp.mean(jax.nn.softplus(b) - targets * b)

    assert abs(jax.grad(loss)(bias)) < 1e-7 < 0.4 < jax.grad(loss)(0.0)
    np.testing.assert_allclose(jax.nn.sigmoid(vision.prior_bias(jnp.array(3), jnp.array(200), num_classes=5)), 3 / 1000)
    np.testing.assert_array_equal(jax.jit(vision.prior_bias)(jnp.array([0.0, 2.0]), 2.0), [-np.inf, np.inf])


B, P = jnp.ones((2, 4)), jnp.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: vision.make_anchors([], []), ValueError, "strides"),
        (lambda: vision.make_anchors([(2, 2)], [4, 8]), ValueError, "strides must hold one number per level"),
        (lambda: vision.make_anchors([(2, 2)], [4], size=0.0), ValueError, "size and strides must be > 0"),
        (lambda: vision.make_anchors([(0, 2)], [4]), ValueError, "shapes must be"),
        (lambda: vision.make_anchors([(2.5, 2)], [4]), TypeError, "shapes must be"),
        (lambda: vision.encode_deltas(P, B), ValueError, "anchors must have shape"),
        (lambda: vision.encode_deltas(B, B.astype(int)), TypeError, "boxes must be floating"),
        (lambda: vision.decode_deltas(B, P), ValueError, "deltas must have shape"),
        (lambda: vision.decode_deltas(B, B, max_ratio=0.0), ValueError, "max_ratio must be > 0"),
        (lambda: vision.encode_tblr(B, B), ValueError, "points must have shape"),
        (lambda: vision.encode_tblr(P, B, normalizer=0.0), ValueError, "normalizer must be > 0"),
        (lambda: vision.decode_tblr(P, P), ValueError, "distances must have shape"),
        (lambda: vision.decode_tblr(P, B, normalizer=-1.0), ValueError, "normalizer must be > 0"),
        (lambda: vision.centerness(P, P), ValueError, "boxes must have shape"),
        (lambda: vision.effective_region(P[0], B), ValueError, r"points must have shape \[P, 2\]"),
        (lambda: vision.effective_region(P, B, scale=-1.0), ValueError, "scale must be at least 0"),
        (lambda: vision.prior_bias(0.0, 9.0), ValueError, "num_positive must be > 0"),
        (lambda: vision.prior_bias(9.0, 9.0), ValueError, "num_positive must be below"),
        (lambda: vision.prior_bias(10.0, 9.0), ValueError, "num_positive must lie in"),
        (lambda: vision.prior_bias(1.0, 9.0, num_classes=0), ValueError, "num_classes"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
