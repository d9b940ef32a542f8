"""Losses that are one minus an overlap of predicted and true positives: for rare positives, tokens and masks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics.confusion import Confusion, soft_confusion
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["amplify", "any_loss", "dice_loss", "hard_negative_mask", "tversky"]


def amplify(probs: ArrayLike, *, scale: ArrayLike = 73.0) -> Array:
    r"""Pushes probabilities to 0 and 1, so that sums of them come near counts.

    .. math:: A(p) = \sigma(L (p - 1/2))

    Its slope is L / 4 at 1/2 and next to nothing further away: probabilities beyond 0.2 from 1/2 hardly learn.

    Args:
      probs: float [...], in [0, 1].
      scale: L > 0; at 73 the results for 0 and 1 are 0 and 1 up to 1e-16.
    Returns:
      float32 or wider [...] in [0, 1].
    Raises:
      ValueError: a static scale <= 0.
      TypeError: probs are not floating point.

    >>> print(amplify(jnp.array([0.4, 0.5, 0.6])).round(4))
    [7.000e-04 5.000e-01 9.993e-01]

    Reference: Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions" (2024), checked
    against the authors' code.
    """
    p = checks.floating(probs, "probs")
    checks.positive(scale, "scale")
    dtype = accumulation_dtype(p)
    return jax.nn.sigmoid(jnp.asarray(scale, dtype) * (p.astype(dtype) - 0.5))


def any_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    metric: Callable[[Confusion], Array],
    *,
    scale: ArrayLike = 73.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""One minus any measure of a confusion of two classes (one number per batch; larger is worse).

    .. math:: \ell = 1 - m\big(C(A(\sigma(z)), t)\big)

    where A is ``amplify`` and C ``soft_confusion``. Start from logits near 0, where A has a slope, and draw batches
    that hold both classes: without positives F and Matthews have no gradient, and balanced accuracy and the geometric
    mean are those of the negatives alone (the authors' loss is 1 and flat there).

    Args:
      logits: float [N], of the positive class; or [..., N], for a loss of each row.
      targets: float, int or bool, the shape of logits, in [0, 1].
      metric: of a ``metrics.Confusion``, larger is better: ``metrics.f_beta``, ``metrics.balanced_accuracy``,
        ``metrics.matthews``, ``functools.partial(metrics.g_mean, root=False)``, ...
      scale: L > 0 of ``amplify``.
      where: bool, the shape of logits, True where an example counts.
      axis_name: the mapped axis over which examples are split: counts add over its members, losses do not.
    Returns:
      float32 or wider scalar (or [...]); finite, without a gradient where nothing counts.
    Raises:
      ValueError: shapes do not agree, logits is a scalar, or a static scale <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> from jaxlab import metrics
    >>> print(any_loss(jnp.array([5.0, -5.0, 5.0]), jnp.array([1, 0, 0]), metrics.f_beta).round(4))
    0.3333

    Reference: Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions" (2024), checked
    against the authors' code, which adds 1e-5 to the denominators where the measures here are 0 for 0 / 0, and leaves
    the root out of the geometric mean.
    """
    logits, shape = checks.floating(logits, "logits"), jnp.shape(targets)
    if logits.ndim == 0 or logits.shape != shape:
        raise ValueError(f"logits and targets must share a shape [..., N], got {list(logits.shape)} and {list(shape)}")
    mask = checks.mask(where, "where", logits.shape)
    clean = logits if mask is None else jnp.where(mask, logits, 0.0)
    probs = amplify(jax.nn.sigmoid(clean.astype(accumulation_dtype(clean))), scale=scale)
    return 1.0 - metric(soft_confusion(probs, targets, where=mask, axis_name=axis_name))


def _cleaned(
    probs: ArrayLike, targets: ArrayLike, where: ArrayLike | None, smooth: ArrayLike
) -> tuple[Array, Array, Array | None]:
    p, t = checks.floating(probs, "probs"), jnp.asarray(targets)
    checks.same_shape(p, "probs", t, "targets")
    if p.ndim == 0:
        raise ValueError("probs must have shape [..., N], got a scalar")
    checks.at_least(smooth, "smooth", 0.0)
    mask = checks.mask(where, "where", p.shape)
    dtype = accumulation_dtype(p, t)
    p, t = p.astype(dtype), t.astype(dtype)
    return (p, t, None) if mask is None else (jnp.where(mask, p, 0.0), jnp.where(mask, t, 0.0), mask)


def _focused(p: Array, focus: ArrayLike) -> Array:
    """(1 - p)^focus p, with the gradient of 0 at p = 1 where the true one is infinite."""
    exponent, rest = jnp.asarray(focus, p.dtype), 1.0 - p
    fine = (rest > 0) | (exponent >= 1)
    weight = jnp.where(fine, rest, 1.0) ** exponent
    return p * jnp.where(fine, weight, jnp.where(exponent == 0, 1.0, 0.0))


def _one_minus(above: Array, below: Array) -> Array:
    """1 - above / below; two empty sets overlap."""
    some = below > 0
    return jnp.where(some, 1.0 - above / jnp.where(some, below, 1.0), 0.0)


def dice_loss(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    smooth: ArrayLike = 1.0,
    square: bool = False,
    focus: ArrayLike = 0.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""One minus the soft Dice overlap of the last axis (couples that axis; larger is worse).

    .. math:: \ell = 1 - \frac{2 \sum_i q_i t_i + g}{\sum_i q_i + \sum_i t_i + g}, \quad q_i = (1 - p_i)^a\, p_i

    The last axis is the set: the examples of a batch, the pixels of a mask. For the per-example form of the
    self-adjusting loss give it length 1 (``probs[..., None]``, ``focus=1``) and take the mean; for several classes pass
    ``probs.T`` and one-hot ``targets.T``, and sum over classes. With 0/1 probabilities and no ``smooth`` it is 1 - F1.

    With ``focus`` a > 0 the weight q is largest at p = 1 / (1 + a) and falls beyond it: positives settle there, ON the
    threshold 1/2 for a = 1. Decide by the largest class, or by a threshold below 1 / (1 + a). For negatives p = 1 is as
    good as p = 0: start them below the peak.

    Args:
      probs: float [..., N], in [0, 1].
      targets: float, int or bool [..., N], in [0, 1].
      smooth: g >= 0, in numerator and denominator.
      square: True squares the terms of the denominator.
      focus: a >= 0, how much confident examples lose their weight.
      where: bool [..., N], True where an entry counts.
      axis_name: the mapped axis over which the last axis is split; the sums run over all its members.
    Returns:
      float32 or wider [...]; 0 where both sets are empty and smooth is 0, and where nothing counts.
    Raises:
      ValueError: shapes do not agree, probs is a scalar, or a static smooth or focus < 0.
      TypeError: probs are not floating point, or where is not boolean.

    >>> print(dice_loss(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 0]), smooth=0.0).round(4))
    0.3333

    Reference: Li et al., "Dice Loss for Data-imbalanced NLP Tasks" (2020), checked against the authors' code. With
    several classes that code sums only the denominator over the batch, which is not done here; the per-example form is
    that of the paper, recalled.
    """
    checks.at_least(focus, "focus", 0.0)
    p, t, _ = _cleaned(probs, targets, where, smooth)
    q = _focused(p, focus)
    sizes = jnp.sum(jnp.square(q) + jnp.square(t) if square else q + t, axis=-1)
    sums = (jnp.sum(q * t, axis=-1), sizes)
    common, total = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    return _one_minus(2.0 * common + smooth, total + smooth)


def tversky(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: ArrayLike = 0.5,
    beta: ArrayLike = 0.5,
    smooth: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""One minus the soft Tversky index of the last axis (couples that axis; larger is worse).

    .. math:: \ell = 1 - \frac{2\, TP + g}{2\, (TP + \alpha\, FP + \beta\, FN) + g}

    Weights of 1/2 give ``dice_loss``, weights of 1 the Jaccard index; beta > alpha asks for recall.

    Args:
      probs: float [..., N], in [0, 1].
      targets: float, int or bool [..., N], in [0, 1].
      alpha: >= 0, weight of the false positives.
      beta: >= 0, weight of the false negatives.
      smooth: g >= 0.
      where: bool [..., N], True where an entry counts.
      axis_name: the mapped axis over which the last axis is split; the sums run over all its members.
    Returns:
      float32 or wider [...]; 0 where both sets are empty and smooth is 0, and where nothing counts.
    Raises:
      ValueError: shapes do not agree, probs is a scalar, or a static alpha, beta or smooth < 0.
      TypeError: probs are not floating point, or where is not boolean.

    >>> print(tversky(jnp.array([1.0, 1.0, 0.0]), jnp.array([1, 0, 0]), alpha=1.0, beta=1.0, smooth=0.0))
    0.5

    Reference: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks"
    (2017), as Li et al., "Dice Loss for Data-imbalanced NLP Tasks" (2020) compare it; the place of ``smooth`` is the
    library's. Standard.
    """
    checks.at_least(alpha, "alpha", 0.0)
    checks.at_least(beta, "beta", 0.0)
    p, t, mask = _cleaned(probs, targets, where, smooth)
    counts = soft_confusion(p, t, where=mask, axis_name=axis_name)
    below = counts.tp + alpha * counts.fp + beta * counts.fn
    return _one_minus(2.0 * counts.tp + smooth, 2.0 * below + smooth)


def hard_negative_mask(
    scores: ArrayLike, targets: ArrayLike, *, ratio: ArrayLike, where: ArrayLike | None = None
) -> Array:
    r"""All positives, and for each of them the ``ratio`` highest-scored negatives (couples the last axis).

    .. math:: \{i : t_i = 1\} \cup \text{top-}k\{s_i : t_i = 0\}, \quad k = \lfloor \rho\, |\{i : t_i = 1\}| \rfloor

    Use it as ``where`` of a loss. It has no gradient.

    Args:
      scores: float [..., N], larger for negatives that look more like positives; equal ones go to the lower index, NaN
        counts as lowest.
      targets: int, bool or float [..., N], positive above 1/2.
      ratio: rho >= 0.
      where: bool [..., N], True where an example counts.
    Returns:
      bool [..., N].
    Raises:
      ValueError: shapes do not agree, scores is a scalar, or a static ratio < 0.
      TypeError: scores are not floating point, or where is not boolean.

    >>> print(hard_negative_mask(jnp.array([0.1, 0.9, 0.5, 0.7]), jnp.array([1, 0, 0, 0]), ratio=2.0))
    [ True  True False  True]

    Reference: Li et al., "Dice Loss for Data-imbalanced NLP Tasks" (2020), checked against the authors' code, which
    keeps two negatives fewer (it takes those strictly above the last but one).
    """
    s, t = checks.floating(scores, "scores"), jnp.asarray(targets)
    checks.same_shape(s, "scores", t, "targets")
    if s.ndim == 0:
        raise ValueError("scores must have shape [..., N], got a scalar")
    checks.at_least(ratio, "ratio", 0.0)
    mask = checks.mask(where, "where", s.shape)
    counts = jnp.ones(s.shape, bool) if mask is None else mask
    positive = counts & (t > 0.5)
    negative = counts & ~positive
    keep = jnp.floor(jnp.asarray(ratio, jnp.float32) * jnp.sum(positive, axis=-1, keepdims=True))
    # Among the negatives NaN comes last, but before what is no negative.
    unknown = jnp.isnan(s)
    order = jnp.lexsort((jnp.where(unknown, 0.0, -s.astype(jnp.float32)), unknown, ~negative), axis=-1)
    rank = jnp.argsort(order, axis=-1, stable=True)
    return positive | (negative & (rank < keep))
