"""Choosing examples by a score of each, such as its loss."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["personal_loss_probabilities", "personal_loss_sample"]


def _scores(losses: ArrayLike, temperature: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array]:
    array = checks.floating(losses, "losses")
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"losses must have shape [..., k] with k >= 1, got {list(array.shape)}")
    checks.positive(temperature, "temperature")
    mask = checks.mask(where, "where", array.shape)
    dtype = accumulation_dtype(array)
    counts = jnp.ones(array.shape, bool) if mask is None else mask
    scores = -jnp.where(counts, array.astype(dtype), 0.0) / jnp.asarray(temperature, dtype)
    return jax.lax.stop_gradient(jnp.where(counts, scores, -jnp.inf)), counts


def personal_loss_probabilities(
    losses: ArrayLike, *, temperature: ArrayLike = 0.1, where: ArrayLike | None = None
) -> Array:
    r"""How likely each of a user's candidates is trained on: the smaller its loss, the likelier.

    .. math:: p_j = \frac{e^{-\ell_j / \tau}}{\sum_i e^{-\ell_i / \tau}}

    Within one user a false interaction stands out by its loss, while over all users the losses of false and true ones
    overlap: a constant added to all of a user's losses changes nothing.

    Args:
      losses: float [..., k], of k candidates of each user.
      temperature: tau > 0; to infinity all are equally likely, to 0 the smallest is taken.
      where: bool [..., k], True for the candidates that are there.
    Returns:
      float32 or wider [..., k], rows sum to 1 (0 without any candidate); no gradient.
    Raises:
      ValueError: losses have no candidates, where has another shape, or a static temperature <= 0.
      TypeError: losses are not floating point, or where is not boolean.

    >>> print(personal_loss_probabilities(jnp.array([0.3, 0.3, 90.0])))
    [0.5 0.5 0. ]

    Reference: Zhang et al., "Personalized Denoising Implicit Feedback for Robust Recommender System" (2025), checked
    against the authors' code.
    """
    scores, counts = _scores(losses, temperature, where)
    some = jnp.any(counts, axis=-1, keepdims=True)
    return jnp.where(counts, jax.nn.softmax(jnp.where(some, scores, 0.0), axis=-1), 0.0)


def personal_loss_sample(
    key: Array, losses: ArrayLike, *, temperature: ArrayLike = 0.1, where: ArrayLike | None = None
) -> Array:
    r"""One of each user's candidates, drawn by ``personal_loss_probabilities``.

    .. math:: j \sim p, \quad p_j \propto e^{-\ell_j / \tau}

    Args:
      key: PRNG key.
      losses: float [..., k], of k candidates of each user.
      temperature: tau > 0.
      where: bool [..., k], True for the candidates that are there.
    Returns:
      int32 [...], in [0, k); 0 without any candidate.
    Raises:
      ValueError: losses have no candidates, where has another shape, or a static temperature <= 0.
      TypeError: losses are not floating point, or where is not boolean.

    >>> print(personal_loss_sample(jax.random.key(0), jnp.array([[3.0, 0.1], [0.0, 5.0]])))
    [1 0]

    Reference: Zhang et al., "Personalized Denoising Implicit Feedback for Robust Recommender System" (2025), checked
    against the authors' code.
    """
    scores, _ = _scores(losses, temperature, where)
    return jnp.argmax(scores + jax.random.gumbel(key, scores.shape, scores.dtype), axis=-1).astype(jnp.int32)
