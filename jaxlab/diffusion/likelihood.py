"""The likelihood of a diffusion model: the change of variables along its probability-flow ODE."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.ode import odeint

from jaxlab import checks
from jaxlab.diffusion.conversions import KINDS, convert
from jaxlab.diffusion.processes import Process
from jaxlab.diffusion.sampling import check_grid, check_keys
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Likelihood", "bits_per_dim", "log_likelihood", "solve_ode"]

METHODS = ("euler", "heun", "rk4", "dopri5")
CALLS = {"euler": 1, "heun": 2, "rk4": 4}


class Likelihood(NamedTuple):
    """Log-density in nats [B], the noise that the data flow to [B, ...], and evaluations per sample, int32 [B].

    An evaluation is one value of the velocity together with its divergence; an adaptive solver does not count: -1.
    """

    log_prob: Array
    latent: Array
    evaluations: Array


def _along(y: PyTree, h: Array, *terms: tuple[float, PyTree]) -> PyTree:
    """y plus h times a weighted sum of slopes."""
    for weight, slope in terms:
        y = jax.tree.map(lambda a, b, w=weight: a + (w * h) * b, y, slope)
    return y


def _step(fn: Callable[[PyTree, Array], PyTree], method: str, y: PyTree, t: Array, t_next: Array) -> PyTree:
    h = t_next - t
    k1 = fn(y, t)
    if method == "euler":
        return _along(y, h, (1.0, k1))
    if method == "heun":
        return _along(y, h, (0.5, k1), (0.5, fn(_along(y, h, (1.0, k1)), t_next)))
    k2 = fn(_along(y, h, (0.5, k1)), t + 0.5 * h)
    k3 = fn(_along(y, h, (0.5, k2)), t + 0.5 * h)
    k4 = fn(_along(y, h, (1.0, k3)), t_next)
    return _along(y, h, (1 / 6, k1), (1 / 3, k2), (1 / 3, k3), (1 / 6, k4))


def solve_ode(
    velocity_fn: Callable[[PyTree, Array], PyTree],
    y: PyTree,
    ts: ArrayLike,
    *,
    method: str = "rk4",
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> PyTree:
    r"""The state at the last time of an ordinary differential equation.

    .. math:: y(t_n) = y(t_0) + \int_{t_0}^{t_n} v(y, t)\,dt

    Args:
      velocity_fn: from (y, t []) to dy / dt, a pytree like y.
      y: floating-point array or pytree of arrays.
      ts: float [n + 1], strictly monotone in either direction: the steps, or, for "dopri5", times to pass through.
      method: "euler" (order 1), "heun" (2), "rk4" (4), or "dopri5": adaptive Runge-Kutta 4(5) of
        ``jax.experimental.ode``, whose step sizes are shared by all entries of y, so that a sample depends on its
        batch within the tolerance.
      rtol: relative tolerance of "dopri5".
      atol: absolute tolerance of "dopri5"; float32 reaches about 1e-6.
    Returns:
      y at ts[-1], same structure, shapes and dtypes.
    Raises:
      ValueError: ts is not a monotone grid, or an unknown method.
      TypeError: ts or a leaf of y is not floating point.

    >>> y = solve_ode(lambda y, t: y, jnp.float32(1.0), jnp.linspace(0.0, 1.0, 5))
    >>> print(f"{y:.4f}")
    2.7182

    Reference: standard.
    """
    checks.one_of(method, "method", METHODS)
    leaves = [checks.floating(leaf, "y") for leaf in jax.tree.leaves(y)]
    dtype = accumulation_dtype(*leaves)
    times = check_grid(ts, dtype)
    y = jax.tree.map(jnp.asarray, y)
    if method == "dopri5":
        # odeint wants increasing times: run a decreasing grid in the variable -t.
        sign = jnp.where(times[1] > times[0], 1.0, -1.0).astype(dtype)

        def signed(state: PyTree, s: Array) -> PyTree:
            return jax.tree.map(lambda d: sign * d, velocity_fn(state, sign * s))

        return jax.tree.map(lambda leaf: leaf[-1], odeint(signed, y, sign * times, rtol=rtol, atol=atol))

    def advance(state: PyTree, now: tuple[Array, Array]) -> tuple[PyTree, None]:
        moved = _step(velocity_fn, method, state, *now)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, state), None

    return jax.lax.scan(advance, y, (times[:-1], times[1:]))[0]


def _exact(velocity_fn: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """Velocity, and its divergence by one tangent per dimension."""
    dim = math.prod(x.shape[1:])

    def diagonal(index: Array) -> Array:
        tangent = jnp.zeros((x.shape[0], dim), x.dtype).at[:, index].set(1.0)
        return jax.jvp(velocity_fn, (x,), (tangent.reshape(x.shape),))[1].reshape(x.shape[0], dim)[:, index]

    parts = jax.lax.map(diagonal, jnp.arange(dim), batch_size=min(dim, 64))
    return velocity_fn(x), jnp.sum(parts, axis=0)


def log_likelihood(
    x: ArrayLike,
    ts: ArrayLike,
    *,
    process: Process,
    model_fn: Callable[[Array, Array], Array],
    kind: str = "score",
    keys: Array | None = None,
    probe: str = "rademacher",
    method: str = "rk4",
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Likelihood:
    r"""Log-density of data under the probability-flow ODE of a model (larger is better).

    .. math:: \log p(x) = \log \pi(x_1) + \int_{\varepsilon}^{1} \nabla \cdot v(x_t, t)\,dt, \qquad \dot x = v

    Args:
      x: float [B, ...], data at ts[0].
      ts: float [n + 1], increasing from a small eps > 0 to 1; for "dopri5" two times are enough.
      process: gives the prior at t = 1.
      model_fn: from (x [B, ...], t [B]) to a prediction [B, ...]; samples do not mix.
      kind: of the prediction: "eps", "score", "x0", "v" or "rotation".
      keys: typed keys [B] for Hutchinson's unbiased estimate of the divergence, one probe per sample for the whole
        path; None is exact, at one derivative per dimension.
      probe: "rademacher" or "gaussian".
      method: as in ``solve_ode``: "rk4" (four evaluations a step), "heun", "euler" or "dopri5".
      rtol: relative tolerance of "dopri5".
      atol: absolute tolerance of "dopri5".
    Returns:
      Likelihood; see ``bits_per_dim``.
    Raises:
      ValueError: ts is not an increasing grid, keys are not [B], or an unknown name.
      TypeError: x or ts is not floating point, or untyped keys.

    >>> from jaxlab import diffusion
    >>> score_fn = lambda x, t: -x  # of N(0, I), which the VP process keeps
    >>> ts = jnp.linspace(1e-3, 1.0, 9)
    >>> result = log_likelihood(jnp.zeros((1, 1)), ts, process=diffusion.vp(), model_fn=score_fn)
    >>> print(f"{result.log_prob[0]:.4f}")
    -0.9189

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021), checked
    against the authors' code.
    """
    x = checks.floating(x, "x")
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(f"x must have shape [B, ...] with B >= 1 and at least two axes, got {list(x.shape)}")
    checks.one_of(kind, "kind", KINDS)
    checks.one_of(probe, "probe", ("rademacher", "gaussian"))
    checks.one_of(method, "method", METHODS)
    dtype = accumulation_dtype(x)
    times = check_grid(ts, dtype, order="increasing")
    probes = None if keys is None else _probes(keys, x, probe, dtype)

    def velocity_at(t: Array) -> Callable[[Array], Array]:
        def velocity(z: Array) -> Array:
            prediction = model_fn(z.astype(x.dtype), jnp.broadcast_to(t, z.shape[:1])).astype(dtype)
            return convert(prediction, z, t, process=process, kind_in=kind, kind_out="v")

        return velocity

    def slope(state: tuple[Array, Array], t: Array) -> tuple[Array, Array]:
        z, _ = state
        if probes is None:
            return _exact(velocity_at(t), z)
        velocity, pushed = jax.jvp(velocity_at(t), (z,), (probes,))
        return velocity, jnp.sum(probes * pushed, axis=tuple(range(1, z.ndim)))

    start = (x.astype(dtype), jnp.zeros(x.shape[0], dtype))
    latent, change = solve_ode(slope, start, times, method=method, rtol=rtol, atol=atol)
    spent = -1 if method == "dopri5" else CALLS[method] * (times.shape[0] - 1)
    return Likelihood(process.prior_logp(latent) + change, latent, jnp.full(x.shape[0], spent, jnp.int32))


def _probes(keys: Array, x: Array, probe: str, dtype: jnp.dtype) -> Array:
    check_keys(keys, x.shape[0])
    draw = jax.random.rademacher if probe == "rademacher" else jax.random.normal
    return jax.vmap(lambda key: draw(key, x.shape[1:], dtype))(keys)


def bits_per_dim(log_prob: ArrayLike, *, dim: int, levels_per_unit: float = 1.0) -> Array:
    r"""Negative log-likelihood in bits per dimension of the data before they were scaled (smaller is better).

    .. math:: -\frac{\log p(x)}{D \log 2} + \log_2 \ell

    Args:
      log_prob: float [...], in nats, of the scaled data.
      dim: D >= 1, numbers per sample.
      levels_per_unit: l > 0, levels of the original per unit of x: 128 for 8 bits scaled to [-1, 1], 256 for 8 bits
        scaled to [0, 1], 1 for data that are not scaled.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: dim < 1, or levels_per_unit <= 0.
      TypeError: log_prob is not floating point.

    >>> print(bits_per_dim(jnp.array(0.0), dim=3072, levels_per_unit=128))
    7.0

    Reference: Song et al. (2021), as in ``log_likelihood``; checked.
    """
    log_prob = checks.floating(log_prob, "log_prob")
    checks.at_least(dim, "dim", 1)
    checks.positive(levels_per_unit, "levels_per_unit")
    log_prob = log_prob.astype(accumulation_dtype(log_prob))
    return -log_prob / (dim * math.log(2.0)) + math.log2(levels_per_unit)
