"""Class heads on cosines, in which the own class must win by a margin."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import Labelled, labelled, of_label
from jaxlab.losses.metric_learning import gathered, unit_rows
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "arcface_logits",
    "cosface_logits",
    "magface_logits",
    "unpg",
    "whisker_mask",
]

EDGE = 1e-6
"""Cosines are kept this far from +-1, where the angle has no finite gradient."""


def cosface_logits(
    embeddings: ArrayLike,
    prototypes: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 0.35,
    scale: ArrayLike = 64.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""CosFace: cosines to the prototypes of all classes, that of the own class less a margin (per example).

    .. math:: z_k = s\, \big(\cos(x, w_k) - m\,[k = y]\big)

    Its cross entropy is the loss. The margin belongs to training: with margin 0 these are the logits at evaluation.

    Args:
      embeddings: float [B, D], of any length.
      prototypes: float [K, D], of any length.
      labels: int [B], in [0, K); outside makes the logits of that example NaN.
      margin: m, a float or an array that broadcasts to [B].
      scale: s > 0.
      where: bool [B], True where an example counts; the logits of the others are 0 and pass no gradient.
    Returns:
      float32 or wider [B, K]. A zero vector has cosine 0 with everything, and gradient 0.
    Raises:
      ValueError: shapes do not agree, there is no class, or a static scale <= 0.
      TypeError: embeddings or prototypes are not floating point, or labels are not integers.

    >>> print(cosface_logits(jnp.array([[3.0, 0.0]]), jnp.eye(2), jnp.array([0]), margin=0.5, scale=10.0))
    [[5. 0.]]

    Reference: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition" (2018), as in the authors'
    code of Jung et al., "Unified Negative Pair Generation toward Well-discriminative Feature Space for Face
    Recognition" (2022). Checked against that code.
    """
    logits, target, counts = _scaled_cosines(embeddings, prototypes, labels, scale, where)
    return added(logits, target, jnp.where(counts, -(scale * jnp.asarray(margin, logits.dtype)), 0.0))


def arcface_logits(
    embeddings: ArrayLike,
    prototypes: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 0.5,
    scale: ArrayLike = 64.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""ArcFace: cosines to the prototypes of all classes, the own class turned away by an angle (per example).

    .. math:: z_k = s \cos\big(\theta_k + m\,[k = y]\big), \quad \cos\theta_k = \cos(x, w_k)

    The target is :math:`c \cos m - \sqrt{1 - c^2} \sin m` with c kept 1e-6 away from +-1, where the angle itself has no
    finite gradient. Beyond :math:`\theta = \pi - m` it rises again; the code this follows does not correct that.

    Args:
      embeddings: float [B, D], of any length.
      prototypes: float [K, D], of any length.
      labels: int [B], in [0, K); outside makes the logits of that example NaN.
      margin: m in radians, a float or an array that broadcasts to [B].
      scale: s > 0.
      where: bool [B], True where an example counts; the logits of the others are 0 and pass no gradient.
    Returns:
      float32 or wider [B, K], finite with a finite gradient also at cosines of +-1 and at zero vectors.
    Raises:
      ValueError: shapes do not agree, there is no class, or a static scale <= 0.
      TypeError: embeddings or prototypes are not floating point, or labels are not integers.

    >>> print(arcface_logits(jnp.array([[0.0, 2.0]]), jnp.eye(2), jnp.array([0]), margin=jnp.pi / 2, scale=10.0))
    [[-10.  10.]]

    Reference: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (2019), as in the authors'
    code of Jung et al., "Unified Negative Pair Generation toward Well-discriminative Feature Space for Face
    Recognition" (2022). Checked against that code, which goes through the arc cosine and clips nothing.
    """
    logits, target, counts = _scaled_cosines(embeddings, prototypes, labels, scale, where)
    own = of_label(logits, target)
    turned = _turned(own / scale, jnp.asarray(margin, logits.dtype))
    return added(logits, target, jnp.where(counts, scale * turned - own, 0.0))


def magface_logits(
    embeddings: ArrayLike,
    prototypes: ArrayLike,
    labels: ArrayLike,
    *,
    margins: tuple[float, float] = (0.45, 0.8),
    lengths: tuple[float, float] = (10.0, 110.0),
    scale: ArrayLike = 64.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""MagFace: ArcFace whose angle grows with the length of the embedding (per example).

    .. math:: m(x) = m_0 + (m_1 - m_0)\, \frac{a - a_0}{a_1 - a_0}, \quad a = \min(\max(\|x\|, a_0), a_1)

    The margin passes a gradient to the length, and acts only where the target's cosine is positive. The published
    objective adds 35 times the mean of :math:`a / a_1^2 + 1 / a`, which rewards long embeddings.

    Args:
      embeddings: float [B, D].
      prototypes: float [K, D], of any length.
      labels: int [B], in [0, K); outside makes the logits of that example NaN.
      margins: (m_0, m_1) in radians, static.
      lengths: (a_0, a_1), static, 0 < a_0 < a_1.
      scale: s > 0.
      where: bool [B], True where an example counts; the logits of the others are 0 and pass no gradient.
    Returns:
      float32 or wider [B, K].
    Raises:
      ValueError: shapes do not agree, there is no class, lengths do not rise from above 0, or a static scale <= 0.
      TypeError: embeddings or prototypes are not floating point, or labels are not integers.

    >>> logits = magface_logits(jnp.array([[8.0, 6.0]]), jnp.eye(2), jnp.array([0]), scale=1.0)
    >>> print(f"{logits[0, 0]:.4f} {jnp.cos(jnp.arccos(0.8) + 0.45):.4f}")
    0.4594 0.4594

    Reference: Meng et al., "MagFace: A Universal Representation for Face Recognition and Quality Assessment" (2021), as
    in the authors' code of Jung et al., "Unified Negative Pair Generation toward Well-discriminative Feature Space for
    Face Recognition" (2022). Checked against that code.
    """
    logits, target, counts = _scaled_cosines(embeddings, prototypes, labels, scale, where)
    shortest, longest = lengths
    if not 0 < shortest < longest:
        raise ValueError(f"lengths must rise from above 0, got {lengths!r}")
    rows = jnp.where(counts[:, None], jnp.asarray(embeddings).astype(logits.dtype), 0.0)
    squares = jnp.sum(rows**2, axis=1)
    length = safe_sqrt(squares)
    share = (jnp.clip(length, shortest, longest) - shortest) / (longest - shortest)
    own = of_label(logits, target)
    turned = _turned(own / scale, margins[0] + (margins[1] - margins[0]) * share)
    return added(logits, target, jnp.where(counts & (own > 0), scale * turned - own, 0.0))


def whisker_mask(values: ArrayLike, where: ArrayLike | None = None, *, whisker: ArrayLike = 1.5) -> Array:
    r"""Which values lie within the whiskers of a box plot.

    .. math:: Q_1 - r\,(Q_3 - Q_1) \le v \le Q_3 + r\,(Q_3 - Q_1)

    Of n sorted values the quartiles are those at the places floor(n / 4) and floor(3 n / 4), counted from 0.

    Args:
      values: float [N].
      where: bool [N], True where a value counts.
      whisker: r >= 0; infinity keeps all.
    Returns:
      bool [N], False where a value does not count. With fewer than four values all are kept.
    Raises:
      ValueError: shapes do not agree, or a static whisker < 0.
      TypeError: values are not floating point, or where is not boolean.

    >>> print(whisker_mask(jnp.array([0.1, 0.2, 0.3, 0.4, 9.0])))
    [ True  True  True  True False]

    Reference: the noise filter of Jung et al., "Unified Negative Pair Generation toward Well-discriminative Feature
    Space for Face Recognition" (2022). Checked against the authors' code.
    """
    values = checks.rank(checks.floating(values, "values"), "values", 1, layout="[N]")
    checks.at_least(whisker, "whisker", 0.0)
    mask = checks.mask(where, "where", values.shape)
    counts = jnp.ones(values.shape, bool) if mask is None else mask
    if not values.shape[0]:
        return counts
    values = jax.lax.stop_gradient(values)
    ordered, number = jnp.sort(jnp.where(counts, values, jnp.inf)), jnp.sum(counts)
    low, high = (ordered[place] for place in (number // 4, 3 * number // 4))
    reach = whisker * (high - low)
    # Said so that an infinite whisker over equal quartiles, which is NaN, drops nothing.
    outside = (values < low - reach) | (values > high + reach)
    return counts & (~outside | (number < 4))


def unpg(
    logits: ArrayLike,
    labels: ArrayLike,
    embeddings: ArrayLike,
    *,
    scale: ArrayLike = 64.0,
    whisker: ArrayLike = 1.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of a margin head with the negative pairs of the batch as further classes (couples the batch).

    .. math:: \ell_i = -z_{iy_i} + \log\Big(\sum_k e^{z_{ik}} + \sum_{n \in N} e^{s\, c_n}\Big)

    N are the pairs of examples of different classes whose cosine lies within the whiskers of all those cosines; every
    example is told from all of them. Pairs outside, far too easy or mislabelled, are dropped.

    Args:
      logits: float [B, K], of a margin head, times its scale (``cosface_logits``).
      labels: int [B], in [0, K); outside gives NaN for that example, whose pairs are of a class of its own.
      embeddings: float [B, D], what the head was given.
      scale: s > 0, that of the head.
      whisker: r >= 0, see ``whisker_mask``; infinity keeps all pairs.
      where: bool [B], True where an example counts; the others are in no pair, give 0 and no gradient.
      axis_name: the mapped axis over which the batch is split; the pairs are those of the whole batch.
    Returns:
      float32 or wider [B], at least the cross entropy of the logits; equal to it where all classes are one.
    Raises:
      ValueError: shapes do not agree, or a static scale <= 0.
      TypeError: logits or embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> losses = unpg(jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.eye(2), scale=1.0)
    >>> print(bool(jnp.allclose(losses, jnp.log(3.0))))
    True

    Reference: Jung et al., "Unified Negative Pair Generation toward Well-discriminative Feature Space for Face
    Recognition" (2022). Checked against the authors' code, which does not gather pairs over devices.
    """
    rows = classified(logits, "logits", labels, where)
    labels = checks.integer(labels, "labels")  # those that are no class too: they still tell who is alike
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[B, D]")
    checks.batch_match(embeddings, "embeddings", labels, "labels")
    checks.positive(scale, "scale")
    units = unit_rows(embeddings, rows.counts)
    units, all_labels, exist, _ = gathered(units, labels, rows.counts, axis_name)
    cosines = jnp.matmul(units, units.T, precision="highest")
    place = jnp.arange(cosines.shape[0])
    pairs = (all_labels[:, None] != all_labels) & (place[:, None] < place) & exist[:, None] & exist
    kept = whisker_mask(cosines.ravel(), pairs.ravel(), whisker=whisker).reshape(pairs.shape)
    some = jnp.any(kept)
    negatives = jax.nn.logsumexp(scale * cosines, where=kept | ~some)
    below = jax.nn.logsumexp(rows.logits, axis=1)
    below = jnp.where(some, jnp.logaddexp(below, negatives), below)
    return rows.losses(below - of_label(rows.logits, rows.labels))


def _scaled_cosines(
    embeddings: ArrayLike, prototypes: ArrayLike, labels: ArrayLike, scale: ArrayLike, where: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Cosines times the scale [B, K], the target's class [B], which examples count [B].

    The scale multiplies the embeddings, which is cheaper than the logits; so does the NaN of an unknown label.
    """
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[B, D]")
    prototypes = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[K, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(embeddings, "embeddings", labels, "labels")
    num_classes, width = prototypes.shape
    if num_classes == 0 or width != embeddings.shape[1]:
        raise ValueError(f"prototypes must have shape [K >= 1, {embeddings.shape[1]}], got {list(prototypes.shape)}")
    checks.positive(scale, "scale")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(embeddings, prototypes)
    known = (labels >= 0) & (labels < num_classes)
    units = jnp.asarray(scale, dtype) * unit_rows(embeddings.astype(dtype), counts)
    units = jnp.where((known | ~counts)[:, None], units, jnp.nan)
    logits = jnp.matmul(units, normalize(prototypes.astype(dtype)).T, precision="highest")
    return logits, jnp.where(known, labels, 0), counts


def _turned(cosine: Array, angle: Array) -> Array:
    """cos(arccos(c) + angle)."""
    c = jnp.clip(cosine, EDGE - 1.0, 1.0 - EDGE)
    return c * jnp.cos(angle) - jnp.sqrt((1.0 - c) * (1.0 + c)) * jnp.sin(angle)


def added(logits: Array, target: Array, amount: Array) -> Array:
    """The logits with an amount [B] added to the target's: adding passes the gradient on as it is."""
    rows = jnp.arange(logits.shape[0])
    return logits.at[rows, target].add(amount, unique_indices=True, indices_are_sorted=True)


def classified(scores: ArrayLike, name: str, labels: ArrayLike, where: ArrayLike | None) -> Labelled:
    """``labelled`` for the scores [B, K] of one batch, of which K may be 1."""
    scores = checks.rank(scores, name, 2, layout="[B, K]")
    return labelled(scores, labels, where, names=(name, "labels"), fewest=1)
