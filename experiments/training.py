"""The one training loop of the experiments: a jitted ``lax.scan`` over steps.

It works under ``vmap`` and ``lax.map`` over seeds, and it gives the same result for the same key. What a method needs
to carry from step to step (batch statistics, a table with an entry per example, a teacher) goes into ``state``.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Fit", "LossFn", "batch_indices", "cosine_adam", "fit"]

# loss_fn(params, state, batch, key) -> (scalar loss, new state)
LossFn = Callable[[PyTree, PyTree, dict[str, Any], Array], tuple[Array, PyTree]]


class Fit(NamedTuple):
    """What training leaves behind; ``losses`` [num_steps] holds the loss of each batch before its update."""

    params: PyTree
    state: PyTree
    opt_state: PyTree
    losses: Array


@functools.partial(jax.jit, static_argnames=("loss_fn", "optimizer", "num_steps", "batch_size"))
def fit(
    loss_fn: LossFn,
    params: PyTree,
    state: PyTree,
    optimizer: optax.GradientTransformation,
    data: Mapping[str, ArrayLike],
    key: Array,
    *,
    num_steps: int,
    batch_size: int,
    where: ArrayLike | None = None,
    opt_state: PyTree = None,
) -> Fit:
    """Minimises a loss over batches of rows.

    Calls with the same ``loss_fn`` and ``optimizer`` objects and equal shapes compile once: define both outside of
    Python loops and pass arrays through ``data`` or ``state``. The optimiser must not hold traced numbers: to sweep a
    learning rate by ``vmap``, use ``optax.inject_hyperparams`` and set its ``opt_state.hyperparams``.

    Args:
      loss_fn: ``loss_fn(params, state, batch, key) -> (loss, state)``; ``batch`` holds the drawn rows of every array
        in ``data``, and their row numbers under "index".
      params: pytree of floats, the start.
      state: pytree carried from step to step (None where nothing is); shapes and dtypes must not change.
      optimizer: an optax optimiser; those that want ``value``, ``grad`` and ``value_fn`` (line searches, L-BFGS,
        model-based step sizes) get them, for the step's batch.
      data: dict of arrays [N, ...], a row per example.
      key: PRNG key; it decides the batches and the keys that ``loss_fn`` gets.
      num_steps: number of updates, static, >= 1.
      batch_size: rows per update, static, >= 1; see ``batch_indices``.
      where: bool [N], True where a row may be drawn; None allows all. Where none is, the rows read as NaN.
      opt_state: where the optimiser starts, such as the ``opt_state`` of an earlier Fit; None is a fresh start.
    Returns:
      Fit(params, state, opt_state, losses [num_steps]).
    Raises:
      ValueError: the arrays in data disagree in their first axis, data is empty or holds "index", where is not [N], or
        num_steps or batch_size is below 1.
    """
    arrays, num_rows = _check_data(data)
    batch_key, loss_key = jax.random.split(key)
    batches = batch_indices(batch_key, num_rows, num_steps=num_steps, batch_size=batch_size, where=where)
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry: tuple[PyTree, PyTree, PyTree], inputs: tuple[Array, Array]) -> tuple[Any, Array]:
        params, state, opt_state = carry
        index, key = inputs
        # A row number beyond the data reads as NaN (in float arrays), never as somebody else's row.
        batch = {name: jnp.take(array, index, axis=0, mode="fill") for name, array in arrays.items()}
        batch["index"] = index
        (loss, new_state), grad = jax.value_and_grad(loss_fn, has_aux=True)(params, state, batch, key)
        updates, opt_state = optimizer.update(
            grad, opt_state, params, value=loss, grad=grad, value_fn=lambda p: loss_fn(p, state, batch, key)[0]
        )
        return (optax.apply_updates(params, updates), new_state, opt_state), loss

    start = (params, state, optimizer.init(params) if opt_state is None else opt_state)
    (params, state, opt_state), losses = jax.lax.scan(step, start, (batches, jax.random.split(loss_key, num_steps)))
    return Fit(params, state, opt_state, losses)


def batch_indices(
    key: Array, num_rows: int, *, num_steps: int, batch_size: int, where: ArrayLike | None = None
) -> Array:
    """Row numbers of every batch: shuffled rounds, in which each allowed row comes equally often to within one.

    A round is ``num_rows // batch_size`` batches (at least one). Without a mask no row comes twice in a round, and
    the last ``num_rows % batch_size`` rows of the shuffled order sit the round out. With a mask the allowed rows fill
    the same number of batches, so some come once more than others, others in every round. A batch repeats a row only
    where fewer than ``batch_size`` rows are allowed.

    Args:
      key: PRNG key.
      num_rows: N, static.
      num_steps: number of batches, static, >= 1.
      batch_size: rows per batch, static, >= 1.
      where: bool [N], True where a row may be drawn; None allows all. It may be traced.
    Returns:
      int32 [num_steps, batch_size] in [0, N); all N (out of range) where no row is allowed.
    Raises:
      ValueError: a size is below 1, or where is not [N].
    """
    checks.at_least(num_rows, "num_rows", 1)
    checks.at_least(num_steps, "num_steps", 1)
    checks.at_least(batch_size, "batch_size", 1)
    mask = checks.mask(where, "where", (num_rows,))
    allowed = jnp.ones(num_rows, bool) if mask is None else mask
    count = jnp.sum(allowed)
    per_round = max(1, num_rows // batch_size)
    position = jnp.arange(per_round * batch_size) % jnp.maximum(count, 1)

    def one_round(key: Array) -> Array:
        # Allowed rows in random order come first, the others behind them.
        order = jnp.argsort(jnp.where(allowed, jax.random.uniform(key, (num_rows,)), 2.0))
        return jnp.where(count > 0, order[position], num_rows).reshape(per_round, batch_size)

    rounds = jax.lax.map(one_round, jax.random.split(key, -(-num_steps // per_round)))
    return rounds.reshape(-1, batch_size)[:num_steps].astype(jnp.int32)


def _check_data(data: Mapping[str, ArrayLike]) -> tuple[dict[str, Array], int]:
    arrays = {name: jnp.asarray(array) for name, array in data.items()}
    if not arrays or "index" in arrays:
        raise ValueError(f"data must hold at least one array and none named 'index', got {sorted(arrays)}")
    shapes = {name: array.shape for name, array in arrays.items()}
    if not all(shapes.values()) or len({shape[0] for shape in shapes.values()}) != 1:
        raise ValueError(f"the arrays in data must share their first axis, got {shapes}")
    return arrays, next(iter(shapes.values()))[0]


@functools.cache
def cosine_adam(learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam at a rate that falls to zero as a cosine over all steps; the same object for the same numbers."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
