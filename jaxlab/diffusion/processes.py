r"""Noising processes: a Gaussian kernel in closed form, the SDE behind it, and the prior at its end.

.. math:: x_t = \mu + \alpha_t (x_0 - \mu) + \sigma_t\, \epsilon, \qquad dx = f(x, t)\,dt + g(t)\,dw, \quad t \in [0, 1]

with data at t = 0 and noise at t = 1. The centre mu is 0 unless the process reverts to an observation.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.guidance.rules import per_sample
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.numerics.random import folded, normal
from jaxlab.typing import Array, ArrayLike

__all__ = ["Process", "cosine_flow", "linear_flow", "mean_reverting", "ou_ve", "sub_vp", "ve", "vp"]

PRIOR = 2**31 - 1  # folded into a key for the prior, so that the same keys serve the steps of the sampler


class Process(NamedTuple):
    """A noising process as pure functions of time, a float or an array [B] in [0, 1].

    ``alpha(t)`` and ``std(t)`` are shaped like t; ``drift(x, t)`` like x [B, ...]; ``diffusion(t)``, the g of the SDE,
    like t. ``prior_sample(keys [B], shape) -> [B, *shape]``; ``prior_logp(x [B, ...]) -> [B]``. ``center`` broadcasts
    to x; None is zero. ``unit`` is the size of the noise beside data of size 1 that a "rotation" turns them by.
    """

    alpha: Callable[[ArrayLike], Array]
    std: Callable[[ArrayLike], Array]
    drift: Callable[[Array, ArrayLike], Array]
    diffusion: Callable[[ArrayLike], Array]
    prior_sample: Callable[[Array, tuple[int, ...]], Array]
    prior_logp: Callable[[Array], Array]
    center: Array | None = None
    unit: float = 1.0


def expand(value: ArrayLike, x: Array, name: str = "t") -> Array:
    """A function of time, shaped to broadcast against x [B, ...]."""
    return per_sample(value, name, x)


def centered(x: Array, process: Process) -> Array:
    """x minus the centre of the process."""
    return x if process.center is None else x - process.center.astype(x.dtype)


def uncentered(x: Array, process: Process) -> Array:
    """x plus the centre of the process."""
    return x if process.center is None else x + process.center.astype(x.dtype)


def _time(t: ArrayLike) -> Array:
    t = jnp.asarray(t)
    return t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(jnp.float32)


def _process(
    alpha: Callable[[Array], Array],
    std: Callable[[Array], Array],
    rate: Callable[[Array], Array],
    diffusion: Callable[[Array], Array],
    prior_std: float,
    center: Array | None = None,
    unit: float = 1.0,
) -> Process:
    """A process whose drift is rate(t) times the distance from the centre."""

    def shift(x: Array, sign: int) -> Array:
        return x if center is None else x + sign * center.astype(x.dtype)

    def drift(x: Array, t: ArrayLike) -> Array:
        return expand(rate(_time(t)), x) * shift(x, -1)

    def prior_sample(keys: Array, shape: tuple[int, ...]) -> Array:
        keys = folded(keys, PRIOR)
        return shift(prior_std * normal(keys, jnp.zeros((keys.shape[0], *shape))), 1)

    def prior_logp(x: Array) -> Array:
        z = shift(x.astype(accumulation_dtype(x)), -1) / prior_std
        axes = tuple(range(1, x.ndim))
        constant = math.prod(x.shape[1:]) * (0.5 * math.log(2.0 * math.pi) + math.log(prior_std))
        return -0.5 * jnp.sum(z**2, axis=axes) - constant

    return Process(
        lambda t: alpha(_time(t)),
        lambda t: std(_time(t)),
        drift,
        lambda t: diffusion(_time(t)),
        prior_sample,
        prior_logp,
        center,
        unit,
    )


def _ordered(low: float, low_name: str, high: float, high_name: str) -> None:
    if not 0 < low < high:
        raise ValueError(f"{low_name} and {high_name} must satisfy 0 < {low_name} < {high_name}, got {low!r}, {high!r}")


def _vp_terms(beta_min: float, beta_max: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    if not 0 <= beta_min <= beta_max or beta_max == 0:
        raise ValueError(f"0 <= beta_min <= beta_max, not both 0, expected; got {beta_min!r} and {beta_max!r}")
    log_alpha = lambda t: -(t**2) * (beta_max - beta_min) / 4.0 - t * beta_min / 2.0  # noqa: E731
    beta = lambda t: beta_min + t * (beta_max - beta_min)  # noqa: E731
    return log_alpha, beta


def vp(*, beta_min: float = 0.1, beta_max: float = 20.0) -> Process:
    r"""Variance preserving: DDPM in continuous time.

    .. math:: dx = -\tfrac12 \beta_t x\,dt + \sqrt{\beta_t}\,dw, \quad \beta_t = \beta_0 + t(\beta_1 - \beta_0), \quad
              \alpha_t^2 + \sigma_t^2 = 1

    Args:
      beta_min: beta_0 >= 0.
      beta_max: beta_1 >= beta_0.
    Returns:
      Process with the prior N(0, I). std(0) = 0: end at a small t > 0 where a prediction is divided by it.
    Raises:
      ValueError: beta_min > beta_max, or one is negative.

    >>> print(f"{vp().alpha(0.5):.6f}")
    0.281183

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021), checked
    against the authors' code.
    """
    log_alpha, beta = _vp_terms(beta_min, beta_max)
    return _process(
        lambda t: jnp.exp(log_alpha(t)),
        lambda t: jnp.sqrt(-jnp.expm1(2.0 * log_alpha(t))),
        lambda t: -0.5 * beta(t),
        lambda t: jnp.sqrt(beta(t)),
        1.0,
    )


def sub_vp(*, beta_min: float = 0.1, beta_max: float = 20.0) -> Process:
    r"""Sub-variance-preserving: the mean of ``vp`` with a smaller variance.

    .. math:: dx = -\tfrac12 \beta_t x\,dt + \sqrt{\beta_t (1 - \alpha_t^4)}\,dw, \qquad \sigma_t = 1 - \alpha_t^2

    Args:
      beta_min: beta_0 >= 0.
      beta_max: beta_1 >= beta_0.
    Returns:
      Process with the prior N(0, I).
    Raises:
      ValueError: beta_min > beta_max, or one is negative.

    >>> print(f"{sub_vp().std(1.0):.6f}")
    0.999957

    Reference: Song et al. (2021), as in ``vp``; checked.
    """
    log_alpha, beta = _vp_terms(beta_min, beta_max)
    return _process(
        lambda t: jnp.exp(log_alpha(t)),
        lambda t: -jnp.expm1(2.0 * log_alpha(t)),
        lambda t: -0.5 * beta(t),
        lambda t: jnp.sqrt(beta(t) * -jnp.expm1(4.0 * log_alpha(t))),
        1.0,
    )


def ve(*, sigma_min: float = 0.01, sigma_max: float = 50.0) -> Process:
    r"""Variance exploding: the data stay, the noise grows geometrically.

    .. math:: dx = \sigma_t \sqrt{2 \log(\sigma_1 / \sigma_0)}\,dw, \quad \sigma_t = \sigma_0 (\sigma_1 / \sigma_0)^t

    Args:
      sigma_min: sigma_0 > 0, the noise that is left at t = 0.
      sigma_max: sigma_1 > sigma_0, at least the largest distance between data points.
    Returns:
      Process with the prior N(0, sigma_1^2 I).
    Raises:
      ValueError: not 0 < sigma_min < sigma_max.

    >>> print(f"{ve(sigma_min=0.1, sigma_max=10.0).std(0.5):.4f}")
    1.0000

    Reference: Song et al. (2021), as in ``vp``; checked.
    """
    _ordered(sigma_min, "sigma_min", sigma_max, "sigma_max")
    growth = math.log(sigma_max / sigma_min)
    std = lambda t: sigma_min * jnp.exp(growth * t)  # noqa: E731
    return _process(jnp.ones_like, std, jnp.zeros_like, lambda t: std(t) * math.sqrt(2.0 * growth), sigma_max)


def ou_ve(center: ArrayLike, *, theta: float = 1.5, sigma_min: float = 0.05, sigma_max: float = 0.5) -> Process:
    r"""An Ornstein-Uhlenbeck pull towards a degraded observation, with variance-exploding noise.

    .. math:: dx = \theta (y - x)\,dt + g_t\,dw, \quad g_t = \sigma_0 (\sigma_1/\sigma_0)^t \sqrt{2 L}, \quad
              \sigma_t^2 = \frac{\sigma_0^2 L \big((\sigma_1/\sigma_0)^{2t} - e^{-2\theta t}\big)}{\theta + L}

    with L = log(sigma_1 / sigma_0). At t = 1 a share exp(-theta) of the clean signal is left: the prior is not exact.

    Args:
      center: float [B, ...], the observation y; complex signals as two real channels. The published complex noise has
        power 1, half in each channel: divide sigma_min and sigma_max by sqrt(2) for it.
      theta: stiffness > 0.
      sigma_min: sigma_0 > 0.
      sigma_max: sigma_1 > sigma_0.
    Returns:
      Process with the prior N(y, std(1)^2 I).
    Raises:
      ValueError: theta <= 0, or not 0 < sigma_min < sigma_max.
      TypeError: center is not floating point.

    >>> print(f"{ou_ve(jnp.zeros((1, 2))).std(1.0):.6f}")
    0.388983

    Reference: Richter et al., "Speech Enhancement and Dereverberation with Diffusion-based Generative Models" (2023),
    checked against the authors' code.
    """
    center = checks.floating(center, "center")
    checks.positive(theta, "theta")
    _ordered(sigma_min, "sigma_min", sigma_max, "sigma_max")
    growth = math.log(sigma_max / sigma_min)
    factor = sigma_min**2 * growth / (theta + growth)
    # exp(2 L t) - exp(-2 theta t), without the cancellation near t = 0.
    std = lambda t: jnp.sqrt(factor * jnp.exp(-2.0 * theta * t) * jnp.expm1(2.0 * (theta + growth) * t))  # noqa: E731
    g = lambda t: sigma_min * jnp.exp(growth * t) * math.sqrt(2.0 * growth)  # noqa: E731
    prior = math.sqrt(factor * math.exp(-2.0 * theta) * math.expm1(2.0 * (theta + growth)))
    return _process(lambda t: jnp.exp(-theta * t), std, lambda t: jnp.full_like(t, -theta), g, prior, center)


def mean_reverting(
    center: ArrayLike,
    *,
    max_sigma: float = 50 / 255,
    num_steps: int = 100,
    schedule: str = "cosine",
    eps: float = 0.005,
) -> Process:
    r"""Mean-reverting (image restoration) SDE: the data decay to a degraded observation plus fixed noise.

    .. math:: dx = \theta_t (\mu - x)\,dt + \lambda \sqrt{2 \theta_t}\,dw, \quad
              \alpha_t = e^{-\int_0^t \theta}, \quad \sigma_t^2 = \lambda^2 (1 - \alpha_t^2), \quad \alpha_1 = \epsilon

    theta is constant between the nodes of the published table, so alpha and std equal the table at every node i / T.
    The table starts with the first theta: alpha(0) is a little less than 1 and std(0) more than 0.

    Args:
      center: float [B, ...], the observation mu.
      max_sigma: lambda > 0; the paper's 50 is for pixels in [0, 255].
      num_steps: T >= 1, nodes of the table, static.
      schedule: of theta: "cosine", "linear" or "constant".
      eps: alpha(1), in (0, 1).
    Returns:
      Process with the prior N(mu, lambda^2 (1 - eps^2) I).
    Raises:
      ValueError: an unknown schedule or a number out of range.
      TypeError: center is not floating point.

    >>> print(f"{mean_reverting(jnp.zeros((1, 2))).alpha(1.0):.4f}")
    0.0050

    Reference: Li et al., "MRS: A Fast Sampler for Mean Reverting Diffusion based on ODE and SDE Solvers" (2025),
    checked against the authors' code at the nodes.
    """
    center = checks.floating(center, "center")
    checks.positive(max_sigma, "max_sigma")
    checks.at_least(num_steps, "num_steps", 1)
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie in (0, 1), got {eps!r}")
    running = list(itertools.accumulate(_thetas(num_steps, schedule)))
    nodes = [-math.log(eps) * value / running[-1] for value in running]  # the integral of theta up to i / T
    slopes = [num_steps * (after - before) for before, after in itertools.pairwise(nodes)]

    def integral(t: Array) -> Array:
        grid = jnp.linspace(0.0, 1.0, num_steps + 1, dtype=t.dtype)
        return jnp.interp(t, grid, jnp.asarray(nodes, t.dtype))

    def theta_at(t: Array) -> Array:
        cell = jnp.clip(jnp.floor(t * num_steps).astype(jnp.int32), 0, num_steps - 1)
        return jnp.asarray(slopes, t.dtype)[cell]

    return _process(
        lambda t: jnp.exp(-integral(t)),
        lambda t: max_sigma * jnp.sqrt(-jnp.expm1(-2.0 * integral(t))),
        lambda t: -theta_at(t),
        lambda t: max_sigma * jnp.sqrt(2.0 * theta_at(t)),
        max_sigma * math.sqrt(1.0 - eps**2),
        center,
        max_sigma,
    )


def _thetas(num_steps: int, schedule: str) -> list[float]:
    """The table of theta at the nodes 0..T before it is scaled."""
    checks.one_of(schedule, "schedule", ("cosine", "linear", "constant"))
    if schedule == "constant":
        return [1.0] * (num_steps + 1)
    if schedule == "linear":
        return [0.1 + (20.0 - 0.1) * i / num_steps for i in range(num_steps + 1)]
    offset, last = 0.008, num_steps + 2
    bar = [math.cos((i / last + offset) / (1.0 + offset) * math.pi / 2.0) ** 2 for i in range(last + 1)]
    return [1.0 - value / bar[0] for value in bar[1:-1]]


def linear_flow() -> Process:
    r"""The straight path between data and noise (rectified flow, flow matching).

    .. math:: x_t = (1 - t)\,x_0 + t\,\epsilon, \qquad v = \epsilon - x_0

    Returns:
      Process with the prior N(0, I). Its drift and diffusion, those of the SDE with this kernel, are infinite at t = 1:
      ``euler_maruyama`` takes another diffusion there, and velocities need none.

    >>> print(f"{linear_flow().alpha(0.25):.2f}")
    0.75

    Reference: the interpolant of Yu et al., "Representation Alignment for Generation" (2024), standard.
    """
    return _process(
        lambda t: 1.0 - t,
        lambda t: t,
        lambda t: -1.0 / (1.0 - t),
        lambda t: jnp.sqrt(2.0 * t / (1.0 - t)),
        1.0,
    )


def cosine_flow() -> Process:
    r"""The circular path between data and noise: variance preserving, with the cosine schedule.

    .. math:: x_t = \cos(\tfrac{\pi t}{2})\,x_0 + \sin(\tfrac{\pi t}{2})\,\epsilon

    Returns:
      Process with the prior N(0, I); as with ``linear_flow``, drift and diffusion are infinite at t = 1.

    >>> print(f"{cosine_flow().std(0.5):.4f}")
    0.7071

    Reference: the interpolant of Yu et al., as in ``linear_flow``; the schedule of Salimans & Ho, "Progressive
    Distillation for Fast Sampling of Diffusion Models" (2022), standard.
    """
    half = math.pi / 2.0
    return _process(
        lambda t: jnp.cos(half * t),
        lambda t: jnp.sin(half * t),
        lambda t: -half * jnp.tan(half * t),
        lambda t: jnp.sqrt(math.pi * jnp.tan(half * t)),
        1.0,
    )
