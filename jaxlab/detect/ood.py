"""Out-of-distribution scores of a classifier's logits or features; LARGER means more like the training distribution."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import ClassStats, mahalanobis
from jaxlab.kernels import knn
from jaxlab.numerics import entropy
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["energy", "entropy_score", "knn_score", "mahalanobis_score", "max_logit", "max_softmax"]


def _existing(logits: ArrayLike, class_where: ArrayLike | None) -> tuple[Array, Array]:
    """Logits with -inf at classes that do not exist, and whether any does; where none does, all logits are 0."""
    logits = checks.floating(logits, "logits")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape [..., C] with C >= 1, got {list(logits.shape)}")
    wide = logits.astype(accumulation_dtype(logits))
    if class_where is None:
        return wide, jnp.ones(logits.shape[:-1], bool)
    shape = logits.shape if jnp.ndim(class_where) != 1 else logits.shape[-1:]
    exists = jnp.broadcast_to(jnp.asarray(checks.mask(class_where, "class_where", shape)), logits.shape)
    some = jnp.any(exists, axis=-1)
    return jnp.where(some[..., None], jnp.where(exists, wide, -jnp.inf), 0.0), some


def max_softmax(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Largest softmax probability (larger = more in-distribution).

    .. math:: \max_k \frac{e^{z_k}}{\sum_j e^{z_j}}

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists; the others are left out of the sum.
    Returns:
      float32 (wider if logits are) [...] in [1/C, 1]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(max_softmax(jnp.array([0.0, 0.0])))
    0.5

    Reference: the baseline of Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?"
    (2022); standard.
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jnp.exp(jnp.max(clean, axis=-1) - jax.nn.logsumexp(clean, axis=-1)), 0.0)


def max_logit(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Largest logit (larger = more in-distribution).

    .. math:: \max_k z_k

    Unlike the largest probability it keeps the length of the features, which is smaller on unknown classes.

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists.
    Returns:
      float32 (wider if logits are) [...]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(max_logit(jnp.array([3.0, 5.0]), class_where=jnp.array([True, False])))
    3.0

    Reference: Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?" (2022); standard.
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jnp.max(clean, axis=-1), 0.0)


def energy(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Negative free energy of the logits (larger = more in-distribution).

    .. math:: \log \sum_k e^{z_k}

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists.
    Returns:
      float32 (wider if logits are) [...]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(energy(jnp.zeros(2)))
    0.6931472

    Reference: standard (at temperature 1; the published energy is its negative).
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jax.nn.logsumexp(clean, axis=-1), 0.0)


def mahalanobis_score(stats: ClassStats, x: ArrayLike, *, ridge: ArrayLike = 1e-4) -> Array:
    r"""Mahalanobis distance of features to the nearest class, negated (larger = more in-distribution).

    .. math:: \max_c\; -\tfrac12 (x - \mu_c)^\top (\Sigma + \rho I)^{-1} (x - \mu_c)

    with class means and the tied covariance (divisor N) read off the statistics of the training features.

    Input pre-processing, which raises the score of known inputs more than that of unknown ones, is one step of
    ``optim.projected_gradient_attack`` up the score (eps = step, num_iters = 1), as a function of the network's input;
    the published code also moves entries whose gradient is exactly 0. Layers are combined by
    ``analytic.logistic_regression`` on the vector of their scores.

    Args:
      stats: class statistics with "shared" or "full" second moments.
      x: float [..., D], features under study.
      ridge: rho >= 0, added to the covariance; features that are always zero need it.
    Returns:
      float32 (wider if x or the statistics are) [...], <= 0, and 0 at a class mean; -inf where no class was seen. A
      class without rows takes no part. NaN where the covariance is singular and ridge is 0.
    Raises:
      ValueError: the statistics lack the moments, x has another width, or a static ridge < 0.
      TypeError: x is not floating point.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(2, 1, second="shared")
    >>> stats = class_stats_update(stats, jnp.array([[-1.0], [1.0], [9.0], [11.0]]), jnp.array([0, 0, 1, 1]))
    >>> print(mahalanobis_score(stats, jnp.array([[2.0], [11.0]]), ridge=0.0))
    [-2.  -0.5]

    Reference: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks" (2018). Checked against the authors' code, whose factor 1/2 the paper leaves out.
    """
    return jnp.max(mahalanobis(stats, x, ridge=ridge), axis=-1)


def knn_score(
    queries: ArrayLike, database: ArrayLike, *, k: int, where: ArrayLike | None = None, block: int = 1024
) -> Array:
    r"""Distance to the k-th nearest training row, negated (larger = more in-distribution).

    .. math:: -\|q - y_{(k)}\|

    A query that is itself a row of the database finds itself first. The paper's features have unit length
    (``numerics.normalize``).

    Args:
      queries: float [Q, D], features under study.
      database: float [M, D], training features.
      k: static, 1 <= k <= M. With fewer rows that count, the farthest of them takes the place of the k-th.
      where: bool [M], True where a row of the database counts.
      block: queries whose distances exist at the same time, static.
    Returns:
      float32 (wider if an input is) [Q], <= 0, with gradient 0 at distance 0; -inf where no row counts.
    Raises:
      ValueError: widths differ, or k or block is out of range.
      TypeError: queries or database are not floating point, or where is not boolean.

    >>> print(knn_score(jnp.array([[0.0], [5.0]]), jnp.array([[0.0], [1.0], [2.0]]), k=2))
    [-1. -4.]

    Reference: Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors" (2022); recalled.
    """
    scores, _ = knn(queries, database, k=k, metric="euclidean", where=where, block=block)
    if where is not None:
        place = jnp.clip(jnp.sum(where), 1, k) - 1
        scores = jnp.take(scores, place, axis=1)
    else:
        scores = scores[:, -1]
    apart = (scores < 0) & jnp.isfinite(scores)
    root = jnp.sqrt(jnp.where(apart, -scores, 1.0))
    return jnp.where(apart, -root, jnp.where(scores < 0, scores, 0.0))


def entropy_score(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Entropy of the softmax, negated (larger = more in-distribution).

    .. math:: \sum_k p_k \log p_k, \quad p = \mathrm{softmax}(z)

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists.
    Returns:
      float32 (wider if logits are) [...] in [-log C, 0]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(entropy_score(jnp.zeros(2)).round(4))
    -0.6931

    Reference: a baseline of Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?" (2022);
    standard.
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, -entropy(clean), 0.0)
