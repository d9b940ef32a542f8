"""Label-distributionally robust losses: the worst case over weights of the labels, near uniform ones."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.hinges import leads
from jaxlab.losses.labelled import labelled
from jaxlab.numerics.norms import accumulation_dtype, state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["AldrState", "aldr_init", "aldr_kl", "ldr_kl", "ldr_weights", "normalize_scores"]


class AldrState(NamedTuple):
    """The temperature of every training example, as it was when last seen."""

    table: Array  # [N]


def _log_mean_exp(x: Array) -> Array:
    """log(mean(exp x)) over the last axis; near 0 it keeps its digits, which times a large temperature matter."""
    top = jax.lax.stop_gradient(jnp.max(x, axis=-1))
    return top + jnp.log1p(jnp.mean(jnp.expm1(x - top[..., None]), axis=-1))


def _temperature(temperature: ArrayLike, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    checks.positive(temperature, "temperature")
    return jnp.broadcast_to(checks.broadcasts_to(jnp.asarray(temperature, dtype), "temperature", shape), shape)


def ldr_kl(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    margin: float | Array = 0.1,
    where: ArrayLike | None = None,
) -> Array:
    r"""Label-distributionally robust loss with a KL penalty (per example; larger is worse).

    .. math:: \ell = \lambda \Big(\log \sum_k e^{d_k / \lambda} - \log K\Big), \quad d_k = f_k - f_y + m\,[k \ne y]

    It is the worst case over label weights p of :math:`\sum_k p_k d_k - \lambda\,KL(p \| 1/K)`: temperature 1 and
    margin 0 give cross entropy minus log K, temperature to 0 the Crammer-Singer hinge, to infinity the mean of d.

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      temperature: lambda > 0, a float or an array that broadcasts to [...].
      margin: m >= 0, a number.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], at least -lambda log K.
    Raises:
      ValueError: shapes do not agree, K < 2, a static temperature <= 0 or margin < 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(f"{ldr_kl(jnp.zeros(2), jnp.array(0)):.4f}")
    0.0512

    Reference: Zhu et al., "Label Distributionally Robust Losses for Multi-class Classification: Consistency, Robustness
    and Adaptivity" (2023). Checked against the authors' code, which takes ``normalize_scores`` of the logits first.
    """
    checks.at_least(margin, "margin", 0)
    rows = labelled(logits, labels, where)
    scale = _temperature(temperature, rows.labels.shape, rows.logits.dtype)
    return rows.losses(scale * _log_mean_exp(leads(rows, margin) / scale[..., None]))


def ldr_weights(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    margin: float | Array = 0.1,
    where: ArrayLike | None = None,
) -> Array:
    r"""The label weights that are the worst case of ``ldr_kl``.

    .. math:: p_k \propto e^{d_k / \lambda}

    Minus the certain label they are the gradient of that loss by the logits.

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      temperature: lambda > 0, a float or an array that broadcasts to [...].
      margin: m >= 0, a number.
      where: bool [...], True where an example counts; the others give zeros and no gradient.
    Returns:
      float32 (wider if logits are) [..., K], rows sum to 1.
    Raises:
      ValueError: shapes do not agree, K < 2, a static temperature <= 0 or margin < 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(ldr_weights(jnp.array([2.0, 1.0]), jnp.array(0), temperature=0.5, margin=1.0))
    [0.5 0.5]

    Reference: as ``ldr_kl``.
    """
    checks.at_least(margin, "margin", 0)
    rows = labelled(logits, labels, where)
    scale = _temperature(temperature, rows.labels.shape, rows.logits.dtype)[..., None]
    weights = jax.nn.softmax(leads(rows, margin) / scale, axis=-1)
    return rows._replace(counts=rows.counts[..., None], known=rows.known[..., None]).losses(weights)


def aldr_init(num_examples: int, *, temperature: ArrayLike = 1.0, dtype: DTypeLike | None = None) -> AldrState:
    """The temperatures of training examples before any of them was seen.

    Args:
      num_examples: N >= 1, static.
      temperature: lambda_0 > 0, a number; the one that ``aldr_kl`` is given.
      dtype: of the table; None is float32.
    Returns:
      AldrState of [N].
    Raises:
      ValueError: num_examples < 1, or a static temperature <= 0.
      TypeError: num_examples is not a static integer, or dtype is narrower than float32 or not a float.

    >>> print(aldr_init(3, temperature=0.5).table)
    [0.5 0.5 0.5]

    Reference: as ``aldr_kl``.
    """
    size = checks.size(num_examples, "num_examples")
    return AldrState(_temperature(temperature, (size,), state_dtype(dtype)))


def aldr_kl(
    state: AldrState,
    logits: ArrayLike,
    labels: ArrayLike,
    index: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    alpha: ArrayLike = 2.0,
    margin: float | Array = 0.1,
    where: ArrayLike | None = None,
) -> tuple[Array, AldrState]:
    r"""``ldr_kl`` with a temperature for every training example, lower where the model is sure (per example).

    .. math:: \lambda_i = \lambda_0 \Big(1 - \frac{KL(p_i \| 1/K)}{\alpha \log K}\Big), \quad
              \ell_i = \lambda_i \Big(\log \sum_k e^{d_k / \lambda_i} - \log K\Big)
              - \frac{\alpha \log K}{2 \lambda_0} (\lambda_i - \lambda_0)^2

    for p the softmax of the logits over the example's last temperature. The new one lies in
    :math:`[\lambda_0 (1 - 1/\alpha), \lambda_0]`, takes no gradient, and goes into the table. Keep the table with the
    parameters: a run that resumes without it is another run.

    Args:
      state: AldrState, temperatures of N examples.
      logits: float [B, K], K >= 2; the authors pass ``normalize_scores(logits, kind="l1")``.
      labels: int [B], in [0, K); outside gives NaN for that example.
      index: int [B], the examples' rows in the table, each at most once; outside [0, N) gives NaN for that example.
        Of an index that comes twice one temperature is kept, which one is open.
      temperature: lambda_0 > 0, a number.
      alpha: > 1.
      margin: m >= 0, a number.
      where: bool [B], True where an example counts; the others give 0, no gradient, and leave the table alone.
    Returns:
      (losses in float32 or wider [B], AldrState).
    Raises:
      ValueError: shapes do not agree, K < 2, a static temperature <= 0, alpha <= 1 or margin < 0.
      TypeError: labels or index are not integers, logits not floating point or wider than the table, or where is not
        boolean.

    >>> losses, state = aldr_kl(aldr_init(2), jnp.zeros((1, 2)), jnp.array([0]), jnp.array([1]))
    >>> print(losses.round(4), state.table)  # sure of nothing: the temperature stays
    [0.0512] [1. 1.]

    Reference: Zhu et al., "Label Distributionally Robust Losses for Multi-class Classification: Consistency, Robustness
    and Adaptivity" (2023). Checked against the authors' code, which adds 1e-5 to p, as here, and divides p once more.
    """
    checks.positive(temperature, "temperature")
    checks.at_least(margin, "margin", 0)
    if checks.is_static(alpha) and alpha <= 1:
        raise ValueError(f"alpha must be above 1, or a temperature can become 0, got {alpha!r}")
    rows = labelled(logits, labels, where)
    checks.not_wider(rows.logits, "logits", state.table.dtype)
    index = checks.integer(index, "index")
    checks.same_shape(index, "index", rows.labels, "labels")
    checks.rank(index, "index", 1, layout="[B]")
    size, log_classes = state.table.shape[0], math.log(rows.logits.shape[-1])
    exists = (index >= 0) & (index < size)
    rows = rows._replace(known=rows.known & exists)
    seen = rows.counts & rows.known
    old = jnp.where(seen, state.table[jnp.where(seen, index, 0)], 1.0).astype(rows.logits.dtype)
    probs = jax.nn.softmax(rows.logits / old[:, None], axis=-1) + 1e-5
    probs /= jnp.sum(probs, axis=-1, keepdims=True)
    divergence = jnp.sum(probs * (jnp.log(probs) + log_classes), axis=-1)
    share = jnp.clip(divergence / log_classes, 0.0, 1.0) / alpha
    fresh = jax.lax.stop_gradient(temperature * (1.0 - share))
    fresh = jnp.where(seen, fresh, 1.0)
    losses = fresh * _log_mean_exp(leads(rows, margin) / fresh[:, None])
    losses -= alpha * log_classes / (2.0 * temperature) * (fresh - temperature) ** 2
    table = state.table.at[jnp.where(seen, index, size)].set(fresh.astype(state.table.dtype), mode="drop")
    return rows.losses(losses), AldrState(table)


def normalize_scores(
    logits: ArrayLike, *, kind: str = "softplus_mean", eps: float = 1e-12, where: ArrayLike | None = None
) -> Array:
    r"""Scores whose absolute values have mean 1, so that losses of their differences are bounded.

    .. math:: \frac{g}{\frac1K \sum_k g_k}, \; g = \log(1 + e^f) \qquad\text{or}\qquad \frac{f}{\frac1K \sum_k |f_k|}

    Args:
      logits: float [..., K], K >= 1.
      kind: "softplus_mean" (the first) or "l1" (the second), static.
      eps: where the mean is no larger, the scores are 0 and have no gradient, static, > 0.
      where: bool [...], True where an example counts; the others give zeros and no gradient.
    Returns:
      The shape and dtype of logits.
    Raises:
      ValueError: logits have no classes, an unknown kind, where is of another shape, or eps <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(normalize_scores(jnp.array([3.0, -1.0]), kind="l1"))
    [ 1.5 -0.5]

    Reference: the code of ``ldr_kl`` ("softplus_mean") and of ``aldr_kl`` ("l1"); checked.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits must have shape [..., K] with K >= 1, got {list(logits.shape)}")
    checks.one_of(kind, "kind", ("softplus_mean", "l1"))
    checks.positive(eps, "eps")
    mask = checks.mask(where, "where", logits.shape[:-1])
    scores = logits.astype(accumulation_dtype(logits))
    if mask is not None:
        scores = jnp.where(mask[..., None], scores, 0.0)
    if kind == "softplus_mean":
        scores = jax.nn.softplus(scores)
    size = jnp.mean(jnp.abs(scores), axis=-1, keepdims=True)
    some = size > eps
    scores = jnp.where(some, scores / jnp.where(some, size, 1.0), 0.0)
    return (scores if mask is None else jnp.where(mask[..., None], scores, 0.0)).astype(logits.dtype)
