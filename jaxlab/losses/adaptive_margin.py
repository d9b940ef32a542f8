"""Class heads on cosines whose margin follows how well the batch is told apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import of_label
from jaxlab.losses.margin import added, classified
from jaxlab.losses.metric_learning import gathered
from jaxlab.typing import Array, ArrayLike

__all__ = ["AdaptiveMargin", "mada_cos", "mada_cos_parameters"]


class AdaptiveMargin(NamedTuple):
    """What MadaCos multiplies the cosines by, and takes off the target's before."""

    scale: Array
    margin: Array


def mada_cos_parameters(
    cosine: ArrayLike,
    labels: ArrayLike,
    *,
    rho: ArrayLike = 0.02,
    min_scale: ArrayLike = 32.0,
    average: str = "median_example",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> AdaptiveMargin:
    r"""Scale and margin at which the median example finds its class with a chosen probability (couples the batch).

    .. math:: s = \max\Big(s_0,\; \frac{\log(9999999\,(1 - \rho) / \rho)}{1 - c}\Big),
              m = \max\Big(0,\; c - \frac1s \log \frac{\rho B}{1 - \rho}\Big),
              \quad B_i = \sum_{k \ne y_i} e^{s c_{ik}}

    c is the (lower) median of the target cosines. Where m > 0, the median example's softmax probability of its class is
    rho. As c rises, so do both: training becomes harder as it goes well.

    Args:
      cosine: float [B, K], K >= 2, in [-1, 1].
      labels: int [B]; an example with a label outside [0, K) is left out.
      rho: in (0, 1), the probability.
      min_scale: s_0 > 0.
      average: what B is, static: "median_example" that of the example with the median cosine (the published default),
        "median" the lower median or "mean" the mean over examples.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the batch is split; medians and means are those of the whole batch.
    Returns:
      AdaptiveMargin of float32 or wider scalars, without gradient; 1 - c is kept above 1e-4. Where nothing counts,
      (min_scale, 0).
    Raises:
      ValueError: shapes do not agree, fewer than two classes, an unknown average, or a static rho outside (0, 1).
      TypeError: cosine is not floating point, labels are not integers, or where is not boolean.

    >>> scale, margin = mada_cos_parameters(jnp.array([[0.9, 0.1]]), jnp.array([0]))
    >>> probability = jax.nn.softmax(scale * (jnp.array([0.9, 0.1]) - jnp.array([margin, 0.0])))[0]
    >>> print(f"{scale:.1f} {margin:.3f} {probability:.3f}")
    200.1 0.819 0.020

    Reference: Zhu et al., "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image
    Retrieval" (2023). Checked against the authors' code; the bound on 1 - c is added here, and sums of exponentials are
    kept as logarithms.
    """
    rows = classified(cosine, "cosine", labels, where)
    cosine, labels = jax.lax.stop_gradient(rows.logits), rows.labels
    if cosine.shape[1] < 2:
        raise ValueError(f"cosine must have at least two classes, got shape {list(cosine.shape)}")
    if checks.is_static(rho) and not 0 < rho < 1:
        raise ValueError(f"rho must lie in (0, 1), got {rho!r}")
    checks.positive(min_scale, "min_scale")
    checks.one_of(average, "average", ("median_example", "median", "mean"))
    if labels.shape[0] == 0:
        return AdaptiveMargin(jnp.asarray(min_scale, cosine.dtype), jnp.zeros((), cosine.dtype))
    counts = rows.counts & rows.known
    targets, _, exist, offset = gathered(of_label(cosine, labels), labels, counts, axis_name)
    number = jnp.sum(exist)
    place = jnp.maximum(number - 1, 0) // 2
    order = jnp.argsort(jnp.where(exist, targets, jnp.inf))
    median = jnp.where(number > 0, targets[order[place]], -jnp.inf)
    rho, floor = jnp.asarray(rho, cosine.dtype), jnp.asarray(min_scale, cosine.dtype)
    odds = jnp.log(rho) - jnp.log1p(-rho)
    scale = jnp.maximum(floor, (jnp.log(9999999.0) - odds) / jnp.maximum(1.0 - median, 1e-4))

    def others(rows: Array, own: Array) -> Array:
        """log B of some rows."""
        return jax.nn.logsumexp(scale * rows, axis=1, where=jnp.arange(rows.shape[1]) != own[:, None])

    if average == "median_example":  # one row is all it takes
        here = order[place] - offset
        inside = (here >= 0) & (here < labels.shape[0])
        at = jnp.clip(here, 0, labels.shape[0] - 1)
        log_b = jnp.where(inside, others(cosine[at][None], labels[at][None])[0], 0.0)
        log_b = log_b if axis_name is None else jax.lax.psum(log_b, axis_name)
    else:
        every, _, _, _ = gathered(others(cosine, labels), labels, counts, axis_name)
        if average == "median":
            log_b = jnp.sort(jnp.where(exist, every, jnp.inf))[place]
        else:
            log_b = jax.nn.logsumexp(every, where=exist | (number == 0)) - jnp.log(jnp.maximum(number, 1))
    margin = jnp.maximum(0.0, median - (log_b + odds) / scale)
    return AdaptiveMargin(scale, jnp.where(number > 0, margin, 0.0))


def mada_cos(
    cosine: ArrayLike,
    labels: ArrayLike,
    *,
    rho: ArrayLike = 0.02,
    min_scale: ArrayLike = 32.0,
    average: str = "median_example",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""MadaCos: cross entropy on cosines whose scale and margin follow the batch (per example; couples the batch).

    .. math:: \ell_i = -\log \frac{e^{s (c_{iy} - m)}}{e^{s (c_{iy} - m)} + \sum_{k \ne y} e^{s c_{ik}}}

    s and m are those of ``mada_cos_parameters`` and pass no gradient, so that logits change with cosines by s alone.

    Args:
      cosine: float [B, K], K >= 2, such as ``kernels.cosine_similarity(embeddings, prototypes)``.
      labels: int [B], in [0, K); outside gives NaN for that example, which scale and margin leave out.
      rho: in (0, 1), the median example's probability of its class.
      min_scale: the smallest scale, > 0.
      average: static, see ``mada_cos_parameters``.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
      axis_name: the mapped axis over which the batch is split; scale and margin are those of the whole batch.
    Returns:
      float32 or wider [B], >= 0.
    Raises:
      ValueError: shapes do not agree, fewer than two classes, an unknown average, or a static rho outside (0, 1).
      TypeError: cosine is not floating point, labels are not integers, or where is not boolean.

    >>> loss = mada_cos(jnp.array([[0.9, 0.1]]), jnp.array([0]), rho=0.1)
    >>> print(loss.round(4), -jnp.log(jnp.array([0.1])).round(4))
    [2.3026] [2.3026]

    Reference: Zhu et al., "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image
    Retrieval" (2023). Checked against the authors' code.
    """
    options = {"rho": rho, "min_scale": min_scale, "average": average, "where": where, "axis_name": axis_name}
    scale, margin = mada_cos_parameters(cosine, labels, **options)  # type: ignore[arg-type]
    rows = classified(cosine, "cosine", labels, where)
    logits = added(scale * rows.logits, rows.labels, jnp.broadcast_to(-scale * margin, rows.labels.shape))
    return rows.losses(jax.nn.logsumexp(logits, axis=1) - of_label(logits, rows.labels))
