"""Which examples pass bounds on their scores."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["threshold_filter"]


def threshold_filter(scores: ArrayLike, *, low: ArrayLike | None = None, high: ArrayLike | None = None) -> Array:
    """Which examples have all their scores within bounds.

    Of a video, the scores may be the smallest and the largest similarity of neighbouring frames: bounds on both keep
    what moves, and does not break.

    Args:
      scores: float [N] or [N, S]; a NaN fails.
      low: smallest score allowed, a number or [S]; None is no bound.
      high: largest score allowed, a number or [S]; None is no bound.
    Returns:
      bool [N]; both bounds count as inside.
    Raises:
      ValueError: scores are not [N] or [N, S], a bound does not match, or static bounds with low > high.
      TypeError: scores are not floating point.

    >>> print(threshold_filter(jnp.array([[0.2, 0.9], [0.6, 0.9], [0.6, 0.1]]), low=jnp.array([0.5, 0.5])))
    [False  True False]

    Reference: the second filter of Wu et al., "InsViE-1M" (2025), inferred from its description; standard.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", (1, 2), layout="[N] or [N, S]")
    if checks.is_static(low) and checks.is_static(high) and low > high:
        raise ValueError(f"low must not be above high, got {low!r} and {high!r}")
    wide = scores.astype(accumulation_dtype(scores))
    keep = ~jnp.isnan(wide)
    for bound, name, sign in ((low, "low", 1.0), (high, "high", -1.0)):
        if bound is not None:
            array = jnp.asarray(bound, wide.dtype)
            if array.shape not in ((), wide.shape[1:]):
                raise ValueError(
                    f"{name} must be a number or have shape {list(wide.shape[1:])}, got {list(array.shape)}"
                )
            keep &= sign * wide >= sign * array
    return keep if keep.ndim == 1 else jnp.all(keep, axis=1)
