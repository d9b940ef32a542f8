"""Unlearning as a preference without a winner."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["npo"]


def npo(log_prob: ArrayLike, ref_log_prob: ArrayLike, *, beta: ArrayLike = 0.1) -> Array:
    r"""Negative preference optimisation: unlearning that stops by itself (per example; larger is worse).

    .. math:: \ell = \frac2\beta \log\big(1 + e^{\beta r}\big), \qquad r = \log p_\theta - \log p_{ref}

    Its gradient is :math:`2 \sigma(\beta r)` times that of gradient ascent: 1 at the reference, 0 for what is
    forgotten, which is why it does not run away. ``losses.dpo`` without a winner, times 2 / beta, is this. For a model
    without a likelihood, such as a denoiser, the negative error takes the place of the log probability:
    ``beta / 2 * npo(-error, -ref_error, beta=beta)`` is the negative preference loss of "EchoMimicV3", log 2 where both
    errors are equal.

    Args:
      log_prob: float [B], sum of the token log probabilities of what is to be forgotten.
      ref_log_prob: float [B], the same under the frozen model that unlearning starts from; no gradient.
      beta: > 0; towards 0 the loss is gradient ascent (plus a constant).
    Returns:
      float32 or wider [B] >= 0, (2 / beta) log 2 where the model is the reference; finite for r of any size.
    Raises:
      ValueError: shapes differ, or a static beta <= 0.
      TypeError: an argument is not floating point.

    >>> print(f"{npo(jnp.array([-3.0]), jnp.array([-3.0]), beta=0.1)[0]:.4f}")
    13.8629

    Reference: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning"
    (2024), checked against the authors' code; the form for errors from Meng et al., "EchoMimicV3" (2025), inferred from
    its abstract.
    """
    checks.positive(beta, "beta")
    log_prob, ref = checks.floating(log_prob, "log_prob"), checks.floating(ref_log_prob, "ref_log_prob")
    checks.same_shape(log_prob, "log_prob", ref, "ref_log_prob")
    dtype = accumulation_dtype(log_prob, ref)
    ratio = log_prob.astype(dtype) - jax.lax.stop_gradient(ref.astype(dtype))
    sharpness = jnp.asarray(beta, dtype)
    return 2.0 / sharpness * jax.nn.softplus(sharpness * ratio)
