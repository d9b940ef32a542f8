"""Distances and cosines against scipy in float64, where cancellation bites, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from jaxlab.kernels import cosine_similarity, pairwise_sq_dists


def rows(seed, n, d=3, offset=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sq_dists_equal_scipy(offset):
    x, y = rows(0, 5, offset=offset), rows(1, 7, offset=offset)
    np.testing.assert_allclose(pairwise_sq_dists(x, y), distance.cdist(x, y, "sqeuclidean"), rtol=2e-5)
    np.testing.assert_allclose(pairwise_sq_dists(x), distance.cdist(x, x, "sqeuclidean"), rtol=2e-5)


def test_centring_is_what_keeps_a_common_offset_harmless():
    x, y = rows(0, 5, offset=1e4), rows(1, 7, offset=1e4)
    exact = distance.cdist(x, y, "sqeuclidean")
    plain = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T  # float32 as well
    assert np.abs(plain - exact).max() > 1e3 * np.abs(pairwise_sq_dists(x, y) - exact).max()


def test_own_distances_are_zero_on_the_diagonal_and_never_negative():
    x = rows(2, 6, offset=100.0)
    assert (np.diag(pairwise_sq_dists(x)) == 0).all()
    assert (np.asarray(pairwise_sq_dists(x, x)) >= 0).all()
    assert (np.asarray(pairwise_sq_dists(np.repeat(x[:1], 4, 0))) == 0).all()


def test_sq_dists_gradient():
    x, y, cotangent = rows(0, 4), rows(1, 3), rows(2, 4, 3)
    dx, dy = jax.grad(lambda a, b: jnp.sum(cotangent * pairwise_sq_dists(a, b)), (0, 1))(x, y)
    difference = x[:, None].astype(np.float64) - y[None]
    np.testing.assert_allclose(dx, np.einsum("nm,nmd->nd", 2 * cotangent, difference), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dy, -np.einsum("nm,nmd->md", 2 * cotangent, difference), rtol=1e-4, atol=1e-5)


def test_sq_dists_gradient_of_a_single_array_and_at_equal_rows():
    x = rows(0, 4)
    gradient = jax.grad(lambda a: jnp.sum(pairwise_sq_dists(a)))(x)
    np.testing.assert_allclose(gradient, 4 * (4 * x - x.sum(0)), rtol=1e-4, atol=1e-5)
    same = np.repeat(x[:1], 3, 0)
    np.testing.assert_allclose(jax.grad(lambda a: jnp.sum(jnp.sqrt(1 + pairwise_sq_dists(a))))(same), 0.0, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_broken_row_spoils_its_own_distances_only(bad):
    x, y = rows(0, 4), rows(1, 5)
    broken = y.copy()
    broken[2] = bad
    result, clean = np.asarray(pairwise_sq_dists(x, broken)), np.asarray(pairwise_sq_dists(x, y))
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(result[:, kept], clean[:, kept], rtol=1e-5)
    assert not np.isfinite(result[:, 2]).any()


def test_leading_axes_broadcast():
    x, y = rows(0, 8).reshape(2, 4, 3), rows(1, 5)
    for function in (pairwise_sq_dists, cosine_similarity):
        together = function(x, y)
        assert together.shape == (2, 4, 5)
        for one, part in zip(together, x, strict=True):
            np.testing.assert_allclose(one, function(part, y), rtol=1e-5, atol=1e-6)


def test_bfloat16_is_summed_in_float32():
    x, y = jnp.asarray(rows(0, 4, 300), jnp.bfloat16), jnp.asarray(rows(1, 5, 300), jnp.bfloat16)
    wide_x, wide_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    for function, metric in ((pairwise_sq_dists, "sqeuclidean"), (lambda a, b: 1 - cosine_similarity(a, b), "cosine")):
        assert function(x, y).dtype == jnp.float32
        np.testing.assert_allclose(function(x, y), distance.cdist(wide_x, wide_y, metric), rtol=1e-5)


def test_empty_arrays():
    assert pairwise_sq_dists(jnp.zeros((0, 3)), jnp.zeros((2, 3))).shape == (0, 2)
    assert pairwise_sq_dists(jnp.zeros((2, 3)), jnp.zeros((0, 3))).shape == (2, 0)
    assert (np.asarray(pairwise_sq_dists(jnp.zeros((2, 0)))) == 0).all()


def test_cosine_equals_scipy_and_ignores_lengths():
    x, y = rows(0, 5), rows(1, 7)
    exact = 1 - distance.cdist(x, y, "cosine")
    np.testing.assert_allclose(cosine_similarity(x, y), exact, atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(1e25 * x, 1e-8 * y), exact, atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(x), cosine_similarity(x, x), atol=1e-6)


def test_cosine_stays_in_its_range():
    x = rows(3, 50, 7)
    similarity = np.asarray(cosine_similarity(x, 3 * x))
    assert similarity.max() <= 1.0
    assert np.asarray(cosine_similarity(x, -x)).min() >= -1.0


def test_cosine_of_a_zero_row_is_zero_with_gradient_zero():
    x = jnp.asarray(rows(0, 3)).at[1].set(0.0)
    assert (np.asarray(cosine_similarity(x))[1] == 0).all()
    gradient = jax.grad(lambda a: jnp.sum(cosine_similarity(a, jnp.ones((2, 3)))))(x)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[1] == 0).all()


X, Y = jnp.zeros((2, 3)), jnp.zeros((4, 3))


@pytest.mark.parametrize("function", [pairwise_sq_dists, cosine_similarity])
@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (jnp.zeros(3), Y, ValueError, "x must have shape"),
        (X, jnp.zeros(3), ValueError, "y must have shape"),
        (X, jnp.zeros((4, 2)), ValueError, "width 3"),
        (jnp.zeros((2, 2, 3)), jnp.zeros((3, 4, 3)), ValueError, "leading axes of x and y"),
        (jnp.zeros((2, 3), int), Y, TypeError, "x must be floating point"),
        (X, jnp.zeros((4, 3), bool), TypeError, "y must be floating point"),
        ("rows", Y, TypeError, "x must be an array"),
    ],
)
def test_bad_input(function, x, y, error, words):
    with pytest.raises(error, match=words):
        function(x, y)
