"""Label embeddings under noise that falls from block to block: what NoProp trains every block of a network on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "NoPropNoise",
    "NoPropSchedule",
    "NoPropSteps",
    "noprop_noise",
    "noprop_noise_init",
    "noprop_schedule",
    "noprop_step_coefficients",
]

_CLEANEST = 1.0 - 1e-4  # beyond it the signal-to-noise ratio goes to infinity
_LEAST_SLOPE = 1e-3


class NoPropSchedule(NamedTuple):
    """Shares of signal of the T + 1 states z_0 (noise) to z_T: from one to the next, and in all; [T + 1] each."""

    alpha: Array
    alpha_bar: Array


class NoPropSteps(NamedTuple):
    """Weights of the T inference steps: of the block's output, of the last state, and the variance; [T] each."""

    output: Array
    skip: Array
    variance: Array


class NoPropNoise(NamedTuple):
    """A learned schedule at some times: share of signal, signal-to-noise ratio and its slope."""

    alpha_bar: Array
    snr: Array
    snr_slope: Array


def noprop_schedule(num_blocks: int, *, kind: str = "cosine") -> NoPropSchedule:
    r"""How much of the label's embedding is left in the states between T blocks.

    .. math:: z_t \sim N(\sqrt{\bar\alpha_t}\, u_y,\ 1 - \bar\alpha_t), \qquad \bar\alpha_t = \prod_{s=t}^{T} \alpha_s,
              \qquad \bar\alpha_t = \sin^2\!\big(\tfrac{\pi t}{2 T}\big) \ \text{or}\ \tfrac tT

    It grows with t: z_0 is pure noise and z_T is almost the embedding. The last share is 1 - 1e-4, as its
    signal-to-noise ratio would be infinite.

    Args:
      num_blocks: T, static, >= 1.
      kind: "cosine" or "linear", static.
    Returns:
      NoPropSchedule of float32 [T + 1]: alpha, with alpha_T = alpha_bar_T, and alpha_bar.
    Raises:
      ValueError: num_blocks < 1 or an unknown kind.
      TypeError: num_blocks is no static integer.

    >>> print(noprop_schedule(2).alpha_bar.round(4))
    [0.     0.5    0.9999]

    Reference: Li et al., "NoProp: Training Neural Networks without Back-propagation or Forward-propagation" (2025),
    paper text.
    """
    blocks = checks.size(num_blocks, "num_blocks")
    checks.one_of(kind, "kind", ("cosine", "linear"))
    share = jnp.arange(blocks + 1) / blocks
    alpha_bar = jnp.minimum(jnp.sin(0.5 * jnp.pi * share) ** 2 if kind == "cosine" else share, _CLEANEST)
    return NoPropSchedule(jnp.append(alpha_bar[:-1] / alpha_bar[1:], alpha_bar[-1]), alpha_bar)


def noprop_step_coefficients(alpha: ArrayLike, alpha_bar: ArrayLike) -> NoPropSteps:
    r"""The residual step that a block makes at inference: its guess of the embedding, mixed into the state.

    .. math:: z_t = a_t\, \hat u_t(z_{t-1}, x) + b_t\, z_{t-1} + \sqrt{c_t}\, \epsilon,
              a_t = \frac{\sqrt{\bar\alpha_t} (1 - \alpha_{t-1})}{1 - \bar\alpha_{t-1}},
              b_t = \frac{\sqrt{\alpha_{t-1}} (1 - \bar\alpha_t)}{1 - \bar\alpha_{t-1}},
              \quad c_t = \frac{(1 - \bar\alpha_t)(1 - \alpha_{t-1})}{1 - \bar\alpha_{t-1}}

    Blocks that guess right lead from noise through exactly the states they were trained on.

    Args:
      alpha: float [T + 1], in [0, 1).
      alpha_bar: float [T + 1], its products from the end, each below 1; see ``noprop_schedule``.
    Returns:
      NoPropSteps of float32 or wider [T], for t = 1 to T.
    Raises:
      ValueError: shapes differ, or hold fewer than two states.
      TypeError: an array is not floating point.

    >>> steps = noprop_step_coefficients(*noprop_schedule(1))
    >>> print(steps.output.round(4), steps.skip, steps.variance.round(4))
    [1.] [0.] [0.0001]

    Reference: Li et al., "NoProp: Training Neural Networks without Back-propagation or Forward-propagation" (2025),
    paper text.
    """
    alpha = checks.rank(checks.floating(alpha, "alpha"), "alpha", 1, layout="[T + 1]")
    alpha_bar = checks.floating(alpha_bar, "alpha_bar")
    checks.same_shape(alpha_bar, "alpha_bar", alpha, "alpha")
    if alpha.shape[0] < 2:
        raise ValueError(f"alpha must have shape [T + 1] with T >= 1, got {list(alpha.shape)}")
    dtype = accumulation_dtype(alpha, alpha_bar)
    before, last, now = alpha[:-1].astype(dtype), alpha_bar[:-1].astype(dtype), alpha_bar[1:].astype(dtype)
    fresh = (1.0 - before) / (1.0 - last)
    return NoPropSteps(jnp.sqrt(now) * fresh, jnp.sqrt(before) * (1.0 - now) / (1.0 - last), (1.0 - now) * fresh)


def noprop_noise_init(key: Array, *, hidden: int = 16, log_snr: tuple[float, float] = (-5.0, 5.0)) -> dict[str, Array]:
    """Parameters of the learned schedule ``noprop_noise``.

    Args:
      key: PRNG key.
      hidden: units of the monotone network, static, >= 1.
      log_snr: logarithms of the signal-to-noise ratio at times 0 and 1, increasing, static; both are learned.
    Returns:
      dict of float32 arrays: slope [], weight_in, bias and weight_out [hidden], low and span [].
    Raises:
      ValueError: hidden < 1, or log_snr does not increase.
      TypeError: hidden is no static integer.

    >>> sorted(noprop_noise_init(jax.random.key(0)))
    ['bias', 'low', 'slope', 'span', 'weight_in', 'weight_out']

    Reference: as ``noprop_noise``.
    """
    units = checks.size(hidden, "hidden")
    start, end = log_snr
    if not start < end:
        raise ValueError(f"log_snr must increase, got {log_snr!r}")
    first, second, third = jax.random.split(key, 3)
    return {
        "slope": jnp.zeros(()),
        "weight_in": jax.random.normal(first, (units,)) + 1.0,
        "bias": jax.random.normal(second, (units,)) - 1.0,
        "weight_out": jax.random.normal(third, (units,)) - 3.0,
        "low": jnp.asarray(-end),
        "span": jnp.log(jnp.expm1(jnp.asarray(end - start))),
    }


def noprop_noise(params: dict[str, Array], t: ArrayLike) -> NoPropNoise:
    r"""A learned schedule in continuous time, increasing whatever its parameters are.

    .. math:: \bar\alpha(t) = \sigma(-\gamma(t)), \quad \mathrm{SNR}(t) = e^{-\gamma(t)}, \quad
              \gamma(t) = \gamma_0 + (\gamma_1 - \gamma_0)(1 - \bar\gamma(t)), \quad
              \bar\gamma(t) = \frac{h(t) - h(0)}{h(1) - h(0)}

    h is a network of one hidden layer with a linear bypass; softplus keeps all its weights, and
    :math:`\gamma_1 - \gamma_0`, positive.

    Args:
      params: of ``noprop_noise_init``.
      t: float [...], in [0, 1].
    Returns:
      NoPropNoise of float32 or wider [...]; ``snr_slope`` is the derivative by t, the weight of the loss of NoProp-CT,
      ``losses.noprop_dt`` with one block.
    Raises:
      TypeError: t is not floating point.

    >>> noise = noprop_noise(noprop_noise_init(jax.random.key(0), log_snr=(-1.0, 1.0)), jnp.array([0.0, 1.0]))
    >>> print(jnp.log(noise.snr).round(3))
    [-1.  1.]

    Reference: Li et al., "NoProp: Training Neural Networks without Back-propagation or Forward-propagation" (2025),
    paper text; the shape of h is that of Kingma et al., "Variational Diffusion Models" (2021), recalled.
    """
    t = checks.floating(t, "t")
    wide = t.astype(accumulation_dtype(t, *params.values()))
    slope = jax.nn.softplus(params["slope"]) + _LEAST_SLOPE
    into, out = jax.nn.softplus(params["weight_in"]), jax.nn.softplus(params["weight_out"])

    def h(t: Array) -> Array:
        return slope * t + jnp.sum(out * jax.nn.sigmoid(into * t[..., None] + params["bias"]), axis=-1)

    def log_snr(t: Array) -> Array:
        start, end = h(jnp.zeros_like(t)), h(jnp.ones_like(t))
        return -params["low"] - jax.nn.softplus(params["span"]) * (1.0 - (h(t) - start) / (end - start))

    log, rise = jax.jvp(log_snr, (wide,), (jnp.ones_like(wide),))
    snr = jnp.exp(log)
    return NoPropNoise(jax.nn.sigmoid(log), snr, snr * rise)
