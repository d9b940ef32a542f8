"""Matching how a teacher relates what it does not know to what it does."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["class_relation_kd"]


def class_relation_kd(
    logits: ArrayLike,
    old_logits: ArrayLike,
    *,
    temperature: ArrayLike = 4.0,
    logit_temperature: ArrayLike = 0.1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Keeps the likeness of novel examples to the known classes as an earlier model saw it (couples the batch).

    .. math:: \ell_n = T^2\, g_n \sum_{c < K} -r_{nc} \log \tilde r_{nc}, \quad
              r = \mathrm{softmax}(z^{old} / \tau T), \; \tilde r = \mathrm{softmax}(z_{:K} / \tau T)

    The weight :math:`g_n \propto \sum_{c < K} \mathrm{softmax}(z / \tau T)_c` is the mass that the present model gives
    to known classes, divided by its mean over the batch. It is learned: gradients pass through it.

    Args:
      logits: float [N, C], z of the present model: the K known classes first, then the novel ones.
      old_logits: float [N, K], of the model that learned the known classes, K < C; they pass no gradient.
      temperature: T > 0, softens the relation.
      logit_temperature: tau > 0, of the classifier; cosines as logits want 0.1.
      where: bool [N], True where an example is of a novel class; the others give 0 and do not count in the mean.
      axis_name: the mapped axis over which the examples are split; the mean runs over all its members.
    Returns:
      float32 or wider [N], >= 0. Where the relations agree it is T^2 times weight times entropy, not 0.
    Raises:
      ValueError: shapes do not agree, there is no novel class, or a static temperature <= 0.
      TypeError: logits or old_logits are not floating point, or where is not boolean.

    >>> print(class_relation_kd(jnp.zeros((2, 3)), jnp.zeros((2, 2)), temperature=1.0).round(4))
    [0.6931 0.6931]

    Reference: Gu et al., "Class-relation Knowledge Distillation for Novel Class Discovery" (2023). Checked against the
    authors' code; the paper weighs the loss by 0.1.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[N, C]")
    old = checks.rank(checks.floating(old_logits, "old_logits"), "old_logits", 2, layout="[N, K]")
    checks.batch_match(logits, "logits", old, "old_logits")
    num_known = old.shape[1]
    if not 1 <= num_known < logits.shape[1]:
        raise ValueError(
            f"old_logits must have from 1 to {logits.shape[1] - 1} columns, fewer than logits, got {num_known}"
        )
    checks.positive(temperature, "temperature")
    checks.positive(logit_temperature, "logit_temperature")
    mask = checks.mask(where, "where", logits.shape[:1])
    counts = jnp.ones(logits.shape[:1], bool) if mask is None else mask
    dtype = accumulation_dtype(logits, old)
    soft = jnp.asarray(temperature, dtype) * jnp.asarray(logit_temperature, dtype)
    new, teacher = (
        jnp.where(counts[:, None], z.astype(dtype), 0.0) / soft for z in (logits, jax.lax.stop_gradient(old))
    )
    divergence = -jnp.sum(jax.nn.softmax(teacher) * jax.nn.log_softmax(new[:, :num_known]), axis=-1)
    mass = jnp.where(counts, jnp.sum(jax.nn.softmax(new)[:, :num_known], axis=-1), 0.0)
    total, number = jnp.sum(mass), jnp.sum(counts, dtype=dtype)
    if axis_name is not None:
        total, number = jax.lax.psum((total, number), axis_name)
    weight = mass * number / jnp.where(total > 0, total, 1.0)
    return jnp.where(counts, jnp.asarray(temperature, dtype) ** 2 * weight * divergence, 0.0)
