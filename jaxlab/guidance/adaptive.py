"""Rules that spare the unconditional call: off once both predictions agree, or predicted from the history."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import ridge_solve
from jaxlab.guidance.rules import Context, Rule
from jaxlab.guidance.transforms import cosine_agreement
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["History", "LinearAGCoeffs", "adaptive", "linear_ag", "linear_ag_fit"]

Space = Callable[[Array, Array, Array], Array]


class LinearAGCoeffs(NamedTuple):
    """Weights of earlier predictions: u[s] is about the sum over i of cond[s, i] c[i] + uncond[s, i] u[i]."""

    cond: Array  # [S, S], zero for i > s
    uncond: Array  # [S, S], zero for i >= s


class History(NamedTuple):
    """The predictions of the steps so far, zeros for those to come."""

    cond: Array  # [S, B, ...]
    uncond: Array  # [S, B, ...]


def adaptive(threshold: ArrayLike, *, space: Space | None = None, min_steps: ArrayLike = 0) -> Rule:
    r"""Guidance until both predictions agree, then never again: a latch per sample.

    .. math:: \text{off after the first step with } \cos(c, u) \ge \gamma

    The step that crosses the threshold is still guided: its two evaluations are already paid.

    Args:
      threshold: gamma; above 1 it never latches, at -1 it latches after the first step.
      space: ``space(prediction, x, t)`` maps both predictions to where the agreement is measured (see
        ``diffusion.convert``); None measures it where the rules act. Noise predictions of large latent models agree
        more and more; those of small pixel models less and less, while their data predictions do.
      min_steps: steps before this index never latch.
    Returns:
      A Rule whose state is bool [B], True where guidance is off. Under ``vmap`` the skipped call is made all the same:
      sweep thresholds by ``lax.map``.

    >>> rule = adaptive(0.99)
    >>> print(rule.needs_uncond(jnp.array([True, False]), jnp.float32(0.5), 0))
    [False  True]

    Reference: Castillo et al., "Adaptive Guidance: Training-free Acceleration of Conditional Diffusion Models" (2023),
    from a detailed summary of the paper, with thresholds of .991 to .996; the rule is also checked against a public
    implementation.
    """

    def init(x: Array) -> Array:
        return jnp.zeros(x.shape[0], bool)

    def update(direction: Array, state: Array, context: Context) -> tuple[Array, PyTree]:
        cond, uncond = context.cond, context.uncond
        if space is not None:
            cond, uncond = (space(prediction, context.x, context.t) for prediction in (cond, uncond))
        agrees = cosine_agreement(cond, uncond) >= threshold
        return direction, state | (context.active & agrees & (context.step >= min_steps))

    def needs_uncond(state: Array, t: Array, step: Array) -> Array:
        return ~state

    return Rule(init, update, needs_uncond)


def linear_ag(coeffs: LinearAGCoeffs, *, period: int = 2, share: float = 0.5) -> Rule:
    r"""Guidance whose unconditional prediction is now and then a linear function of the earlier ones.

    .. math:: u_s \approx \sum_{i \le s} b^c_{s,i}\, c_i + \sum_{i < s} b^u_{s,i}\, u_i

    In the first share of the steps every period-th step makes the true call, the steps between predict it; after that
    there is no guidance. 20 steps cost 25 evaluations. A predicted value enters the history as if it were true.

    Args:
      coeffs: from ``linear_ag_fit`` on trajectories with the same steps; S is the number of steps.
      period: >= 1, static; 1 always calls.
      share: of the steps that are guided, in [0, 1], static.
    Returns:
      A Rule whose state is History: 2 S copies of a sample. For steps that call the model once.
    Raises:
      ValueError: coefficients are not square matrices of one size, period < 1 or share outside [0, 1]; in use: the
        trajectory has another number of steps.

    >>> rule = linear_ag(LinearAGCoeffs(jnp.zeros((4, 4)), jnp.zeros((4, 4))))
    >>> state = rule.init(jnp.zeros((1, 2)))
    >>> print([bool(rule.needs_uncond(state, jnp.float32(0.5), step)) for step in range(4)])
    [True, False, False, False]

    Reference: Castillo et al., as in ``adaptive``; protocol from the same summary, regressors recalled.
    """
    size = coeffs.cond.shape[0] if coeffs.cond.ndim else 0
    if coeffs.cond.shape != (size, size) or coeffs.uncond.shape != (size, size) or size == 0:
        raise ValueError(
            f"coeffs must hold two matrices [S, S], got {list(coeffs.cond.shape)} and {list(coeffs.uncond.shape)}"
        )
    checks.at_least(period, "period", 1)
    checks.in_range(share, "share", 0.0, 1.0)
    guided = round(share * size)

    def init(x: Array) -> History:
        empty = jnp.zeros((size, *x.shape), accumulation_dtype(x))
        return History(empty, empty)

    def needs_uncond(state: History, t: Array, step: Array) -> Array:
        return jnp.asarray((step < guided) & (step % period == 0))

    def predict_uncond(state: History, cond: Array, t: Array, step: Array) -> tuple[Array, Array]:
        seen = state.cond.at[step].set(cond)
        predicted = jnp.tensordot(coeffs.cond[step].astype(cond.dtype), seen, axes=1)
        predicted = predicted + jnp.tensordot(coeffs.uncond[step].astype(cond.dtype), state.uncond, axes=1)
        return predicted, jnp.asarray((step < guided) & (step % period != 0))

    def update(direction: Array, state: History, context: Context) -> tuple[Array, PyTree]:
        if context.num_steps != size:
            raise ValueError(f"coeffs were fitted to {size} steps, but the trajectory has {context.num_steps}")
        # An inactive sample holds cond for uncond: its own data, so the batch it is in does not matter.
        cond = state.cond.at[context.step].set(context.cond)
        return direction, History(cond, state.uncond.at[context.step].set(context.uncond))

    return Rule(init, update, needs_uncond, predict_uncond)


def linear_ag_fit(
    cond: ArrayLike, uncond: ArrayLike, *, ridge: ArrayLike = 1e-5, trace_scaled: bool = True
) -> LinearAGCoeffs:
    r"""Least squares of every step's unconditional prediction on what is known before it is made.

    .. math:: \min_{b} \sum_{r,d} \Big(u_{r,s,d} - \sum_{i \le s} b^c_{s,i} c_{r,i,d} - \sum_{i < s} b^u_{s,i}
              u_{r,i,d}\Big)^2 + \gamma \|b_s\|^2

    Args:
      cond: float [R, S, D], conditional predictions of R guided trajectories of S steps.
      uncond: float [R, S, D].
      ridge: gamma > 0. Predictions of neighbouring steps are nearly collinear: below 1e-6 of the diagonal float32
        breaks down to NaN.
      trace_scaled: multiplies gamma by the mean of the diagonal of the Gram matrix; False takes it as it is.
    Returns:
      LinearAGCoeffs, one number per pair of steps.
    Raises:
      ValueError: shapes differ or are not [R, S, D], or a static ridge <= 0.
      TypeError: an array is not floating point.

    >>> cond = jax.random.normal(jax.random.key(0), (3, 2, 5))
    >>> print(f"{linear_ag_fit(cond, 0.5 * cond).cond[0, 0]:.3f}")
    0.500

    Reference: Castillo et al., as in ``adaptive``; ordinary least squares there, recalled.
    """
    cond = checks.rank(checks.floating(cond, "cond"), "cond", 3, layout="[R, S, D]")
    uncond = checks.rank(checks.floating(uncond, "uncond"), "uncond", 3, layout="[R, S, D]")
    checks.same_shape(cond, "cond", uncond, "uncond")
    checks.positive(ridge, "ridge")
    steps, dtype = cond.shape[1], accumulation_dtype(cond, uncond)
    rows = jnp.concatenate([cond, uncond], axis=1).astype(dtype)
    rows = jnp.moveaxis(rows, 1, 0).reshape(2 * steps, -1)
    gram = jnp.matmul(rows, rows.T, precision="highest")
    size = jnp.mean(jnp.diagonal(gram)) if trace_scaled else jnp.ones((), dtype)
    penalty = jnp.asarray(ridge, dtype) * jnp.where(size > 0, size, 1.0)
    order = jnp.arange(steps)

    def fit(step: Array) -> Array:
        known = jnp.concatenate([order <= step, order < step])
        # A regressor that is not known has a zero row and column: the ridge gives it weight 0.
        visible = jnp.where(known[:, None] & known, gram, 0.0)
        return ridge_solve(visible, jnp.where(known, gram[steps + step], 0.0)[:, None], ridge=penalty)[:, 0]

    weights = jax.vmap(fit)(order)
    return LinearAGCoeffs(weights[:, :steps], weights[:, steps:])
