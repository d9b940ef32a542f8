"""Matching how a teacher relates what it does not know to what it does."""

import jax
import jax.numpy as jnp

from jaxlab import checks, kernels
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["channel_correlation", "class_relation_kd", "similarity_preserving"]


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

    .. math:: \ell_n = T^2\, g_n \sum_{c < K} -r_{nc} \log \tilde r_{nc},
              \quad r = \mathrm{softmax}(z^{old} / \tau T), \; \tilde r = \mathrm{softmax}(z_{:K} / \tau T)

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


def similarity_preserving(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Keeps which inputs of a batch are alike (couples the batch).

    .. math:: \ell_n = \frac1B \big\|\tilde G^S_n - \tilde G^T_n\big\|^2, \quad
              \tilde G = \text{rows of } F F^\top \text{ at length 1}

    Args:
      student: float [B, ...], features; rows are flattened.
      teacher: float [B, ...], of the same inputs, of any width; it passes no gradient.
      where: bool [B], True where an example counts; the others give 0 and are like nothing.
    Returns:
      float32 or wider [B]; its mean is the published loss.
    Raises:
      ValueError: shapes do not agree.
      TypeError: student or teacher is not floating point, or where is not boolean.

    >>> print(similarity_preserving(jnp.array([[1.0], [1.0]]), jnp.eye(2)).round(3))
    [0.293 0.293]

    Reference: Tung and Mori, "Similarity-Preserving Knowledge Distillation" (2019), checked against the code of Dong et
    al., "DisWOT: Student Architecture Search for Distillation WithOut Training" (2023).
    """
    student, teacher = checks.floating(student, "student"), checks.floating(teacher, "teacher")
    for name, value in (("student", student), ("teacher", teacher)):
        if value.ndim < 2:
            raise ValueError(f"{name} must have shape [B, ...], got {list(value.shape)}")
    checks.batch_match(student, "student", teacher, "teacher")
    mask = checks.mask(where, "where", student.shape[:1])
    counts = jnp.ones(student.shape[:1], bool) if mask is None else mask
    dtype = accumulation_dtype(student, teacher)

    def relations(features: Array) -> Array:
        rows = features.reshape(features.shape[0], -1).astype(dtype)
        return kernels.row_normalized_gram(jnp.where(counts[:, None], rows, 0.0))

    gap = relations(student) - relations(jax.lax.stop_gradient(teacher))
    return jnp.sum(gap**2, axis=1) / jnp.maximum(jnp.sum(counts), 1).astype(dtype)


def channel_correlation(student: ArrayLike, teacher: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Keeps which channels of an image are active at the same places, a value per example.

    .. math:: \ell = \frac1C \big\|\tilde A^S - \tilde A^T\big\|_F^2, \quad
              \tilde A = \text{rows of } F^\top F \text{ at length 1}, \; F \in \mathbb R^{P \times C}

    Args:
      student: float [B, ..., C], channels last, P places.
      teacher: float [B, ..., C], of as many channels, at any number of places; it passes no gradient.
      where: bool [B], True where an example counts; the others give 0.
    Returns:
      float32 or wider [B].
    Raises:
      ValueError: shapes do not agree.
      TypeError: student or teacher is not floating point, or where is not boolean.

    >>> together, apart = jnp.ones((1, 2, 2)), jnp.eye(2)[None]
    >>> print(channel_correlation(together, apart).round(3), channel_correlation(together, 3 * together).round(3))
    [0.586] [0.]

    Reference: Liu et al., "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation" (2021),
    checked against the code of Dong et al., as in ``similarity_preserving``; channels are last here.
    """
    student, teacher = checks.floating(student, "student"), checks.floating(teacher, "teacher")
    for name, value in (("student", student), ("teacher", teacher)):
        if value.ndim < 3:
            raise ValueError(f"{name} must have shape [B, ..., C] with places, got {list(value.shape)}")
    checks.batch_match(student, "student", teacher, "teacher")
    batch, channels = student.shape[0], student.shape[-1]
    if teacher.shape[-1] != channels:
        raise ValueError(f"teacher must have the student's {channels} channels, got {list(teacher.shape)}")
    mask = checks.mask(where, "where", student.shape[:1])
    counts = jnp.ones(batch, bool) if mask is None else mask
    dtype = accumulation_dtype(student, teacher)

    def relations(features: Array) -> Array:
        rows = jnp.swapaxes(features.reshape(batch, -1, channels), 1, 2).astype(dtype)
        return kernels.row_normalized_gram(jnp.where(counts[:, None, None], rows, 0.0))

    gap = relations(student) - relations(jax.lax.stop_gradient(teacher))
    return jnp.sum(gap**2, axis=(1, 2)) / max(channels, 1)
