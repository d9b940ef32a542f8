"""Matching the distribution of a teacher."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses import kl_divergence
from jaxlab.typing import Array, ArrayLike

__all__ = ["kd"]


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
