"""How alike an untrained student and its teacher are, as a guess of how well the student will be distilled."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks, kernels, numerics
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["DiswotScore", "diswot_score"]


class DiswotScore(NamedTuple):
    """The score and its two parts, all <= 0 and larger is better; ``score`` is their sum."""

    score: Array
    relation: Array
    semantic: Array


def diswot_score(
    student_features: ArrayLike,
    teacher_features: ArrayLike,
    student_head_grad: ArrayLike,
    teacher_head_grad: ArrayLike,
    *,
    projection: ArrayLike | None = None,
    channel_where: ArrayLike | None = None,
) -> DiswotScore:
    r"""DisWOT: an untrained student relates inputs and channels as its untrained teacher does (couples the batch).

    .. math:: S = -\frac1{B^2} \big\|\tilde G(F^S) - \tilde G(F^T)\big\|_F^2
              - \frac1{K C} \sum_{k=1}^K \big\|\tilde G(g_k^S) - \tilde G(g_k^T)\big\|_F^2

    with :math:`\tilde G(X)` the rows of :math:`X X^\top` at length 1, F the features of the inputs, and :math:`g_k`, a
    column of C channels, the gradient of the loss by the head's weights for class k. Scores that were made with
    different numbers of channels do not compare: what the semantic part expects of chance depends on C.

    Args:
      student_features: float [B, ...], before the head; rows are flattened.
      teacher_features: float [B, ...], of the same inputs; of any width.
      student_head_grad: float [K, C].
      teacher_head_grad: float [K, C], or [K, C'] with a ``projection``.
      projection: float [C', C], fixed and random, brings the teacher's channels to the student's number; None where
        they agree.
      channel_where: bool [C], True for the channels that the student has; None is all.
    Returns:
      DiswotScore of float32 or wider []: 0 for a student like its teacher, finite for a dead one.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or channel_where is not boolean.

    >>> features, grad = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[1.0, 2.0]])
    >>> print(diswot_score(features, features, grad, grad * jnp.array([1.0, -1.0])).semantic.round(3))
    -2.0

    Reference: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training" (2023), checked
    against the authors' code; that both parts weigh the same is recalled, the projection is inferred.
    """
    pair = {"student_features": student_features, "teacher_features": teacher_features}
    features = {name: checks.floating(value, name) for name, value in pair.items()}
    for name, value in features.items():
        if value.ndim < 2:
            raise ValueError(f"{name} must have shape [B, ...], got {list(value.shape)}")
    student, teacher = features.values()
    checks.batch_match(student, "student_features", teacher, "teacher_features")
    dtype = accumulation_dtype(student, teacher)
    grams = [kernels.row_normalized_gram(value.astype(dtype).reshape(len(value), -1)) for value in (student, teacher)]
    relation = -jnp.mean((grams[0] - grams[1]) ** 2)
    semantic = -_semantic_distance(student_head_grad, teacher_head_grad, projection, channel_where)
    return DiswotScore(relation + semantic, relation, semantic)


def _semantic_distance(
    student: ArrayLike, teacher: ArrayLike, projection: ArrayLike | None, channel_where: ArrayLike | None
) -> Array:
    """By the closed form: a row of the scaled g g' is sign(g_i) g / |g|."""
    own = checks.rank(checks.floating(student, "student_head_grad"), "student_head_grad", 2, layout="[K, C]")
    other = checks.rank(checks.floating(teacher, "teacher_head_grad"), "teacher_head_grad", 2, layout="[K, C]")
    dtype = accumulation_dtype(own, other)
    own, other = own.astype(dtype), other.astype(dtype)
    if projection is not None:
        matrix = checks.floating(projection, "projection")
        if matrix.shape != (other.shape[1], own.shape[1]):
            raise ValueError(
                f"projection must have shape {[other.shape[1], own.shape[1]]}, teacher by student channels, "
                f"got {list(matrix.shape)}"
            )
        other = jnp.matmul(other, matrix.astype(dtype), precision="highest")
    if own.shape != other.shape:
        raise ValueError(
            f"student_head_grad {list(own.shape)} and teacher_head_grad {list(other.shape)} must agree: for other "
            "numbers of channels give a projection"
        )
    mask = checks.mask(channel_where, "channel_where", own.shape[1:])
    exists = jnp.ones(own.shape[1], bool) if mask is None else mask
    own, other = (jnp.where(exists, g, 0.0) for g in (own, other))

    def rows(g: Array) -> tuple[Array, Array]:
        return jnp.sign(g), numerics.normalize(g)

    (own_sign, own_unit), (other_sign, other_unit) = rows(own), rows(other)
    # |s u - t v|^2 summed over channels, with s, t in {-1, 0, 1}.
    lengths = [
        jnp.sum(s**2, axis=1) * jnp.sum(u**2, axis=1) for s, u in ((own_sign, own_unit), (other_sign, other_unit))
    ]
    cross = jnp.sum(own_sign * other_sign, axis=1) * jnp.sum(own_unit * other_unit, axis=1)
    squares = jnp.maximum(lengths[0] + lengths[1] - 2.0 * cross, 0.0)
    number = jnp.maximum(own.shape[0] * jnp.sum(exists), 1)
    return jnp.sum(squares) / number.astype(dtype)
