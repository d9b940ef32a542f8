"""Distance covariance and the penalties made of it, histograms by group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import kernels, losses, metrics

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 6)).astype(np.float32)
Y = (X[:, :2] ** 2 + 0.3 * RNG.normal(size=(9, 2))).astype(np.float32)
# Every combination of two signs; their product depends on both together and on neither alone.
ONE, TWO = np.float32([[-1], [-1], [1], [1]]), np.float32([[-1], [1], [-1], [1]])
XOR = ONE * TWO


def distances(x, exponent=1.0):
    x = np.asarray(x, np.float64)
    return np.linalg.norm(x[:, None] - x, axis=-1) ** exponent


def centered(x, exponent=1.0):
    matrix = distances(x, exponent)
    return matrix - matrix.mean(0) - matrix.mean(1, keepdims=True) + matrix.mean()


def dcov(x, y, exponent=1.0):
    return np.mean(centered(x, exponent) * centered(y, exponent))


def unbiased(x, y):
    """By the definition, term by term."""
    n, parts = len(x), []
    for matrix in (distances(x), distances(y)):
        u = np.zeros_like(matrix)
        for i in range(n):
            for j in range(n):
                if i != j:
                    u[i, j] = (
                        matrix[i, j]
                        - (matrix[i].sum() + matrix[:, j].sum()) / (n - 2)
                        + matrix.sum() / ((n - 1) * (n - 2))
                    )
        parts.append(u)
    return np.sum(parts[0] * parts[1]) / (n * (n - 3))


@pytest.mark.parametrize("block", [None, 4])
def test_equals_numpy(block):
    np.testing.assert_allclose(metrics.distance_covariance(X, Y, block=block), dcov(X, Y), rtol=1e-5)
    found = metrics.distance_covariance(X, Y, unbiased=True, block=block)
    np.testing.assert_allclose(found, unbiased(X, Y), rtol=1e-4)
    assert abs(found / dcov(X, Y) - 1) > 0.1
    found = metrics.distance_covariance(X, Y, exponent=0.5, block=block)
    np.testing.assert_allclose(found, dcov(X, Y, 0.5), rtol=1e-5)
    centres = [kernels.double_center(jnp.sqrt(kernels.pairwise_sq_dists(v)), unbiased=True) for v in (X, Y)]
    np.testing.assert_allclose(np.sum(centres[0] * centres[1]) / (9 * 6), unbiased(X, Y), rtol=1e-4)


def test_two_points_by_hand():
    np.testing.assert_allclose(metrics.distance_covariance(ONE[1:3], ONE[1:3] / 2), 0.5, rtol=1e-6)


def test_linear_covariance_is_the_exponent_two():
    cross = np.cov(X.T, Y.T, ddof=0)[:6, 6:]
    np.testing.assert_allclose(metrics.distance_covariance(X, Y, exponent=2.0), 4 * np.sum(cross**2), rtol=1e-4)
    parabola = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    assert abs(metrics.distance_covariance(parabola, parabola**2, exponent=2.0)) < 1e-8
    assert metrics.distance_covariance(parabola, parabola**2) > 1e-3


def test_invariances():
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0].astype(np.float32)
    moved = (3 * X @ turn + 5).astype(np.float32)
    np.testing.assert_allclose(
        metrics.distance_covariance(moved, -2 * Y), 6 * metrics.distance_covariance(X, Y), rtol=1e-4
    )
    np.testing.assert_allclose(
        metrics.distance_correlation(moved, -2 * Y), metrics.distance_correlation(X, Y), rtol=1e-4
    )
    expected = dcov(X, Y) / np.sqrt(dcov(X, X) * dcov(Y, Y))
    np.testing.assert_allclose(metrics.distance_correlation(X, Y, block=4), expected, rtol=1e-5)
    assert metrics.distance_correlation(X, np.zeros_like(Y)) == 0


def test_weights_are_repeated_rows_and_masked_rows_are_absent():
    repeats = np.array([3, 1, 2, 1, 0, 1, 1, 2, 1])
    found = metrics.distance_covariance(X, Y, weights=repeats.astype(np.float32))
    np.testing.assert_allclose(found, dcov(np.repeat(X, repeats, 0), np.repeat(Y, repeats, 0)), rtol=1e-5)
    where = repeats > 1
    dirty = np.where(where[:, None], X, np.nan)
    assert where.sum() == 3
    assert metrics.distance_covariance(dirty, Y, unbiased=True, where=where) == 0
    found = metrics.distance_covariance(dirty, Y, where=where, block=2)
    np.testing.assert_allclose(found, dcov(X[where], Y[where]), rtol=1e-5)
    assert metrics.distance_covariance(X, Y, where=np.zeros(9, bool)) == 0


def test_the_unbiased_form_is_unbiased():
    x, y = RNG.normal(size=(2, 2000, 8, 1)).astype(np.float32)
    plain, fair = (
        jax.jit(jax.vmap(lambda a, b, u=u: metrics.distance_covariance(a, b, unbiased=u)))(x, y) for u in (0, 1)
    )
    assert plain.mean() > 0.05
    assert abs(fair.mean()) < 3 * fair.std() / np.sqrt(2000)


@pytest.mark.parametrize("block", [None, 4])
def test_gradient(block):
    twice = np.concatenate([X, X[:3]])  # rows that coincide
    other = np.concatenate([Y, Y[:3]])
    grad = jax.grad(lambda x: metrics.distance_covariance(x, other, block=block))(twice)
    assert np.all(np.isfinite(grad))
    step = np.zeros_like(twice, dtype=np.float64)
    step[5] = 1e-5
    slope = (dcov(twice + step, other) - dcov(twice - step, other)) / 2e-5
    np.testing.assert_allclose(grad[5].sum(), slope, rtol=1e-3)
    assert np.all(jax.grad(lambda x: metrics.distance_correlation(x, other))(np.ones_like(twice)) == 0)


def test_joint_distance_covariance():
    np.testing.assert_allclose(losses.joint_distance_covariance([X, Y]), dcov(X, Y), rtol=1e-5)
    np.testing.assert_allclose(losses.joint_distance_covariance([X, Y], c=3.0), dcov(X, Y), rtol=1e-5)
    z = X[:, 2:3] ** 3
    for c in (1.0, 0.4):
        expected = np.mean((c - centered(X)) * (c - centered(Y)) * (c - centered(z))) - c**3
        np.testing.assert_allclose(losses.joint_distance_covariance([X, Y, z], c=c), expected, rtol=1e-4)
    # Independent variables, of which every combination occurs.
    grid = np.float32(np.meshgrid([0, 1, 3], [0, 2], [1, 5])).reshape(3, -1, 1)
    assert abs(losses.joint_distance_covariance(list(grid))) < 1e-6
    assert abs(metrics.distance_covariance(grid[0], grid[1])) < 1e-6


def test_intersections_are_seen_by_the_joint_penalties_only():
    for attribute in (ONE, TWO):
        assert metrics.distance_covariance(XOR, attribute) == 0
    assert losses.concatenated_distance_covariance(XOR, [ONE, TWO]) > 0.2
    assert losses.joint_distance_covariance([XOR, ONE, TWO]) > 0.9
    joined = np.concatenate([ONE, TWO], 1)
    np.testing.assert_allclose(losses.concatenated_distance_covariance(XOR, [ONE, TWO]), dcov(XOR, joined), rtol=1e-6)
    for penalty in (
        lambda p: losses.joint_distance_covariance([p, ONE, TWO]),
        lambda p: losses.concatenated_distance_covariance(p, [ONE, TWO]),
    ):
        grad = jax.grad(penalty)(XOR)
        assert np.all(np.isfinite(grad))
        assert np.any(grad != 0)


def test_histograms_and_their_divergence():
    values, groups = np.float32([-3, 0.2, 0.5, 1, 9, np.nan]), np.array([0, 0, 1, 1, 5, 0])
    found = metrics.group_histogram(values, groups, num_groups=3, bins=4)
    np.testing.assert_array_equal(found, [[1, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0]])
    apart = metrics.jensen_shannon_divergence(jnp.log(found[:2]))
    np.testing.assert_allclose(apart, np.log(2), rtol=1e-5)
    same = metrics.group_histogram(np.tile(values[:4], 2), np.repeat([0, 1], 4), num_groups=2, bins=4)
    assert metrics.jensen_shannon_divergence(jnp.log(same)) < 1e-6
    value = np.float32([0.1, 0.4, 0.9])
    shared = metrics.group_histogram(value, np.zeros(3, int), num_groups=1, bins=3, low=-1, high=1)
    np.testing.assert_allclose(shared, [np.histogram(value, 3, (-1, 1))[0] / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.distance_covariance(X, Y[:4]), ValueError, "x and y must agree"),
        (lambda: metrics.distance_covariance(X[0], Y), ValueError, r"x must have shape \[N, P\]"),
        (lambda: metrics.distance_covariance(X, Y, exponent=3.0), ValueError, "exponent must lie in"),
        (lambda: metrics.distance_covariance(X, Y, exponent=0.0), ValueError, "exponent must be > 0"),
        (
            lambda: metrics.group_histogram(X[:, 0], np.zeros(9, int), num_groups=2, bins=3, low=1.0, high=0.0),
            ValueError,
            "low must be below high",
        ),
        (lambda: metrics.distance_covariance(X, Y, block=0), ValueError, "block must be"),
        (
            lambda: metrics.distance_covariance(X, Y, unbiased=True, weights=np.ones(9, np.float32)),
            ValueError,
            "weights",
        ),
        (lambda: metrics.distance_correlation(X, Y, weights=np.ones(8, np.float32)), ValueError, "weights must have"),
        (lambda: metrics.distance_correlation(X.astype(int), Y), TypeError, "x must be floating"),
        (lambda: losses.joint_distance_covariance([X]), ValueError, "at least two"),
        (lambda: losses.joint_distance_covariance([X, Y], c=0.0), ValueError, "c must be > 0"),
        (lambda: losses.concatenated_distance_covariance(X, []), ValueError, "attributes must hold"),
        (lambda: losses.concatenated_distance_covariance(X, [Y[:2]]), ValueError, r"predictions and attributes\[0\]"),
        (lambda: metrics.group_histogram(X[:, 0], np.zeros(8, int), num_groups=2, bins=3), ValueError, "same shape"),
        (lambda: metrics.group_histogram(X[:, 0], np.zeros(9), num_groups=2, bins=3), TypeError, "groups must hold"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
