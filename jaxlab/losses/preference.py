"""Losses on how far a model has moved from a frozen reference, in sums of token log probabilities.

``sequence_log_prob`` gives them. References get no gradient.
"""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["cca", "dpo"]


def _gaps(log_prob: ArrayLike, name: str, ref: ArrayLike, ref_name: str) -> Array:
    """How much more likely than under the reference, in float32 or wider."""
    log_prob, ref = checks.floating(log_prob, name), checks.floating(ref, ref_name)
    checks.same_shape(log_prob, name, ref, ref_name)
    dtype = accumulation_dtype(log_prob, ref)
    return log_prob.astype(dtype) - jax.lax.stop_gradient(ref.astype(dtype))


def dpo(
    log_prob_win: ArrayLike, ref_win: ArrayLike, log_prob_lose: ArrayLike, ref_lose: ArrayLike, *, beta: ArrayLike = 0.1
) -> Array:
    r"""Direct preference optimisation (per example; larger is worse).

    .. math:: \ell = -\log \sigma\big(\beta\,(g_w - g_l)\big), \qquad g = \log p_\theta - \log p_{ref}

    Args:
      log_prob_win: float [B], sum of token log probabilities of the preferred answer.
      ref_win: float [B], the same under the reference.
      log_prob_lose: float [B], of the other answer.
      ref_lose: float [B], the same under the reference.
      beta: > 0; a small one lets the model move far.
    Returns:
      float32 or wider [B], log 2 where the model is the reference; finite for gaps of any size.
    Raises:
      ValueError: shapes differ, or a static beta <= 0.
      TypeError: an argument is not floating point.

    >>> loss = dpo(jnp.array([-1.0]), jnp.array([-2.0]), jnp.array([-5.0]), jnp.array([-4.0]), beta=0.5)
    >>> print(f"{loss[0]:.4f}")
    0.3133

    Reference: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (2023),
    standard; checked against its use in the authors' code of Chen et al., "Toward Guidance-Free AR Visual Generation
    via Condition Contrastive Alignment" (2024).
    """
    checks.positive(beta, "beta")
    win = _gaps(log_prob_win, "log_prob_win", ref_win, "ref_win")
    lose = _gaps(log_prob_lose, "log_prob_lose", ref_lose, "ref_lose")
    checks.same_shape(win, "log_prob_win", lose, "log_prob_lose")
    return -jax.nn.log_sigmoid(beta * (win - lose))


def cca(
    log_prob_pos: ArrayLike,
    ref_pos: ArrayLike,
    log_prob_neg: ArrayLike,
    ref_neg: ArrayLike,
    *,
    beta: ArrayLike = 0.02,
    scale: ArrayLike = 1000.0,
    negative_is_positive: ArrayLike | None = None,
) -> Array:
    r"""Condition contrastive alignment: guidance trained into the model (per example; larger is worse).

    .. math:: \ell = -\log \sigma(\beta g_+) - \lambda \log \sigma(-\beta g_-),
              \qquad g_\pm = \log \frac{p_\theta(x \mid c_\pm)}{p_{ref}(x \mid c_\pm)}

    c_+ is the condition of x, c_- that of another example (``guidance.roll_labels``). At the optimum
    :math:`\beta \log (p_\theta / p_{ref}) = \log\, p(x \mid c) / (\lambda\, p(x))`: the model is sharpened towards its
    condition as guidance would, and samples with one call instead of two.

    Where both are the same condition, or none (kept so that the model can still be guided), there is nothing to
    contrast: such examples have the second term :math:`-\log \sigma(+\beta g_-)`, with weight 1.

    Args:
      log_prob_pos: float [B], sum of the token log probabilities of x under its own condition.
      ref_pos: float [B], the same under the frozen model that training starts from.
      log_prob_neg: float [B], of x under the other condition.
      ref_neg: float [B], the same under the frozen model.
      beta: > 0. Gaps are sums over tokens, so a longer sequence wants a smaller beta.
      scale: lambda > 0, the weight of the negatives; 50 to 1000 in the paper. The authors divide the mean loss by
        max(lambda, 1), which is the caller's.
      negative_is_positive: bool [B], True where c_- is c_+ or both are none.
    Returns:
      float32 or wider [B], (1 + lambda) log 2 where the model is the reference; finite for gaps of any size.
    Raises:
      ValueError: shapes differ, or a static beta or scale <= 0.
      TypeError: log probabilities are not floating point, or negative_is_positive is not boolean.

    >>> same = jnp.array([-3.0])
    >>> print(f"{cca(same, same, same, same, scale=3.0)[0]:.4f}")
    2.7726

    Reference: Chen et al., "Toward Guidance-Free AR Visual Generation via Condition Contrastive Alignment" (2024),
    checked against the authors' code.
    """
    checks.positive(beta, "beta")
    checks.positive(scale, "scale")
    pos = _gaps(log_prob_pos, "log_prob_pos", ref_pos, "ref_pos")
    neg = _gaps(log_prob_neg, "log_prob_neg", ref_neg, "ref_neg")
    checks.same_shape(pos, "log_prob_pos", neg, "log_prob_neg")
    attracted = checks.mask(negative_is_positive, "negative_is_positive", neg.shape)
    attracted = jnp.zeros(neg.shape, bool) if attracted is None else attracted
    weight = jnp.where(attracted, 1.0, jnp.asarray(scale, neg.dtype))
    away = jnp.where(attracted, neg, -neg)
    return -jax.nn.log_sigmoid(beta * pos) - weight * jax.nn.log_sigmoid(beta * away)
