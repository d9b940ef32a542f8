"""Gaussian mixtures by expectation maximisation."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["GaussianMixture", "MixtureFit", "gmm_em", "gmm_log_prob"]


class GaussianMixture(NamedTuple):
    """A mixture of K Gaussians. The shape of covariance says its kind: [K, D, D] full, [1, D, D] tied, [K, D] diag."""

    log_weight: Array  # [K]
    mean: Array  # [K, D]
    covariance: Array


class MixtureFit(NamedTuple):
    """A fitted mixture, and the posterior and mean log-likelihood of every iteration.

    An iteration fits a mixture to the posterior it is given, then finds likelihood and posterior under it; ``mixture``
    is fitted to the last posterior.
    """

    mixture: GaussianMixture
    posterior: Array  # [N, K]
    log_likelihood: Array  # [num_iters]


def gmm_log_prob(mixture: GaussianMixture, x: ArrayLike) -> Array:
    r"""Log-density of every row under every weighted component.

    .. math:: \log \pi_k + \log \mathcal N(x; \mu_k, \Sigma_k)

    Its log-sum-exp over the last axis is the log-density of the mixture, its softmax the posterior. With a tied
    covariance the differences between components are linear in x.

    Args:
      mixture: from ``gmm_em``.
      x: float [N, D].
    Returns:
      float32 or wider [N, K].
    Raises:
      ValueError: x is not [N, D].
      TypeError: x is not floating point.

    >>> one = GaussianMixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> print(f"{gmm_log_prob(one, jnp.array([[0.0]]))[0, 0]:.4f}")
    -0.9189

    Reference: standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    dim = mixture.mean.shape[1]
    if x.shape[1] != dim:
        raise ValueError(f"x must have shape [N, {dim}] to match the mixture, got {list(x.shape)}")
    x = x.astype(accumulation_dtype(x, mixture.mean))
    if mixture.covariance.ndim == 2:
        deviation = jnp.sqrt(mixture.covariance)
        squares = jax.vmap(lambda m, d: jnp.sum(((x - m) / d) ** 2, axis=1), out_axes=1)(mixture.mean, deviation)
        log_det = 2.0 * jnp.sum(jnp.log(deviation), axis=-1)
    else:
        factor = jnp.linalg.cholesky(mixture.covariance)
        log_det = 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=1, axis2=2)), axis=1)
        if mixture.covariance.shape[0] == 1:
            whiten = lambda z: jsl.solve_triangular(factor[0], z.T, lower=True).T  # noqa: E731
            squares = pairwise_sq_dists(whiten(x), whiten(mixture.mean))
        else:
            distance = lambda m, f: jnp.sum(jsl.solve_triangular(f, (x - m).T, lower=True) ** 2, axis=0)  # noqa: E731
            squares = jax.vmap(distance, out_axes=1)(mixture.mean, factor)
    return mixture.log_weight - 0.5 * (squares + log_det + dim * jnp.log(2.0 * jnp.pi))


def gmm_em(
    x: ArrayLike,
    init: ArrayLike,
    *,
    covariance: str = "full",
    num_iters: int = 50,
    ridge: ArrayLike = 1e-6,
    where: ArrayLike | None = None,
) -> MixtureFit:
    r"""Gaussian mixture by expectation maximisation, from initial posteriors (couples the batch).

    .. math:: \pi_k = \tfrac1N \sum_i r_{ik}, \quad \mu_k = \frac{\sum_i r_{ik} x_i}{\sum_i r_{ik}}, \quad
              \Sigma_k = \frac{\sum_i r_{ik} (x_i - \mu_k)(x_i - \mu_k)^\top}{\sum_i r_{ik}} + \rho I

    then r is the posterior under the new mixture. "tied" pools the scatter of all components.

    Args:
      x: float [N, D].
      init: float [N, K] >= 0, initial posteriors (zero-shot probabilities, a k-means assignment one-hot, ...); the rows
        need not sum to 1.
      covariance: "full", "tied" or "diag", static.
      num_iters: iterations, static.
      ridge: rho >= 0, added to the covariance; a float or a scalar array.
      where: bool [N], True where a row counts; the others get posterior 0.
    Returns:
      MixtureFit. In one dimension the components are sorted by their mean. A component that loses all weight keeps
      log-weight -inf, mean 0 and covariance rho I.
    Raises:
      ValueError: shapes do not agree, an unknown covariance, num_iters < 1 or a static ridge < 0.
      TypeError: x or init is not floating point.

    >>> x = jnp.array([[0.0], [0.2], [4.0], [4.2]])
    >>> fit = gmm_em(x, jnp.array([[0.4, 0.6], [0.4, 0.6], [0.6, 0.4], [0.6, 0.4]]), covariance="tied", num_iters=50)
    >>> print(f"{fit.mixture.mean[0, 0]:.2f} {fit.mixture.mean[1, 0]:.2f}")
    0.10 4.10

    Reference: standard. Tied and started from zero-shot posteriors it is the mixture of the unsupervised variant of
    Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024), recalled; the paper then adds
    it to the zero-shot logits.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    init = checks.rank(checks.floating(init, "init"), "init", 2, layout="[N, K]")
    checks.batch_match(x, "x", init, "init")
    checks.one_of(covariance, "covariance", ("full", "tied", "diag"))
    checks.size(num_iters, "num_iters")
    checks.at_least(ridge, "ridge", 0.0)
    mask = checks.mask(where, "where", x.shape[:1])
    mask = jnp.ones(x.shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(x, init)
    x = jnp.where(mask[:, None], x.astype(dtype), 0.0)
    init = jnp.where(mask[:, None], init.astype(dtype), 0.0)

    with jax.default_matmul_precision("highest"):
        mixture, posterior, log_likelihood = _em(x, init, mask, ridge, covariance=covariance, num_iters=num_iters)
    if x.shape[1] == 1:
        order = jnp.argsort(mixture.mean[:, 0], stable=True)
        spread = mixture.covariance if covariance == "tied" else mixture.covariance[order]
        mixture = GaussianMixture(mixture.log_weight[order], mixture.mean[order], spread)
        posterior = posterior[:, order]
    return MixtureFit(mixture, posterior, log_likelihood)


@functools.partial(jax.jit, static_argnames=("covariance", "num_iters"))
def _em(x: Array, init: Array, mask: Array, ridge: ArrayLike, *, covariance: str, num_iters: int) -> MixtureFit:
    def step(posterior: Array, _: None) -> tuple[Array, Array]:
        log_prob = gmm_log_prob(_maximise(x, posterior, covariance, ridge), x)
        log_density = jax.nn.logsumexp(log_prob, axis=1)
        mean_log_density = jnp.sum(jnp.where(mask, log_density, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
        return jnp.where(mask[:, None], jax.nn.softmax(log_prob, axis=1), 0.0), mean_log_density

    posterior, log_likelihood = jax.lax.scan(step, init, length=num_iters)
    return MixtureFit(_maximise(x, posterior, covariance, ridge), posterior, log_likelihood)


def _maximise(x: Array, posterior: Array, covariance: str, ridge: ArrayLike) -> GaussianMixture:
    """The mixture that maximises the expected log-likelihood of fixed posteriors."""
    weight = jnp.sum(posterior, axis=0)
    alive = weight > 0
    divisor = jnp.where(alive, weight, 1.0)
    mean = (posterior.T @ x) / divisor[:, None]
    log_weight = jnp.where(alive, jnp.log(divisor) - jnp.log(jnp.maximum(jnp.sum(weight), 1e-30)), -jnp.inf)
    if covariance == "diag":
        spread = jax.vmap(lambda m, r: r @ (x - m) ** 2)(mean, posterior.T) / divisor[:, None]
        return GaussianMixture(log_weight, mean, spread + ridge)
    scatter = jax.lax.map(lambda mr: ((x - mr[0]) * mr[1][:, None]).T @ (x - mr[0]), (mean, posterior.T))
    if covariance == "tied":
        pooled = jnp.sum(scatter, axis=0, keepdims=True) / jnp.maximum(jnp.sum(weight), 1e-30)
    else:
        pooled = scatter / divisor[:, None, None]
    return GaussianMixture(log_weight, mean, pooled + ridge * jnp.eye(x.shape[1], dtype=x.dtype))
