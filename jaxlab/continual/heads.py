"""Putting the logits of several task heads together."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["block_diagonal_logits"]


def block_diagonal_logits(task_logits: ArrayLike, task_of_class: ArrayLike) -> Array:
    r"""The logit of every class from the pathway of its own task.

    .. math:: z_c = z^{(t(c))}_c

    What another pathway says about a class is not read, and gets no gradient: a new task changes no earlier logit.

    Args:
      task_logits: float [T, ..., C], the logits of every pathway.
      task_of_class: int [C], the task of each class; outside [0, T) the class belongs to no task yet.
    Returns:
      [..., C] in the dtype of task_logits; -inf for a class of no task.
    Raises:
      ValueError: shapes do not agree.
      TypeError: task_logits are not floating point, or task_of_class is not integer.

    >>> print(block_diagonal_logits(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), jnp.array([0, 1, -1])))
    [  1.   5. -inf]

    Reference: De Min et al., "Less is more: Summarizing Patch Tokens for efficient Multi-Label Class-Incremental
    Learning" (2024). Checked against the authors' code.
    """
    task_logits = checks.floating(task_logits, "task_logits")
    tasks = checks.rank(checks.integer(task_of_class, "task_of_class"), "task_of_class", 1, layout="[C]")
    if task_logits.ndim < 2 or task_logits.shape[0] == 0 or task_logits.shape[-1] != tasks.shape[0]:
        raise ValueError(f"task_logits must have shape [T, ..., {tasks.shape[0]}], got {list(task_logits.shape)}")
    exists = (tasks >= 0) & (tasks < task_logits.shape[0])
    at = jnp.where(exists, tasks, 0).reshape((1,) * (task_logits.ndim - 1) + tasks.shape)
    own = jnp.take_along_axis(task_logits, at, axis=0)[0]
    return jnp.where(exists, own, -jnp.inf)
