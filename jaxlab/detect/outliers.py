"""Outliers made from the features of known classes, for a classifier that has seen nothing else."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.detect.ood import knn_score
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["virtual_outliers"]


def virtual_outliers(
    key: Array,
    features: ArrayLike,
    *,
    num_keep: int,
    k: int = 50,
    num_boundary: int = 50,
    samples_per_point: int = 600,
    scale: ArrayLike = 0.1,
    center: str = "boundary",
    where: ArrayLike | None = None,
) -> Array:
    r"""Points just outside of the features: noise around those at the border, of which the farthest are kept.

    .. math:: B = \operatorname{top}_b \, d_K(h_i),
              v = h_i + \sigma \epsilon \;\; (i \in B),
              \quad V = \operatorname{top}_m \, d_K(v), \qquad \epsilon \sim N(0, I)

    where :math:`d_K` is the distance to the K-th nearest row of the features; a row is the first of its own
    neighbours. The noise is measured in the units of the features: the paper takes rows of unit length
    (``numerics.normalize``).

    Args:
      key: PRNG key of the noise.
      features: float [N, D], rows of the known classes together; they pass no gradient.
      num_keep: m, rows returned, static; the paper keeps 40 for every class.
      k: K, static, 1 <= k <= N. With fewer rows that count, the farthest row takes the place of the K-th.
      num_boundary: b, static, 1 <= b <= N. With fewer rows that count they serve again, the most remote first.
      samples_per_point: candidates around each point, static.
      scale: sigma >= 0, standard deviation of the noise.
      center: "boundary" as above; "origin" leaves out h_i, so that the candidates lie around zero, static.
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider [num_keep, D], the most remote first; zeros where no row counts.
    Raises:
      ValueError: a size is out of range, more rows are to be kept than there are candidates, or an unknown center.
      TypeError: features are not floating point, or where is not boolean.

    >>> features = jnp.array([[0.0], [1.0], [1.0], [2.0]])
    >>> sizes = {"num_keep": 3, "k": 2, "num_boundary": 2, "samples_per_point": 4}
    >>> print(virtual_outliers(jax.random.key(0), features, scale=0.0, **sizes)[:, 0])
    [0. 0. 0.]

    Reference: Huang et al., "OVOR: OnePrompt with Virtual Outlier Regularization for Rehearsal-Free Class-Incremental
    Learning" (2024). Checked against the authors' code, which computes the points at the border and then leaves them
    out ("origin"), and uses the same noise around each of them.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    count = features.shape[0]
    for name, value in (("k", k), ("num_boundary", num_boundary)):
        if checks.size(value, name) > count:
            raise ValueError(f"{name} must be at most {count}, the rows of features, got {value}")
    candidates = num_boundary * checks.size(samples_per_point, "samples_per_point")
    if checks.size(num_keep, "num_keep") > candidates:
        raise ValueError(f"num_keep must be at most num_boundary * samples_per_point = {candidates}, got {num_keep}")
    checks.at_least(scale, "scale", 0.0)
    checks.one_of(center, "center", ("boundary", "origin"))
    mask = checks.mask(where, "where", (count,))
    counts = jnp.ones(count, bool) if mask is None else mask
    dtype = accumulation_dtype(features)
    bank = jax.lax.stop_gradient(jnp.where(counts[:, None], features.astype(dtype), 0.0))
    real = jnp.sum(counts)
    remoteness = -knn_score(bank, bank, k=k, where=counts)
    _, border = jax.lax.top_k(jnp.where(counts, remoteness, -jnp.inf), num_boundary)
    points = bank[border[jnp.arange(num_boundary) % jnp.clip(real, 1, num_boundary)]]
    noise = jax.random.normal(key, (num_boundary, samples_per_point, features.shape[1]), dtype)
    drawn = jnp.asarray(scale, dtype) * noise + (points[:, None] if center == "boundary" else 0.0)
    drawn = drawn.reshape(candidates, -1)
    _, farthest = jax.lax.top_k(-knn_score(drawn, bank, k=k, where=counts), num_keep)
    return jnp.where(real > 0, drawn[farthest], 0.0)
