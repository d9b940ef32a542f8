"""Mean flows: a network that knows the average velocity of a path, so that a single call covers any stretch of it.

Time and sign are those of ``linear_flow``: t = 0 is data, t = 1 noise, v = noise - data. The average velocity from t
back to r is u(z, r, t) = (z_t - z_r) / (t - r), and u(z, t, t) is the velocity itself. A training step::

    t, r = mean_flow_times(key, batch)
    z, v = (1 - t) * x0 + t * noise, noise - x0  # t broadcast over the axes of x0
    v = mean_flow_guided_velocity(v, u_fn(z, t, t), null_fn(z, t, t))  # if guidance shall be baked in
    u, target = mean_flow_target(u_fn, z, r, t, v)
    loss = jnp.mean(losses.adaptive_l2(u - target))
"""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.processes import expand
from jaxlab.diffusion.sampling import Sample, check_grid
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["mean_flow_guided_velocity", "mean_flow_sample", "mean_flow_target", "mean_flow_times"]

# u_fn(z [B, ...], r [B], t [B]) -> [B, ...], the average velocity from t back to r <= t
MeanVelocity = Callable[[Array, Array, Array], Array]


def mean_flow_times(
    key: Array, batch: int, *, mean: ArrayLike = -0.4, std: ArrayLike = 1.0, flow_ratio: ArrayLike = 0.75
) -> tuple[Array, Array]:
    r"""Both ends of the stretches to train on; a fixed share of them has no length and is plain flow matching.

    .. math:: t = \max(\varsigma(a), \varsigma(b)), \quad r = \min(\varsigma(a), \varsigma(b)),
              \quad a, b \sim N(m, s^2), \qquad r := t \text{ for } \lfloor \rho B \rfloor \text{ examples}

    A curriculum is a schedule of ``flow_ratio``: 1 until the velocity is learned, then 0.75 (the authors start the
    second stage from a flow-matching network). It may be traced, so the step compiles once.

    Args:
      key: PRNG key.
      batch: B >= 1, static.
      mean: m of the normal under the sigmoid; below 0 favours times near the data.
      std: s > 0.
      flow_ratio: rho in [0, 1], the share of the batch with r = t; who that is, is drawn.
    Returns:
      (t, r), float32 [B] each, 0 <= r <= t <= 1.
    Raises:
      ValueError: batch < 1, a static std <= 0, or a static flow_ratio outside [0, 1].
      TypeError: batch is not a static integer.

    >>> t, r = mean_flow_times(jax.random.key(0), 8)
    >>> print(int(jnp.sum(r == t)), bool(jnp.all(r <= t)))
    6 True

    Reference: Li et al., "MeanAudio: Fast and Faithful Text-to-Audio Generation with Mean Flows" (2025), checked
    against the authors' code.
    """
    batch = checks.size(batch, "batch")
    checks.positive(std, "std")
    checks.in_range(flow_ratio, "flow_ratio", 0.0, 1.0)
    key_times, key_order = jax.random.split(key)
    drawn = jax.nn.sigmoid(mean + std * jax.random.normal(key_times, (2, batch), jnp.float32))
    t, r = jnp.max(drawn, axis=0), jnp.min(drawn, axis=0)
    # The little extra keeps a product that should be whole (0.3 of 10) from falling below it.
    count = jnp.floor(jnp.asarray(flow_ratio, jnp.float32) * batch + 1e-4)
    place = jnp.argsort(jax.random.uniform(key_order, (batch,)))  # sorting noise gives a random permutation
    return t, jnp.where(place < count, t, r)


def mean_flow_guided_velocity(
    v: ArrayLike, u_cond: ArrayLike, u_null: ArrayLike, *, w: ArrayLike = 0.3, k: ArrayLike = 0.9
) -> Array:
    r"""The velocity to train on so that guidance is part of the network and costs nothing when sampling.

    .. math:: \hat v = w\,v + k\,u_c + (1 - w - k)\,u_\varnothing

    A network that reproduces it on average has guided velocities of scale :math:`w / (1 - k)`, 3 unless told, and its
    unconditional ones stay unguided. w = 1, k = 0 is no guidance; k alone, with w = 1 - k, is none either.

    Args:
      v: float [B, ...], noise - data.
      u_cond: float [B, ...], the network's own velocity u(z, t, t) under the condition, of the examples that train
        without it too.
      u_null: float [B, ...], the same under no condition.
      w: weight of the sample's velocity, a number.
      k: weight of the conditional prediction, a number in [0, 1).
    Returns:
      [B, ...] in float32 or wider; no gradient flows through it.
    Raises:
      ValueError: shapes differ, or a static k outside [0, 1).
      TypeError: an array is not floating point.

    >>> v, u_cond, u_null = jnp.array([[1.0]]), jnp.array([[3.0]]), jnp.array([[0.0]])
    >>> print(mean_flow_guided_velocity(v, u_cond, u_null, w=1.5, k=0.5))  # there it stays: 0 + 3 (v - 0)
    [[3.]]

    Reference: Li et al., "MeanAudio: Fast and Faithful Text-to-Audio Generation with Mean Flows" (2025), checked
    against the authors' code, of which one thing is not followed: there the condition of dropped examples is
    overwritten before it gets here, so that u_cond is u_null for them.
    """
    arrays = [checks.floating(value, name) for value, name in ((v, "v"), (u_cond, "u_cond"), (u_null, "u_null"))]
    checks.same_shape(arrays[1], "u_cond", arrays[0], "v")
    checks.same_shape(arrays[2], "u_null", arrays[0], "v")
    checks.in_range(k, "k", 0.0, 1.0)
    if isinstance(k, numbers.Real) and k == 1:
        raise ValueError(f"k must be less than 1, the scale being w / (1 - k), got {k!r}")
    dtype = accumulation_dtype(*arrays)
    velocity, cond, null = (jax.lax.stop_gradient(array).astype(dtype) for array in arrays)
    w, k = jnp.asarray(w, dtype), jnp.asarray(k, dtype)
    return w * velocity + k * cond + (1.0 - w - k) * null


def mean_flow_target(u_fn: MeanVelocity, z: ArrayLike, r: ArrayLike, t: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    r"""The average velocity and what it should be by its own derivative along the path.

    .. math:: u_{tgt} = v - (t - r) \frac{du}{dt}, \qquad \frac{du}{dt} = v \cdot \partial_z u + \partial_t u

    Differentiating :math:`(t - r)\,u = \int_r^t v` in t gives it. At r = t it is v: flow matching.

    Args:
      u_fn: ``u_fn(z [B, ...], r [B], t [B]) -> [B, ...]``, differentiable in all three.
      z: float [B, ...], points of the path at t.
      r: float [B], 0 <= r <= t.
      t: float [B].
      v: float [B, ...], velocity at z; of the example's own path, or ``mean_flow_guided_velocity``.
    Returns:
      (u, target), [B, ...] each in float32 or wider; no gradient flows through the target.
    Raises:
      ValueError: shapes do not agree, or u_fn changes the shape.
      TypeError: an array is not floating point.

    >>> u_fn = lambda z, r, t: (z - 2.0) / t[:, None]  # exact where all data are the point 2
    >>> z, r, t = jnp.array([[1.0]]), jnp.array([0.1]), jnp.array([0.5])
    >>> print(*mean_flow_target(u_fn, z, r, t, v=jnp.array([[-2.0]])))
    [[-2.]] [[-2.]]

    Reference: Geng et al., "Mean Flows for One-step Generative Modeling" (2025), as in Li et al., "MeanAudio" (2025),
    checked against the authors' code.
    """
    z, r, t, v = (checks.floating(value, name) for value, name in ((z, "z"), (r, "r"), (t, "t"), (v, "v")))
    checks.same_shape(v, "v", z, "z")
    for value, name in ((r, "r"), (t, "t")):
        if z.ndim == 0 or value.shape != z.shape[:1]:
            raise ValueError(f"{name} must have shape [B] for z [B, ...] of {list(z.shape)}, got {list(value.shape)}")
    dtype = accumulation_dtype(z, v)
    v = jax.lax.stop_gradient(v)
    along = (v.astype(z.dtype), jnp.zeros_like(r), jnp.ones_like(t))
    u, slope = jax.jvp(lambda *at: _prediction(u_fn(*at), z), (z, r, t), along)
    length = expand((t - r).astype(dtype), v.astype(dtype))
    # A stretch of no length has no use for the slope, not even for one that is not finite.
    target = v.astype(dtype) - jnp.where(length == 0, 0.0, length * slope.astype(dtype))
    return u.astype(dtype), jax.lax.stop_gradient(target)


def mean_flow_sample(x_init: ArrayLike, ts: ArrayLike, *, u_fn: MeanVelocity, trajectory: bool = False) -> Sample:
    r"""Moves noise to data by average velocities: as many calls as stretches, one of them if wanted.

    .. math:: x_{i+1} = x_i - (t_i - t_{i+1})\,u(x_i, t_{i+1}, t_i)

    It is not a ``Step`` of ``sample``, whose models know only the time they are at. Nothing is drawn: x_init is all
    there is of chance.

    Args:
      x_init: float [B, ...], samples at ts[0]: noise.
      ts: float [n + 1], strictly decreasing; ``time_grid(n, low=0.0)``. A traced grid is not checked.
      u_fn: ``u_fn(z [B, ...], r [B], t [B]) -> [B, ...]``.
      trajectory: also returns the samples at every time.
    Returns:
      Sample in the dtype of x_init; the loop runs in float32 or wider, u_fn sees the dtype of x_init.
    Raises:
      ValueError: x_init has no batch axis, ts does not fall, or u_fn changes the shape.
      TypeError: x_init, ts or the result of u_fn is not floating point.

    >>> u_fn = lambda z, r, t: (z - 2.0) / t[:, None]  # exact where all data are the point 2
    >>> print(mean_flow_sample(jnp.array([[-1.0], [0.5]]), jnp.array([1.0, 0.0]), u_fn=u_fn).x)
    [[2.]
     [2.]]

    Reference: Li et al., "MeanAudio: Fast and Faithful Text-to-Audio Generation with Mean Flows" (2025), checked
    against the authors' code.
    """
    x_init = checks.floating(x_init, "x_init")
    if x_init.ndim == 0 or x_init.shape[0] == 0:
        raise ValueError(f"x_init must have shape [B, ...] with B >= 1, got {list(x_init.shape)}")
    dtype = accumulation_dtype(x_init)
    times = check_grid(ts, dtype, order="decreasing")
    batch, steps = x_init.shape[0], times.shape[0] - 1

    def move(x: Array, now: tuple[Array, Array]) -> tuple[Array, Array | None]:
        t, r = now
        given = x.astype(x_init.dtype)
        u = _prediction(u_fn(given, jnp.broadcast_to(r, (batch,)), jnp.broadcast_to(t, (batch,))), given)
        x = x - (t - r) * u.astype(dtype)
        return x, x.astype(x_init.dtype) if trajectory else None

    x, path = jax.lax.scan(move, x_init.astype(dtype), (times[:-1], times[1:]))
    path = None if path is None else jnp.concatenate([x_init[None], path])
    return Sample(x.astype(x_init.dtype), jnp.full(batch, steps, jnp.int32), jnp.int32(steps), path)


def _prediction(u: Any, z: Array) -> Array:
    """The result of u_fn, if it is one velocity per entry of z."""
    if getattr(u, "shape", None) != z.shape:
        raise ValueError(f"u_fn must return shape {list(z.shape)}, got {getattr(u, 'shape', u)!r}")
    return checks.floating(u, "the result of u_fn")
