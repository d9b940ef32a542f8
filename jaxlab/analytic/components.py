"""Principal components, and the factor model that they maximise the likelihood of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize, solve_spd
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PCA", "PPCA", "pca", "pca_transform", "ppca_fit", "ppca_log_prob", "ppca_posterior_mean"]


class PCA(NamedTuple):
    """The directions of the largest variance: mean [D], components [K, D] of unit length, variance [K]."""

    mean: Array
    components: Array
    variance: Array


class PPCA(NamedTuple):
    """A Gaussian of few factors, x = mean + weight z + noise: mean [D], weight [D, K], variance of the noise."""

    mean: Array
    weight: Array
    noise: Array


def pca(x: ArrayLike, *, rank: int, where: ArrayLike | None = None) -> PCA:
    r"""Principal components: the directions along which rows vary most.

    .. math:: \tfrac1N \sum_n (x_n - \bar x)(x_n - \bar x)^\top = U \Lambda U^\top

    Args:
      x: float [N, D].
      rank: K components, static, 1 <= K <= min(N, D).
      where: bool [N], True where a row counts.
    Returns:
      PCA in float32 or wider, variances falling (divided by the number of rows). Of both signs of a component, the one
      whose largest entry is positive. Where x has fewer dimensions, the last components are of variance 0, and what
      they are means nothing.
    Raises:
      ValueError: x is not [N, D], where is not [N], or rank is out of range.
      TypeError: x is not floating point, or where is not boolean.

    >>> found = pca(jnp.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), rank=1)
    >>> print(found.components, found.variance.round(4))
    [[1. 0.]] [2.6667]

    Reference: standard.
    """
    rows, mean, num, rank = _centred(x, rank, where)
    with jax.default_matmul_precision("highest"):
        if rows.shape[0] < rows.shape[1]:
            values, vectors = jnp.linalg.eigh(rows @ rows.T / num)
            components = normalize(vectors[:, ::-1][:, :rank].T @ rows)
        else:
            values, vectors = jnp.linalg.eigh(rows.T @ rows / num)
            components = vectors[:, ::-1][:, :rank].T
    largest = jnp.take_along_axis(components, jnp.argmax(jnp.abs(components), axis=1)[:, None], axis=1)
    return PCA(mean, jnp.where(largest < 0, -components, components), jnp.maximum(values[::-1][:rank], 0.0))


def _centred(x: ArrayLike, rank: int, where: ArrayLike | None) -> tuple[Array, Array, Array, int]:
    """Rows less their mean (0 where they do not count), the mean, how many count, and the checked rank."""
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    if checks.size(rank, "rank") > min(x.shape):
        raise ValueError(f"rank must be at most {min(x.shape)}, the smaller side of x, got {rank}")
    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[0], bool) if mask is None else mask
    wide = jnp.where(kept[:, None], x.astype(accumulation_dtype(x)), 0.0)
    num = jnp.maximum(jnp.sum(kept), 1).astype(wide.dtype)
    mean = jnp.sum(wide, axis=0) / num
    return jnp.where(kept[:, None], wide - mean, 0.0), mean, num, rank


def pca_transform(model: PCA, x: ArrayLike, *, whiten: bool = False) -> Array:
    r"""Coordinates of rows along principal components.

    .. math:: z = U^\top (x - \bar x), \qquad \Lambda^{-1/2} U^\top (x - \bar x) \text{ if whitened}

    Args:
      model: from ``pca``.
      x: float [..., D].
      whiten: static; coordinates of variance 1. A component without variance gives 0.
    Returns:
      float32 or wider [..., K].
    Raises:
      ValueError: widths differ.
      TypeError: x is not floating point.

    >>> model = pca(jnp.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), rank=1)
    >>> print(pca_transform(model, jnp.array([3.0, 7.0])))
    [1.]

    Reference: standard.
    """
    away = _away(model.mean, x)
    coordinates = jnp.matmul(away, model.components.T, precision="highest")
    if not whiten:
        return coordinates
    varies = model.variance > 0
    return jnp.where(varies, coordinates / jnp.sqrt(jnp.where(varies, model.variance, 1.0)), 0.0)


def _away(mean: Array, x: ArrayLike) -> Array:
    x = checks.floating(x, "x")
    if x.ndim < 1 or x.shape[-1:] != mean.shape:
        raise ValueError(f"x must have shape [..., {mean.shape[0]}] as the model, got {list(x.shape)}")
    return x.astype(accumulation_dtype(x, mean)) - mean


def ppca_fit(x: ArrayLike, *, rank: int, where: ArrayLike | None = None) -> PPCA:
    r"""Probabilistic principal components: the factor model of the largest likelihood, in closed form.

    .. math:: W = U_K (\Lambda_K - \sigma^2 I)^{1/2}, \qquad \sigma^2 = \frac{1}{D - K} \sum_{k > K} \lambda_k

    for :math:`x = \mu + W z + \sigma \epsilon` with standard normal z and epsilon.

    Args:
      x: float [N, D].
      rank: K factors, static, 1 <= K < D, K <= N.
      where: bool [N], True where a row counts.
    Returns:
      PPCA in float32 or wider. Factors are unique up to a rotation. The noise is 0 where K factors explain everything.
    Raises:
      ValueError: x is not [N, D], where is not [N], or rank is out of range.
      TypeError: x is not floating point, or where is not boolean.

    >>> model = ppca_fit(jnp.array([[2.0, 1.0], [-2.0, 1.0], [0.0, -1.0], [0.0, -1.0]]), rank=1)
    >>> print(model.noise, model.weight[0])
    1.0 [1.]

    Reference: Tipping and Bishop, "Probabilistic Principal Component Analysis" (1999). Standard. The first phase of Ge
    et al., "On the Provable Advantage of Unsupervised Pretraining" (2023).
    """
    rows, _, num, rank = _centred(x, rank, where)
    dim = rows.shape[1]
    if rank >= dim:
        raise ValueError(f"rank must be below the width {dim} of x, got {rank}")
    model = pca(x, rank=rank, where=where)
    rest = jnp.sum(jnp.square(rows)) / num - jnp.sum(model.variance)
    # What is left of nothing is rounding.
    noise = jnp.where(rest > 1e-6 * jnp.sum(model.variance), rest, 0.0) / (dim - rank)
    length = jnp.sqrt(jnp.maximum(model.variance - noise, 0.0))
    return PPCA(model.mean, model.components.T * length, noise)


def ppca_posterior_mean(model: PPCA, x: ArrayLike) -> Array:
    r"""Expected factors of rows.

    .. math:: E[z \mid x] = (W^\top W + \sigma^2 I)^{-1} W^\top (x - \mu)

    Args:
      model: from ``ppca_fit``.
      x: float [..., D].
    Returns:
      float32 or wider [..., K]; NaN where the noise is 0 and a factor has no variance.
    Raises:
      ValueError: widths differ.
      TypeError: x is not floating point.

    >>> model = PPCA(jnp.zeros(2), jnp.array([[1.0], [0.0]]), jnp.array(1.0))
    >>> print(ppca_posterior_mean(model, jnp.array([4.0, 5.0])).round(4))
    [2.]

    Reference: Tipping and Bishop, "Probabilistic Principal Component Analysis" (1999). Standard.
    """
    away = _away(model.mean, x)
    with jax.default_matmul_precision("highest"):
        projected = away @ model.weight
        flat = projected.reshape(-1, projected.shape[-1])
        return solve_spd(model.weight.T @ model.weight, flat.T, ridge=model.noise).T.reshape(projected.shape)


def ppca_log_prob(model: PPCA, x: ArrayLike) -> Array:
    r"""Log-density of rows under the factor model.

    .. math:: \log \mathcal N(x; \mu, W W^\top + \sigma^2 I)

    Args:
      model: from ``ppca_fit``, with noise > 0.
      x: float [..., D].
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: widths differ.
      TypeError: x is not floating point.

    >>> model = PPCA(jnp.zeros(2), jnp.array([[1.0], [0.0]]), jnp.array(1.0))
    >>> print(ppca_log_prob(model, jnp.zeros(2)).round(4))
    -2.1845

    Reference: Tipping and Bishop, "Probabilistic Principal Component Analysis" (1999). Standard.
    """
    away = _away(model.mean, x)
    dim, rank = model.weight.shape
    with jax.default_matmul_precision("highest"):
        inner = model.weight.T @ model.weight + model.noise * jnp.eye(rank, dtype=away.dtype)
        factor = jnp.linalg.cholesky(inner)
        projected = away @ model.weight
        flat = jax.scipy.linalg.solve_triangular(factor, projected.reshape(-1, rank).T, lower=True).T
    explained = jnp.sum(jnp.square(flat), axis=-1).reshape(away.shape[:-1])
    squares = (jnp.sum(jnp.square(away), axis=-1) - explained) / model.noise
    log_det = 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor))) + (dim - rank) * jnp.log(model.noise)
    return -0.5 * (squares + log_det + dim * jnp.log(2.0 * jnp.pi))
