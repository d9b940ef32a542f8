"""Losses on real-valued predictions: per example, weighted, compared, or known by their gradient alone."""

import math

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "adaptive_l2",
    "denoising_triplet",
    "depth_quality_focal",
    "distribution_focal",
    "guided_loss_scaling",
    "vsd_surrogate",
]


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


def guided_loss_scaling(cls_loss: ArrayLike, reg_loss: ArrayLike, *, eps: ArrayLike = 1e-12) -> Array:
    r"""The loss of classes at the size of the loss of boxes, whatever its own (larger is worse).

    .. math:: \ell = \mathrm{sg}\Big(\frac{L_{reg}}{L_{cls}}\Big) L_{cls}

    Its value is that of ``reg_loss``, its gradient that of ``cls_loss`` times the ratio: many easy negatives then need
    neither sampling nor weights.

    Args:
      cls_loss: float [...], as a rule the mean over a batch with all its shards; >= 0.
      reg_loss: float that broadcasts with it, >= 0; it gets no gradient from here.
      eps: > 0; a class loss that is not larger gives 0 and no gradient, and so does a box loss of 0 (no positives).
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not broadcast, or a static eps <= 0.
      TypeError: a loss is not floating point.

    >>> value, gradient = jax.value_and_grad(guided_loss_scaling)(jnp.array(8.0), jnp.array(2.0))
    >>> print(value, gradient)
    2.0 0.25

    Reference: Chen et al., "Is Heuristic Sampling Necessary in Training Deep Object Detectors?" (2021), checked against
    the authors' code.
    """
    checks.positive(eps, "eps")
    classes, boxes = checks.floating(cls_loss, "cls_loss"), checks.floating(reg_loss, "reg_loss")
    dtype = accumulation_dtype(classes, boxes)
    classes, boxes = classes.astype(dtype), boxes.astype(dtype)
    some = classes > eps
    ratio = jax.lax.stop_gradient(boxes / jnp.where(some, classes, 1.0))
    return jnp.where(some, ratio * classes, 0.0)


def distribution_focal(logits: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Cross entropy with the two bins that a number lies between (one value per example; larger is worse).

    .. math:: \ell = -(i + 1 - u) \log p_i - (u - i) \log p_{i+1}, \qquad i = \lfloor u \rfloor

    It is least, at the entropy of the two weights, where p holds just these: the mean of p is then u.

    Args:
      logits: float [..., D], D >= 2.
      targets: u, float [...], in bins: 0 is the first, D - 1 the last. Outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not agree, or D < 2.
      TypeError: an array is not floating point, or where not boolean.

    >>> print(distribution_focal(jnp.log(jnp.array([0.25, 0.5, 0.25])), jnp.array(1.0)).round(4))
    0.6931

    Reference: Li et al., "Generalized Focal Loss" (2020), as Hou et al. (OPEN, 2024) supervise depth; checked against
    the authors' code.
    """
    logits, targets = checks.floating(logits, "logits"), checks.floating(targets, "targets")
    if logits.ndim == 0 or logits.shape[-1] < 2 or logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits and targets must be [..., D] with D >= 2 and [...], got {list(logits.shape)} and "
            f"{list(targets.shape)}"
        )
    mask = checks.mask(where, "where", targets.shape)
    counts = jnp.ones(targets.shape, bool) if mask is None else mask
    dtype, last = accumulation_dtype(logits, targets), logits.shape[-1] - 1
    known = (targets >= 0) & (targets <= last)
    u = jnp.where(counts & known, targets.astype(dtype), 0.0)
    log_probs = jax.nn.log_softmax(jnp.where(counts[..., None], logits.astype(dtype), 0.0), axis=-1)
    low = jnp.minimum(jnp.floor(u).astype(jnp.int32), last - 1)
    pair = jnp.take_along_axis(log_probs, jnp.stack([low, low + 1], axis=-1), axis=-1)
    share = jax.lax.stop_gradient(u) - low
    loss = -(1 - share) * pair[..., 0] - share * pair[..., 1]
    return jnp.where(counts, jnp.where(known, loss, jnp.nan), 0.0)


def depth_quality_focal(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: ArrayLike = 0.25,
    gamma: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Focal loss towards a class score that says how good the depth is (one value per entry; larger is worse).

    .. math:: \ell = \big(1 - \alpha + (2 \alpha - 1) q\big)\, |q - p|^\gamma\; \mathrm{BCE}(p, q),
              \qquad p = \sigma(z)

    With targets 0 and 1 it is the focal loss.

    Args:
      logits: z, float [...].
      targets: q, float [...] in [0, 1]: the quality for the class of the object, 0 for the others. No gradient.
      alpha: weight of a full positive, 1 - alpha that of a negative.
      gamma: >= 1.
      where: bool [...], True where an entry counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not agree, a static alpha is not in [0, 1], or a static gamma < 1.
      TypeError: an array is not floating point, or where not boolean.

    >>> print(depth_quality_focal(jnp.array([0.0, 0.0]), jnp.array([0.5, 0.0])).round(4))
    [0.   0.13]

    Reference: Hou et al., "OPEN: Object-wise Position Embedding for Multi-view 3D Object Detection" (2024), checked
    against the authors' code, which allows gamma 2 alone.
    """
    checks.in_range(alpha, "alpha", 0.0, 1.0)
    checks.at_least(gamma, "gamma", 1.0)
    logits, targets = checks.floating(logits, "logits"), checks.floating(targets, "targets")
    checks.same_shape(targets, "targets", logits, "logits")
    mask = checks.mask(where, "where", logits.shape)
    dtype = accumulation_dtype(logits, targets)
    z, q = logits.astype(dtype), jax.lax.stop_gradient(targets.astype(dtype))
    if mask is not None:
        z, q = jnp.where(mask, z, 0.0), jnp.where(mask, q, 0.0)
    away = jnp.abs(q - jax.nn.sigmoid(z))
    loss = (1 - alpha + (2 * alpha - 1) * q) * away**gamma * optax.losses.sigmoid_binary_cross_entropy(z, q)
    return loss if mask is None else jnp.where(mask, loss, 0.0)


def _batch(value: Array, name: str, where: ArrayLike | None) -> Array | None:
    """The mask of the examples, if the array has them and something in each."""
    if value.ndim == 0 or math.prod(value.shape[1:]) == 0:
        raise ValueError(f"{name} must have shape [B, ...] with entries in every example, got {list(value.shape)}")
    return checks.mask(where, "where", value.shape[:1])


def _rows(value: Array, dtype: jnp.dtype, mask: Array | None) -> Array:
    """[B, ...] as [B, D], 0 where an example does not count."""
    rows = value.astype(dtype).reshape(value.shape[0], math.prod(value.shape[1:]))
    return rows if mask is None else jnp.where(mask[:, None], rows, 0.0)
