"""The largest eigenvalue by products alone, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.numerics.spectra import largest_eigenvector

SIZE = 40
RNG = np.random.default_rng(0)


@jax.jit
@jax.vmap
def largest(matrix):
    vector = largest_eigenvector(lambda v: jnp.matmul(matrix, v, precision="highest"), SIZE, jnp.dtype("float32"))
    return vector @ jnp.matmul(matrix, vector, precision="highest"), jnp.sum(vector**2)


def test_numpy_finds_the_same():
    """Far above the others, close to the next, all equal, of rank one, none at all."""
    basis, _ = np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))
    spectra = [
        np.linspace(0, 1, SIZE) ** 8,
        np.linspace(0.9, 1, SIZE),
        np.ones(SIZE),
        np.eye(SIZE)[0],
        np.zeros(SIZE),
        np.repeat([1e-8, 1e-9], SIZE // 2),
    ]
    values, lengths = largest(np.float32([basis * spectrum @ basis.T for spectrum in spectra]))
    np.testing.assert_allclose(values, [spectrum.max() for spectrum in spectra], rtol=3e-6)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
