"""How fast a curve gets somewhere, and by which law."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PowerLaw", "fit_power_law", "time_to_target"]


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

    .. math:: j = \min \{ t : c_t \le \tau \},
              \quad s = s_{j-1} + \frac{b - \tau}{b - c_j} \, (s_j - s_{j-1}), \quad b = \min_{t < j} c_t

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


class PowerLaw(NamedTuple):
    """``a n^-b + c`` and the share of the variance of the logarithms that it explains; float32 (or wider) [...]."""

    a: Array
    b: Array
    c: Array
    r2: Array


def fit_power_law(n: ArrayLike, values: ArrayLike, *, offset: bool = False, where: ArrayLike | None = None) -> PowerLaw:
    r"""A scaling law by least squares on the logarithms.

    .. math:: v = a\, n^{-b} + c, \qquad
              (\log a, b) = \arg\min \sum_i \big(\log(v_i - c) - \log a + b \log n_i\big)^2

    With ``offset`` the floor c in [0, min v) is searched on a grid that is refined around its best point, by the
    squared error of log v; without, c = 0.

    Args:
      n: float or int [T], sizes > 0 (examples, parameters, steps).
      values: float [..., T], losses > 0.
      offset: whether there is a floor, static.
      where: bool [T] or [..., T], True for the points to fit: leave out those beyond the range of the law.
    Returns:
      PowerLaw [...]. b > 0 falls. NaN with fewer than two points (three with an offset), or where a point that counts
      is not positive. Two points lie on their law whatever they are: r2 says something from three on. Scaling n changes
      a alone.
    Raises:
      ValueError: n is not [T] equal to the last axis of values, or where has another shape.
      TypeError: values are not floating point, or n holds no numbers.

    >>> n = jnp.array([10.0, 100.0, 1000.0])
    >>> law = fit_power_law(n, 5.0 * n**-0.5)
    >>> print(f"{law.a:.3f} {law.b:.3f} {law.r2:.3f}")
    5.000 0.500 1.000

    Reference: the fit of Fan et al., "Scaling Laws of Synthetic Images for Model Training ... for Now" (2023),
    recalled.
    """
    n, values = _numbers(n, "n"), checks.floating(values, "values")
    if n.ndim != 1 or values.ndim == 0 or values.shape[-1] != n.shape[0]:
        raise ValueError(f"n must have shape [T] and values [..., T], got {list(n.shape)} and {list(values.shape)}")
    given = jnp.asarray(True if where is None else where)
    if given.dtype != jnp.bool_ or given.shape not in ((), n.shape, values.shape):
        raise ValueError(f"where must be bool [T] or [..., T], got {given.dtype.name}{list(given.shape)}")
    dtype = accumulation_dtype(values)
    counts = jnp.broadcast_to(given, values.shape)
    # Points that do not count become harmless before any logarithm is taken.
    sizes = jnp.where(counts, n.astype(dtype), 1.0)
    wide = jnp.where(counts, values.astype(dtype), 1.0)
    defined = jnp.all((sizes > 0) & (wide > 0), axis=-1) & (jnp.sum(counts, axis=-1) >= (3 if offset else 2))
    sizes, wide = jnp.where(defined[..., None], sizes, 1.0), jnp.where(defined[..., None], wide, 1.0)
    log_n, weights = jnp.log(sizes), counts.astype(dtype)
    floor = jnp.zeros(wide.shape[:-1], dtype)
    if offset:
        smallest = jnp.min(jnp.where(counts, wide, jnp.inf), axis=-1)
        floor = _best_floor(log_n, wide, weights, smallest)
    a, b, error = _log_fit(log_n, wide, weights, floor)
    log_v = jnp.log(wide)
    spread = _weighted_mean((log_v - _weighted_mean(log_v, weights)[..., None]) ** 2, weights)
    r2 = jnp.where(spread > 0, 1.0 - error / jnp.where(spread > 0, spread, 1.0), 1.0)
    return PowerLaw(*(jnp.where(defined, part, jnp.nan) for part in (a, b, floor, r2)))


def _weighted_mean(x: Array, weights: Array) -> Array:
    return jnp.sum(weights * x, axis=-1) / jnp.maximum(jnp.sum(weights, axis=-1), 1.0)


def _log_fit(log_n: Array, values: Array, weights: Array, floor: Array) -> tuple[Array, Array, Array]:
    """a, b at a given floor, and the mean squared error of log values."""
    tiny = jnp.finfo(values.dtype).tiny
    above = jnp.log(jnp.maximum(values - floor[..., None], tiny))
    x = log_n - _weighted_mean(log_n, weights)[..., None]
    variance = _weighted_mean(x**2, weights)
    slope = _weighted_mean(x * above, weights) / jnp.where(variance > 0, variance, jnp.nan)
    intercept = _weighted_mean(above - slope[..., None] * log_n, weights)
    predicted = jnp.exp(intercept[..., None] + slope[..., None] * log_n) + floor[..., None]
    error = _weighted_mean((jnp.log(jnp.maximum(predicted, tiny)) - jnp.log(values)) ** 2, weights)
    return jnp.exp(intercept), -slope, error


def _best_floor(log_n: Array, values: Array, weights: Array, smallest: Array) -> Array:
    """The floor with the least error, as a share of the smallest value: four grids, each inside the last."""
    points = 65
    low, high = jnp.zeros_like(smallest), jnp.full_like(smallest, 1.0 - 1e-4)
    for _ in range(4):
        shares = low + (high - low) * jnp.linspace(0.0, 1.0, points, dtype=low.dtype).reshape(-1, *[1] * low.ndim)
        errors = jax.vmap(lambda share: _log_fit(log_n, values, weights, share * smallest)[2])(shares)
        best = jnp.argmin(errors, axis=0)
        low, high = (
            jnp.take_along_axis(shares, jnp.clip(best + step, 0, points - 1)[None], axis=0)[0] for step in (-1, 1)
        )
    return 0.5 * (low + high) * smallest
