"""Predictions of several heads, combined at test time without labels."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import entropy, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["aggregate_heads", "entropy_weights", "expert_agreement", "select_head"]

LEAST_ENTROPY = 1e-6  # a saturated head has entropy 0, and no power of that


def _heads(logits: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array | None, Array]:
    """Logits [H, B, K], the mask [B], and the entropies [H, B]; what is masked is uniform."""
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 3, layout="[H, B, K]")
    checks.at_least(logits.shape[0], "the number of heads H in logits", 1)
    mask = checks.mask(where, "where", logits.shape[1:2])
    if mask is not None:
        logits = jnp.where(mask[:, None], logits, 0)
    return logits, mask, entropy(logits)


def entropy_weights(logits: ArrayLike, *, gamma: ArrayLike = 1.0, where: ArrayLike | None = None) -> Array:
    r"""How far to trust each head on each example: the more, the more certain it is.

    .. math:: w_{hb} = \frac{H_{hb}^{-\gamma}}{\sum_{h'} H_{h'b}^{-\gamma}},
              \qquad H_{hb} = \max\big(\mathrm{entropy}(z_{hb}),\, 10^{-6}\big)

    Gamma 0 weighs all heads the same; the larger gamma is, the more the most certain head decides alone. The mixture
    is ``weaksup.aggregate_heads`` of the softmax of the logits.

    Args:
      logits: float [H, B, K], of H >= 1 heads.
      gamma: >= 0.
      where: bool [B], True where an example counts.
    Returns:
      float32 or wider [H, B], sums over H are 1; 0 where an example does not count.
    Raises:
      ValueError: logits are not [H, B, K] with H >= 1, a static gamma < 0, or where is not [B].
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(entropy_weights(jnp.array([[[0.0, 0.0]], [[0.0, 0.0]]])))
    [[0.5]
     [0.5]]

    Reference: Zhang et al., "Domain-Specific Risk Minimization for Out-of-Distribution Generalization" (2022). Checked
    against the authors' code, which sums over the heads of the domains alone after weighing the global one too.
    """
    checks.at_least(gamma, "gamma", 0.0)
    _, mask, entropies = _heads(logits, where)
    power = -jnp.asarray(gamma, entropies.dtype) * jnp.log(jnp.maximum(entropies, LEAST_ENTROPY))
    weights = jax.nn.softmax(power, axis=0)
    return weights if mask is None else jnp.where(mask, weights, 0.0)


def select_head(logits: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""The logits of the most certain head, example by example.

    .. math:: z_{\hat h b}, \qquad \hat h = \arg\min_h \mathrm{entropy}(z_{hb})

    It is the limit of ``entropy_weights`` for large gamma.

    Args:
      logits: float [H, B, K], of H >= 1 heads.
      where: bool [B], True where an example counts.
    Returns:
      [B, K] in the dtype of logits; of equally certain heads the first, 0 where an example does not count.
    Raises:
      ValueError: logits are not [H, B, K] with H >= 1, or where is not [B].
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(select_head(jnp.array([[[0.0, 0.5]], [[3.0, 0.0]]])))
    [[3. 0.]]

    Reference: Zhang et al., "Domain-Specific Risk Minimization for Out-of-Distribution Generalization" (2022). Checked
    against the authors' code.
    """
    clean, _, entropies = _heads(logits, where)
    best = jnp.argmin(entropies, axis=0)
    return jnp.take_along_axis(clean, best[None, :, None], axis=0)[0]


def aggregate_heads(logits: ArrayLike, weights: ArrayLike) -> Array:
    r"""A weighted sum over heads, with one weight per head or one per head and example.

    .. math:: \sum_h w_h\, z_h

    Of logits it is how experts are combined before the softmax; of ``jax.nn.softmax(logits)`` the mixture of their
    distributions. The weights are taken as they are.

    Args:
      logits: float [H, ..., K], or probabilities.
      weights: float [H], or [H, ...] with the axes between H and K. A head whose weight is 0 may hold anything.
    Returns:
      float32 (wider if an input is) [..., K].
    Raises:
      ValueError: shapes do not agree, or there is no head.
      TypeError: an input is not floating point.

    >>> print(aggregate_heads(jnp.array([[[1.0, 3.0]], [[5.0, 7.0]]]), jnp.array([0.75, 0.25])))
    [[2. 4.]]

    Reference: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition"
    (2022), a weight per head; Zhang et al., "Domain-Specific Risk Minimization for Out-of-Distribution Generalization"
    (2022), a weight per head and example. Checked against the authors' code.
    """
    logits, weights = checks.floating(logits, "logits"), checks.floating(weights, "weights")
    if logits.ndim < 2 or logits.shape[0] < 1:
        raise ValueError(f"logits must have shape [H, ..., K] with H >= 1, got {list(logits.shape)}")
    if weights.shape not in (logits.shape[:1], logits.shape[:-1]):
        wanted = f"{list(logits.shape[:1])} or {list(logits.shape[:-1])}"
        raise ValueError(f"weights must have shape {wanted} to match logits, got {list(weights.shape)}")
    dtype = accumulation_dtype(logits, weights)
    share = weights.astype(dtype).reshape(*weights.shape, *(1,) * (logits.ndim - weights.ndim))
    return jnp.sum(share * jnp.where(share == 0, 0.0, logits.astype(dtype)), axis=0)


def expert_agreement(
    weight_logits: ArrayLike, logits_a: ArrayLike, logits_b: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""How alike weighted experts predict two views of an example (per example; larger is better).

    .. math:: \cos(p^a, p^b), \qquad p = \mathrm{softmax}\Big(\sum_e w_e v_e\Big), \quad w = \mathrm{softmax}(u)

    Ascent on u over unlabelled test examples finds the weights: the expert that fits the test prior is the most stable
    there. Start at u equal for all, and stop when a weight falls below 0.05.

    Args:
      weight_logits: float [E], u.
      logits_a: float [E, B, K], of one view.
      logits_b: float [E, B, K], of the other.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B] in (0, 1], 1 where both views are predicted alike.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an input is not floating point, or where is not boolean.

    >>> views = jnp.array([[[9.0, 0.0]], [[0.0, 0.0]]])
    >>> print(expert_agreement(jnp.zeros(2), views, views[:, :, ::-1]).round(3))
    [0.022]

    Reference: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition"
    (2022). Checked against the authors' code.
    """
    first = checks.rank(checks.floating(logits_a, "logits_a"), "logits_a", 3, layout="[E, B, K]")
    second = checks.floating(logits_b, "logits_b")
    checks.same_shape(first, "logits_a", second, "logits_b")
    raw = checks.floating(weight_logits, "weight_logits")
    if raw.shape != first.shape[:1]:
        raise ValueError(f"weight_logits must have shape {list(first.shape[:1])}, got {list(raw.shape)}")
    mask = checks.mask(where, "where", first.shape[1:2])
    weights = jax.nn.softmax(raw.astype(accumulation_dtype(raw, first, second)))

    def direction(logits: Array) -> Array:
        clean = logits if mask is None else jnp.where(mask[:, None], logits, 0.0)
        return normalize(jax.nn.softmax(aggregate_heads(clean, weights)))

    likeness = jnp.sum(direction(first) * direction(second), axis=-1)
    return likeness if mask is None else jnp.where(mask, likeness, 0.0)
