"""Neural collapse measures against numpy, their zeros, and what they ignore."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

rng = np.random.default_rng(286)
K, D = 4, 6
X = rng.normal(size=(40, D)).astype(np.float32)
Y = np.repeat(np.arange(K), [20, 10, 6, 4])
ROTATION = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
W, H = rng.normal(size=(2, K, D)).astype(np.float32)


def etf(size):
    return np.float32((np.eye(size) - 1 / size) * np.sqrt(size / (size - 1)))


def nc1_by_numpy(x, y, num_classes):
    x = np.asarray(x, float)
    means = np.stack([x[y == k].mean(0) for k in range(num_classes)])
    within = (x - means[y]).T @ (x - means[y]) / len(x)
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / num_classes
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-6)) / num_classes


@pytest.mark.parametrize("dim", [D, 2])  # more dimensions than differences of means, and fewer
def test_nc1_equals_numpy(dim):
    x = X[:, :dim] + np.eye(K, dim, dtype=np.float32)[Y]
    want = nc1_by_numpy(x, Y, K)
    np.testing.assert_allclose(metrics.nc1(x, Y, num_classes=K), want, rtol=1e-3)
    np.testing.assert_allclose(metrics.nc1(1e3 * x, Y, num_classes=K), want, rtol=1e-3)
    # A class without rows changes nothing, nor do rows that do not count.
    np.testing.assert_allclose(metrics.nc1(x, Y, num_classes=K + 1), want, rtol=1e-3)
    dirty, labels = np.vstack([x, np.full((2, dim), np.nan, np.float32)]), np.append(Y, [0, 9])
    where = np.arange(42) != 40
    np.testing.assert_allclose(metrics.nc1(dirty, labels, num_classes=K, where=where), want, rtol=1e-3)


def test_nc1_at_its_ends():
    assert metrics.nc1(H[Y], Y, num_classes=K) < 1e-9  # means that rounding has moved off the rows
    assert metrics.nc1(X[:8], np.zeros(8, int), num_classes=2) == np.inf
    assert metrics.nc1(np.ones((8, 2), np.float32), Y[-8:], num_classes=K) == 0


def test_nc1_has_a_gradient_where_means_are_collapsed():
    """There all eigenvalues of the means are equal."""
    labels = jnp.repeat(jnp.arange(3), 4)
    noise = 0.1 * jax.random.normal(jax.random.key(0), (12, 3))
    noise -= jnp.repeat(jnp.mean(noise.reshape(3, 4, 3), axis=1), 4, axis=0)
    measure = lambda x: metrics.nc1(x, labels, num_classes=3)  # noqa: E731
    x = jnp.repeat(jnp.eye(3), 4, axis=0) + noise
    slope = jax.grad(measure)(x)
    direction = jax.random.normal(jax.random.key(1), x.shape)
    numeric = (measure(x + 1e-2 * direction) - measure(x - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose(jnp.sum(slope * direction), numeric, rtol=2e-2)
    assert np.isfinite(jax.grad(measure)(x - noise)).all()


def test_frames_are_the_zeros():
    tall = (3.0 * etf(K) @ np.eye(K, D) @ ROTATION).astype(np.float32)
    assert metrics.nc2_etf(tall) < 1e-6
    assert metrics.nc2_orthogonal(tall) > 0.1
    square = (0.1 * np.eye(K, D) @ ROTATION).astype(np.float32)
    assert metrics.nc2_orthogonal(square) < 1e-6
    assert metrics.nc2_etf(square) > 0.1
    lengths = np.float32([3, 2, 1, 0])
    uneven = lengths[:, None] * square
    assert metrics.nc2_orthogonal(uneven, diagonal=lengths**2) < 1e-6
    assert metrics.nc2_orthogonal(uneven) > 0.5


@pytest.mark.parametrize("measure", [metrics.nc2_etf, metrics.nc2_orthogonal])
def test_nc2_equals_numpy_at_any_scale(measure):
    gram = np.float64(W) @ W.T
    target = etf(K) if measure is metrics.nc2_etf else np.eye(K)
    want = np.linalg.norm(gram / np.linalg.norm(gram) - target / np.linalg.norm(target))
    for a in (W, W @ ROTATION, np.float32(1e-15) * W, np.float32(1e15) * W):
        np.testing.assert_allclose(measure(a), want, rtol=1e-5)


def test_nc3_and_duality_equal_numpy():
    product = np.float64(W) @ H.T
    for target, matrix in (("etf", etf(K)), ("orthogonal", np.eye(K))):
        want = np.linalg.norm(product / np.linalg.norm(product) - matrix / np.linalg.norm(matrix))
        np.testing.assert_allclose(metrics.nc3(W, H, target=target), want, rtol=1e-5)
        np.testing.assert_allclose(metrics.nc3(W @ ROTATION, 5 * H @ ROTATION, target=target), want, rtol=1e-5)
    want = np.linalg.norm(W / np.linalg.norm(W) - H / np.linalg.norm(H))
    np.testing.assert_allclose(metrics.self_duality(2 * W, 3 * H), want, rtol=1e-5)


def test_targets_of_classes_of_different_size():
    lengths, scales = np.float32([2, 1, 0.5, 0.25]), np.float32([1, 2, 3, 4])
    means = lengths[:, None] * np.eye(K, D, dtype=np.float32)
    w = scales[:, None] * means
    assert metrics.self_duality(w, means, scales=scales) < 1e-6
    assert metrics.self_duality(w, means) > 0.1
    diagonal = scales * lengths**2
    assert metrics.nc3(w, means, target="orthogonal", diagonal=diagonal) < 1e-6
    assert metrics.nc3(w, means, target="orthogonal") > 0.1


def test_bad_input():
    with pytest.raises(ValueError, match="at least 2 classes"):
        metrics.nc2_etf(W[:1])
    with pytest.raises(ValueError, match="diagonal must have shape"):
        metrics.nc2_orthogonal(W, diagonal=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="diagonal must be None"):
        metrics.nc3(W, H, diagonal=np.ones(K, np.float32))
    with pytest.raises(ValueError, match="target"):
        metrics.nc3(W, H, target="simplex")
    with pytest.raises(ValueError, match="same shape"):
        metrics.self_duality(W, H[:, :2])
    with pytest.raises(TypeError, match="floating"):
        metrics.nc2_etf(np.eye(3, dtype=int))
    assert metrics.nc2_etf(np.zeros((3, 2), np.float32)) == pytest.approx(1)
