"""What a training run would have become had its batches come in another order, without training again."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Trajectory", "random_projection", "record_trajectory", "replay_order"]

GradFn = Callable[[PyTree, PyTree], PyTree]


class Trajectory(NamedTuple):
    """A training run, one entry per step: before every update, and what the last one led to."""

    params: PyTree  # [T, ...] before update t
    opt_state: PyTree  # [T, ...]
    last: PyTree  # after the last update


def record_trajectory(
    grad_fn: GradFn, params: PyTree, batches: PyTree, *, optimizer: optax.GradientTransformation
) -> Trajectory:
    r"""Trains on batches in their order and keeps every step.

    .. math:: \theta_{t+1} = \theta_t - \eta\, \Gamma(\theta_t, B_t)

    Args:
      grad_fn: ``grad_fn(params, batch)`` gives a pytree like params; deterministic, and differentiable for a replay.
      params: pytree of floats, the start.
      batches: pytree of arrays [T, ...], a batch per entry.
      optimizer: an optax optimiser, such as ``optax.adam(1e-3)``.
    Returns:
      Trajectory: T copies of the parameters and of the optimiser's state.
    Raises:
      ValueError: batches hold no array, or arrays of different T.

    >>> run = record_trajectory(lambda w, x: w - x, jnp.array(0.0), jnp.array([1.0, 3.0]), optimizer=optax.sgd(0.5))
    >>> print(run.params, run.last)
    [0.  0.5] 1.75

    Reference: the reference run of "Estimating the Effects of Sample Training Orders for Large Language Models without
    Retraining" (2025), recalled.
    """
    batches, _ = _stacked(batches)
    params = jax.tree.map(lambda leaf: checks.floating(leaf, "params"), params)

    def step(state: tuple[PyTree, PyTree], batch: PyTree) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, PyTree]]:
        params, opt_state = state
        updates, after = optimizer.update(grad_fn(params, batch), opt_state, params)
        return (optax.apply_updates(params, updates), after), state

    (last, _), (before, states) = jax.lax.scan(step, (params, optimizer.init(params)), batches)
    return Trajectory(before, states, last)


def replay_order(
    trajectory: Trajectory,
    grad_fn: GradFn,
    batches: PyTree,
    order: ArrayLike,
    *,
    optimizer: optax.GradientTransformation,
    taylor_order: int = 1,
    expand: str = "gradient",
) -> PyTree:
    r"""Estimates the parameters that the same batches in another order lead to, by expanding about the recorded run.

    .. math:: \gamma_{t+1} = \gamma_t - \eta \Big[ \Gamma(\theta_t, B_{l_t}) + \partial \Gamma(\theta_t, B_{l_t})\,
              (\gamma_t - \theta_t) + \tfrac12\, \partial^2 \Gamma\, (\gamma_t - \theta_t)^2 \Big],
              \qquad \gamma_0 = \theta_0

    Derivatives are Jacobian-vector products, so nothing of the size of a Jacobian is ever stored, and nothing for each
    of the T^2 pairs of step and batch. ``vmap`` over orders shares the recorded run.

    Args:
      trajectory: of ``record_trajectory`` with the same grad_fn, batches and optimizer.
      grad_fn: as there; it is differentiated ``taylor_order`` times by its parameters.
      batches: as there.
      order: int [T], the batch of every step; any selection, repeats allowed. Numbers outside [0, T) give NaN.
      optimizer: as there.
      taylor_order: 0 (the gradients of the recorded points), 1 or 2, static.
      expand: what is expanded. "gradient": the gradient, and the optimiser's moments are those of the new order.
        "update": the optimiser's direction, with the moments of the recorded run before step t, as in the paper; where
        Adam's second moment is still near 0 its derivative is large.
    Returns:
      A pytree like the parameters.
    Raises:
      ValueError: order is not [T], or an unknown taylor_order or expand.
      TypeError: order does not hold integers.

    >>> grad_fn, batches = lambda w, x: w - x, jnp.array([1.0, 3.0])
    >>> run = record_trajectory(grad_fn, jnp.array(0.0), batches, optimizer=optax.sgd(0.5))
    >>> print(replay_order(run, grad_fn, batches, jnp.array([1, 0]), optimizer=optax.sgd(0.5)))
    1.25

    Reference: "Estimating the Effects of Sample Training Orders for Large Language Models without Retraining" (2025);
    the first-order expansion is checked in a summary, the second order recalled, the moments inferred. Stored terms and
    their random projection are replaced by products on demand.
    """
    batches, num = _stacked(batches)
    order = checks.integer(order, "order")
    if order.shape != (num,):
        raise ValueError(f"order must have shape [{num}], a batch for every step, got {list(order.shape)}")
    checks.one_of(taylor_order, "taylor_order", (0, 1, 2))
    checks.one_of(expand, "expand", ("gradient", "update"))
    start = jax.tree.map(lambda leaf: leaf[0], (trajectory.params, trajectory.opt_state))
    known = (order >= 0) & (order < num)

    def step(
        carry: tuple[PyTree, PyTree], now: tuple[PyTree, PyTree, Array, Array]
    ) -> tuple[tuple[PyTree, PyTree], None]:
        params, opt_state = carry
        point, recorded, index, exists = now
        batch = jax.tree.map(lambda leaf: leaf[index], batches)
        away = optax.tree.sub(params, point)
        if expand == "gradient":
            gradient = _expanded(lambda p: grad_fn(p, batch), point, away, taylor_order)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
        else:
            gradient = grad_fn(point, batch)
            direction = lambda p: optimizer.update(grad_fn(p, batch), recorded, p)[0]  # noqa: E731
            updates = _expanded(direction, point, away, taylor_order)
            # A parameter that never had a gradient stays: the root of its second moment has no derivative at 0.
            updates = jax.tree.map(lambda u, g: jnp.where(jnp.isnan(u) & (g == 0), 0.0, u), updates, gradient)
        moved = optax.apply_updates(params, updates)
        return (jax.tree.map(lambda leaf: jnp.where(exists, leaf, jnp.nan), moved), opt_state), None

    safe = jnp.where(known, order, 0)
    (last, _), _ = jax.lax.scan(step, start, (trajectory.params, trajectory.opt_state, safe, known))
    return last


def random_projection(key: Array, dim: int, k: int) -> Array:
    r"""A Johnson-Lindenstrauss projection: normal numbers that keep squared lengths on average.

    .. math:: P_{ij} \sim N(0, 1/k), \qquad \mathbb{E} \|P x\|^2 = \|x\|^2

    The relative spread of the squared length is sqrt(2 / k), whatever the dimension.

    Args:
      key: PRNG key.
      dim: length of the vectors, static, >= 1.
      k: length after the projection, static, >= 1.
    Returns:
      float32 [k, dim].
    Raises:
      ValueError: dim or k is below 1.

    >>> print(random_projection(jax.random.key(0), 5, 3).shape)
    (3, 5)

    Reference: Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space" (1984). Standard.
    """
    checks.size(dim, "dim")
    checks.size(k, "k")
    return jax.random.normal(key, (k, dim)) / k**0.5


def _expanded(fn: Callable[[PyTree], PyTree], point: PyTree, away: PyTree, order: int) -> PyTree:
    """The Taylor polynomial of fn about a point, at point + away."""
    if order == 0:
        return fn(point)
    slope = lambda p: jax.jvp(fn, (p,), (away,))  # noqa: E731
    if order == 1:
        value, first = slope(point)
        return optax.tree.add(value, first)
    (value, first), (_, second) = jax.jvp(slope, (point,), (away,))
    return jax.tree.map(lambda a, b, c: a + b + 0.5 * c, value, first, second)


def _stacked(batches: PyTree) -> tuple[PyTree, int]:
    """The batches as JAX arrays, and their number T."""
    arrays = jax.tree.map(jnp.asarray, batches)
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(arrays)}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(f"batches must hold arrays [T, ...] of one T >= 1, got first axes {sorted(sizes)}")
    return arrays, sizes.pop()
