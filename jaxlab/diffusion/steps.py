"""Steps of a sampler: what a step is, and the deterministic ones.

A step moves samples from t to t_next with as many model calls as it likes. It names the ``kind`` of prediction that the
models make and that guidance acts on; conversions are its own business. Time may run either way: from noise to data to
sample, from data to noise to encode.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.conversions import KINDS, convert
from jaxlab.diffusion.processes import Process, centered, uncentered
from jaxlab.numerics.random import normal
from jaxlab.typing import Array, PyTree

__all__ = ["Moved", "Step", "ddim", "dpm_solver_pp", "euler", "heun"]

# predict(x, t, rule_state) -> (prediction [B, ...], rule_state, evaluations int32 [B], calls int32 [])
Predict = Callable[[Array, Array, PyTree], tuple[Array, PyTree, Array, Array]]
# project(x, t, keys [B], or None for a mean) -> x
Project = Callable[[Array, Array, Array | None], Array]


class Moved(NamedTuple):
    """What one step gives: the samples, and their mean before the step's last noise (the samples, where there is none).

    ``evaluations`` int32 [B] and ``calls`` int32 [] are the sums over the step's calls of ``predict``.
    """

    x: Array
    mean: Array
    rule_state: PyTree
    state: PyTree
    evaluations: Array
    calls: Array


class Step(NamedTuple):
    """One step of a sampler, with a state of its own (earlier predictions of a multistep method).

    ``init(x [B, ...]) -> state``; ``update(predict, x, t, t_next, keys [B], rule_state, state) -> Moved``. t and t_next
    are scalars. ``predict(x, t, rule_state) -> (prediction, rule_state, evaluations, calls)``: a step that calls it
    several times hands every call the rule state it was given and keeps that of one call, so that the memory of a rule
    moves once per step. x is float32 or wider.
    """

    init: Callable[[Array], PyTree]
    update: Callable[[Predict, Array, Array, Array, Array, PyTree, PyTree], Moved]


def no_state(x: Array) -> tuple[()]:
    """The ``init`` of a step without state."""
    return ()


def check_step(process: Process, kind: str) -> None:
    """Raises unless these are a process and a kind of prediction."""
    if not isinstance(process, Process):
        raise TypeError(f"process must be a diffusion.Process, got {type(process).__name__}")
    checks.one_of(kind, "kind", KINDS)


def transition(process: Process, t: Array, t_next: Array) -> tuple[Array, Array]:
    """The ratio a and the variance of the forward kernel from t_next to t: x_t = a x_next + sqrt(variance) z."""
    ratio = process.alpha(t) / process.alpha(t_next)
    return ratio, jnp.maximum(process.std(t) ** 2 - ratio**2 * process.std(t_next) ** 2, 0.0)


def euler(process: Process, *, kind: str = "eps") -> Step:
    r"""Euler's method for the probability-flow ODE: order 1, one call.

    .. math:: x' = x + (t' - t)\,v(x, t), \qquad v = \dot\alpha\, \hat d + \dot\sigma\, \hat\epsilon
              = f - \tfrac12 g^2 s

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
    Returns:
      A Step.
    Raises:
      ValueError: an unknown kind.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = euler(diffusion.linear_flow(), kind="v")
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.5, 0.0])
    >>> print(diffusion.sample(keys, jnp.zeros((1, 2)), ts, cond_fn=lambda x, t: jnp.ones_like(x), step=step).x)
    [[-1. -1.]]

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021); standard
    (Euler on the flow of any process).
    """
    check_step(process, kind)

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        velocity = convert(prediction, x, t, process=process, kind_in=kind, kind_out="v")
        x = x + (t_next - t) * velocity
        return Moved(x, x, rule_state, state, evaluations, calls)

    return Step(no_state, update)


def heun(process: Process, *, kind: str = "eps") -> Step:
    r"""Heun's method for the probability-flow ODE: order 2, two calls.

    .. math:: \tilde x = x + h\,v(x, t), \qquad x' = x + \tfrac h2 \big(v(x, t) + v(\tilde x, t')\big)

    It averages velocities: averaging noise or data predictions would be DDIM again. Where std(t') = 0 and the kind is
    not "v" the second call cannot be turned into a velocity; it is skipped, and the step is Euler's.

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
    Returns:
      A Step. Both calls of a step see the rule state of its start; that after the first is kept.
    Raises:
      ValueError: an unknown kind.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = heun(diffusion.linear_flow(), kind="v")
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.0])
    >>> print(diffusion.sample(keys, jnp.zeros((1, 1)), ts, cond_fn=lambda x, t: x + 1.0, step=step).x)
    [[-0.5]]

    Reference: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (2022), standard.
    """
    check_step(process, kind)

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        first, kept, evaluations, calls = predict(x, t, rule_state)
        velocity = convert(first, x, t, process=process, kind_in=kind, kind_out="v")
        guess = x + (t_next - t) * velocity

        def corrected(_: None) -> tuple[Array, Array, Array]:
            second, _, more, paid = predict(guess, t_next, rule_state)
            there = convert(second, guess, t_next, process=process, kind_in=kind, kind_out="v")
            return x + (t_next - t) * 0.5 * (velocity + there), evaluations + more, calls + paid

        if kind == "v":
            moved, evaluations, calls = corrected(None)
        else:
            noisy = process.std(t_next) > 0
            moved, evaluations, calls = jax.lax.cond(noisy, corrected, lambda _: (guess, evaluations, calls), None)
        return Moved(moved, moved, kept, state, evaluations, calls)

    return Step(no_state, update)


def ddim(process: Process, *, kind: str = "eps", eta: float = 0.0) -> Step:
    r"""Denoising diffusion implicit models: exact for a constant data prediction, one call.

    .. math:: x' = \mu + \alpha' \hat d + \sqrt{\sigma'^2 - \tilde\sigma^2}\,\hat\epsilon + \tilde\sigma z, \qquad
              \tilde\sigma = \eta\, \frac{\sigma'}{\sigma} \sqrt{\sigma^2 - (\alpha / \alpha')^2 \sigma'^2}

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      eta: share of the noise of the posterior, in [0, 1], static; 0 is deterministic, 1 is ``ancestral``. For eta > 0
        time runs towards the data.
    Returns:
      A Step.
    Raises:
      ValueError: an unknown kind, or eta outside [0, 1].
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = ddim(diffusion.vp(), kind="x0")
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.0])
    >>> print(diffusion.sample(keys, jnp.zeros((1, 1)), ts, cond_fn=lambda x, t: 0.0 * x + 2.0, step=step).x)
    [[2.]]

    Reference: Song et al., "Denoising Diffusion Implicit Models" (2021), standard.
    """
    check_step(process, kind)
    checks.in_range(eta, "eta", 0.0, 1.0)

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        data = centered(convert(prediction, x, t, process=process, kind_in=kind, kind_out="x0"), process)
        noise = convert(prediction, x, t, process=process, kind_in=kind, kind_out="eps")
        alpha, std = process.alpha(t_next), process.std(t_next)
        if eta == 0:
            x = uncentered(alpha * data + std * noise, process)
            return Moved(x, x, rule_state, state, evaluations, calls)
        fresh = eta * std / process.std(t) * jnp.sqrt(transition(process, t, t_next)[1])
        mean = uncentered(alpha * data + jnp.sqrt(jnp.maximum(std**2 - fresh**2, 0.0)) * noise, process)
        return Moved(mean + fresh * normal(keys, x), mean, rule_state, state, evaluations, calls)

    return Step(no_state, update)


class Multistep(NamedTuple):
    """The data prediction of the step before, and its log signal-to-noise ratio."""

    data: Array
    log_snr: Array
    first: Array  # bool [], True before the first step


def dpm_solver_pp(process: Process, *, order: int = 2, kind: str = "eps", variant: str = "midpoint") -> Step:
    r"""DPM-Solver++ in its multistep form (2M at order 2): one call.

    .. math:: x' = \mu + \frac{\sigma'}{\sigma}(x - \mu) + \alpha'\big((1 - e^{-h})\, D_0 + c\,(D_0 - D_{-1})/r\big)
              , \quad h = \lambda' - \lambda, \; r = h_{-1} / h, \; \lambda = \log(\alpha / \sigma)

    with D the data prediction minus mu. "midpoint", as published, has c = (1 - e^{-h}) / 2; "heun" integrates the
    linear interpolation exactly, c = 1 - (1 - e^{-h}) / h. Order 1 is DDIM.

    Args:
      process: the noising process.
      order: 1 or 2, static; the first step, and one to std = 0, are of order 1.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      variant: "midpoint" or "heun".
    Returns:
      A Step whose state holds one data prediction.
    Raises:
      ValueError: another order, or an unknown kind or variant.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = dpm_solver_pp(diffusion.vp(), kind="x0")
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), jnp.array([1.0, 0.5, 0.0])
    >>> print(diffusion.sample(keys, jnp.zeros((1, 1)), ts, cond_fn=lambda x, t: 0.0 * x + 2.0, step=step).x)
    [[2.]]

    Reference: Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models" (2022),
    checked against the scheduler in diffusers, whose two solver types are the variants.
    """
    check_step(process, kind)
    checks.one_of(order, "order", (1, 2))
    checks.one_of(variant, "variant", ("midpoint", "heun"))

    def log_snr(t: Array) -> Array:
        return jnp.log(process.alpha(t)) - jnp.log(process.std(t))

    def init(x: Array) -> PyTree:
        return () if order == 1 else Multistep(jnp.zeros_like(x), jnp.zeros((), x.dtype), jnp.asarray(True))

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        data = centered(convert(prediction, x, t, process=process, kind_in=kind, kind_out="x0"), process)
        alpha, std, shrink = process.alpha(t_next), process.std(t_next), process.std(t_next) / process.std(t)
        gain = alpha - shrink * process.alpha(t)  # alpha' (1 - e^-h), without a logarithm
        moved = shrink * centered(x, process) + gain * data
        if order == 2:
            here, there = log_snr(t), log_snr(t_next)
            single = state.first | (std == 0)
            h = jnp.where(single, 1.0, there - here)
            ratio = jnp.where(single, 1.0, (here - state.log_snr) / h)
            weight = 0.5 * gain if variant == "midpoint" else alpha - gain / h
            change = jnp.where(single, 0.0, weight / ratio)
            moved = moved + change * (data - state.data)
            state = Multistep(data, here.astype(x.dtype), jnp.asarray(False))
        moved = uncentered(moved, process)
        return Moved(moved, moved, rule_state, state, evaluations, calls)

    return Step(init, update)
