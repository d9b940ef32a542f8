"""Matching the distribution of a teacher."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.losses import aggregate_joint_logits, kl_divergence, sla
from jaxlab.typing import Array, ArrayLike

__all__ = ["kd", "sla_self_distillation"]


def kd(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    scale: str = "t2",
) -> Array:
    r"""Knowledge distillation: the divergence of the student's softened distribution from the teacher's.

    .. math:: \ell = \tau^2 \, KL\big(\mathrm{softmax}(t / \tau) \,\|\, \mathrm{softmax}(s / \tau)\big)

    The gradient with respect to s falls as 1 / tau^2; the factor tau^2 keeps it beside a cross entropy as it was.

    Args:
      student_logits: float [..., C].
      teacher_logits: float [..., C]; they pass no gradient.
      temperature: tau > 0, divides both logits.
      where: bool, broadcastable to [..., C], True where a class counts, such as the classes a teacher knows.
      scale: "t2" multiplies by tau^2, "none" does not, static.
    Returns:
      float32 or wider [...], >= 0 to rounding.
    Raises:
      ValueError: shapes do not agree, an unknown scale, or a static temperature <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(kd(jnp.array([0.0, 0.0]), jnp.array([2.0, 0.0]), temperature=2.0).round(4))
    0.4438

    Reference: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015). Standard.
    """
    student = checks.floating(student_logits, "student_logits")
    teacher = checks.floating(teacher_logits, "teacher_logits")
    checks.same_shape(student, "student_logits", teacher, "teacher_logits")
    checks.one_of(scale, "scale", ("t2", "none"))
    divergence = kl_divergence(student, jax.lax.stop_gradient(teacher), temperature=temperature, where=where)
    factor = jnp.square(jnp.asarray(temperature, divergence.dtype)) if scale == "t2" else 1.0
    return factor * divergence


def sla_self_distillation(
    student_logits: ArrayLike,
    joint_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Label augmentation that a second head learns to do without (per example; larger is worse).

    .. math:: \ell = \mathrm{SLA}(z, y) + CE(u, y)
              + \tau^2 \, KL\big(\mathrm{softmax}(s / \tau) \,\|\, \mathrm{softmax}(u / \tau)\big)

    s aggregates the joint logits z over all transformations; u sees the input as it is, so that one forward pass
    answers at last.

    Args:
      student_logits: float [..., K], u, of the input as it is.
      joint_logits: float [..., M, K M], z, laid out as in ``losses.sla``; s passes no gradient to them.
      labels: int [...], in [0, K); outside gives NaN for that example.
      temperature: tau > 0, of the last term.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0 to rounding.
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> print(sla_self_distillation(jnp.zeros(3), jnp.zeros((4, 12)), jnp.array(2)).round(4))  # log 12 + log 3
    3.5835

    Reference: Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020). Checked against the
    authors' code.
    """
    student, joint = checks.floating(student_logits, "student_logits"), checks.floating(joint_logits, "joint_logits")
    labels = checks.integer(labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    if mask is not None:
        student, joint = jnp.where(mask[..., None], student, 0.0), jnp.where(mask[..., None, None], joint, 0.0)
    teacher = aggregate_joint_logits(joint)
    checks.same_shape(student, "student_logits", teacher, "the aggregated joint_logits")
    augmented = sla(joint, labels)  # first, as it checks the labels' shape
    known = (labels >= 0) & (labels < student.shape[-1])
    wide = student.astype(augmented.dtype)
    named = optax.losses.softmax_cross_entropy_with_integer_labels(wide, jnp.where(known, labels, 0))
    losses = augmented + named + kd(student, teacher, temperature=temperature)
    return losses if mask is None else jnp.where(mask, losses, 0.0)
