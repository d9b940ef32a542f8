"""Kernel ridge regression and Gaussian-process posteriors from Gram matrices, and the errors of posterior samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.numerics import solve_spd
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["GPPosterior", "gp_posterior", "kernel_ridge", "sample_errors"]

CHUNK = 256  # samples that exist at the same time


class GPPosterior(NamedTuple):
    """What a Gaussian process knows about M queries: ``mean`` [M] or [M, K], ``covariance`` [M, M] of every output."""

    mean: Array
    covariance: Array


def _grams(query_gram: ArrayLike, support_gram: ArrayLike, targets: ArrayLike) -> tuple[Array, Array, Array]:
    query = checks.rank(checks.floating(query_gram, "query_gram"), "query_gram", 2, layout="[M, N]")
    support = checks.rank(checks.floating(support_gram, "support_gram"), "support_gram", 2, layout="[N, N]")
    values = checks.rank(checks.floating(targets, "targets"), "targets", (1, 2), layout="[N] or [N, K]")
    rows = query.shape[1]
    if support.shape != (rows, rows):
        raise ValueError(
            f"support_gram must have shape [{rows}, {rows}] to match query_gram, got {list(support.shape)}"
        )
    if values.shape[0] != rows:
        raise ValueError(f"targets must have {rows} rows as support_gram has, got {list(values.shape)}")
    dtype = accumulation_dtype(query, support, values)
    return query.astype(dtype), support.astype(dtype), values.astype(dtype)


def kernel_ridge(
    query_gram: ArrayLike,
    support_gram: ArrayLike,
    targets: ArrayLike,
    *,
    ridge: ArrayLike,
    trace_scaled: bool = False,
) -> Array:
    r"""Kernel ridge prediction for queries, from targets on a support set.

    .. math:: f(X_q) = K_{qs} \, (K_{ss} + \lambda I)^{-1} \, Y

    With the identity as targets the result is the smoother matrix S, for which ``f = S Y``.

    Args:
      query_gram: float [M, N], kernel of queries and support points.
      support_gram: float [N, N], symmetric, kernel of the support points.
      targets: float [N] or [N, K].
      ridge: lambda >= 0.
      trace_scaled: lambda counts in units of :math:`\operatorname{tr} K_{ss}`, through which no gradient passes.
    Returns:
      float32 or wider [M] or [M, K]; NaN where K + lambda I is not positive definite (duplicate points without ridge).
    Raises:
      ValueError: shapes do not agree, or a static ridge < 0.
      TypeError: a matrix or targets are not floating point.

    >>> print(kernel_ridge(jnp.array([[1.0, 0.5]]), jnp.eye(2), jnp.array([8.0, 4.0]), ridge=3.0).round(4))
    [2.5]

    Reference: standard; ``trace_scaled`` as in Lee et al., "Self-Supervised Dataset Distillation for Transfer Learning"
    (2024), paper text.
    """
    query, support, values = _grams(query_gram, support_gram, targets)
    checks.at_least(ridge, "ridge", 0.0)
    penalty = jnp.asarray(ridge, support.dtype)
    if trace_scaled:
        penalty = penalty * jax.lax.stop_gradient(jnp.trace(support))
    return jnp.matmul(query, solve_spd(support, values, ridge=penalty), precision="highest")


def gp_posterior(
    query_gram: ArrayLike,
    support_gram: ArrayLike,
    targets: ArrayLike,
    prior: ArrayLike,
    *,
    ridge: ArrayLike = 1e-6,
) -> GPPosterior:
    r"""Mean and covariance of a zero-mean Gaussian process at queries, given targets on a support set.

    .. math:: \mu = K_{qs} (K_{ss} + \lambda I)^{-1} Y, \qquad C = K_{qq} - K_{qs} (K_{ss} + \lambda I)^{-1} K_{sq}

    The covariance is that of all queries together. ``nas.gaussian_process`` takes points, has one kernel, and gives the
    deviation of each query alone and the likelihood of the targets.

    Args:
      query_gram: float [M, N], kernel of queries and support points.
      support_gram: float [N, N], symmetric, kernel of the support points.
      targets: float [N] or [N, K]; the K outputs are independent and share the kernel.
      prior: float [M, M], symmetric, kernel of the queries.
      ridge: lambda >= 0, the variance of the noise of the targets; what the default adds keeps a noise-free posterior
        solvable.
    Returns:
      GPPosterior(mean [M] or [M, K], covariance [M, M]), float32 or wider; the covariance is symmetric, and eigenvalues
      near 0 may be negative by rounding. NaN where K + lambda I is not positive definite.
    Raises:
      ValueError: shapes do not agree, or a static ridge < 0.
      TypeError: a matrix or targets are not floating point.

    >>> mean, covariance = gp_posterior(jnp.array([[0.5]]), jnp.eye(1), jnp.array([2.0]), jnp.eye(1), ridge=0.0)
    >>> print(mean, covariance)
    [1.] [[0.75]]

    Reference: standard; as the hypothesis space of Boopathy et al., "Towards Exact Computation of Inductive Bias"
    (2024), whose code solves the same two systems by gradient descent. Checked against the authors' code.
    """
    query, support, values = _grams(query_gram, support_gram, targets)
    prior = checks.floating(prior, "prior")
    if prior.shape != (query.shape[0],) * 2:
        raise ValueError(f"prior must have shape {[query.shape[0]] * 2} to match query_gram, got {list(prior.shape)}")
    checks.at_least(ridge, "ridge", 0.0)
    dtype = accumulation_dtype(query, prior)
    lower = jnp.linalg.cholesky(support + jnp.asarray(ridge, support.dtype) * jnp.eye(support.shape[0]))
    # One triangular solve for both: half a solve on each side keeps the covariance symmetric.
    half = jsl.solve_triangular(lower, query.T, lower=True)
    with jax.default_matmul_precision("highest"):
        mean = half.T @ jsl.solve_triangular(lower, values, lower=True)
        covariance = prior.astype(dtype) - half.T @ half
    return GPPosterior(mean, 0.5 * (covariance + covariance.T))


def sample_errors(
    key: Array,
    mean: ArrayLike,
    covariance: ArrayLike,
    targets: ArrayLike,
    *,
    num_samples: int = 10_000,
) -> Array:
    r"""Mean squared errors of functions drawn from a Gaussian process.

    .. math:: e = \frac{1}{M K} \, \| \mu + C^{1/2} z - Y \|^2, \qquad z \sim \mathcal N(0, I)

    In the eigenbasis of C no sample costs a matrix product. The expectation is
    :math:`(\|\mu - Y\|^2 + K \operatorname{tr} C) / (M K)`.

    Args:
      key: PRNG key.
      mean: float [M] or [M, K], as ``gp_posterior`` gives it.
      covariance: float [M, M], symmetric; negative eigenvalues count as 0.
      targets: float, shaped like mean.
      num_samples: static, >= 1.
    Returns:
      float32 or wider [num_samples], >= 0. The gradient by covariance is not finite where eigenvalues repeat.
    Raises:
      ValueError: shapes do not agree, or num_samples < 1.
      TypeError: an array is not floating point.

    >>> print(sample_errors(jax.random.key(0), jnp.ones(4), jnp.zeros((4, 4)), jnp.zeros(4), num_samples=2))
    [1. 1.]

    Reference: Boopathy et al., "Towards Exact Computation of Inductive Bias" (2024). Checked against the authors' code.
    """
    mean = checks.rank(checks.floating(mean, "mean"), "mean", (1, 2), layout="[M] or [M, K]")
    targets, covariance = checks.floating(targets, "targets"), checks.floating(covariance, "covariance")
    checks.same_shape(mean, "mean", targets, "targets")
    if covariance.shape != (mean.shape[0],) * 2:
        raise ValueError(f"covariance must have shape {[mean.shape[0]] * 2}, got {list(covariance.shape)}")
    checks.size(num_samples, "num_samples")
    dtype = accumulation_dtype(mean, covariance, targets)
    gap = (mean.astype(dtype) - targets.astype(dtype)).reshape(mean.shape[0], -1)
    variances, basis = jnp.linalg.eigh(covariance.astype(dtype))
    spread = jnp.sqrt(jnp.maximum(variances, 0.0))[:, None]
    shift = jnp.matmul(basis.T, gap, precision="highest")

    def error(key: Array) -> Array:
        return jnp.mean((shift + spread * jax.random.normal(key, shift.shape, dtype)) ** 2)

    return jax.lax.map(error, jax.random.split(key, num_samples), batch_size=min(CHUNK, num_samples))
