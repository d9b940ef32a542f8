"""Systems of Darcy flow, -div(a grad u) = f on the unit square with u = 0 on its border, as products with stencils.

The grid has ``size`` x ``size`` interior nodes, a vector [size^2] holds them row by row. The permeability a lives on
all (size + 2)^2 nodes; between two nodes it is their harmonic mean, so the matrix is symmetric positive definite.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.typing import Array

__all__ = ["Faces", "diagonal", "faces", "family", "gaussian_fields", "laplace_modes", "product"]


class Faces(NamedTuple):
    """a / h^2 between neighbouring nodes, from which the matrix follows."""

    rows: Array  # [..., size + 1, size], between nodes (i, j) and (i + 1, j)
    columns: Array  # [..., size, size + 1], between nodes (i, j) and (i, j + 1)


def faces(field: Array) -> Faces:
    """The faces of a permeability [..., size + 2, size + 2], positive."""
    spacing = 1.0 / (field.shape[-1] - 1)

    def mean(a: Array, b: Array) -> Array:
        return 2 * a * b / (a + b) / spacing**2

    inner_columns, inner_rows = field[..., :, 1:-1], field[..., 1:-1, :]
    return Faces(
        mean(inner_columns[..., :-1, :], inner_columns[..., 1:, :]),
        mean(inner_rows[..., :, :-1], inner_rows[..., :, 1:]),
    )


def product(matrix: Faces, x: Array) -> Array:
    """The product of one matrix with a vector [size^2]: what flows out of every node."""
    size = matrix.rows.shape[-1]
    padded = jnp.pad(x.reshape(size, size), 1)
    down = matrix.rows * jnp.diff(padded[:, 1:-1], axis=0)
    right = matrix.columns * jnp.diff(padded[1:-1, :], axis=1)
    return -(jnp.diff(down, axis=0) + jnp.diff(right, axis=1)).reshape(-1)


def diagonal(matrix: Faces) -> Array:
    """The diagonal [size^2] of one matrix."""
    rows, columns = matrix
    return (rows[:-1] + rows[1:] + columns[:, :-1] + columns[:, 1:]).reshape(-1)


def laplace_modes(size: int, count: int) -> tuple[Array, Array]:
    """cos(pi i x) cos(pi j y) for i, j < count on all nodes, [count^2, size + 2, size + 2], and pi^2 (i^2 + j^2)."""
    wave = jnp.arange(count)
    lines = jnp.cos(jnp.pi * wave[:, None] * jnp.linspace(0.0, 1.0, size + 2))
    modes = lines[:, None, :, None] * lines[None, :, None, :]
    return modes.reshape(count**2, size + 2, size + 2), jnp.pi**2 * (wave[:, None] ** 2 + wave**2).reshape(-1)


def gaussian_fields(key: jax.Array, count: int, size: int) -> Array:
    """Logarithms of permeabilities, [count, size + 2, size + 2]: Gaussian with covariance ~ (-Laplace + 9)^-2.

    Without the constant mode, which only scales a system. On average over the square their standard deviation is 1/2.
    """
    modes, frequency = laplace_modes(size, 12)
    amplitude = jnp.where(frequency > 0, (frequency + 9.0) ** -1.0, 0.0)
    variance = jnp.mean(jnp.sum((amplitude[:, None, None] * modes) ** 2, axis=0))
    weights = jax.random.normal(key, (count, len(frequency)), modes.dtype) * amplitude
    return 0.5 * jnp.tensordot(weights, modes, 1) / jnp.sqrt(variance)


def family(key: jax.Array, count: int, size: int) -> tuple[Array, Array]:
    """Three parameters in [-1, 1], [count, 3], and the logarithms of permeabilities they stand for.

    The weights of three slow cosines: along one axis, along the other, and along both.
    """
    params = jax.random.uniform(key, (count, 3), minval=-1.0, maxval=1.0)
    modes, _ = laplace_modes(size, 3)
    return params, jnp.tensordot(params, 0.75 * modes[jnp.array([1, 3, 8])], 1)
