"""Losses on real-valued predictions: per example, weighted, compared, or known by their gradient alone."""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["adaptive_l2", "denoising_triplet", "vsd_surrogate"]


def adaptive_l2(
    error: ArrayLike, *, power: ArrayLike = 1.0, c: ArrayLike = 1e-3, where: ArrayLike | None = None
) -> Array:
    r"""Mean square weighted by its own size, so that no error pulls harder than a bound (per example; larger is worse).

    .. math:: \ell = \frac{q}{\mathrm{sg}\big((q + c)^p\big)}, \qquad q = \tfrac1D \|e\|^2

    At power 1 the gradient is nowhere longer than :math:`1 / \sqrt{D c}`, whatever the error; the loss is below 1 and
    says little itself. Power 0 is the mean square.

    Args:
      error: float [B, ...], prediction minus target; the target's gradient is the caller's to stop.
      power: p, in [0, 1] as a rule.
      c: > 0; errors whose mean square is far below it are weighed as in a plain mean square.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B]; NaN where a mean square overflows.
    Raises:
      ValueError: error has no batch axis or nothing behind it, a static c <= 0, or where is not [B].
      TypeError: error is not floating point, or where not boolean.

    >>> print(adaptive_l2(jnp.array([[3.0, 3.0], [0.0, 0.0]]), c=1.0))  # 9 / (9 + 1)
    [0.9 0. ]

    Reference: Li et al., "MeanAudio: Fast and Faithful Text-to-Audio Generation with Mean Flows" (2025), checked
    against the authors' code.
    """
    error = checks.floating(error, "error")
    checks.positive(c, "c")
    mask = _batch(error, "error", where)
    square = jnp.mean(_rows(error, accumulation_dtype(error), mask) ** 2, axis=1)
    return square / jax.lax.stop_gradient((square + c) ** power)


def vsd_surrogate(
    x0: ArrayLike,
    eps_teacher: ArrayLike,
    eps_student: ArrayLike,
    *,
    weight: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""A loss whose gradient is that of variational score distillation (per example; the value itself is no measure).

    .. math:: \ell = \tfrac12 \big\| x_0 - \mathrm{sg}\big(x_0 - w\,(\epsilon_T - \epsilon_S)\big) \big\|^2, \qquad
              \nabla_{x_0} \ell = w\,(\epsilon_T - \epsilon_S)

    The teacher has learned the data, the other network what the generator makes now; where they agree on noised samples
    there is nothing left to do. Both predictions take the same guidance scale (``guidance.random_scale``).

    Args:
      x0: float [B, ...], what the generator made.
      eps_teacher: float [B, ...], the teacher's noise at x0 noised; its gradient is stopped.
      eps_student: float [B, ...], that of the network which follows the generator; its gradient is stopped.
      weight: w, a number or [B] (a function of the time of the noise).
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B]: half the sum over entries.
    Raises:
      ValueError: shapes do not agree, or there is no batch axis.
      TypeError: an array is not floating point, or where not boolean.

    >>> x0, teacher, student = jnp.array([[5.0]]), jnp.array([[3.0]]), jnp.array([[1.0]])
    >>> print(jax.grad(lambda x: vsd_surrogate(x, teacher, student, weight=0.5).sum())(x0))
    [[1.]]

    Reference: the loss of "SNOOPI: Supercharged One-step Diffusion Distillation with Proper Guidance" (2024), paper
    text.
    """
    x0, teacher, student = (
        checks.floating(value, name)
        for value, name in ((x0, "x0"), (eps_teacher, "eps_teacher"), (eps_student, "eps_student"))
    )
    checks.same_shape(teacher, "eps_teacher", x0, "x0")
    checks.same_shape(student, "eps_student", x0, "x0")
    mask = _batch(x0, "x0", where)
    dtype = accumulation_dtype(x0, teacher, student)
    scale = jnp.asarray(weight, dtype)
    if scale.shape not in ((), x0.shape[:1]):
        raise ValueError(f"weight must be a number or have shape {[x0.shape[0]]}, got {list(scale.shape)}")
    scale = scale if scale.ndim == 0 or mask is None else jnp.where(mask, scale, 0.0)
    x, teacher, student = (_rows(value, dtype, mask) for value in (x0, teacher, student))
    move = jax.lax.stop_gradient(jnp.reshape(scale, (-1, 1)) * (teacher - student))
    # Not x - sg(x - move): that difference would lose the small moves of a large x to rounding.
    return 0.5 * jnp.sum((x - jax.lax.stop_gradient(x) + move) ** 2, axis=1)


def denoising_triplet(
    err_pos: ArrayLike, err_neg: ArrayLike, *, margin: ArrayLike = 5e-4, where: ArrayLike | None = None
) -> Array:
    r"""A wrong instruction must explain the edit worse than the right one, by a margin (per example; larger is worse).

    .. math:: \ell = \max(0,\; d^+ - d^- + m)

    Both errors belong to one network, one noisy image and one time: d+ under the right condition, d- under a wrong one.
    Stop the gradient of d+ to move the wrong prediction alone. Examples whose conditions were dropped teach nothing
    here: exclude them by ``where`` and take ``numerics.masked_mean``, which is 0 if all were.

    Args:
      err_pos: float [B], the denoising error under the right condition.
      err_neg: float [B], that under the wrong one.
      margin: m, a number or [B]; it belongs to the scale of the errors (here mean squares of noise).
      where: bool [B], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B].
    Raises:
      ValueError: the errors are not [B] both, or margin does not broadcast.
      TypeError: an error is not floating point, or where not boolean.

    >>> print(denoising_triplet(jnp.array([0.5, 0.5]), jnp.array([0.25, 1.0]), margin=0.25))
    [0.5 0. ]

    Reference: Li et al., "SuperEdit: Rectifying and Facilitating Supervision for Instruction-Based Image Editing"
    (2025), checked against the authors' code (whose errors are unsquared lengths, and whose mask keeps some examples
    without conditions).
    """
    err_pos, err_neg = checks.floating(err_pos, "err_pos"), checks.floating(err_neg, "err_neg")
    if err_pos.ndim != 1:
        raise ValueError(f"err_pos must have shape [B], got {list(err_pos.shape)}")
    checks.same_shape(err_neg, "err_neg", err_pos, "err_pos")
    mask = checks.mask(where, "where", err_pos.shape)
    dtype = accumulation_dtype(err_pos, err_neg)
    gap = jnp.asarray(margin, dtype)
    if gap.shape not in ((), err_pos.shape):
        raise ValueError(f"margin must be a number or have shape {list(err_pos.shape)}, got {list(gap.shape)}")
    counts = jnp.ones(err_pos.shape, bool) if mask is None else mask
    positive, negative = (jnp.where(counts, error.astype(dtype), 0.0) for error in (err_pos, err_neg))
    return jnp.where(counts, jnp.maximum(positive - negative + gap, 0.0), 0.0)


def _batch(value: Array, name: str, where: ArrayLike | None) -> Array | None:
    """The mask of the examples, if the array has them and something in each."""
    if value.ndim == 0 or math.prod(value.shape[1:]) == 0:
        raise ValueError(f"{name} must have shape [B, ...] with entries in every example, got {list(value.shape)}")
    return checks.mask(where, "where", value.shape[:1])


def _rows(value: Array, dtype: jnp.dtype, mask: Array | None) -> Array:
    """[B, ...] as [B, D], 0 where an example does not count."""
    rows = value.astype(dtype).reshape(value.shape[0], math.prod(value.shape[1:]))
    return rows if mask is None else jnp.where(mask[:, None], rows, 0.0)
