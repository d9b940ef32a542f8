"""Eigenvalues without vectors, against numpy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.numerics import eigenvalues
from jaxlab.numerics.eigenvalues import LEAST_ROWS, eigvalsh

SIZE = LEAST_ROWS + 3
RNG = np.random.default_rng(0)
BASIS, _ = np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))


def matrices():
    """Far apart, all equal, in pairs, of rank one, diagonal, zero, huge, tiny, of both signs."""
    spectra = [np.arange(SIZE), np.ones(SIZE), np.arange(SIZE) // 2, np.eye(SIZE)[0]]
    dense = [BASIS * spectrum @ BASIS.T for spectrum in spectra]
    symmetric = np.random.default_rng(1).normal(size=(SIZE, SIZE))
    symmetric = symmetric + symmetric.T
    others = [np.diag(np.sin(np.arange(SIZE))), np.zeros((SIZE, SIZE)), 1e30 * dense[0], 1e-25 * dense[0], symmetric]
    return np.float32([*dense, *others])


def test_numpy_finds_the_same():
    batch = matrices()
    want = np.linalg.eigvalsh(batch.astype(np.float64))
    largest = np.maximum(np.abs(want).max(axis=-1, keepdims=True), 1e-30)
    found = jax.jit(eigvalsh)(batch)
    np.testing.assert_allclose(found / largest, want / largest, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(eigvalsh)(batch), found, rtol=1e-6)


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        found = jax.jit(eigvalsh)(matrices()[-1].astype(np.float64))
    np.testing.assert_allclose(found, np.linalg.eigvalsh(matrices()[-1].astype(np.float64)), atol=1e-12)


def test_one_bad_matrix_of_a_batch_is_nan_and_no_other():
    batch = matrices()[:3]
    batch[1, 0, 0] = np.nan
    found = jax.jit(eigvalsh)(batch)
    np.testing.assert_array_equal(np.isnan(found).any(axis=-1), [False, True, False])
    assert np.isnan(found[1]).all()


def test_derivative_is_that_of_the_function_where_eigenvalues_repeat():
    twice = matrices()[2]
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(eigvalsh(a) ** 2)))(twice)
    np.testing.assert_allclose(gradient, 2 * twice, atol=1e-3)


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "tpu"), ("cpu", "cuda", "tpu")])
def test_it_lowers_for_every_platform(platforms):
    exported = jax.export.export(jax.jit(eigvalsh), platforms=platforms)(jnp.eye(SIZE))
    assert exported.platforms == platforms


def test_small_matrices_are_left_to_lapack(monkeypatch):
    monkeypatch.setattr(eigenvalues, "_by_bisection", None)
    np.testing.assert_allclose(eigvalsh(jnp.diag(jnp.array([2.0, 1.0]))), [1, 2])
