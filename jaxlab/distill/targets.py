"""Targets that a model makes for itself while it trains: a table with a row per example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["TargetsState", "progressive_targets", "progressive_targets_init", "progressive_targets_update"]


class TargetsState(NamedTuple):
    """What a model last said of every training example."""

    table: Array  # [N, K], probabilities


def progressive_targets_init(labels: ArrayLike, num_classes: int, *, dtype: DTypeLike = jnp.float32) -> TargetsState:
    r"""The table of ``progressive_targets`` before training: the labels themselves.

    .. math:: P_{ik} = [k = y_i]

    So the targets of the first epoch are the labels, whatever their weight.

    Args:
      labels: int [N], of all training examples; outside [0, num_classes) gives a row of zeros.
      num_classes: K, static.
      dtype: of the table; bfloat16 halves it where N is large.
    Returns:
      TargetsState with a table [N, K].
    Raises:
      ValueError: labels are not [N], or num_classes < 1.
      TypeError: labels are not integers, or num_classes is no static integer.

    >>> print(progressive_targets_init(jnp.array([1, 0]), 3).table)
    [[0. 1. 0.]
     [1. 0. 0.]]

    Reference: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (2021). Checked against
    the authors' code.
    """
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    return TargetsState(jax.nn.one_hot(labels, checks.size(num_classes, "num_classes"), dtype=dtype))


def progressive_targets(
    state: TargetsState, index: ArrayLike, labels: ArrayLike, *, alpha: ArrayLike, where: ArrayLike | None = None
) -> Array:
    r"""Labels softened by what the model said of the same examples an epoch ago.

    .. math:: t_i = (1 - \alpha)\, e_{y_i} + \alpha P_i

    Train on ``optax.losses.softmax_cross_entropy(logits, targets)``, then write the logits of the same step with
    ``progressive_targets_update``. The weight grows with the epochs, as ``optax.linear_schedule(0.8 / T, 0.8, T - 1)``
    does in T of them: a model is believed as far as it has been trained. An example that is already fitted then pulls
    less than one that is not: for P_i the present prediction p the gradient is (1 - alpha)(p - e_y).

    Args:
      state: TargetsState with a table [N, K].
      index: int [...], rows of the table; outside [0, N) gives NaN for that example.
      labels: int [...], in [0, K); outside gives NaN for that example.
      alpha: in [0, 1], a float or an array that broadcasts to [...].
      where: bool [...], True where an example counts; the others give zeros, so that their cross entropy is 0.
    Returns:
      float32 (wider if the table is) [..., K], rows that sum to 1; no gradient passes.
    Raises:
      ValueError: shapes do not agree, the table is not [N, K], or a static alpha is outside [0, 1].
      TypeError: index or labels are not integers, or where is not boolean.

    >>> index = jnp.array([0])
    >>> state = progressive_targets_update(progressive_targets_init(index, 2), index, jnp.zeros((1, 2)))
    >>> print(progressive_targets(state, index, index, alpha=0.5))
    [[0.75 0.25]]

    Reference: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (2021). Checked against
    the authors' code, whose final alpha is 0.8.
    """
    table = _table(state)
    index, labels = checks.integer(index, "index"), checks.integer(labels, "labels")
    checks.same_shape(index, "index", labels, "labels")
    checks.in_range(alpha, "alpha", 0.0, 1.0)
    mask = checks.mask(where, "where", labels.shape)
    num_rows, num_classes = table.shape
    dtype = accumulation_dtype(table)
    weight = jnp.broadcast_to(jnp.asarray(alpha, dtype), labels.shape)[..., None]
    known = (labels >= 0) & (labels < num_classes) & (index >= 0) & (index < num_rows)
    told = jax.nn.one_hot(labels, num_classes, dtype=dtype)
    past = jnp.take(table, jnp.where(known, index, 0), axis=0).astype(dtype)
    targets = jnp.where(known[..., None], (1 - weight) * told + weight * past, jnp.nan)
    return jax.lax.stop_gradient(targets if mask is None else jnp.where(mask[..., None], targets, 0.0))


def progressive_targets_update(
    state: TargetsState, index: ArrayLike, logits: ArrayLike, *, where: ArrayLike | None = None
) -> TargetsState:
    r"""Writes what the model says now, for the targets of the next epoch.

    .. math:: P_i \leftarrow \mathrm{softmax}(z_i)

    The logits are those of the training step itself (dropout and augmentation on), so nothing is computed twice.

    Args:
      state: TargetsState with a table [N, K].
      index: int [...], rows of the table, each at most once; outside [0, N) is dropped.
      logits: float [..., K]; they pass no gradient.
      where: bool [...], True where an example is written.
    Returns:
      TargetsState of the same dtype.
    Raises:
      ValueError: shapes do not agree, or the table is not [N, K].
      TypeError: index is not integer, logits are not floating point, or where is not boolean.

    >>> state = progressive_targets_init(jnp.array([1, 0]), 2)
    >>> print(progressive_targets_update(state, jnp.array([1]), jnp.zeros((1, 2))).table)
    [[0.  1. ]
     [0.5 0.5]]

    Reference: Kim et al., "Self-Knowledge Distillation with Progressive Refinement of Targets" (2021). Checked against
    the authors' code.
    """
    table = _table(state)
    index, logits = checks.integer(index, "index"), checks.floating(logits, "logits")
    if logits.shape != (*index.shape, table.shape[1]):
        raise ValueError(f"logits must have shape {[*index.shape, table.shape[1]]}, got {list(logits.shape)}")
    mask = checks.mask(where, "where", index.shape)
    num_rows = table.shape[0]
    # Negative numbers would count from the end.
    inside = index >= 0 if mask is None else (index >= 0) & mask
    rows = jnp.where(inside, index, num_rows)
    probs = jax.nn.softmax(jax.lax.stop_gradient(logits).astype(accumulation_dtype(logits)))
    return TargetsState(table.at[rows].set(probs.astype(table.dtype), mode="drop"))


def _table(state: TargetsState) -> Array:
    return checks.rank(checks.floating(state.table, "state.table"), "state.table", 2, layout="[N, K]")
