"""Flows of distributions over tokens: states on the simplex, from near its centre to its corners.

Time runs from 0 (noise) to 1 (data), as in the papers of this field and unlike the rest of ``jaxlab.diffusion``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.processes import expand
from jaxlab.diffusion.sampling import check_keys
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.numerics.random import folded
from jaxlab.typing import Array, ArrayLike

__all__ = ["SimplexSample", "gumbel_interpolant", "gumbel_tau", "gumbel_velocity", "simplex_euler_sample"]


class SimplexSample(NamedTuple):
    """What ``simplex_euler_sample`` returns."""

    tokens: Array  # int32 [B, T], the corners nearest to x
    x: Array  # float32 [B, T, V], the last states
    evaluations: Array  # int32 [B], of the denoiser
    calls: Array  # int32 [], for the whole batch


def gumbel_tau(t: ArrayLike, *, tau_max: ArrayLike = 10.0, decay: ArrayLike = 3.0) -> Array:
    r"""The temperature of the states at a time.

    .. math:: \tau(t) = \tau_{max}\, e^{-\lambda t}

    Args:
      t: float, any shape, in [0, 1]: 0 is noise, 1 is data.
      tau_max: temperature at 0, > 0.
      decay: lambda > 0.
    Returns:
      float32 or wider, the shape of t.
    Raises:
      ValueError: a static t outside [0, 1], or a static tau_max or decay <= 0.

    >>> print(gumbel_tau(jnp.array([0.0, 1.0])))
    [10.         0.49787068]

    Reference: Tang et al., "Gumbel-Softmax Flow Matching with Straight-Through Guidance for Controllable Biological
    Sequence Generation" (2025), recalled; the defaults are those of two independent implementations.
    """
    checks.in_range(t, "t", 0.0, 1.0)
    checks.positive(tau_max, "tau_max")
    checks.positive(decay, "decay")
    t = jnp.asarray(t)
    wide = t.astype(jnp.promote_types(t.dtype, jnp.float32))
    return jnp.asarray(tau_max, wide.dtype) * jnp.exp(-jnp.asarray(decay, wide.dtype) * wide)


def gumbel_interpolant(
    key: Array,
    labels: ArrayLike,
    t: ArrayLike,
    *,
    num_classes: int,
    noise_scale: ArrayLike = 0.5,
    tau_max: ArrayLike = 10.0,
    decay: ArrayLike = 3.0,
) -> Array:
    r"""Noisy states of tokens: a softmax that grows sharper with time, and is shifted by noise at all times.

    .. math:: x_t = \operatorname{softmax}\!\Big(\frac{e_y + s\, g}{\tau(t)}\Big), \qquad g \sim \text{Gumbel}(0, 1)^V

    Only the temperature changes with t: up to that, a state says as much about its token at 0 as at 1.

    Args:
      key: draws the noise of the batch.
      labels: int [B, ...], the tokens y. One outside [0, V) is no token: noise alone, which is where sampling starts.
      t: float [B] or a scalar, in [0, 1].
      num_classes: V >= 2, static.
      noise_scale: s >= 0; the paper divides the noise by beta = 2, which is 0.5 here.
      tau_max: as in ``gumbel_tau``.
      decay: as in ``gumbel_tau``.
    Returns:
      float32 [B, ..., V], positive, sums to 1 over V.
    Raises:
      ValueError: V < 2, labels without a batch axis, t neither a scalar nor [B], or a static number out of range.
      TypeError: labels are not integers.

    >>> x = gumbel_interpolant(jax.random.key(0), jnp.array([[0, 2]]), 1.0, num_classes=3, noise_scale=0.0)
    >>> [[f"{p:.3f}" for p in token] for token in x[0]]
    [['0.788', '0.106', '0.106'], ['0.106', '0.106', '0.788']]

    Reference: as ``gumbel_tau``.
    """
    labels = checks.integer(labels, "labels")
    if labels.ndim == 0:
        raise ValueError("labels must have shape [B, ...], got a scalar")
    checks.size(num_classes, "num_classes", 2)
    checks.at_least(noise_scale, "noise_scale", 0)
    logits = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    logits += noise_scale * jax.random.gumbel(key, logits.shape)
    return jax.nn.softmax(logits / expand(gumbel_tau(t, tau_max=tau_max, decay=decay), logits))


def gumbel_velocity(
    x: ArrayLike,
    probs: ArrayLike,
    t: ArrayLike,
    *,
    tau_max: ArrayLike = 10.0,
    decay: ArrayLike = 3.0,
    exact_path: bool = False,
) -> Array:
    r"""Where a state moves, given which tokens it may have come from.

    .. math:: u = \frac{\lambda}{\tau(t)}\; x \odot \big(p - \langle p, x \rangle\big)

    It is the mean over y ~ p of the derivative of the interpolant WITHOUT its noise. With the noise, the derivative at
    x is :math:`\lambda\, x \odot (\log x - \langle x, \log x \rangle)` (``exact_path``), in which the token does not
    occur: the state is only sharpened, towards the corner that it is nearest to already. That is right along
    the interpolant, which knows its token from the start, and useless from noise alone, which does not.

    Args:
      x: float [B, ..., V], V >= 2, states on the simplex.
      probs: float [B, ..., V], p, of the denoiser; one-hot gives the conditional velocity. Not used by ``exact_path``.
      t: float [B] or a scalar, in [0, 1].
      tau_max: as in ``gumbel_tau``.
      decay: as in ``gumbel_tau``.
      exact_path: static, see above; False is the paper.
    Returns:
      The shape and dtype of x; sums to 0 over V where x and p sum to 1, and is 0 at the corners.
    Raises:
      ValueError: shapes differ, V < 2, t neither a scalar nor [B], or a static number out of range.
      TypeError: x or probs are not floating point.

    >>> print(gumbel_velocity(jnp.array([[0.5, 0.5]]), jnp.array([[1.0, 0.0]]), 0.0))
    [[ 0.075 -0.075]]

    Reference: as ``gumbel_tau``; exact_path is ours.
    """
    x, probs = checks.floating(x, "x"), checks.floating(probs, "probs")
    checks.same_shape(probs, "probs", x, "x")
    if x.ndim < 2 or x.shape[-1] < 2:
        raise ValueError(f"x must have shape [B, ..., V] with V >= 2, got {list(x.shape)}")
    dtype = accumulation_dtype(x, probs)
    wide, rate = x.astype(dtype), expand(decay / gumbel_tau(t, tau_max=tau_max, decay=decay), x)
    if exact_path:
        direction = jnp.log(jnp.where(wide > 0, wide, 1.0))  # a token of probability 0 does not move, whatever its log
        rate = jnp.asarray(decay, dtype)
    else:
        direction = probs.astype(dtype)
    mean = jnp.sum(wide * direction, axis=-1, keepdims=True)
    return (rate * wide * (direction - mean)).astype(x.dtype)


def simplex_euler_sample(
    keys: Array,
    shape: tuple[int, int],
    *,
    denoiser: Callable[[Array, Array], Array],
    num_steps: int = 100,
    velocity_fn: Callable[[Array, Array, Array], Array] = gumbel_velocity,
    x_init: ArrayLike | None = None,
    guide_fn: Callable[[Array, Array], Array] | None = None,
    scale: ArrayLike = 0.0,
) -> SimplexSample:
    r"""Draws token sequences by following a flow on the simplex: one compiled loop, one key per sample.

    .. math:: x \leftarrow \Pi\big(x + \tfrac1n\, (u(x, p_\theta(x, t), t) + \gamma\, G)\big)

    The projection clips at 0 and normalises. A sample depends on its own key alone, not on the batch it is in.

    Args:
      keys: typed keys [B].
      shape: (T, V): length of the sequences and number of tokens, static.
      denoiser: ``denoiser(x [B, T, V], t [B]) -> logits [B, T, V]`` of the clean tokens.
      num_steps: n >= 1, static. With the default constants of ``gumbel_velocity`` no step leaves the simplex and
        nothing is clipped; guides and other constants may need it.
      velocity_fn: ``velocity_fn(x, probs, t [B]) -> [B, T, V]``. ``gumbel_velocity`` with other constants goes with an
        x_init drawn with them; the straight path from x_init is ``lambda x, p, t: (p - x) / (1 - t)`` (t reshaped).
      x_init: float [B, T, V], states at t = 0; None draws the noise of ``gumbel_interpolant`` with its defaults.
      guide_fn: ``guide_fn(key, logits [T, V]) -> [T, V]`` for one sample, such as
        ``functools.partial(guidance.straight_through_guide, score_fn=score_fn)``.
      scale: gamma, a float or an array [B].
    Returns:
      SimplexSample(tokens [B, T], x, evaluations [B], calls); the tokens are the largest entries of the last states,
      the lower one among equals.
    Raises:
      ValueError: keys are not [B], V < 2, T < 1, num_steps < 1, a function or x_init of another shape.
      TypeError: untyped keys, or x_init not floating point.

    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> denoiser = lambda x, t: jnp.broadcast_to(jnp.array([0.0, 9.0, 0.0]), x.shape)
    >>> result = simplex_euler_sample(keys, (4, 3), denoiser=denoiser)
    >>> print(result.tokens, result.calls)
    [[1 1 1 1]
     [1 1 1 1]] 100

    Reference: as ``gumbel_tau``; how the guide enters is inferred.
    """
    length, num_classes = checks.size(shape[0], "shape[0]"), checks.size(shape[1], "shape[1]", 2)
    num_steps = checks.size(num_steps, "num_steps")
    check_keys(keys, jnp.size(keys))
    full = (keys.shape[0], length, num_classes)
    if x_init is None:
        x = jax.vmap(lambda key: _noise(key, length, num_classes))(folded(keys, num_steps))
    else:
        x = checks.floating(x_init, "x_init")
        x = x.astype(accumulation_dtype(x))
    _check_states(x, "x_init", full)

    def step(x: Array, index: Array) -> tuple[Array, None]:
        t = jnp.full(full[0], index / num_steps, x.dtype)
        logits = denoiser(x, t)
        _check_states(logits, "denoiser(x, t)", full)
        velocity = velocity_fn(x, jax.nn.softmax(logits.astype(x.dtype)), t)
        if guide_fn is not None:
            guide = jax.vmap(guide_fn)(folded(keys, index), logits)
            _check_states(guide, "guide_fn(key, logits)", full)
            velocity += expand(scale, x, "scale") * guide
        _check_states(velocity, "velocity_fn(x, probs, t)", full)
        inside = jnp.maximum(x + velocity.astype(x.dtype) / num_steps, 0.0)
        total = jnp.sum(inside, axis=-1, keepdims=True)
        return inside / jnp.where(total > 0, total, 1.0), None

    x, _ = jax.lax.scan(step, x, jnp.arange(num_steps))
    tokens = jnp.argmax(x, axis=-1).astype(jnp.int32)
    return SimplexSample(tokens, x, jnp.full(full[0], num_steps, jnp.int32), jnp.asarray(num_steps, jnp.int32))


def _noise(key: Array, length: int, num_classes: int) -> Array:
    nothing = jnp.full((1, length), -1, jnp.int32)
    return gumbel_interpolant(key, nothing, 0.0, num_classes=num_classes)[0]


def _check_states(value: Array, name: str, shape: tuple[int, ...]) -> None:
    if jnp.shape(value) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(jnp.shape(value))}")
