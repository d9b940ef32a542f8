"""The weighted sum of two classifiers, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.zeroshot import ensemble_logits


def pair():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)


def test_equals_numpy_and_alpha_zero_is_the_first():
    a, b = pair()
    np.testing.assert_allclose(ensemble_logits(a, b, alpha=2.5), a + 2.5 * b, rtol=1e-6)
    np.testing.assert_array_equal(ensemble_logits(a, b, alpha=0), a)


def test_sweep_and_gradient_by_alpha():
    a, b = pair()
    alphas = jnp.array([0.1, 1.0, 10.0])
    sweep = jax.vmap(lambda alpha: ensemble_logits(a, b, alpha=alpha))(alphas)
    np.testing.assert_allclose(sweep, a + np.asarray(alphas)[:, None, None] * b, rtol=1e-5)
    slope = jax.grad(lambda alpha: jnp.sum(ensemble_logits(a, b, alpha=alpha)))(0.0)
    np.testing.assert_allclose(slope, b.sum(), rtol=1e-5)


def test_one_alpha_per_row_and_dtypes():
    a, b = pair()
    np.testing.assert_allclose(ensemble_logits(a, b, alpha=jnp.arange(4.0)[:, None])[0], a[0], rtol=1e-6)
    narrow = ensemble_logits(jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16), alpha=1.0)
    assert narrow.dtype == jnp.bfloat16
    assert ensemble_logits(jnp.asarray(a, jnp.bfloat16), b, alpha=1.0).dtype == jnp.float32


A = jnp.zeros((4, 3))


@pytest.mark.parametrize(
    ("a", "b", "alpha", "error", "words"),
    [
        (A, jnp.zeros((4, 2)), 1.0, ValueError, "a and b must have the same shape"),
        (A, jnp.zeros((4, 3), int), 1.0, TypeError, "b must be floating point"),
        (jnp.zeros((4, 3), int), A, 1.0, TypeError, "a must be floating point"),
        (A, A, jnp.ones((2, 1, 1)), ValueError, "alpha must broadcast"),
        (A, A, jnp.ones(2), ValueError, "alpha must broadcast"),
        (A, A, "best", TypeError, "alpha must be a number"),
    ],
)
def test_bad_input(a, b, alpha, error, words):
    with pytest.raises(error, match=words):
        ensemble_logits(a, b, alpha=alpha)
