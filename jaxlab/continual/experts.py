"""A stream without task boundaries: a loss out of line calls another expert."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "ExpertChoice",
    "ExpertPool",
    "LossMonitor",
    "experts_init",
    "experts_prune",
    "experts_update",
    "loss_monitor_init",
    "loss_monitor_update",
    "select_expert",
]


class LossMonitor(NamedTuple):
    """Moving mean and standard deviation of a loss, and whether the last one was out of line; scalars.

    ``spread`` is the weighted mean square around the mean, ``overlap`` the sum of squared weights (for an unbiased
    variance), ``smoothed`` the loss that is tested, ``count`` how many losses there were.
    """

    mean: Array
    std: Array
    spread: Array
    overlap: Array
    smoothed: Array
    count: Array  # type: ignore[assignment]  # int32
    is_shift: Array  # bool


class ExpertChoice(NamedTuple):
    """Which expert takes over, whether it is a new one, and whether a new one was wanted and had no place."""

    index: Array  # type: ignore[assignment]  # int32
    is_new: Array
    is_full: Array


class ExpertPool(NamedTuple):
    """Experts [K, ...] side by side: parameters, optimiser states, monitors, which weights and which experts exist.

    ``current`` is the expert that learns, ``is_shift`` and ``is_full`` tell of the last batch.
    """

    params: PyTree
    opt_state: PyTree
    monitors: LossMonitor
    mask: PyTree
    active: Array
    current: Array
    is_shift: Array
    is_full: Array


def loss_monitor_init() -> LossMonitor:
    """A monitor that has seen no loss.

    Returns:
      LossMonitor of scalars; ``vmap`` for many.

    >>> print(loss_monitor_init().count)
    0

    Reference: as ``loss_monitor_update``.
    """
    zero = jnp.zeros(())
    return LossMonitor(zero, zero, zero, zero, zero, jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def loss_monitor_update(
    state: LossMonitor,
    loss: ArrayLike,
    *,
    decay: ArrayLike = 0.9,
    num_std: ArrayLike = 3.0,
    margin: ArrayLike = 0.0,
    warmup: ArrayLike = 20,
    smoothing: ArrayLike = 0.0,
) -> LossMonitor:
    r"""Compares a loss with those before it, and takes it in.

    .. math:: \tilde l \leftarrow a\, \tilde l + (1 - a)\, l, \qquad
              \text{shift} \iff \tilde l > m + c\, s + \epsilon \text{ after } w \text{ losses}

    Mean m and standard deviation s are those of the losses before, the weight of a loss falling by ``decay`` from each
    to the next (by 1 / n among the first). A shift starts the monitor anew with this loss, so that a lasting step is
    told once.

    Args:
      state: the monitor.
      loss: float scalar. What is not finite is not taken in; NaN and +inf are a shift (after the warm-up).
      decay: in [0, 1), weight of the past.
      num_std: c.
      margin: epsilon >= 0; without it a constant loss that moves by its rounding is a shift.
      warmup: w, losses before the first alarm: an expert that still learns has no level yet.
      smoothing: a in [0, 1), of the loss that is tested; 0 tests the loss itself, without delay.
    Returns:
      LossMonitor; the field is_shift says whether this loss was out of line.
    Raises:
      ValueError: a static decay or smoothing outside [0, 1], a static margin < 0, or loss is no scalar.
      TypeError: loss is not floating point.

    >>> state = loss_monitor_init()
    >>> for loss in (1.0, 1.2, 1.1, 5.0, 5.1):
    ...     state = loss_monitor_update(state, loss, warmup=3)
    ...     print(bool(state.is_shift), end=" ")
    False False False True False

    Reference: Zhu et al., "TAME: Task Agnostic Continual Learning using Multiple Experts" (2024). Recalled; the
    constants are inferred.
    """
    loss = checks.rank(checks.floating(loss, "loss"), "loss", 0, layout="[] (a scalar)").astype(state.mean.dtype)
    checks.in_range(decay, "decay", 0.0, 1.0)
    checks.in_range(smoothing, "smoothing", 0.0, 1.0)
    checks.at_least(margin, "margin", 0.0)
    known = jnp.isfinite(loss)
    first = state.count == 0
    smoothed = jnp.where(first, loss, smoothing * state.smoothed + (1 - smoothing) * loss)
    is_high = ~(smoothed <= state.mean + num_std * state.std + margin)  # NaN is high
    is_shift = (state.count >= warmup) & ~first & is_high
    # A running mean at first, an exponential one once the weights have that length.
    rate = jnp.where(is_shift, 1.0, jnp.maximum(1.0 - decay, 1.0 / (state.count + 1.0)))
    value = jnp.where(known, loss, 0.0)
    step = value - state.mean
    mean = state.mean + rate * step
    spread = (1 - rate) * (state.spread + rate * step**2)
    overlap = (1 - rate) ** 2 * state.overlap + rate**2
    # Of n equal weights the overlap is 1 / n: dividing by 1 - overlap is the n - 1 of an unbiased variance.
    free = 1.0 - overlap
    std = jnp.sqrt(jnp.where(free > 1e-6, spread / jnp.where(free > 1e-6, free, 1.0), 0.0))
    smoothed, count = jnp.where(is_shift, loss, smoothed), jnp.where(is_shift, 1, state.count + 1)
    updated = LossMonitor(mean, std, spread, overlap, smoothed, count, is_shift)
    return jax.tree.map(lambda new, old: jnp.where(known, new, old), updated, state)._replace(is_shift=is_shift)


def select_expert(
    losses: ArrayLike,
    means: ArrayLike,
    stds: ArrayLike,
    active: ArrayLike,
    *,
    num_std: ArrayLike = 3.0,
    margin: ArrayLike = 0.0,
) -> ExpertChoice:
    r"""The expert that knows this batch, or a free place for a new one.

    .. math:: k^* = \arg\min_{k:\, l_k \le m_k + c\, s_k + \epsilon} l_k; \quad
              \text{none: the first free place}; \quad \text{no place: } \arg\min_k l_k

    Args:
      losses: float [K], the loss of the batch under every expert; NaN counts as +inf.
      means: float [K], the level of each expert.
      stds: float [K].
      active: bool [K], True where an expert exists; with none, place 0 is free.
      num_std: c.
      margin: epsilon >= 0.
    Returns:
      ExpertChoice of scalars. A full pool in which nobody knows the batch gives the best of all experts and is_full.
    Raises:
      ValueError: shapes do not agree, or K = 0.
      TypeError: losses are not floating point, or active is not boolean.

    >>> print(*select_expert(jnp.array([3.0, 0.4]), jnp.array([0.1, 0.5]), jnp.full(2, 0.1), jnp.ones(2, bool)))
    1 False False

    Reference: Zhu et al., "TAME: Task Agnostic Continual Learning using Multiple Experts" (2024). Recalled.
    """
    losses = checks.rank(checks.floating(losses, "losses"), "losses", 1, layout="[K]")
    means, stds = checks.floating(means, "means"), checks.floating(stds, "stds")
    checks.same_shape(means, "means", losses, "losses")
    checks.same_shape(stds, "stds", losses, "losses")
    if losses.shape[0] == 0:
        raise ValueError(f"losses must hold at least one expert, got shape {list(losses.shape)}")
    exists = jnp.asarray(checks.mask(active, "active", losses.shape))
    levels = jnp.where(exists & ~jnp.isnan(losses), losses, jnp.inf)
    knows = exists & (levels <= means + num_std * stds + margin)
    none_knows, has_place = ~jnp.any(knows), jnp.any(~exists)
    best_known = jnp.argmin(jnp.where(knows, levels, jnp.inf))
    index = jnp.where(none_knows, jnp.where(has_place, jnp.argmin(exists), jnp.argmin(levels)), best_known)
    return ExpertChoice(index.astype(jnp.int32), none_knows & has_place, none_knows & ~has_place)


def experts_init(
    key: Array, init: Callable[[Array], PyTree], optimizer: optax.GradientTransformation, *, capacity: int
) -> ExpertPool:
    """A pool whose first expert exists; the other places hold experts as they were drawn.

    Args:
      key: PRNG key.
      init: ``init(key) -> params``, a pytree of floats; static.
      optimizer: of every expert, static.
      capacity: K, static.
    Returns:
      ExpertPool.
    Raises:
      ValueError: capacity < 1.

    >>> pool = experts_init(jax.random.key(0), lambda key: jax.random.normal(key, (2,)), optax.sgd(0.1), capacity=3)
    >>> print(pool.params.shape, pool.active)
    (3, 2) [ True False False]

    Reference: as ``experts_update``.
    """
    checks.size(capacity, "capacity")
    params = jax.vmap(init)(jax.random.split(key, capacity))
    monitors = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (capacity,)), loss_monitor_init())
    return ExpertPool(
        params,
        jax.vmap(optimizer.init)(params),
        monitors,
        jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params),
        jnp.arange(capacity) == 0,
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros((), bool),
    )


def experts_update(
    pool: ExpertPool,
    batch: PyTree,
    *,
    loss_fn: Callable[[PyTree, PyTree], Array],
    optimizer: optax.GradientTransformation,
    decay: ArrayLike = 0.9,
    num_std: ArrayLike = 3.0,
    margin: ArrayLike = 0.0,
    warmup: ArrayLike = 20,
) -> ExpertPool:
    r"""Learns one batch of a stream that does not say which task it is.

    The current expert's loss goes to its monitor. If it is out of line, every expert sees the batch, and the one within
    its own bounds, or else a new one, becomes the current expert (``select_expert``). Then the current expert takes one
    step. The monitor of the expert that is left stays as it was before the batch, so that it knows its task again.

    .. math:: \theta_{k^*} \leftarrow \theta_{k^*} - \text{step}\big( \nabla l(\theta_{k^*}, B) \big)

    Args:
      pool: the experts.
      batch: what loss_fn takes.
      loss_fn: ``loss_fn(params, batch) -> scalar``, static.
      optimizer: the one of ``experts_init``, static.
      decay: as in ``loss_monitor_update``, and so are the next three.
      num_std: c.
      margin: epsilon.
      warmup: w.
    Returns:
      ExpertPool. In a full pool the best expert takes a task that nobody knows, and is_full is True.
    Raises:
      ValueError: as ``loss_monitor_update``.

    >>> loss_fn, optimizer = lambda w, x: jnp.mean((w - x) ** 2), optax.sgd(0.5)
    >>> pool = experts_init(jax.random.key(0), lambda key: jnp.zeros(()), optimizer, capacity=2)
    >>> for x in (1.0, 1.0, 1.0, -5.0, 1.0):
    ...     pool = experts_update(pool, jnp.array([x]), loss_fn=loss_fn, optimizer=optimizer, margin=0.1, warmup=1)
    ...     print(int(pool.current), end=" ")
    0 0 0 1 0

    Reference: Zhu et al., "TAME: Task Agnostic Continual Learning using Multiple Experts" (2024). Recalled.
    """
    bounds = {"num_std": num_std, "margin": margin}
    params, opt_state, monitor, mask = _take((pool.params, pool.opt_state, pool.monitors, pool.mask), pool.current)
    watched = loss_monitor_update(monitor, loss_fn(params, batch), decay=decay, warmup=warmup, **bounds)
    losses = jax.vmap(loss_fn, in_axes=(0, None))(pool.params, batch)
    choice = select_expert(losses, pool.monitors.mean, pool.monitors.std, pool.active, **bounds)
    moves = watched.is_shift
    current = jnp.where(moves, choice.index, pool.current)
    params, opt_state, monitor, mask = _take((pool.params, pool.opt_state, pool.monitors, pool.mask), current)
    loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    params = jax.tree.map(lambda new, keep: jnp.where(keep, new, 0), optax.apply_updates(params, updates), mask)
    # Whoever takes over has no say about this batch: its monitor takes the loss in without an alarm.
    seen = loss_monitor_update(monitor, loss, decay=decay, warmup=jnp.where(moves, jnp.inf, warmup), **bounds)
    new = (params, opt_state, seen._replace(is_shift=jnp.zeros((), bool)))
    stored = jax.tree.map(
        lambda all_, one: all_.at[current].set(one), (pool.params, pool.opt_state, pool.monitors), new
    )
    params, opt_state, monitors = stored
    return pool._replace(
        params=params,
        opt_state=opt_state,
        monitors=monitors,
        active=pool.active.at[current].set(True),
        current=current,
        is_shift=moves,
        is_full=moves & choice.is_full,
    )


def _take(tree: PyTree, index: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def experts_prune(pool: ExpertPool, sparsity: ArrayLike) -> ExpertPool:
    r"""Removes the smallest weights of the current expert for good, in every array of two or more axes.

    .. math:: m_i = [\, |w_i| \ge |w|_{(\lfloor s\, n \rfloor + 1)} \,]

    Args:
      pool: the experts.
      sparsity: s in [0, 1], share of each array that is 0 afterwards (weights of equal size stay together); it may be
        traced, so that it can rise over time.
    Returns:
      ExpertPool; later updates leave the removed weights at 0. A weight once removed never comes back.
    Raises:
      ValueError: a static sparsity outside [0, 1].

    >>> weights = jnp.array([[1.0, -3.0, 2.0, 0.5]])
    >>> pool = experts_init(jax.random.key(0), lambda key: weights, optax.sgd(0.1), capacity=1)
    >>> print(experts_prune(pool, 0.5).params)
    [[[ 0. -3.  2.  0.]]]

    Reference: Zhu et al., "TAME: Task Agnostic Continual Learning using Multiple Experts" (2024). Recalled; which
    weights go is inferred.
    """
    checks.in_range(sparsity, "sparsity", 0.0, 1.0)
    params, mask = _take((pool.params, pool.mask), pool.current)

    def keep(weight: Array, kept: Array) -> Array:
        if weight.ndim < 2:
            return kept
        size = jnp.where(kept, jnp.abs(weight), -1.0).reshape(-1)  # what is gone stays the smallest
        gone = jnp.floor(sparsity * size.shape[0]).astype(jnp.int32)
        smallest_kept = jnp.append(jnp.sort(size), jnp.inf)[gone]
        return kept & (size >= smallest_kept).reshape(weight.shape)

    mask = jax.tree.map(keep, params, mask)
    params = jax.tree.map(lambda weight, kept: jnp.where(kept, weight, 0), params, mask)
    stored = jax.tree.map(lambda all_, one: all_.at[pool.current].set(one), (pool.params, pool.mask), (params, mask))
    return pool._replace(params=stored[0], mask=stored[1])
