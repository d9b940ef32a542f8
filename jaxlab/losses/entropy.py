"""Entropy of what a network predicts on average: the measure of how a batch spreads over the classes."""

from typing import NamedTuple, overload

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["GroupEntropy", "mean_entropy"]


class GroupEntropy(NamedTuple):
    """Entropy of the masses of the groups, and of the distribution inside each."""

    between: Array  # scalar, in [0, log G]
    within: Array  # [G], in [0, log of the classes in the group]


@overload
def mean_entropy(
    logits: ArrayLike,
    *,
    temperature: ArrayLike = ...,
    group_ids: None = ...,
    num_groups: int | None = ...,
    where: ArrayLike | None = ...,
    axis_name: str | None = ...,
) -> Array: ...
@overload
def mean_entropy(
    logits: ArrayLike,
    *,
    temperature: ArrayLike = ...,
    group_ids: ArrayLike,
    num_groups: int,
    where: ArrayLike | None = ...,
    axis_name: str | None = ...,
) -> GroupEntropy: ...
def mean_entropy(
    logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    group_ids: ArrayLike | None = None,
    num_groups: int | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array | GroupEntropy:
    r"""Entropy of the mean prediction, of all classes or between and within groups of them (one number per batch).

    .. math:: H(\bar p) = -\sum_c \bar p_c \log \bar p_c, \quad
              \bar p = \frac{1}{N} \sum_n \mathrm{softmax}(z_n / \tau)

    With groups of classes g of mass :math:`P_g = \sum_{c \in g} \bar p_c` and inner distribution
    :math:`u_g = \bar p_{c \in g} / P_g`, *between* is H(P) and *within* holds every :math:`H(u_g)`; the chain rule is
    :math:`H(\bar p) = H(P) + \sum_g P_g H(u_g)`. To spread predictions maximise it: as a loss, log K minus this
    is at least 0, and 0 where the mean prediction is uniform. A within term does not see its group's mass.

    Args:
      logits: float [..., K], all leading axes (rows, views) are averaged over.
      temperature: tau > 0, divides the logits.
      group_ids: int [K], the group of every class in [0, num_groups); a class outside belongs to none, and its mass
        leaves the sums, so that the groups share what is left. None takes all classes together.
      num_groups: G, static; given with group_ids.
      where: bool [...], True where a row counts.
      axis_name: the mapped axis over which rows are split; the mean runs over all its members.
    Returns:
      float32 or wider scalar, or GroupEntropy(between, within [G]); 0 where no row counts or a group has no class.
    Raises:
      ValueError: shapes do not agree, num_groups without group_ids or the reverse, or a static temperature <= 0.
      TypeError: logits are not floating point, group_ids not integers, or where not boolean.

    >>> print(mean_entropy(jnp.array([[9.0, -9.0], [-9.0, 9.0]])).round(4))
    0.6931

    Reference: "mean-entropy maximisation" of Wen et al., "Parametric Classification for Generalized Category Discovery:
    A Baseline Study" (2023); groups of old and new classes as in Ma et al., "Happy: A Debiased Learning Framework for
    Continual Generalized Category Discovery" (2024). Checked against the authors' code, which takes the negatives
    plus log K, and whose between term is NaN where a group's mass is 0.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim < 2:
        raise ValueError(f"logits must have shape [..., K] with at least one axis of rows, got {list(logits.shape)}")
    checks.positive(temperature, "temperature")
    if (group_ids is None) != (num_groups is None):
        raise ValueError("group_ids and num_groups belong together, got only one of them")
    mask = checks.mask(where, "where", logits.shape[:-1])
    dtype = accumulation_dtype(logits)
    num_classes = logits.shape[-1]
    counts = jnp.ones(logits.shape[:-1], bool) if mask is None else mask
    z = jnp.where(counts[..., None], logits.astype(dtype), 0.0) / temperature
    log_probs = jax.nn.log_softmax(z, axis=-1).reshape(-1, num_classes)
    log_mean, some = _log_mean(log_probs, counts.reshape(-1), axis_name)
    if group_ids is None:
        return jnp.where(some, -jnp.sum(jnp.exp(log_mean) * log_mean), 0.0)
    ids = checks.integer(group_ids, "group_ids")
    if ids.shape != (num_classes,):
        raise ValueError(f"group_ids must have shape [{num_classes}], got {list(ids.shape)}")
    assert num_groups is not None
    member = ids == jnp.arange(checks.size(num_groups, "num_groups"))[:, None]  # [G, K]
    filled = jnp.any(member, axis=1)
    # A group without a class gets all of them here, and is dropped below.
    kept = member | ~filled[:, None]
    shared = jnp.broadcast_to(log_mean, kept.shape)
    log_mass = jax.nn.logsumexp(shared, axis=1, where=kept)
    inner = jnp.where(kept, shared - log_mass[:, None], 0.0)
    within = -jnp.sum(jnp.where(kept, jnp.exp(inner) * inner, 0.0), axis=1)
    any_filled = filled | ~jnp.any(filled)
    log_share = jnp.where(any_filled, jax.nn.log_softmax(log_mass, where=any_filled), 0.0)
    between = -jnp.sum(jnp.where(filled, jnp.exp(log_share) * log_share, 0.0))
    return GroupEntropy(jnp.where(some, between, 0.0), jnp.where(some & filled, within, 0.0))


def _log_mean(log_probs: Array, counts: Array, axis_name: str | None) -> tuple[Array, Array]:
    """log of the mean probability [K] over the rows that count, and whether any does. No mass is too small for it."""
    x = jnp.where(counts[:, None], log_probs, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(x, axis=0, initial=jnp.finfo(log_probs.dtype).min))
    number = jnp.sum(counts, dtype=log_probs.dtype)
    if axis_name is not None:
        top, number = jax.lax.pmax(top, axis_name), jax.lax.psum(number, axis_name)
    total = jnp.sum(jnp.exp(jnp.where(counts[:, None], log_probs - top, -jnp.inf)), axis=0)
    if axis_name is not None:
        total = jax.lax.psum(total, axis_name)
    return top + jnp.log(jnp.where(number > 0, total, 1.0)) - jnp.log(jnp.maximum(number, 1.0)), number > 0
