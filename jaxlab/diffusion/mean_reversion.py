"""Solvers for processes that revert to an observation: exponential integrators in the log signal-to-noise ratio.

What is linear in the reverse SDE (or in its flow) is solved exactly; only the model's prediction is approximated, by a
polynomial through its last values. With the centre at 0 they are the DPM-Solvers.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.conversions import convert
from jaxlab.diffusion.processes import Process, centered, uncentered
from jaxlab.diffusion.sampling import check_grid
from jaxlab.diffusion.steps import Moved, Predict, Step, check_step
from jaxlab.numerics.random import normal
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["lambda_grid", "mr_solver"]

FEW = 10  # grids with fewer steps than this end with steps of lower order
TERMS = 18  # of the series of the phi functions: enough for float64 where |z| < 1
HALVINGS = 60


class History(NamedTuple):
    """The last predictions, latest first, and the log signal-to-noise ratios they were made at."""

    predictions: Array  # [order - 1, B, ...]
    log_snr: Array  # [order - 1]
    known: Array  # int32 [], how many of them there are


class Weights(NamedTuple):
    """x' = keep x + first q + noise z, a step of order 1; scalars."""

    keep: Array
    first: Array
    noise: Array


def log_snr(process: Process, t: Array) -> Array:
    """lambda = log(alpha / std), which grows towards the data."""
    return jnp.log(process.alpha(t)) - jnp.log(process.std(t))


def phis(z: Array) -> tuple[Array, Array]:
    """phi_2 and phi_3 of exponential integrators: phi_k(z) = sum_j z^j / (j + k)!, without cancellation near 0."""
    small = jnp.abs(z) < 1.0
    near, far = jnp.where(small, z, 0.0), jnp.where(small, 1.0, z)
    two, three = (_series(near, k) for k in (2, 3))
    ratio = jnp.expm1(far) / far
    return (
        jnp.where(small, two, (ratio - 1.0) / far),
        jnp.where(small, three, ((ratio - 1.0) / far - 0.5) / far),
    )


def _series(z: Array, k: int) -> Array:
    total = jnp.zeros_like(z)
    for j in reversed(range(TERMS)):
        total = total * z + 1.0 / math.factorial(j + k)
    return total


def weights(process: Process, t: Array, t_next: Array, parameterization: str, variant: str) -> Weights:
    """What does not depend on earlier predictions, finite where std(t_next) = 0."""
    alpha, std, alpha_next, std_next = process.alpha(t), process.std(t), process.alpha(t_next), process.std(t_next)
    grown = std * alpha_next / alpha  # e^h std'
    if parameterization == "noise":
        twice = 2.0 if variant == "sde" else 1.0
        noise = jnp.sqrt(jnp.maximum(grown**2 - std_next**2, 0.0))
        return Weights(alpha_next / alpha, twice * (std_next - grown), noise)
    decay = std_next / grown  # e^-h
    if variant == "ode":
        return Weights(std_next / std, alpha_next * (1.0 - decay), jnp.zeros_like(std))
    fresh = jnp.maximum(1.0 - decay**2, 0.0)
    return Weights(decay * std_next / std, alpha_next * fresh, std_next * jnp.sqrt(fresh))


def higher(process: Process, t_next: Array, h: Array, parameterization: str, variant: str) -> tuple[Array, Array]:
    """The weights of the first and the second derivative of the prediction."""
    twice = 2.0 if variant == "sde" else 1.0
    if parameterization == "data":
        size, (two, three) = process.alpha(t_next), phis(-twice * h)
    else:
        size, (two, three) = -process.std(t_next), phis(h)
    return twice * size * h * two, twice * size * h * three


def mr_solver(
    process: Process,
    *,
    order: int = 2,
    kind: str = "eps",
    parameterization: str = "data",
    variant: str = "ode",
    published: bool = False,
    ts: ArrayLike | None = None,
) -> Step:
    r"""The solvers of MRS for mean-reverting diffusion, in multistep form: one call.

    .. math:: x' = \mu + a (x - \mu) + c\,h \big(\varphi_1(z)\, q + \varphi_2(z)\, q^{(1)} + \varphi_3(z)\, q^{(2)}\big)
              + \tilde\sigma \xi, \qquad h = \lambda' - \lambda, \quad \lambda = \log(\alpha / \sigma)

    with q the prediction (of the data less mu, or of the noise), its derivatives by lambda / h from its last values,
    :math:`\varphi_1(z) = (e^z - 1) / z`, :math:`\varphi_{k+1}(z) = (\varphi_k(z) - 1 / k!) / z`, and

    ======== ======= =============================== =================== ===== ==================================
    predicts variant a                               c                   z     :math:`\tilde\sigma`
    ======== ======= =============================== =================== ===== ==================================
    data     ode     :math:`\sigma'/\sigma`          :math:`\alpha'`     -h    0
    data     sde     :math:`e^{-h} \sigma'/\sigma`   :math:`2 \alpha'`   -2h   :math:`\sigma' \sqrt{1 - e^{-2h}}`
    noise    ode     :math:`\alpha'/\alpha`          :math:`-\sigma'`    h     0
    noise    sde     :math:`\alpha'/\alpha`          :math:`-2 \sigma'`  h     :math:`\sigma' \sqrt{e^{2h} - 1}`
    ======== ======= =============================== =================== ===== ==================================

    With mu = 0 it is DPM-Solver++ (data; at order 2 the "heun" variant of ``dpm_solver_pp``) and DPM-Solver (noise).
    Order 1 of the flow is ``ddim``, of the SDE in data predictions ``ancestral``.

    Args:
      process: the noising process; its centre is mu.
      order: 1 to 3 for the flow, 1 or 2 for the SDE, static. The first steps have as many earlier predictions as there
        are; a step to std = 0 is of order 1.
      kind: of the predictions that the models make: "eps", "score", "x0", "v" or "rotation".
      parameterization: what is taken for a polynomial: "data", which is steadier in large steps, or "noise".
      variant: "ode" (the probability flow) or "sde".
      published: order 3 as the authors released it. There the second derivative has half its weight: the error falls
        as in order 2, with a smaller constant. False has order 3.
      ts: float [n + 1], the grid it will run on. If given and n < 10, no step has an order higher than the number of
        steps from its start to the end.
    Returns:
      A Step whose state holds order - 1 predictions; its mean leaves the noise out. In noise predictions alpha must not
      be 0 at the start.
    Raises:
      ValueError: another order, an unknown kind, parameterization or variant, or ts is not a grid.
      TypeError: process is not a Process, or ts is not floating point.

    >>> from jaxlab import diffusion
    >>> process = diffusion.mean_reverting(jnp.zeros((1, 1)))
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), diffusion.time_grid(5, low=0.0)
    >>> step = mr_solver(process, kind="x0", order=3, ts=ts)
    >>> x = diffusion.sample(keys, jnp.zeros((1, 1)), ts, cond_fn=lambda x, t: 0.0 * x + 2.0, step=step).x
    >>> print(f"{x[0, 0]:.2f}")
    2.00

    Reference: Li et al., "MRS: A Fast Sampler for Mean Reverting Diffusion based on ODE and SDE Solvers" (2025),
    checked against the authors' code, whose low orders at the end begin one step earlier and spare the very last.
    """
    check_step(process, kind)
    checks.one_of(parameterization, "parameterization", ("data", "noise"))
    checks.one_of(variant, "variant", ("ode", "sde"))
    checks.one_of(order, "order", (1, 2, 3) if variant == "ode" else (1, 2))
    grid = None if ts is None else check_grid(ts, jnp.float32)
    data, bend = parameterization == "data", 0.5 if published else 1.0

    def init(x: Array) -> PyTree:
        if order == 1:
            return ()
        return History(jnp.zeros((order - 1, *x.shape), x.dtype), jnp.zeros(order - 1, x.dtype), jnp.int32(0))

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        now = convert(prediction, x, t, process=process, kind_in=kind, kind_out="x0" if data else "eps")
        now = centered(now, process) if data else now
        step = weights(process, t, t_next, parameterization, variant)
        moved = step.keep * centered(x, process) + step.first * now
        if order > 1:
            usable = jnp.minimum(state.known + 1, steps_left(t, grid, order))
            usable = jnp.where(process.std(t_next) == 0, 1, usable)
            here = log_snr(process, t).astype(x.dtype)
            # In a step of order 1 the ratio may be infinite at either end.
            h = jnp.where(usable > 1, log_snr(process, t_next) - here, 1.0)
            slope, curvature = derivatives(now, here, state, usable, h)
            second, third = higher(process, t_next, h, parameterization, variant)
            moved = moved + second * slope + bend * third * curvature
            state = History(
                jnp.concatenate([now[None], state.predictions[:-1]]),
                jnp.concatenate([here[None], state.log_snr[:-1]]),
                jnp.minimum(state.known + 1, order - 1),
            )
        mean = uncentered(moved, process)
        x = mean if variant == "ode" else mean + step.noise * normal(keys, x)
        return Moved(x, mean, rule_state, state, evaluations, calls)

    return Step(init, update)


def steps_left(t: Array, grid: Array | None, most: int) -> Array:
    """How many steps of a short grid are left at t, and ``most`` where there is no such grid."""
    if grid is None or grid.shape[0] > FEW:
        return jnp.int32(most)
    middles, downwards = 0.5 * (grid[1:] + grid[:-1]), grid[0] > grid[-1]
    return jnp.sum(jnp.where(downwards, middles < t, middles > t))


def derivatives(now: Array, here: Array, state: History, usable: Array, h: Array) -> tuple[Array, Array | float]:
    """First and second derivative by lambda / h of the polynomial through the last ``usable`` predictions."""
    gap = jnp.where(usable > 1, here - state.log_snr[0], 1.0)
    slope = jnp.where(usable > 1, (now - state.predictions[0]) / gap, 0.0)
    if state.log_snr.shape[0] == 1:
        return h * slope, 0.0
    before = jnp.where(usable > 2, state.log_snr[0] - state.log_snr[1], 1.0)
    earlier = (state.predictions[0] - state.predictions[1]) / before
    bend = jnp.where(usable > 2, (slope - earlier) / (gap + before), 0.0)
    return h * (slope + jnp.where(usable > 2, gap, 0.0) * bend), 2.0 * h**2 * bend  # gap may be infinite


def lambda_grid(
    process: Process, num_steps: int, *, high: float = 1.0, low: float = 1e-3, rho: float | None = None
) -> Array:
    r"""Times at which the log signal-to-noise ratio, or a power of the noise-to-signal ratio, moves by equal steps.

    .. math:: \lambda_i = \lambda_0 + \tfrac in (\lambda_n - \lambda_0) \quad \text{or} \quad
              (\sigma_i / \alpha_i)^{1/\rho} \text{ evenly spaced}, \qquad \lambda_i = \log(\alpha_i / \sigma_i)

    Args:
      process: the noising process; std / alpha must fall from ``high`` to ``low``, and alpha(high) and std(low) must
        not be 0, or the times between are NaN.
      num_steps: n >= 1, static.
      high: the first time, > low.
      low: the last time, >= 0.
      rho: None is even in lambda; 7 is the spacing of Karras et al., which crowds towards the data.
    Returns:
      float32 [num_steps + 1], decreasing, both ends exact.
    Raises:
      ValueError: num_steps < 1, not 0 <= low < high, or rho <= 0.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> ts = lambda_grid(diffusion.ve(sigma_min=0.1, sigma_max=10.0), 4, low=0.0)
    >>> print(ts)
    [1.   0.75 0.5  0.25 0.  ]

    Reference: Li et al. (2025), as in ``mr_solver``; Karras et al., "Elucidating the Design Space of Diffusion-Based
    Generative Models" (2022). Formulas checked against the authors' code, which interpolates a table of 100 steps.
    """
    check_step(process, "eps")
    checks.at_least(num_steps, "num_steps", 1)
    if rho is not None:
        checks.positive(rho, "rho")
    if not 0 <= low < high:
        raise ValueError(f"low and high must satisfy 0 <= low < high, got {low!r} and {high!r}")
    ends = jnp.array([high, low], jnp.float32)
    first, last = log_snr(process, ends)
    shares = jnp.linspace(0.0, 1.0, num_steps + 1, dtype=jnp.float32)[1:-1]
    if rho is None:
        wanted = first + shares * (last - first)
    else:
        start, stop = jnp.exp(-first / rho), jnp.exp(-last / rho)
        wanted = -rho * jnp.log(start + shares * (stop - start))

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        above, below = bracket
        middle = 0.5 * (above + below)
        noisier = log_snr(process, middle) < wanted  # than wanted: the time lies below
        return jnp.where(noisier, middle, above), jnp.where(noisier, below, middle)

    bracket = jnp.full_like(wanted, high), jnp.full_like(wanted, low)
    above, below = jax.lax.fori_loop(0, HALVINGS, halve, bracket)
    inner = jnp.where(jnp.isfinite(wanted), 0.5 * (above + below), jnp.nan)
    return jnp.concatenate([ends[:1], inner, ends[1:]])
