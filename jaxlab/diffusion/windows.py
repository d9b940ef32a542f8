"""Long sequences in overlapping windows: cut, call a model on every window, and blend what comes back."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["blend_windows", "crossfade_weights", "window_average"]


def _places(starts: ArrayLike, size: int, length: int, circular: bool) -> Array:
    """The place in the sequence of every entry of every window: int [W, size]."""
    places = jnp.asarray(starts)[:, None] + jnp.arange(size)
    return places % length if circular else places


def _checked_starts(starts: ArrayLike, window: int, length: int, circular: bool) -> Array:
    array = checks.rank(checks.integer(starts, "starts"), "starts", 1, layout="[W]")
    last = length - 1 if circular else length - window
    if not isinstance(array, jax.core.Tracer) and not all(0 <= start <= last for start in array.tolist()):
        raise ValueError(f"starts must lie in [0, {last}], got {array.tolist()[:8]}")
    return array


def blend_windows(
    chunks: ArrayLike, starts: ArrayLike, length: int, *, weights: ArrayLike = 1.0, circular: bool = False
) -> Array:
    r"""Puts overlapping windows together into one sequence, as their weighted mean at every place.

    .. math:: y_p = \frac{\sum_{n,\, s_n + i = p} w_{n,i}\, c_{n,i}}{\sum_{n,\, s_n + i = p} w_{n,i}}

    Args:
      chunks: float [W, L, ...], window n covers the places starts[n] to starts[n] + L - 1.
      starts: int [W]; in [0, length - L], or [0, length) if circular. A traced start out of range loses what lies
        outside.
      length: of the sequence, static, >= L.
      weights: float, broadcastable to [W, L]: 1 is the plain mean; ``crossfade_weights`` fades one window into the
        next. Not negative.
      circular: windows that run over the end go on at the beginning.
    Returns:
      [length, ...] in the dtype of chunks; a place that no window covers (or only with weight 0) is 0.
    Raises:
      ValueError: shapes do not agree, L > length, or a start out of range.
      TypeError: chunks are not floating point or starts not integers.

    >>> print(blend_windows(jnp.array([[1.0, 1.0], [3.0, 3.0]]), jnp.array([0, 1]), 3))
    [1. 2. 3.]

    Reference: the mean over windows of Li et al., "FlowDirector: Training-Free Flow Steering for Precise Text-to-Video
    Editing" (2025), and the circular windows of Meng et al., "EchoMimicV3" (2025), checked against the authors' code.
    """
    chunks = checks.floating(chunks, "chunks")
    if chunks.ndim < 2:
        raise ValueError(f"chunks must have shape [W, L, ...], got {list(chunks.shape)}")
    checks.at_least(length, "length", chunks.shape[1])
    starts = _checked_starts(starts, chunks.shape[1], length, circular)
    if starts.shape != chunks.shape[:1]:
        raise ValueError(f"starts must have shape [{chunks.shape[0]}], one per window, got {list(starts.shape)}")
    wide = chunks.astype(accumulation_dtype(chunks))
    weights = jnp.asarray(weights, wide.dtype)
    checks.broadcasts_to(weights, "weights", chunks.shape[:2])
    weights = jnp.broadcast_to(weights, chunks.shape[:2]).reshape(*chunks.shape[:2], *(1,) * (chunks.ndim - 2))
    # Wrapped by hand where the sequence is a circle; elsewhere a negative place must not count from the end.
    places = _places(starts, chunks.shape[1], length, circular)
    places = jnp.where(places < 0, length, places)
    total = jnp.zeros((length, *chunks.shape[2:]), wide.dtype).at[places].add(weights * wide, mode="drop")
    mass = jnp.zeros((length, *weights.shape[2:]), wide.dtype).at[places].add(weights, mode="drop")
    return jnp.where(mass > 0, total / jnp.where(mass > 0, mass, 1.0), 0.0).astype(chunks.dtype)


def crossfade_weights(starts: Sequence[int], *, window: int, length: int, circular: bool = False) -> Array:
    r"""Weights for ``blend_windows`` by which every window fades linearly into the next.

    .. math:: w_{n,\,i} = \frac{i}{o - 1}, \quad w_{n-1,\,L-o+i} = 1 - \frac{i}{o - 1}, \qquad i = 0, \dots, o - 1

    with o the number of places that windows n - 1 and n share (a single one belongs to the earlier window).

    Args:
      starts: the first place of every window, static, increasing.
      window: L >= 1, static.
      length: of the sequence, static, >= L.
      circular: the last window fades into the first.
    Returns:
      float32 [W, L], which sum to 1 at every place that is covered.
    Raises:
      ValueError: starts out of range or not increasing, or a place that lies in more than two windows.

    >>> print(crossfade_weights([0, 2], window=5, length=7))
    [[1.  1.  1.  0.5 0. ]
     [0.  0.5 1.  1.  1. ]]

    Reference: Meng et al., "EchoMimicV3" (2025), checked against the authors' code.
    """
    checks.at_least(window, "window", 1)
    checks.at_least(length, "length", window)
    begins = [int(start) for start in starts]
    _checked_starts(jnp.asarray(begins, jnp.int32), window, length, circular)
    if any(b <= a for a, b in itertools.pairwise(begins)):
        raise ValueError(f"starts must increase, got {begins[:8]}")
    after = [*begins[1:], *([begins[0] + length] if circular and len(begins) > 1 else [])]
    shared = [max(0, a + window - b) for a, b in zip(begins, after, strict=False)]
    before = [shared[-1] if circular and len(begins) > 1 else 0, *shared[: len(begins) - 1]]
    behind = [*shared, *[0] * (len(begins) - len(shared))]
    if any(a + b > window for a, b in zip(before, behind, strict=True)):
        raise ValueError(f"no place may lie in more than two windows, got starts {begins[:8]} with window {window}")
    rows = []
    for rise, fall in zip(before, behind, strict=True):
        flat = jnp.ones(window - rise - fall)
        rows.append(jnp.concatenate([jnp.linspace(0.0, 1.0, rise), flat, 1.0 - jnp.linspace(0.0, 1.0, fall)]))
    return jnp.stack(rows)


def window_average(
    fn: Callable[[Array], Array], x: ArrayLike, *, window: int, stride: int, axis: int = 0, circular: bool = False
) -> Array:
    r"""A function of short sequences on a long one: called on overlapping windows, averaged where they overlap.

    .. math:: y_p = \operatorname{mean}_{n:\, s_n \le p < s_n + L} f(x_{s_n : s_n + L})_{p - s_n}

    Windows start at every multiple of the stride and, if those do not reach the end, at length - window.

    Args:
      fn: from x cut to ``window`` along ``axis`` to an array of that shape, such as a velocity; called for one window
        after the other by one compiled program.
      x: float [..., length, ...].
      window: L >= 1, static; from the length on, the result is fn(x).
      stride: >= 1, static, at most the window.
      axis: the axis of the sequence, static.
      circular: every multiple of the stride below the length starts a window, which runs over the end to the beginning.
    Returns:
      The shape of x, the dtype of fn's result.
    Raises:
      ValueError: window or stride below 1, stride > window, no such axis, or fn changes the shape.
      TypeError: x is not floating point.

    >>> print(window_average(lambda x: x - x[0], jnp.arange(4.0), window=3, stride=1))
    [0.  0.5 1.5 2. ]

    Reference: Li et al., "FlowDirector: Training-Free Flow Steering for Precise Text-to-Video Editing" (2025), after
    MultiDiffusion; checked against the authors' code.
    """
    x = checks.floating(x, "x")
    checks.at_least(window, "window", 1)
    checks.at_least(stride, "stride", 1)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis must be an axis of x, got {axis} for shape {list(x.shape)}")
    axis %= x.ndim
    length = x.shape[axis]
    if stride > window:
        raise ValueError(f"stride must not exceed the window, or places are left out; got {stride} > {window}")
    if window >= length:
        return _same(fn(x), x.shape)
    starts = list(range(0, length if circular else length - window, stride))
    if not circular:
        starts.append(length - window)
    places = _places(jnp.asarray(starts), window, length, circular)
    shape = (*x.shape[:axis], window, *x.shape[axis + 1 :])
    chunks = jax.lax.map(lambda place: _same(fn(jnp.take(x, place, axis=axis)), shape), places)
    blended = blend_windows(jnp.moveaxis(chunks, axis + 1, 1), jnp.asarray(starts), length, circular=circular)
    return jnp.moveaxis(blended, 0, axis)


def _same(result: Array, shape: tuple[int, ...]) -> Array:
    if jnp.shape(result) != shape:
        raise ValueError(f"fn must return shape {list(shape)}, got {list(jnp.shape(result))}")
    return jnp.asarray(result)
