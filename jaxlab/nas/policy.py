"""Search for a policy: what to do at every step, as a soft choice that gradients can move."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["discrete_policy", "expected_policy_cost", "soft_guidance_policy"]


def soft_guidance_policy(
    logits: ArrayLike, predictions: ArrayLike, *, step: ArrayLike, temperature: ArrayLike = 1.0
) -> Array:
    r"""The mixture of the predictions that a policy may choose from at a step.

    .. math:: \hat p = \sum_f \mathrm{softmax}(a_s / \tau)_f\; p_f

    Searching for a guidance policy means to sample with this prediction, and to follow the gradient of the distance
    to fully guided samples plus a price on ``expected_policy_cost``.

    Args:
      logits: float [S, F], a row per step.
      predictions: float [F, B, ...], of the F options: unconditional, conditional, guided at several scales.
      step: int in [0, S); outside gives NaN.
      temperature: tau > 0; towards 0 the mixture becomes ``discrete_policy``.
    Returns:
      [B, ...] in the dtype of the predictions, computed in float32 or wider. Every option must be finite, also one that
      is hardly chosen.
    Raises:
      ValueError: logits are not [S, F], predictions not [F, ...], or a static temperature <= 0.
      TypeError: an array is not floating point, or step is not an integer.

    >>> options = jnp.array([[[0.0]], [[4.0]]])
    >>> print(soft_guidance_policy(jnp.zeros((3, 2)), options, step=0))
    [[2.]]

    Reference: Castillo et al., "Adaptive Guidance: Training-free Acceleration of Conditional Diffusion Models" (2023),
    recalled; the relaxation is that of Liu et al., "DARTS: Differentiable Architecture Search" (2019).
    """
    logits = _logits(logits)
    predictions = checks.floating(predictions, "predictions")
    if predictions.ndim < 1 or predictions.shape[0] != logits.shape[1]:
        raise ValueError(
            f"predictions must hold one entry for each of the {logits.shape[1]} options, got {list(predictions.shape)}"
        )
    step = checks.rank(checks.integer(step, "step"), "step", 0, layout="[]")
    known = (step >= 0) & (step < logits.shape[0])
    row = jnp.where(known, logits[jnp.clip(step, 0, logits.shape[0] - 1)], jnp.nan)
    dtype = accumulation_dtype(logits, predictions)
    shares = _shares(row.astype(dtype), temperature)
    return jnp.tensordot(shares, predictions.astype(dtype), axes=1).astype(predictions.dtype)


def expected_policy_cost(logits: ArrayLike, costs: ArrayLike, *, temperature: ArrayLike = 1.0) -> Array:
    r"""What a soft policy costs on average, in the units of ``costs``.

    .. math:: \sum_s \sum_f \mathrm{softmax}(a_s / \tau)_f\; k_f

    Args:
      logits: float [S, F], a row per step.
      costs: float [F], of each option: network calls, time, energy.
      temperature: tau > 0.
    Returns:
      float32 or wider [].
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: an array is not floating point.

    >>> print(expected_policy_cost(jnp.zeros((20, 2)), jnp.array([1.0, 2.0])))
    30.0

    Reference: Castillo et al., as in ``soft_guidance_policy``, recalled.
    """
    logits = _logits(logits)
    costs = checks.floating(costs, "costs")
    if costs.shape != logits.shape[1:]:
        raise ValueError(f"costs must have shape {list(logits.shape[1:])}, one per option, got {list(costs.shape)}")
    dtype = accumulation_dtype(logits, costs)
    shares = _shares(logits.astype(dtype), temperature)
    return jnp.sum(shares * costs.astype(dtype))


def discrete_policy(logits: ArrayLike) -> Array:
    """The option of every step that the search ended with: the largest logit, the first of equal ones.

    Args:
      logits: float [S, F].
    Returns:
      int32 [S].
    Raises:
      ValueError: logits are not [S, F].
      TypeError: logits are not floating point.

    >>> print(discrete_policy(jnp.array([[0.0, 2.0], [1.0, 1.0]])))
    [1 0]

    Reference: standard, as in Liu et al., "DARTS: Differentiable Architecture Search" (2019).
    """
    return jnp.argmax(_logits(logits), axis=1).astype(jnp.int32)


def _logits(logits: ArrayLike) -> Array:
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[S, F]")
    if 0 in logits.shape:
        raise ValueError(f"logits must have shape [S, F] with S, F >= 1, got {list(logits.shape)}")
    return logits


def _shares(logits: Array, temperature: ArrayLike) -> Array:
    return jax.nn.softmax(logits / jnp.asarray(checks.positive(temperature, "temperature"), logits.dtype), axis=-1)
