"""Minimisation of a function of parameters on fixed data, as one compiled loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike, PyTree

__all__ = ["EarlyStop", "Result", "early_stop_init", "early_stop_update", "minimize"]


class Result(NamedTuple):
    """What ``minimize`` returns."""

    params: PyTree
    losses: Array
    opt_state: PyTree


def _strong(leaf: ArrayLike) -> Array:
    """Without a weak type: the carry of the loop has to have the same type after every step."""
    array = checks.floating(leaf, "params")
    return jax.lax.convert_element_type(array, array.dtype)


def _keeps_gradient(opt_state: PyTree, dtype: DTypeLike) -> bool:
    """Whether the state holds the value (of this dtype) and gradient at the parameters the last update led to.

    True for a line search that stands LAST in a chain: whatever follows it would move the parameters further.
    """
    while type(opt_state) is tuple and opt_state:
        opt_state = opt_state[-1]
    searches = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    return isinstance(opt_state, searches) and opt_state.grad is not None and opt_state.value.dtype == dtype


def _loss_dtype(loss_fn: Callable[[PyTree], Array], params: PyTree) -> DTypeLike:
    out = jax.eval_shape(loss_fn, params)
    if not isinstance(out, jax.ShapeDtypeStruct) or out.shape != () or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ValueError(f"loss_fn must return one floating-point scalar, got {out}")
    return out.dtype


def minimize(
    loss_fn: Callable[[PyTree], Array],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    project: Callable[[PyTree], PyTree] | None = None,
) -> Result:
    r"""Runs an optax optimiser on a function of the parameters, in one ``lax.scan``.

    .. math:: \theta_{t+1} = P\big(\theta_t + u(\nabla \ell(\theta_t))\big)

    Every optimiser is given ``value``, ``grad`` and ``value_fn``, so ``optax.lbfgs()`` and line searches work as they
    are; what a line search evaluated last is used again. Call it inside ``jit``: outside, every call compiles anew.

    Args:
      loss_fn: from params to a scalar; the data are inside it.
      params: pytree of floating-point arrays, the start.
      optimizer: an ``optax.GradientTransformation``.
      num_steps: static, >= 0.
      project: from params to params, applied after every step (and not to the start); None leaves them.
    Returns:
      Result(params, losses [num_steps], opt_state): losses[t] is the loss BEFORE step t, in float32 or wider, so the
      loss of the returned params is not among them.
    Raises:
      ValueError: loss_fn does not return a floating-point scalar, or num_steps < 0.
      TypeError: num_steps is not an integer, a leaf of params is not floating point, or optimizer has no init and
        update.

    >>> result = minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), optax.lbfgs(), num_steps=3)
    >>> print(result.params)
    [3. 3.]

    Reference: standard.
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise TypeError(f"num_steps must be a static integer, got {num_steps!r}")
    checks.at_least(num_steps, "num_steps", 0)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer must be an optax.GradientTransformation, got {optimizer!r}")
    params = jax.tree.map(_strong, params)
    dtype = _loss_dtype(loss_fn, params)
    optimizer = optax.with_extra_args_support(optimizer)
    opt_state = optimizer.init(params)
    reuse = project is None and _keeps_gradient(opt_state, dtype)
    from_state = optax.value_and_grad_from_state(loss_fn)

    def step(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], Array]:
        params, opt_state = carry
        value, grad = from_state(params, state=opt_state) if reuse else jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grad, opt_state, params, value=value, grad=grad, value_fn=loss_fn)
        params = optax.apply_updates(params, updates)
        params = params if project is None else project(params)
        return (params, opt_state), value.astype(accumulation_dtype(value))

    (params, opt_state), losses = jax.lax.scan(step, (params, opt_state), length=num_steps)
    return Result(params, losses, opt_state)


class EarlyStop(NamedTuple):
    """Whether a statistic still improves; larger is better."""

    average: Array
    best: Array
    checks: Array  # since the best
    count: Array  # type: ignore[assignment]
    stop: Array  # bool; it stays True


def early_stop_init(dtype: DTypeLike = jnp.float32) -> EarlyStop:
    r"""The state of ``early_stop_update`` before anything was checked.

    .. math:: m_0 = b_0 = -\infty

    Args:
      dtype: of the statistic, float32 or wider.
    Returns:
      EarlyStop of scalars.

    >>> print(early_stop_init().stop)
    False

    Reference: standard.
    """
    nothing = jnp.full((), -jnp.inf, dtype)
    return EarlyStop(nothing, nothing, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def early_stop_update(
    state: EarlyStop, value: ArrayLike, *, patience: int, tolerance: ArrayLike = 0.0, momentum: ArrayLike = 0.0
) -> EarlyStop:
    r"""Takes in one check of a statistic, and says whether to stop.

    .. math:: m_t = \beta m_{t-1} + (1 - \beta) v_t, \qquad
              \text{stop if } m \text{ has not exceeded its best by more than } \tau \text{ for } p \text{ checks}

    Args:
      state: from ``early_stop_init`` or the last update.
      value: float scalar v, larger is better; negate a loss. NaN is no improvement and stays out of the average.
      patience: p, static, >= 1.
      tolerance: tau >= 0.
      momentum: beta in [0, 1), of the moving average; 0 takes the values as they are.
    Returns:
      EarlyStop; after ``stop`` it goes on counting.
    Raises:
      ValueError: value is no scalar, patience < 1, a static tolerance < 0 or momentum outside [0, 1).
      TypeError: value is not floating point.

    >>> state = early_stop_init()
    >>> for value in (1.0, 2.0, 1.5, 1.8):
    ...     state = early_stop_update(state, jnp.array(value), patience=2)
    >>> print(state.best, state.stop)
    2.0 True

    Reference: the rule of Ghalyan et al., "An Unsupervised Method for Estimating Class Separability of Datasets with
    Application to LLMs Fine-Tuning" (2023). Inferred.
    """
    value = checks.rank(checks.floating(value, "value"), "value", 0, layout="[]")
    checks.size(patience, "patience")
    checks.at_least(tolerance, "tolerance", 0.0)
    if checks.is_static(momentum) and not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum!r}")
    wide = value.astype(state.average.dtype)
    known, first = ~jnp.isnan(wide), state.count == 0
    mixed = jnp.where(first, wide, momentum * jnp.where(first, 0.0, state.average) + (1.0 - momentum) * wide)
    average = jnp.where(known, mixed, state.average)
    better = known & (first | (average > state.best + tolerance))
    since = jnp.where(better, 0, state.checks + 1)
    best = jnp.where(better, average, state.best)
    return EarlyStop(average, best, since, state.count + known, state.stop | (since >= patience))
