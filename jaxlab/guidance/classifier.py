"""Guidance by a classifier of clean data: one that is only asked (no gradient), or one whose gradient is followed.

Both come as a reference for ``cfg``, so that every rule works on them. ``fn(x, t, labels)`` is a data prediction and
``classify(x0)`` gives logits; ``uncond_takes_cond=True`` hands the conditional prediction to the reference:

    def confusing(x, t, cond):  # guide away from the class that the prediction is taken for
        probs = jax.nn.softmax(classify(cond))
        return fn(x, t, confusing_class(probs, labels)), confusion_scale(probs, labels, gamma=2.0)
    rule = cfg(lambda context: context.extras)

    def climbing(x, t, cond):  # cfg(w) adds w - 1 times the shift
        gradient = classifier_gradient(classify, cond, labels)
        return cond - process.std(t)[:, None] ** 2 / process.alpha(t)[:, None] * gradient
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "classifier_gradient",
    "classifier_guided_mean",
    "classifier_logit_objective",
    "confusing_class",
    "confusion_scale",
    "rms_normalize",
    "sine_guidance_boost",
    "smooth_relu",
]


def _scores_and_labels(scores: ArrayLike, name: str, labels: ArrayLike, fewest: int) -> tuple[Array, Array]:
    scores, labels = checks.floating(scores, name), checks.integer(labels, "labels")
    if scores.ndim == 0 or scores.shape[:-1] != labels.shape or scores.shape[-1] < fewest:
        raise ValueError(
            f"{name} must have shape {[*labels.shape, 'K']} with K >= {fewest} to match labels, "
            f"got {list(scores.shape)}".replace("'", "")
        )
    return scores.astype(accumulation_dtype(scores)), labels


def _own(scores: Array, labels: Array) -> Array:
    """The entry of the label, NaN where the label is no class."""
    inside = (labels >= 0) & (labels < scores.shape[-1])
    own = jnp.take_along_axis(scores, jnp.where(inside, labels, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(inside, own, jnp.nan)


# A classifier that is only asked


def confusing_class(probs: ArrayLike, labels: ArrayLike) -> Array:
    r"""The class, other than its own, that an example is most likely taken for.

    .. math:: r = \arg\max_{k \ne y} p_k

    Args:
      probs: float [..., K], K >= 2, probabilities or logits.
      labels: int [...], the class y that is wanted.
    Returns:
      int32 [...], never the label; the lowest index among equals.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: probs are not floating point or labels not integers.

    >>> print(confusing_class(jnp.array([[0.2, 0.7, 0.1], [0.2, 0.7, 0.1]]), jnp.array([1, 2])))
    [0 1]

    Reference: "Gradient-Free Classifier Guidance for Diffusion Model Sampling" (2024), inferred from descriptions.
    """
    scores, labels = _scores_and_labels(probs, "probs", labels, 2)
    own = jnp.arange(scores.shape[-1]) == labels[..., None]
    lowest = jnp.finfo(scores.dtype).min
    # Above minus infinity, so that the own class is not taken even where all the others are excluded or NaN.
    others = jnp.where(jnp.isnan(scores), lowest, jnp.maximum(scores, lowest))
    return jnp.argmax(jnp.where(own, -jnp.inf, others), axis=-1).astype(jnp.int32)


def confusion_scale(probs: ArrayLike, labels: ArrayLike, *, gamma: ArrayLike, threshold: ArrayLike = 0.0) -> Array:
    r"""A guidance scale that grows with a classifier's doubt: 1 (no guidance) where it is sure of the label.

    .. math:: w = 1 + \gamma\,(1 - p_y) \text{ if } p_y \le 1 - \tau, \text{ else } 1

    Args:
      probs: float [..., K], K >= 2, probabilities; no gradient flows through them.
      labels: int [...], the class y that is wanted; outside [0, K) gives NaN.
      gamma: >= 0, a float or an array that broadcasts to [...].
      threshold: tau in [0, 1]: no guidance where less than that is in doubt.
    Returns:
      float32 or wider [...] in [1, 1 + gamma], for ``cfg`` or ``combine``.
    Raises:
      ValueError: shapes do not agree, K < 2, a static gamma < 0 or threshold outside [0, 1].
      TypeError: probs are not floating point or labels not integers.

    >>> print(confusion_scale(jnp.array([[1.0, 0.0], [0.25, 0.75]]), jnp.array([0, 0]), gamma=4.0))
    [1. 4.]

    Reference: "Gradient-Free Classifier Guidance for Diffusion Model Sampling" (2024). That the scale is set by the
    classifier's confusion is the paper's; this law is inferred.
    """
    checks.at_least(gamma, "gamma", 0)
    checks.in_range(threshold, "threshold", 0.0, 1.0)
    scores, labels = _scores_and_labels(probs, "probs", labels, 2)
    doubt = 1.0 - _own(jax.lax.stop_gradient(scores), labels)
    scale = 1.0 + jnp.asarray(gamma, doubt.dtype) * jnp.clip(doubt, 0.0, 1.0)
    return jnp.where(doubt < jnp.asarray(threshold, doubt.dtype), 1.0, scale)


# A classifier whose gradient is followed


def classifier_logit_objective(
    logits: ArrayLike, labels: ArrayLike, *, joint_scale: ArrayLike = 1.0, marginal_scale: ArrayLike = 0.5
) -> Array:
    r"""What an off-the-shelf classifier climbs: the label's logit against a softened sum over classes (per example).

    .. math:: \tau_1 f_y - \log \sum_k e^{\tau_2 f_k}

    Args:
      logits: float [..., K].
      labels: int [...]; outside [0, K) gives NaN for that example.
      joint_scale: tau_1, multiplies the label's logit.
      marginal_scale: tau_2, multiplies the logits of the sum: equal to tau_1 it is the log probability of the scaled
        logits, below it the pull towards what is typical of the class outlasts the classifier's certainty, at 0 only
        that is left. The published pairs are (1, 0.5) and (1, 0).
    Returns:
      float32 or wider [...], larger is better.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point or labels not integers.

    >>> value = classifier_logit_objective(jnp.array([2.0, 0.0]), jnp.array(0), marginal_scale=0.0)
    >>> print(f"{value:.4f}")
    1.3069

    Reference: Ma et al., "Elucidating The Design Space of Classifier-Guided Diffusion Generation" (2023); checked
    against the authors' code, which sums the exponentials without care for overflow.
    """
    scores, labels = _scores_and_labels(logits, "logits", labels, 1)
    joint, marginal = (jnp.asarray(scale, scores.dtype) for scale in (joint_scale, marginal_scale))
    return joint * _own(scores, labels) - jax.nn.logsumexp(marginal * scores, axis=-1)


def classifier_gradient(
    classify: Callable[[Array], Array],
    x: ArrayLike,
    labels: ArrayLike,
    *,
    joint_scale: ArrayLike = 1.0,
    marginal_scale: ArrayLike = 0.5,
) -> Array:
    r"""The gradient of ``classifier_logit_objective`` at x.

    .. math:: \nabla_x \Big(\tau_1 f_y(x) - \log \sum_k e^{\tau_2 f_k(x)}\Big)

    Args:
      classify: from [B, ...] to logits [B, K], each row from its own example.
      x: float [B, ...]; for a classifier of clean data the data prediction, which is taken as a constant: nothing is
        differentiated through the denoiser.
      labels: int [B].
      joint_scale: tau_1.
      marginal_scale: tau_2.
    Returns:
      [B, ...] in the dtype of x.
    Raises:
      ValueError: the classifier does not return [B, K].
      TypeError: x is not floating point or labels not integers.

    >>> print(classifier_gradient(lambda x: x, jnp.zeros((1, 2)), jnp.array([0]), marginal_scale=1.0))
    [[ 0.5 -0.5]]

    Reference: Ma et al., as in ``classifier_logit_objective``.
    """
    x = jax.lax.stop_gradient(checks.floating(x, "x"))

    def total(x: Array) -> Array:
        values = classifier_logit_objective(classify(x), labels, joint_scale=joint_scale, marginal_scale=marginal_scale)
        return jnp.sum(values)

    return jax.grad(total)(x)


def smooth_relu(x: ArrayLike, *, sharpness: ArrayLike = 3.0) -> Array:
    r"""A ReLU without its corner, to put into a trained classifier before its gradient is followed.

    .. math:: \tfrac1\beta \log\big(1 + e^{\beta x}\big)

    Args:
      x: float [...].
      sharpness: beta > 0; the paper's values are 3 and 5. It lies above the ReLU by at most log(2) / beta.
    Returns:
      The shape and dtype of x.
    Raises:
      ValueError: a static sharpness <= 0.
      TypeError: x is not floating point.

    >>> print(f"{smooth_relu(jnp.float32(0.0), sharpness=1.0):.4f}")
    0.6931

    Reference: Ma et al., as in ``classifier_logit_objective``, checked against the authors' code.
    """
    x = checks.floating(x, "x")
    checks.positive(sharpness, "sharpness")
    wide = x.astype(accumulation_dtype(x))
    beta = jnp.asarray(sharpness, wide.dtype)
    return (jax.nn.softplus(beta * wide) / beta).astype(x.dtype)


def sine_guidance_boost(
    step: ArrayLike, num_steps: ArrayLike, *, peak: ArrayLike = 1.0, factor: ArrayLike = 0.3
) -> Array:
    r"""Extra guidance in the middle of the trajectory, where a classifier of clean data helps most.

    .. math:: \gamma\, p \,\sin(\pi\, i / n), \text{ not below } 0

    Args:
      step: i, a number or an array; from 0 to num_steps, or a time with num_steps = 1.
      num_steps: n > 0.
      peak: p, the largest variance of the process (1 where it preserves variance).
      factor: gamma; the paper's is 0.3.
    Returns:
      float32 or wider, the shape of step: 0 at both ends, factor * peak in the middle.
    Raises:
      ValueError: a static num_steps <= 0.

    >>> print(f"{sine_guidance_boost(5, 10):.2f}")
    0.30

    Reference: Ma et al., as in ``classifier_logit_objective``, checked against the authors' code.
    """
    checks.positive(num_steps, "num_steps")
    position = jnp.asarray(step, jnp.promote_types(jnp.float32, jnp.result_type(step))) / num_steps
    return jnp.maximum(factor * peak * jnp.sin(jnp.pi * position), 0.0)


def rms_normalize(gradient: ArrayLike, *, like: ArrayLike) -> Array:
    r"""Gives every example's gradient the root mean square of the example.

    .. math:: g\, \frac{\operatorname{rms}(x)}{\operatorname{rms}(g)}

    Args:
      gradient: float [B, ...].
      like: float [B, ...], x.
    Returns:
      The shape and dtype of gradient; a zero gradient stays zero.
    Raises:
      ValueError: shapes differ, or there is no batch axis.
      TypeError: an array is not floating point.

    >>> print(rms_normalize(jnp.array([[2.0, -2.0]]), like=jnp.array([[1.0, 7.0]])))
    [[ 5. -5.]]

    Reference: Ma et al., as in ``classifier_logit_objective``, checked against the authors' code.
    """
    gradient, like = checks.floating(gradient, "gradient"), checks.floating(like, "like")
    checks.same_shape(gradient, "gradient", like, "like")
    if gradient.ndim == 0:
        raise ValueError("gradient must have shape [B, ...], got a scalar")
    dtype = accumulation_dtype(gradient, like)
    axes = tuple(range(1, gradient.ndim))

    def rms(value: Array) -> Array:
        # The largest entry is taken out first, so that squares of tiny gradients do not vanish.
        top = jnp.max(jnp.abs(value), axis=axes, keepdims=True, initial=0.0)
        scaled = value / jnp.where(top > 0, top, 1.0)
        square = jnp.mean(scaled**2, axis=axes, keepdims=True)
        return jnp.where(top > 0, top * jnp.sqrt(jnp.where(top > 0, square, 1.0)), 0.0)

    wide = gradient.astype(dtype)
    length = rms(wide)
    factor = rms(like.astype(dtype)) / jnp.where(length > 0, length, 1.0)
    return (wide * factor).astype(gradient.dtype)


def classifier_guided_mean(
    mean: ArrayLike, variance: ArrayLike, gradient: ArrayLike, *, boost: ArrayLike = 0.0, scale: ArrayLike = 1.0
) -> Array:
    r"""The mean of a reverse step, moved along a classifier's gradient.

    .. math:: \mu + s\,(\sigma^2 + a)\, g

    Args:
      mean: float [B, ...], of the Gaussian of one reverse step.
      variance: its variance, a number or an array that broadcasts against mean ([B, 1, ...] for one per example).
      gradient: float [B, ...].
      boost: a, see ``sine_guidance_boost``; broadcasts as variance does.
      scale: s, broadcasts as variance does; 0 gives the mean.
    Returns:
      The shape and dtype of mean.
    Raises:
      ValueError: shapes do not agree.
      TypeError: mean or gradient is not floating point.

    >>> print(classifier_guided_mean(jnp.zeros((1, 2)), 0.5, jnp.array([[1.0, -2.0]]), boost=0.25))
    [[ 0.75 -1.5 ]]

    Reference: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021); the boost is that of Ma et
    al., as in ``classifier_logit_objective``, checked against the authors' code.
    """
    mean, gradient = checks.floating(mean, "mean"), checks.floating(gradient, "gradient")
    checks.same_shape(mean, "mean", gradient, "gradient")
    dtype = accumulation_dtype(mean, gradient)
    variance, boost, scale = (jnp.asarray(value, dtype) for value in (variance, boost, scale))
    factor = scale * (variance + boost)
    try:
        fits = jnp.broadcast_shapes(factor.shape, mean.shape) == mean.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"variance, boost and scale must broadcast to mean {list(mean.shape)}, got {list(factor.shape)}"
        )
    return (mean.astype(dtype) + factor * gradient.astype(dtype)).astype(mean.dtype)
