"""Log probabilities of token sequences, and the losses made of them.

The logits at a position are those of the token AT that position: a causal model's, which predict the next token, are
shifted by the caller.
"""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["sequence_log_prob", "simplex_flow", "token_log_probs"]


def token_log_probs(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Log probability of each token under its logits.

    .. math:: \ell_t = z_{t, y_t} - \log \sum_v e^{z_{t, v}}

    Args:
      logits: float [..., V], V >= 1; -inf excludes a token.
      labels: int [...], the tokens y; outside [0, V) gives NaN for that token.
      where: bool [...], True where a token counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], <= 0.
    Raises:
      ValueError: shapes do not agree, or V = 0.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> log_probs = token_log_probs(jnp.log(jnp.array([[0.5, 0.5], [0.2, 0.8]])), jnp.array([0, 1]))
    >>> print(*(f"{p:.4f}" for p in jnp.exp(log_probs)))
    0.5000 0.8000

    Reference: standard.
    """
    logits, labels = checks.floating(logits, "logits"), checks.integer(labels, "labels")
    if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape {[*labels.shape, 'V']} to match labels, got {list(logits.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    clean = jnp.where(counts[..., None], logits.astype(accumulation_dtype(logits)), 0.0)
    known = (labels >= 0) & (labels < logits.shape[-1])
    index = jnp.where(known, labels, 0)[..., None]
    own = jnp.take_along_axis(jax.nn.log_softmax(clean), index, axis=-1)[..., 0]
    return jnp.where(counts, jnp.where(known, own, jnp.nan), 0.0)


def sequence_log_prob(
    logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None, mean: bool = False
) -> Array:
    r"""Log probability of each sequence: the sum over its tokens, or their mean.

    .. math:: \log p(y) = \sum_t \log \operatorname{softmax}(z_t)_{y_t}

    Args:
      logits: float [B, T, V] (any leading axes).
      labels: int [B, T]; outside [0, V) gives NaN for that sequence.
      where: bool [B, T], True where a token counts, False for padding and prompt.
      mean: divide by the number of tokens that count; static. Preference losses take the sum.
    Returns:
      float32 (wider if logits are) [B]; 0 for a sequence without tokens that count.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]]]))
    >>> log_prob = sequence_log_prob(logits, jnp.array([[0, 1, 0]]), where=jnp.array([[True, True, False]]))
    >>> print(f"{jnp.exp(log_prob[0]):.4f}")
    0.4000

    Reference: standard.
    """
    if jnp.ndim(labels) == 0:
        raise ValueError("labels must have shape [..., T], got a scalar")
    log_probs = token_log_probs(logits, labels, where=where)
    return masked_mean(log_probs, where, axis=-1) if mean else jnp.sum(log_probs, axis=-1)


def simplex_flow(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Cross entropy of a denoiser on the simplex, mean over tokens (per example; larger is worse).

    .. math:: \ell = -\frac1T \sum_t \log p_\theta(y_t \mid x_\tau, \tau)

    All that a flow on the simplex has to learn is which token a noisy state came from; the velocity is made of that,
    see ``diffusion.gumbel_velocity``.

    Args:
      logits: float [B, T, V], of the denoiser at noisy states such as ``diffusion.gumbel_interpolant`` draws.
      labels: int [B, T], the clean tokens; outside [0, V) gives NaN for that example.
      where: bool [B, T], True where a token counts.
    Returns:
      float32 (wider if logits are) [B]; 0 for an example without tokens that count.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> loss = simplex_flow(jnp.log(jnp.array([[[0.5, 0.5], [0.2, 0.8]]])), jnp.array([[0, 1]]))
    >>> print(f"{loss[0]:.4f}")
    0.4581

    Reference: Tang et al., "Gumbel-Softmax Flow Matching with Straight-Through Guidance for Controllable Biological
    Sequence Generation" (2025), recalled.
    """
    return -sequence_log_prob(logits, labels, where=where, mean=True)
