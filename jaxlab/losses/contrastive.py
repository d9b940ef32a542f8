"""Losses that know a partner of every example, and take the other examples for strangers."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["info_nce"]


def info_nce(
    queries: ArrayLike,
    keys: ArrayLike,
    negatives: ArrayLike | None = None,
    *,
    temperature: ArrayLike = 0.07,
    in_batch: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of finding the own key among all others, a value per query (couples the batch).

    .. math:: \ell_i = -\log \frac{e^{q_i k_i / \tau}}
                                  {e^{q_i k_i / \tau} + \sum_{j \ne i} e^{q_i k_j / \tau} + \sum_m e^{q_i n_m / \tau}}

    Inner products are taken as they are: normalise the rows for cosines.

    Args:
      queries: float [B, D].
      keys: float [B, D], row i belongs to query i.
      negatives: float [M, D], nobody's keys, such as a queue; None for none.
      temperature: tau > 0.
      in_batch: True takes the other keys of the batch as negatives, static.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split; the keys of all its members are negatives. The
        ``negatives`` are each member's own.
    Returns:
      float32 or wider [B], >= 0.
    Raises:
      ValueError: shapes do not agree, a static temperature <= 0, or neither negatives nor in_batch.
      TypeError: queries, keys or negatives are not floating point, or where is not boolean.

    >>> [f"{value:.4f}" for value in info_nce(jnp.eye(2), jnp.eye(2), temperature=1.0)]
    ['0.3133', '0.3133']

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018), with a queue as
    in He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (2020). Standard.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[B, D]")
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 2, layout="[B, D]")
    checks.same_shape(queries, "queries", keys, "keys")
    checks.positive(temperature, "temperature")
    if negatives is None and not in_batch:
        raise ValueError("negatives must be given where in_batch is False: there is nothing to tell the keys from")
    size, width = queries.shape
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    dtype = accumulation_dtype(queries, keys)
    queries, keys = (jnp.where(counts[:, None], rows.astype(dtype), 0.0) for rows in (queries, keys))
    own = jnp.sum(queries * keys, axis=1) / temperature
    # Entry 0 is the own key, relative to which all others are measured.
    scores, allowed = [jnp.zeros((size, 1), dtype)], [jnp.ones((size, 1), bool)]

    def against(rows: Array) -> Array:
        return jnp.matmul(queries, rows.T, precision="highest") / temperature - own[:, None]

    if in_batch:
        place = jnp.arange(size)
        others, exist = keys, counts
        if axis_name is not None:
            others, exist = (jax.lax.all_gather(rows, axis_name, tiled=True) for rows in (keys, counts))
            place += size * jax.lax.axis_index(axis_name)
        scores.append(against(others))
        allowed.append(exist & (jnp.arange(others.shape[0]) != place[:, None]))
    if negatives is not None:
        strangers = checks.rank(checks.floating(negatives, "negatives"), "negatives", 2, layout="[M, D]")
        if strangers.shape[1] != width:
            raise ValueError(f"negatives must have rows of width {width} as queries do, got {list(strangers.shape)}")
        scores.append(against(strangers.astype(dtype)))
        allowed.append(jnp.ones((size, strangers.shape[0]), bool))
    losses = jax.nn.logsumexp(jnp.concatenate(scores, axis=1), axis=1, where=jnp.concatenate(allowed, axis=1))
    return jnp.where(counts, losses, 0.0)
