"""Adam at a learning rate that is estimated from the distance to the start: Prodigy and D-Adaptation.

``optax.contrib`` has both with the bias correction of Adam always on; the authors' packages have it off by default, and
that changes how fast the estimate grows. Other methods without a learning rate are in ``optax.contrib`` as published.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["DistanceState", "dadapt_adamw", "prodigy"]

Schedule = ArrayLike | Callable[[Array], ArrayLike]


class DistanceState(NamedTuple):
    """State of ``prodigy`` and ``dadapt_adamw``; ``lr_free_state`` reads the estimate off it."""

    mean: PyTree  # of gradients
    square: PyTree  # mean of squared gradients
    total: PyTree  # weighted sum of gradients
    start: PyTree  # the parameters at the start (empty for dadapt_adamw)
    numerator: Array
    distance: Array  # d, the estimate
    largest: Array  # estimate so far, before growth_rate limits it
    moves: Array  # int32, steps that changed anything
    count: Array  # type: ignore[assignment]  # int32, steps of the schedule


def prodigy(
    learning_rate: Schedule = 1.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    b3: float | None = None,
    eps: float = 1e-8,
    d0: ArrayLike = 1e-6,
    d_coef: ArrayLike = 1.0,
    growth_rate: ArrayLike = jnp.inf,
    weight_decay: ArrayLike = 0.0,
    bias_correction: bool = False,
    safeguard_warmup: bool = False,
) -> optax.GradientTransformation:
    r"""Prodigy: Adam whose learning rate is an estimate of the distance to the solution.

    .. math:: r \leftarrow \beta_3 r + \tfrac{d}{d_0} \eta \langle g, x_0 - x \rangle,
              s \leftarrow \beta_3 s + \tfrac{d}{d_0} \eta g, \quad d \leftarrow \max(d, c\, r / \|s\|_1),
              \quad x \leftarrow x - \eta \Big(\lambda x + \frac{m}{\sqrt v + d \varepsilon}\Big)

    with :math:`\eta = d\,\gamma\,b` from before the step, m and v the moments of d g, and b the bias correction of Adam
    or 1. With ``bias_correction=True`` it is ``optax.contrib.prodigy``, but for a gradient of zero at the start, which
    turns that one into NaN.

    Args:
      learning_rate: gamma, a number or a schedule; 1 is meant, with a decay to 0 at the end. A step at 0 is left out.
      b1: decay of the mean of gradients.
      b2: decay of the mean of squares.
      b3: decay of the estimate; None is sqrt(b2).
      eps: in the denominator.
      d0: the first estimate > 0; it should be too small.
      d_coef: c, multiplies the estimate.
      growth_rate: the most that d may be multiplied by in a step.
      weight_decay: lambda, decoupled as in AdamW.
      bias_correction: static.
      safeguard_warmup: static; leaves gamma and b out of s, for a long warm-up.
    Returns:
      A GradientTransformation; its update needs the parameters. The state is in float32 or wider.
    Raises:
      ValueError: a static d0, d_coef or growth_rate is not positive, or b1, b2 or b3 is outside [0, 1].

    >>> optimizer = prodigy()
    >>> state = optimizer.init(jnp.array([1.0]))
    >>> updates, state = optimizer.update(jnp.array([4.0]), state, jnp.array([1.0]))
    >>> print(f"{updates[0]:.3e} {state.distance:.0e}")
    -3.162e-06 1e-06

    Reference: Mishchenko and Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner" (2023). Checked
    against the authors' package.
    """
    checks.positive(d_coef, "d_coef")
    _check(b1=b1, b2=b2, b3=b3, d0=d0, growth_rate=growth_rate)
    decay = b2**0.5 if b3 is None else b3

    def update(grads: PyTree, state: DistanceState, params: PyTree) -> tuple[PyTree, DistanceState, Array]:
        d, rate, gamma = state.distance, *_rate(learning_rate, state, b1, b2, bias_correction)
        share = d / d0
        away = optax.tree.vdot(grads, optax.tree.sub(state.start, params))
        weight = share * (d if safeguard_warmup else rate)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * d * g, state.mean, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * (d * g) ** 2, state.square, grads)
        total = jax.tree.map(lambda s, g: decay * s + weight * g, state.total, grads)
        numerator = decay * state.numerator + share * rate * away
        size = optax.tree.norm(total, ord=1)
        moved = (size > 0) & (gamma > 0)
        estimate = d_coef * numerator / jnp.where(moved, size, 1.0)
        largest = jnp.maximum(state.largest, estimate)
        new = jnp.minimum(largest, jnp.where(d == d0, jnp.maximum(d, estimate), d) * growth_rate)
        updates = jax.tree.map(
            lambda m, v, x: -rate * (weight_decay * x + m / (jnp.sqrt(v) + new * eps)), mean, square, params
        )
        fields = {"mean": mean, "square": square, "total": total, "numerator": numerator}
        return updates, state._replace(**fields, distance=new, largest=largest), moved

    return _transformation(update, d0, keep_start=True)


def dadapt_adamw(
    learning_rate: Schedule = 1.0,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    d0: ArrayLike = 1e-6,
    growth_rate: ArrayLike = jnp.inf,
    weight_decay: ArrayLike = 0.0,
    bias_correction: bool = False,
) -> optax.GradientTransformation:
    r"""D-Adapted AdamW: Adam whose learning rate is a lower bound of the distance to the solution.

    .. math:: r \leftarrow \beta r + (1 - \beta) \eta \Big\langle g, \frac{s}{\sqrt v + \varepsilon} \Big\rangle,
              s \leftarrow \beta s + (1 - \beta) \eta g,
              d \leftarrow \max\Big(d, \frac{r}{(1 - \beta)\|s\|_1}\Big),
              \quad x \leftarrow x - \eta \lambda x - \frac{m}{\sqrt v + \varepsilon}

    with :math:`\beta = \sqrt{\beta_2}`, :math:`\eta = d\,\gamma\,b` from before the step, and m the mean of
    :math:`\eta g`. With ``bias_correction=True`` it is ``optax.contrib.dadapt_adamw``, but for a gradient of zero at
    the start.

    Args:
      learning_rate: gamma, a number or a schedule; 1 is meant. A step at 0 is left out.
      b1: decay of the mean of gradients.
      b2: decay of the mean of squares.
      eps: in the denominator.
      d0: the first estimate > 0; it should be too small.
      growth_rate: the most that d may be multiplied by in a step.
      weight_decay: lambda, decoupled (the package couples it unless told otherwise).
      bias_correction: static.
    Returns:
      A GradientTransformation; its update needs the parameters. The state is in float32 or wider.
    Raises:
      ValueError: a static d0 or growth_rate is not positive, or b1 or b2 is outside [0, 1].

    >>> optimizer = dadapt_adamw()
    >>> state = optimizer.init(jnp.array([1.0]))
    >>> updates, state = optimizer.update(jnp.array([4.0]), state, jnp.array([1.0]))
    >>> print(f"{updates[0]:.3e}")
    -3.162e-06

    Reference: Defazio and Mishchenko, "Learning-Rate-Free Learning by D-Adaptation" (2023). Checked against the
    authors' package.
    """
    _check(b1=b1, b2=b2, d0=d0, growth_rate=growth_rate)
    decay = b2**0.5

    def update(grads: PyTree, state: DistanceState, params: PyTree) -> tuple[PyTree, DistanceState, Array]:
        d, rate, gamma = state.distance, *_rate(learning_rate, state, b1, b2, bias_correction)
        scaled = jax.tree.map(lambda s, v: s / (jnp.sqrt(v) + eps), state.total, state.square)
        along = optax.tree.vdot(grads, scaled)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * rate * g, state.mean, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.square, grads)
        total = jax.tree.map(lambda s, g: decay * s + (1 - decay) * rate * g, state.total, grads)
        numerator = decay * state.numerator + (1 - decay) * rate * along
        size = optax.tree.norm(total, ord=1)
        moved = (size > 0) & (gamma > 0)
        estimate = numerator / ((1 - decay) * jnp.where(moved, size, 1.0))
        new = jnp.maximum(d, jnp.minimum(estimate, d * growth_rate))
        updates = jax.tree.map(lambda m, v, x: -rate * weight_decay * x - m / (jnp.sqrt(v) + eps), mean, square, params)
        fields = {"mean": mean, "square": square, "total": total, "numerator": numerator}
        return updates, state._replace(**fields, distance=new, largest=new), moved

    return _transformation(update, d0, keep_start=False)


def _check(**numbers: Any) -> None:
    for name, value in numbers.items():
        if name in ("d0", "growth_rate"):
            checks.positive(value, name)
        elif value is not None:
            checks.in_range(value, name, 0.0, 1.0)


def _rate(schedule: Schedule, state: DistanceState, b1: float, b2: float, bias_correction: bool) -> tuple[Array, Array]:
    """The learning rate d gamma b of this step, and gamma."""
    gamma = jnp.asarray(schedule(state.count) if callable(schedule) else schedule, state.distance.dtype)
    if not bias_correction:
        return state.distance * gamma, gamma
    step = state.moves + 1
    return state.distance * gamma * jnp.sqrt(1 - b2**step) / (1 - b1**step), gamma


def _transformation(
    update: Callable[[PyTree, DistanceState, PyTree], tuple[PyTree, DistanceState, Array]],
    d0: ArrayLike,
    *,
    keep_start: bool,
) -> optax.GradientTransformation:
    """The state around ``update(grads, state, params) -> (updates, state, moved)``; nothing happens unless moved."""

    def wide(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(accumulation_dtype(jnp.asarray(leaf))), tree)

    def init(params: PyTree) -> DistanceState:
        params = wide(params)
        zeros = optax.tree.zeros_like(params)
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        distance, none = jnp.asarray(d0, dtype), jnp.zeros((), jnp.int32)
        start = params if keep_start else ()
        return DistanceState(zeros, zeros, zeros, start, jnp.zeros((), dtype), distance, distance, none, none)

    def step(grads: PyTree, state: DistanceState, params: PyTree | None = None) -> tuple[PyTree, DistanceState]:
        if params is None:
            raise ValueError("params must be given to update: the estimate depends on where they are")
        updates, new, moved = update(wide(grads), state, wide(params))
        kept = jax.tree.map(lambda a, b: jnp.where(moved, a, b.astype(a.dtype)), new, state)
        updates = jax.tree.map(lambda u, x: jnp.where(moved, u, 0.0).astype(jnp.asarray(x).dtype), updates, params)
        return updates, kept._replace(moves=state.moves + moved, count=optax.safe_increment(state.count))

    return optax.GradientTransformation(init, step)
