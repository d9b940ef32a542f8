"""Several predictions into one, as arithmetic on arrays (predictions of a denoiser, or logits), and their scales."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "combine",
    "combine_nested",
    "combine_weighted",
    "cosine_power_schedule",
    "phase_scale",
    "random_scale",
    "scale_grid",
]


def _scale(value: ArrayLike, name: str, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """A scale that broadcasts to the leading axes of ``shape``."""
    array = jnp.asarray(value, dtype)
    if array.ndim > len(shape) or any(a not in (1, b) for a, b in zip(array.shape, shape, strict=False)):
        raise ValueError(f"{name} must broadcast to the leading axes of {list(shape)}, got shape {list(array.shape)}")
    return array.reshape(array.shape + (1,) * (len(shape) - array.ndim))


def combine(cond: ArrayLike, uncond: ArrayLike, *, scale: ArrayLike) -> Array:
    r"""Classifier-free guidance on arrays.

    .. math:: u + w\,(c - u)

    Args:
      cond: float [...], a prediction or logits.
      uncond: float, same shape; the unconditional, the negative, or a weaker model's.
      scale: w, a float or an array that broadcasts to the LEADING axes ([B] for [B, ...]); 1 is cond, 0 is uncond,
        negative guides away.
    Returns:
      The shape and dtype of cond; at scale 1 exactly cond. Entries that are -inf in cond (excluded tokens) stay -inf;
      where only uncond is -inf, cond is returned: there is nothing to guide away from.
    Raises:
      ValueError: shapes differ or the scale does not broadcast.
      TypeError: an array is not floating point.

    >>> print(combine(jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0]), scale=3.0))
    [3. 2.]

    Reference: Ho & Salimans, "Classifier-Free Diffusion Guidance" (2022), standard.
    """
    cond, uncond = checks.floating(cond, "cond"), checks.floating(uncond, "uncond")
    checks.same_shape(cond, "cond", uncond, "uncond")
    dtype = accumulation_dtype(cond, uncond)
    c, u = cond.astype(dtype), uncond.astype(dtype)
    excluded = jnp.isneginf(c)
    c = jnp.where(excluded, 0.0, c)
    u = jnp.where(excluded | jnp.isneginf(u), c, u)
    # Written around cond, so that scale 1 gives it bit for bit.
    guided = c + (_scale(scale, "scale", cond.shape, dtype) - 1.0) * (c - u)
    return jnp.where(excluded, -jnp.inf, guided).astype(cond.dtype)


def combine_nested(predictions: ArrayLike, scales: ArrayLike) -> Array:
    r"""Guidance by conditions that are added one after the other, each with a scale of its own.

    .. math:: p_0 + \sum_{m=1}^{M-1} w_m\,(p_m - p_{m-1})

    The order matters: p_0 has no condition, p_m one more than p_{m-1}.

    Args:
      predictions: float [M, ...], M >= 2.
      scales: float [M-1] or [M-1, B]; all 1 gives the last prediction, all equal to w gives
        ``combine(p_{M-1}, p_0, scale=w)``.
    Returns:
      [...] in the dtype of predictions.
    Raises:
      ValueError: M < 2, or another number of scales.
      TypeError: predictions are not floating point.

    >>> print(combine_nested(jnp.array([[0.0], [1.0], [3.0]]), jnp.array([4.0, 2.0])))
    [8.]

    Reference: the three-way guidance of Meng et al., "EchoMimicV3" (2025), checked against the authors' code; Brooks et
    al., "InstructPix2Pix" (2023), standard.
    """
    predictions = checks.floating(predictions, "predictions")
    if predictions.ndim == 0 or predictions.shape[0] < 2:
        raise ValueError(f"predictions must have shape [M, ...] with M >= 2, got {list(predictions.shape)}")
    wide = predictions.astype(accumulation_dtype(predictions))
    steps = jnp.diff(wide, axis=0)
    scales = jnp.asarray(scales, wide.dtype)
    if scales.ndim == 0 or scales.shape[0] != steps.shape[0]:
        raise ValueError(
            f"scales must have shape [{steps.shape[0]}] or [{steps.shape[0]}, B], got {list(scales.shape)}"
        )
    # Around the last prediction, so that scales of 1 give it bit for bit.
    excess = (_scale(scales, "scales", steps.shape, wide.dtype) - 1.0) * steps
    return (wide[-1] + jnp.sum(excess, axis=0)).astype(predictions.dtype)


def combine_weighted(cond: ArrayLike, references: ArrayLike, scales: ArrayLike) -> Array:
    r"""Guidance away from several references at once.

    .. math:: c + \sum_m (w_m - 1)\,(c - r_m)

    Args:
      cond: float [...].
      references: float [M, ...], M >= 1: unconditional, of a confusing class, of a weaker model, ...
      scales: float [M] or [M, B]; 1 leaves a reference out.
    Returns:
      [...] in the dtype of cond.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(combine_weighted(jnp.array([1.0]), jnp.array([[0.0], [3.0]]), jnp.array([2.0, 1.5])))
    [1.]

    Reference: the additive combination of "Gradient-Free Classifier Guidance for Diffusion Model Sampling" (2024),
    inferred.
    """
    cond, references = checks.floating(cond, "cond"), checks.floating(references, "references")
    if references.shape[1:] != cond.shape or references.ndim == 0 or references.shape[0] == 0:
        raise ValueError(
            f"references must have shape {['M', *cond.shape]} with M >= 1, got {list(references.shape)}".replace(
                "'", ""
            )
        )
    dtype = accumulation_dtype(cond, references)
    wide = cond.astype(dtype)
    away = wide - references.astype(dtype)
    scales = jnp.asarray(scales, dtype)
    if scales.ndim == 0 or scales.shape[0] != away.shape[0]:
        raise ValueError(f"scales must have shape [{away.shape[0]}] or [{away.shape[0]}, B], got {list(scales.shape)}")
    weights = _scale(scales, "scales", away.shape, dtype) - 1.0
    return (wide + jnp.sum(weights * away, axis=0)).astype(cond.dtype)


def cosine_power_schedule(
    step: ArrayLike, num_steps: ArrayLike, *, scale: ArrayLike = 1.0, power: ArrayLike = 5.0
) -> Array:
    r"""A guidance scale that falls from its full value to half of it, most of the way early on.

    .. math:: w_i = \frac w2 + \frac w4 \left( 1 - \cos\left( \pi \left( \tfrac{N - i}{N} \right)^p \right) \right)

    Hand it on as ``cfg(lambda context: cosine_power_schedule(context.step, context.num_steps, scale=4.0))``.

    Args:
      step: i, a number or an array, in [0, num_steps].
      num_steps: N > 0.
      scale: w, broadcasts with step; half of it is where the scale ends, so scales below 2 end below 1.
      power: p > 0; 5 is the paper's, a larger one falls earlier.
    Returns:
      float32 or wider, shape of step and scale together.
    Raises:
      ValueError: a static num_steps or power <= 0.

    >>> print(cosine_power_schedule(jnp.array([0, 10]), 10, scale=4.0))
    [4. 2.]

    Reference: Meng et al., "EchoMimicV3" (2025), checked against the authors' code.
    """
    checks.positive(num_steps, "num_steps")
    checks.positive(power, "power")
    wide = jnp.asarray(step, jnp.promote_types(jnp.float32, jnp.result_type(step)))
    remaining = jnp.clip(1.0 - wide / num_steps, 0.0, 1.0)
    return jnp.asarray(scale) * (0.5 + 0.25 * (1.0 - jnp.cos(jnp.pi * remaining**power)))


def phase_scale(step: ArrayLike, *, steps: ArrayLike = 2, scale: ArrayLike = 1.5) -> Array:
    r"""The factor on a negative condition (its embedding, say): larger in the first steps, then 1.

    .. math:: f_i = s \text{ if } i \le n, \text{ else } 1

    Args:
      step: i >= 0, an int or an array.
      steps: n, the last step with the larger factor.
      scale: s; 1 is neutral.
    Returns:
      float32 or wider, the shape of step.

    >>> print(phase_scale(jnp.arange(5)))
    [1.5 1.5 1.5 1.  1. ]

    Reference: Meng et al., "EchoMimicV3" (2025), checked against the authors' code, of which one thing is not followed:
    it multiplies again what it has multiplied, so that the factor grows and stays.
    """
    dtype = jnp.promote_types(jnp.float32, jnp.result_type(scale))
    return jnp.where(jnp.asarray(step) <= steps, jnp.asarray(scale, dtype), jnp.ones((), dtype))


def random_scale(key: Array, batch: int, *, low: ArrayLike = 0.5, high: ArrayLike = 4.0) -> Array:
    r"""A guidance scale for every sample of a training batch, so that a student sees teachers of many scales.

    .. math:: w_i \sim U(l, h)

    Give the same scales to the teacher and to the network that follows the student. Below 1 a scale interpolates
    towards the unconditional prediction, which is meant.

    Args:
      key: PRNG key.
      batch: B, static, >= 1.
      low: l; the paper takes 0.5.
      high: h >= l, not included; the paper takes 4, or 3 for a model that is guided less.
    Returns:
      float32 [B].
    Raises:
      ValueError: batch < 1, or static low > high.
      TypeError: batch is not a static integer.

    >>> scales = random_scale(jax.random.key(0), 1000)
    >>> print(f"{scales.min():.1f} {scales.max():.1f}")
    0.5 4.0

    Reference: Nguyen et al., "SNOOPI: Supercharged One-step Diffusion Distillation with Proper Guidance" (2024), paper
    text.
    """
    checks.size(batch, "batch")
    if checks.is_static(low) and checks.is_static(high) and low > high:
        raise ValueError(f"low must be at most high, got {low!r} and {high!r}")
    return jax.random.uniform(key, (batch,), jnp.float32, minval=low, maxval=high)


def scale_grid(scales: Sequence[ArrayLike]) -> Array:
    """Every combination of the scales of several conditions, the last one changing fastest.

    Args:
      scales: float [G_1], ..., [G_M], M >= 1: the scales to try for each condition.
    Returns:
      float32 or wider [G_1 * ... * G_M, M]; a row goes to ``combine_nested`` or ``multi_condition``.
    Raises:
      ValueError: no scales, or one that is not [G].
      TypeError: scales are not floating point.

    >>> print(scale_grid([jnp.array([4.0, 7.5]), jnp.array([1.0, 1.5])]).tolist())
    [[4.0, 1.0], [4.0, 1.5], [7.5, 1.0], [7.5, 1.5]]

    Reference: the candidates of Wu et al., "InsViE-1M" (2025), inferred from its description.
    """
    if len(scales) == 0:
        raise ValueError("scales must hold at least one array, got none")
    axes = [checks.rank(checks.floating(values, "scales"), "scales", 1, layout="[G]") for values in scales]
    dtype = accumulation_dtype(*axes)
    grids = jnp.meshgrid(*(axis.astype(dtype) for axis in axes), indexing="ij")
    return jnp.stack([grid.ravel() for grid in grids], axis=1)
