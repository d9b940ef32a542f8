"""Guidance of models of tokens; that of logits by a condition is ``combine``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.numerics.selection import straight_through
from jaxlab.typing import Array, ArrayLike

__all__ = ["lm_guidance", "roll_labels", "straight_through_guide"]


def straight_through_guide(
    key: Array, logits: ArrayLike, score_fn: Callable[[Array], Array], *, num_samples: int = 10
) -> Array:
    r"""Where a score of CLEAN sequences wants the distribution of the tokens to go.

    .. math:: G = \frac1M \sum_m \nabla_y\, s(y_m), \quad y_m \sim \operatorname{softmax}(z),
              \qquad g_v = G_v - \frac1V \sum_u G_u

    A scorer that has seen one-hot sequences alone has no use for soft ones: it is shown samples, and its gradient is
    handed on to the probabilities as if the samples were them (straight through). Taking away the mean over tokens
    makes it a direction in the simplex, to be added to a velocity: ``diffusion.simplex_euler_sample`` does.

    Args:
      key: one draw; sequences with keys of their own go by ``vmap``.
      logits: float [..., T, V], V >= 2, of the denoiser; no gradient flows back through them.
      score_fn: ``score_fn(one_hot [..., T, V]) -> [...]``, differentiable, a row per sequence (a log probability, say).
      num_samples: M >= 1, sequences drawn, static.
    Returns:
      [..., T, V] in the dtype of logits; sums to 0 over V.
    Raises:
      ValueError: logits have fewer than two axes, V < 2, num_samples < 1, or scores of another shape.
      TypeError: logits are not floating point.

    >>> weights = jnp.array([3.0, 0.0, 0.0])
    >>> guide = straight_through_guide(jax.random.key(0), jnp.zeros((1, 3)), lambda y: (y @ weights)[..., 0])
    >>> print(*(f"{g:.4f}" for g in guide[0]))
    2.0000 -1.0000 -1.0000

    Reference: Tang et al., "Gumbel-Softmax Flow Matching with Straight-Through Guidance for Controllable Biological
    Sequence Generation" (2025), recalled; that the gradient is by the probabilities is inferred.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ValueError(f"logits must have shape [..., T, V] with V >= 2, got {list(logits.shape)}")
    num_samples = checks.size(num_samples, "num_samples")
    wide = jax.lax.stop_gradient(logits.astype(accumulation_dtype(logits)))
    tokens = jax.random.categorical(key, wide, shape=(num_samples, *wide.shape[:-1]))
    hard = jax.nn.one_hot(tokens, wide.shape[-1], dtype=wide.dtype)

    def total(probs: Array) -> Array:
        scores = score_fn(straight_through(hard, jnp.broadcast_to(probs, hard.shape)))
        if scores.shape != hard.shape[:-2]:
            raise ValueError(f"score_fn must give shape {list(hard.shape[:-2])}, got {list(scores.shape)}")
        return jnp.sum(scores) / num_samples

    gradient = jax.grad(total)(jax.nn.softmax(wide))
    return (gradient - jnp.mean(gradient, axis=-1, keepdims=True)).astype(logits.dtype)


def lm_guidance(
    lm_logits: ArrayLike, cond_logits: ArrayLike, uncond_logits: ArrayLike, *, alpha: ArrayLike, beta: ArrayLike
) -> Array:
    r"""Logits of a caption model whose prior over text is replaced by that of a language model.

    .. math:: \log q(x) + \alpha \log p(x \mid y) - \beta \log p(x)

    With q the model's own prior and alpha = beta it is ``combine(cond, uncond, scale=alpha)``, up to a constant.

    Args:
      lm_logits: float [..., V], of the language model q.
      cond_logits: float [..., V], of the caption model given the image.
      uncond_logits: float [..., V], of the caption model without it.
      alpha: weight of the condition, a number or an array that broadcasts to [..., 1].
      beta: weight of the prior that is taken out; less than alpha works better.
    Returns:
      float32 or wider [..., V], not normalised. A token that q or the conditional model excludes (-inf) stays excluded.
    Raises:
      ValueError: shapes differ: all three need the same vocabulary.
      TypeError: logits are not floating point.

    >>> cond, uncond = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([0.9, 0.1]))
    >>> print(*(f"{p:.4f}" for p in jax.nn.softmax(lm_guidance(uncond, cond, uncond, alpha=2.0, beta=2.0))))
    0.2000 0.8000

    Reference: Kornblith et al., "Guiding Image Captioning Models Toward More Specific Captions" (2023), paper text.
    """
    given = {"lm_logits": lm_logits, "cond_logits": cond_logits, "uncond_logits": uncond_logits}
    arrays = {name: checks.floating(value, name) for name, value in given.items()}
    lm, cond, uncond = arrays.values()
    checks.same_shape(cond, "cond_logits", lm, "lm_logits")
    checks.same_shape(uncond, "uncond_logits", lm, "lm_logits")
    dtype = accumulation_dtype(lm, cond, uncond)
    log_q, log_cond, log_prior = (jax.nn.log_softmax(array.astype(dtype)) for array in (lm, cond, uncond))
    excluded = jnp.isneginf(log_q) | jnp.isneginf(log_cond)
    finite = [jnp.where(excluded, 0.0, array) for array in (log_q, log_cond, log_prior)]
    return jnp.where(excluded, -jnp.inf, finite[0] + alpha * finite[1] - beta * finite[2])


def roll_labels(labels: ArrayLike) -> Array:
    r"""The conditions of the next examples of the batch: negatives for ``losses.cca``.

    .. math:: c^-_b = c_{(b + 1) \bmod B}

    A rotation and no random permutation, in which some examples would keep their own. Equal labels can still meet:
    ``roll_labels(labels) == labels`` marks them.

    Args:
      labels: [B, ...], B >= 2, labels or any other conditions.
    Returns:
      The shape and dtype of labels.
    Raises:
      ValueError: labels have no batch axis or B < 2: the rotation would change nothing.

    >>> print(roll_labels(jnp.array([3, 1, 4])))
    [1 4 3]

    Reference: Chen et al., "Toward Guidance-Free AR Visual Generation via Condition Contrastive Alignment" (2024),
    checked against the authors' code.
    """
    labels = jnp.asarray(labels)
    if labels.ndim == 0 or labels.shape[0] < 2:
        raise ValueError(f"labels must have shape [B, ...] with B >= 2, got {list(labels.shape)}")
    return jnp.roll(labels, -1, axis=0)
