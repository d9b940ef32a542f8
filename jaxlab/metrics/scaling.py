"""How fast a curve gets somewhere."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["time_to_target"]


def _numbers(value: ArrayLike, name: str) -> Array:
    array = jnp.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{name} must hold numbers, got {array.dtype.name}{list(array.shape)}")
    return array


def time_to_target(
    steps: ArrayLike,
    curve: ArrayLike,
    target: ArrayLike,
    *,
    mode: str = "min",
    interpolate: str | None = "linear",
) -> Array:
    r"""First step at which a curve reaches a target, +inf if it never does (smaller is faster).

    .. math:: j = \min \{ t : c_t \le \tau \}, \quad
              s = s_{j-1} + \frac{b - \tau}{b - c_j} \, (s_j - s_{j-1}), \quad b = \min_{t < j} c_t

    The crossing is placed between the best value before it, taken at the last step before it, and the first value
    that reaches the target; with "log", on the logarithm of the steps.

    Args:
      steps: float or int [T], increasing; for "log" > 0.
      curve: float [..., T], the loss (or score) at each step; NaN counts as not reached.
      target: the value to reach, a float or an array [...] over the leading axes of curve.
      mode: "min" (reached at or below the target) or "max" (at or above).
      interpolate: "linear", "log", or None for the step of the first value that reaches the target.
    Returns:
      float32 (wider if curve or steps are) [...]; steps[0] if the first value already reaches the target.
    Raises:
      ValueError: steps are not [T] with T >= 1 equal to the last axis of curve, target does not match the leading
        axes, or mode or interpolate is unknown.
      TypeError: curve is not floating point, or steps hold no numbers.

    >>> sizes, scores = jnp.array([100, 1000]), jnp.array([0.9, 1.0])
    >>> print(f"{time_to_target(sizes, scores, 0.95, mode='max', interpolate='log'):.2f}")
    316.23

    Reference: "log" is how "Pre-training A Neural Language Model Improves The Sample Efficiency of an Emergency Room
    Classification Model" (2019) counts the examples that reach an AUC; recalled. None is standard.
    """
    steps, curve = _numbers(steps, "steps"), checks.floating(curve, "curve")
    checks.one_of(mode, "mode", ("min", "max"))
    checks.one_of(interpolate, "interpolate", ("linear", "log", None))
    if steps.ndim != 1 or steps.shape[0] == 0 or curve.ndim == 0 or curve.shape[-1] != steps.shape[0]:
        raise ValueError(
            f"steps must have shape [T] and curve [..., T] with T >= 1, got {list(steps.shape)} and {list(curve.shape)}"
        )
    target = jnp.asarray(target)
    if target.shape not in ((), curve.shape[:-1]):
        raise ValueError(f"target must be a number or have shape {list(curve.shape[:-1])}, got {list(target.shape)}")
    dtype = accumulation_dtype(steps, curve)
    sign = 1.0 if mode == "min" else -1.0
    losses, goal = sign * curve.astype(dtype), sign * target
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    reached = losses <= goal[..., None]
    first = jnp.argmax(reached, axis=-1)
    before = jnp.maximum(first - 1, 0)
    positions = steps.astype(dtype)
    found = positions[first]
    if interpolate is not None:
        best = jax.lax.cummin(losses, axis=losses.ndim - 1)
        high = jnp.take_along_axis(best, before[..., None], axis=-1)[..., 0]
        low = jnp.take_along_axis(losses, first[..., None], axis=-1)[..., 0]
        inside = (first > 0) & jnp.isfinite(high) & jnp.isfinite(low)
        gap = jnp.where(inside, high - low, 1.0)
        missing = jnp.where(inside, goal - low, 0.0) / gap  # share of the last interval that is not needed
        if interpolate == "log":
            found = found * (positions[before] / found) ** missing
        else:
            found = found - missing * (found - positions[before])
    return jnp.where(jnp.any(reached, axis=-1), found, jnp.inf)
