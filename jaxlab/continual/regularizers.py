"""What holds a network that is trained on task after task.

The regularisers themselves are calls: with ``local = task_classes(...)`` of the current task and ``old`` of the
earlier ones (bool [C], to be broadcast to the logits), parameters ``anchor`` from before the task and a scalar weight,

- local softmax: ``optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels, where=local)``
- L2: ``optax.tree.norm(optax.tree.sub(body, anchor), squared=True)``
- EWC: ``losses.ewc_penalty(params, anchor, fisher)``, ``fisher`` a sum of ``optim.fisher_diagonal`` over tasks
- prediction distillation: ``distill.kd(logits, old_logits, where=old)``
- feature distillation: ``distill.feature_mse(features, old_features)``
- virtual outliers: ``losses.energy_margin`` on ``detect.virtual_outliers``
"""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["task_classes"]


def task_classes(labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None) -> Array:
    r"""The classes of a task, for a softmax over them alone.

    .. math:: m_c = \exists\, i: y_i = c

    Where the loss of a task leaves out the logits of all other classes, its gradient in their weights and biases is
    exactly zero: they can be forgotten through the features only. Masks of tasks are joined by ``|``.

    Args:
      labels: int [..., N]; a label outside [0, num_classes) is no class.
      num_classes: C, static, >= 1.
      where: bool [..., N], True where a row counts.
    Returns:
      bool [..., C], True for the classes that have a row. A loss over these classes of a label that is not among them
      is infinite: take the mask from the rows that are trained on.
    Raises:
      ValueError: labels have no axis, num_classes < 1, or where has another shape.
      TypeError: labels are not integers, or where is not boolean.

    >>> print(task_classes(jnp.array([2, 0, 2, -1]), num_classes=4))
    [ True False  True False]

    Reference: the local softmax of Smith et al., "A Closer Look at Rehearsal-Free Continual Learning" (2023); standard.
    """
    labels = checks.integer(labels, "labels")
    if labels.ndim < 1:
        raise ValueError("labels must have shape [..., N], got a scalar")
    checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    if mask is not None:
        labels = jnp.where(mask, labels, -1)
    return jnp.any(labels[..., None] == jnp.arange(num_classes), axis=-2)
