"""S3IM under explicit orders: a torch-like layout in numpy, limits, splits, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses
from jaxlab.losses.photometric import _in_order

RNG = np.random.default_rng(0)
R, SIDE = 64, (8, 8)
X, Y = RNG.random((2, R, 3)).astype(np.float32)
s3im = jax.jit(functools.partial(losses.s3im, patch=SIDE, repeats=3))


def by_hand(x, y, orders):
    """Channels first, as published: concatenate, transpose, reshape; then windows of 4 at stride 4 with one zero."""
    height, width = SIDE[0], SIDE[1] * len(orders)
    rows = np.concatenate(orders)
    images = [np.pad(v.astype(np.float64)[rows].T.reshape(3, height, width), ((0, 0), (1, 1), (1, 1))) for v in (x, y)]
    side = np.exp(-((np.arange(4) - 2) ** 2) / (2 * 1.5**2))
    weights = np.outer(side, side) / side.sum() ** 2
    values = []
    for channel in range(3):
        for top in range(0, height + 2 - 3, 4):
            for left in range(0, width + 2 - 3, 4):
                a, b = (image[channel, top : top + 4, left : left + 4] for image in images)
                mu, nu = (weights * a).sum(), (weights * b).sum()
                spread = (weights * a * a).sum() - mu**2 + (weights * b * b).sum() - nu**2
                covariance = (weights * a * b).sum() - mu * nu
                values.append(
                    (2 * mu * nu + 1e-4) * (2 * covariance + 9e-4) / ((mu**2 + nu**2 + 1e-4) * (spread + 9e-4))
                )
    return 1 - np.mean(values)


@pytest.mark.parametrize("repeats", [1, 3])
def test_equals_the_published_layout(repeats):
    orders = [np.arange(R)] + [RNG.permutation(R) for _ in range(repeats - 1)]
    found = _in_order(jnp.asarray(X), jnp.asarray(Y), jnp.asarray(np.stack(orders)), patch=SIDE, window=4, stride=4)
    np.testing.assert_allclose(found, by_hand(X, Y, orders), rtol=1e-4)


def test_one_repeat_is_the_order_given_whatever_the_key():
    expected = by_hand(X, Y, [np.arange(R)])
    for seed in range(2):
        np.testing.assert_allclose(losses.s3im(jax.random.key(seed), X, Y, patch=SIDE, repeats=1), expected, rtol=1e-4)


def test_orders_are_random_and_the_same_for_both():
    first, other = s3im(jax.random.key(0), X, Y), s3im(jax.random.key(1), X, Y)
    assert first != other
    assert 0 < first < 2
    np.testing.assert_allclose(s3im(jax.random.key(0), X, X), 0, atol=1e-6)


def test_targets_get_no_gradient_and_predictions_descend():
    of_prediction, of_target = jax.grad(lambda x, y: s3im(jax.random.key(0), x, y), (0, 1))(X, Y)
    assert not np.any(of_target)
    assert s3im(jax.random.key(0), X - of_prediction, Y) < s3im(jax.random.key(0), X, Y)


def test_rays_split_over_a_mapped_axis():
    key = jax.random.key(3)
    split = jax.vmap(lambda x, y: losses.s3im(key, x, y, patch=SIDE, repeats=3, axis_name="i"), axis_name="i")
    found = split(X.reshape(2, R // 2, 3), Y.reshape(2, R // 2, 3))
    np.testing.assert_allclose(found, [s3im(key, X, Y)] * 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"predictions": X[:60], "targets": Y[:60]}, ValueError, "patch must hold all 60 rays"),
        ({"predictions": X[0]}, ValueError, r"predictions must have shape \[R, C\]"),
        ({"targets": Y[:60]}, ValueError, "predictions and targets must have the same shape"),
        ({"targets": Y.astype(int)}, TypeError, "targets must be floating point"),
        ({"repeats": 0}, ValueError, "repeats must be an integer of at least 1"),
        ({"patch": (0, 64)}, ValueError, "patch must be an integer of at least 1"),
    ],
)
def test_bad_input(change, error, words):
    call = {"predictions": X, "targets": Y, "patch": SIDE, "stride": 4} | change
    with pytest.raises(error, match=words):
        losses.s3im(jax.random.key(0), **call)
