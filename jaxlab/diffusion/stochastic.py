"""Steps that draw noise: reverse SDEs, ancestral sampling, Langevin correctors, and a corrector before a predictor.

Time runs towards the data, from t down to t_next.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.diffusion.conversions import convert
from jaxlab.diffusion.processes import Process, centered, uncentered
from jaxlab.diffusion.steps import Moved, Predict, Project, Step, check_step, no_state, transition
from jaxlab.numerics.random import folded, normal
from jaxlab.numerics.walls import apart
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["ancestral", "euler_maruyama", "langevin", "predictor_corrector", "reverse_diffusion"]


def _lengths(value: Array) -> Array:
    """The norm of every sample, with gradient 0 at zero."""
    squares = jnp.sum(value**2, axis=tuple(range(1, value.ndim)))
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))


def euler_maruyama(
    process: Process, *, kind: str = "score", diffusion: Callable[[Array], ArrayLike] | None = None
) -> Step:
    r"""Euler-Maruyama for the reverse SDE: one call.

    .. math:: x' = x + (t' - t)\big(v - \tfrac12 w_t^2 s\big) + w_t \sqrt{|t' - t|}\,z

    v is the velocity of the probability-flow ODE; with w = g the drift is f - g^2 s. Every w >= 0 has the same
    marginals.

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      diffusion: w as a function of t; None is the process's own, infinite at t = 1 for flows. 0 is ``euler``.
    Returns:
      A Step; its mean leaves the noise out.
    Raises:
      ValueError: an unknown kind.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = euler_maruyama(diffusion.linear_flow(), kind="v", diffusion=lambda t: jnp.sqrt(2.0 * t))
    >>> keys, ts = jax.random.split(jax.random.key(0), 2), diffusion.time_grid(8, low=0.04)
    >>> diffusion.sample(keys, jnp.zeros((2, 3)), ts, cond_fn=lambda x, t: -x, step=step, denoise=True).x.shape
    (2, 3)

    Reference: Song et al., "Score-Based Generative Modeling through Stochastic Differential Equations" (2021); the free
    w as in Yu et al., "Representation Alignment for Generation" (2024), w^2 = 2 t there; checked against the authors'
    code.
    """
    check_step(process, kind)
    noise_level = process.diffusion if diffusion is None else diffusion

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        velocity = convert(prediction, x, t, process=process, kind_in=kind, kind_out="v")
        score = convert(prediction, x, t, process=process, kind_in=kind, kind_out="score")
        w, step = jnp.asarray(noise_level(t), x.dtype), t_next - t
        mean = x + step * (velocity - 0.5 * w**2 * score)
        moved = mean + w * jnp.sqrt(jnp.abs(step)) * normal(keys, x)
        return Moved(moved, mean, rule_state, state, evaluations, calls)

    return Step(no_state, update)


def reverse_diffusion(process: Process, *, kind: str = "score", ode: bool = False) -> Step:
    r"""The forward kernel's own discretisation, reversed: one call.

    .. math:: x_t = a\,x_{t'} + G z \;\Rightarrow\; x' = x - (a - 1)(x - \mu) + G^2 s + G z

    On the grid of DDPM 1 - a^2 is beta_i; for VE G^2 is the difference of the variances.

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      ode: half the score term and no noise: the probability-flow ODE.
    Returns:
      A Step; its mean leaves the noise out.
    Raises:
      ValueError: an unknown kind.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = reverse_diffusion(diffusion.ve(), kind="score")
    >>> keys, ts = jax.random.split(jax.random.key(0), 2), diffusion.time_grid(4, low=1e-5)
    >>> diffusion.sample(keys, jnp.zeros((2, 3)), ts, cond_fn=lambda x, t: -x, step=step).x.shape
    (2, 3)

    Reference: Song et al. (2021), as in ``euler_maruyama``. The authors' code reads beta off a table of 1000 steps;
    here a and G are those of the grid given, which is the same to first order. Formula checked.
    """
    check_step(process, kind)

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        score = convert(prediction, x, t, process=process, kind_in=kind, kind_out="score")
        ratio, variance = transition(process, t, t_next)
        mean = x - (ratio - 1.0) * centered(x, process) + (0.5 if ode else 1.0) * variance * score
        moved = mean if ode else mean + jnp.sqrt(variance) * normal(keys, x)
        return Moved(moved, mean, rule_state, state, evaluations, calls)

    return Step(no_state, update)


def ancestral(process: Process, *, kind: str = "score", variance: str = "posterior") -> Step:
    r"""Ancestral sampling, the reverse chain of DDPM and SMLD: one call.

    .. math:: x' = \mu + \frac{(x - \mu) + G^2 s}{a} + \tilde\sigma z, \qquad
              \tilde\sigma = \frac{\sigma'}{\sigma} G \ \text{(posterior)} \quad \text{or} \quad G \ \text{(forward)}

    with x_t = a x_{t'} + G z the forward kernel. With the true score of a point the mean is the exact posterior's.

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      variance: "posterior" (the authors' choice for VE; no noise in a step to std = 0) or "forward" (theirs for VP).
    Returns:
      A Step; its mean leaves the noise out.
    Raises:
      ValueError: an unknown kind or variance.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> step = ancestral(diffusion.vp(), kind="x0")
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), diffusion.time_grid(4, low=0.0)
    >>> print(diffusion.sample(keys, jnp.zeros((1, 1)), ts, cond_fn=lambda x, t: 0.0 * x + 2.0, step=step).x)
    [[2.]]

    Reference: Song et al. (2021), as in ``reverse_diffusion``, table of steps included. Formula checked.
    """
    check_step(process, kind)
    checks.one_of(variance, "variance", ("posterior", "forward"))

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        prediction, rule_state, evaluations, calls = predict(x, t, rule_state)
        noise = convert(prediction, x, t, process=process, kind_in=kind, kind_out="eps")
        ratio, forward = transition(process, t, t_next)
        mean = uncentered((centered(x, process) - forward / process.std(t) * noise) / ratio, process)
        std = jnp.sqrt(forward)
        if variance == "posterior":
            std = std * process.std(t_next) / process.std(t)
        return Moved(mean + std * normal(keys, x), mean, rule_state, state, evaluations, calls)

    return Step(no_state, update)


def langevin(
    process: Process,
    *,
    kind: str = "score",
    snr: float = 0.16,
    num_steps: int = 1,
    pace: str = "std",
    damped: bool = True,
) -> Step:
    r"""Langevin dynamics at the time t: a corrector, which does not move in time. One call per inner step.

    .. math:: x \leftarrow x + \eta s + \sqrt{2 \eta}\,z, \qquad
              \eta = 2 a^2 (\rho\, \sigma_t)^2 \ \text{(std)} \quad \text{or} \quad
              2 a^2 \Big(\rho\, \frac{\|z\|}{\|s\|}\Big)^2 \ \text{(norm, batch)}

    In high dimensions the ratio of the norms is close to std anyway. In low dimensions a step of the size
    1 / |s|^2 has no bound where the score vanishes: by the norms of each sample it doubles the variance of a mixture in
    the plane.

    Args:
      process: the noising process.
      kind: of the predictions: "eps", "score", "x0", "v" or "rotation".
      snr: rho > 0; typically 0.16 for VE, 0.01 to 0.15 for VP, 0.5 for speech.
      num_steps: inner steps, static, >= 1.
      pace: "std" (annealed Langevin dynamics), "norm" by the norms of each sample, or "batch" by norms averaged over
        the batch, as the authors do: with it a sample depends on its batch.
      damped: the factor a^2, DDPM's 1 - beta (1 for VE); False leaves it out.
    Returns:
      A Step, for ``predictor_corrector``. By "norm" a sample whose score is 0 stays where it is.
    Raises:
      ValueError: snr <= 0, num_steps < 1, or an unknown kind or pace.
      TypeError: process is not a Process.

    >>> from jaxlab import diffusion
    >>> process = diffusion.ve()
    >>> step = predictor_corrector(reverse_diffusion(process), langevin(process))
    >>> keys, ts = jax.random.split(jax.random.key(0), 2), diffusion.time_grid(4, low=1e-5)
    >>> print(diffusion.sample(keys, jnp.zeros((2, 3)), ts, cond_fn=lambda x, t: -x, step=step).evaluations)
    [8 8]

    Reference: Song et al. (2021), as in ``euler_maruyama``; pace "std", undamped, as in Richter et al., "Speech
    Enhancement and Dereverberation with Diffusion-based Generative Models" (2023). Checked against the authors' code.
    """
    check_step(process, kind)
    checks.positive(snr, "snr")
    checks.at_least(num_steps, "num_steps", 1)
    checks.one_of(pace, "pace", ("std", "norm", "batch"))

    def eta(score: Array, noise: Array, t: Array, t_next: Array) -> Array:
        damping = transition(process, t, t_next)[0] ** 2 if damped else 1.0
        if pace == "std":
            return jnp.broadcast_to(2.0 * damping * (snr * process.std(t)) ** 2, (score.shape[0],))
        drawn, length = (_lengths(value) for value in (noise, score))
        if pace == "batch":
            drawn, length = (jnp.full_like(value, jnp.mean(value)) for value in (drawn, length))
        ratio = jnp.where(length == 0, 0.0, drawn / jnp.where(length == 0, 1.0, length))
        return 2.0 * damping * (snr * ratio) ** 2

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        def inner(index: Array, moved: Moved) -> Moved:
            prediction, kept, evaluations, calls = predict(moved.x, t, rule_state)
            score = convert(prediction, moved.x, t, process=process, kind_in=kind, kind_out="score")
            # With one inner step the keys serve as they are: hashing them would cost as much as the noise.
            own = keys if num_steps == 1 else folded(keys, index)
            noise = normal(own, x)
            size = eta(score, noise, t, t_next).reshape((-1,) + (1,) * (x.ndim - 1))
            mean = moved.x + size * score
            total = moved.evaluations + evaluations, moved.calls + calls
            return Moved(mean + jnp.sqrt(2.0 * size) * noise, mean, kept, state, *total)

        def loop(moved: Moved) -> Moved:
            return jax.lax.fori_loop(0, num_steps, inner, moved)

        start = Moved(x, x, rule_state, state, jnp.zeros(x.shape[0], jnp.int32), jnp.zeros((), jnp.int32))
        return apart(loop, start, index=jnp.where(jnp.isnan(t), -1, 0))

    return Step(no_state, update)


def predictor_corrector(predictor: Step, corrector: Step, *, project: Project | None = None) -> Step:
    """First the corrector at t, then the predictor from t to t_next.

    Args:
      predictor: such as ``reverse_diffusion``; its rule state is the one that is kept.
      corrector: such as ``langevin``.
      project: ``project(x, t, keys [B])``, applied after the corrector (``sample`` applies its own after the step).
    Returns:
      A Step whose state is the pair of states.
    Raises:
      TypeError: an argument is not a Step.

    >>> from jaxlab import diffusion
    >>> process = diffusion.vp()
    >>> step = predictor_corrector(ancestral(process), langevin(process, snr=0.01, num_steps=2))
    >>> keys, ts = jax.random.split(jax.random.key(0), 1), diffusion.time_grid(4)
    >>> print(diffusion.sample(keys, jnp.zeros((1, 3)), ts, cond_fn=lambda x, t: -x, step=step).evaluations)
    [12]

    Reference: Song et al. (2021), as in ``euler_maruyama``; the order corrector, predictor is checked.
    """
    for step, name in ((predictor, "predictor"), (corrector, "corrector")):
        if not isinstance(step, Step):
            raise TypeError(f"{name} must be a diffusion.Step, got {type(step).__name__}")

    def init(x: Array) -> PyTree:
        return predictor.init(x), corrector.init(x)

    def update(
        predict: Predict, x: Array, t: Array, t_next: Array, keys: Array, rule_state: PyTree, state: PyTree
    ) -> Moved:
        drawn = [folded(keys, part) for part in range(3)]
        corrected = corrector.update(predict, x, t, t_next, drawn[0], rule_state, state[1])
        start = corrected.x if project is None else project(corrected.x, t, drawn[1])
        moved = predictor.update(predict, start, t, t_next, drawn[2], rule_state, state[0])
        return moved._replace(
            state=(moved.state, corrected.state),
            evaluations=moved.evaluations + corrected.evaluations,
            calls=moved.calls + corrected.calls,
        )

    return Step(init, update)
