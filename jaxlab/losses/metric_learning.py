"""Losses on pairs of a batch, near where labels agree and far where not, and on templates that stand for classes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "contrastive_pairs",
    "generalized_pair_loss",
    "multi_similarity",
    "pair_masks",
    "tcm",
    "template_margin",
]

BLOCK = 64
"""Rows of a table of pairs that are in memory at a time, where there are more than twice as many."""


def pair_masks(
    labels: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None
) -> tuple[Array, Array]:
    r"""Which other examples are of the same class, and which of another (couples the batch).

    .. math:: P_{ij} = [\,y_i = y_j,\; i \ne j\,], \quad N_{ij} = [\,y_i \ne y_j\,]

    Args:
      labels: int [B]; only whether two are equal matters.
      where: bool [B], True where an example counts; the others are in no pair.
      axis_name: the mapped axis over which the batch is split: columns are the examples of all its members, in order.
    Returns:
      (positive bool [B, M], negative bool [B, M]), M = B or, with axis_name, the size of the whole batch. The diagonal
      is in neither.
    Raises:
      ValueError: labels or where are not [B].
      TypeError: labels are not integers, or where is not boolean.

    >>> positive, negative = pair_masks(jnp.array([0, 0, 1]))
    >>> print(positive.astype(int).tolist(), negative.astype(int).tolist())
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]] [[0, 0, 1], [0, 0, 1], [1, 1, 0]]

    Reference: standard.
    """
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    _, others, exist, offset = gathered(labels, labels, counts, axis_name)
    same = labels[:, None] == others
    pairs = counts[:, None] & exist
    itself = (jnp.arange(labels.shape[0]) + offset)[:, None] == jnp.arange(others.shape[0])
    return pairs & same & ~itself, pairs & ~same


def contrastive_pairs(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    positive_margin: ArrayLike = 0.0,
    negative_margin: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Contrastive loss of all pairs of a batch (one number per batch; larger is worse).

    .. math:: \overline{\max(0,\, d_{ij} - m_+)}_{\,y_i = y_j} + \overline{\max(0,\, m_- - d_{ij})}_{\,y_i \ne y_j},
              \quad d_{ij} = \Big\| \frac{x_i}{\|x_i\|} - \frac{x_j}{\|x_j\|} \Big\|

    Each mean is over the pairs that lose something at all: those that are done weigh nothing.

    Args:
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      positive_margin: how far apart examples of one class may be.
      negative_margin: how far apart examples of two classes should be; distances lie in [0, 2].
      where: bool [B], True where an example counts; the others are in no pair.
      axis_name: the mapped axis over which the batch is split; pairs are those of the whole batch, and every member
        gets the same number.
    Returns:
      float32 or wider scalar, >= 0; 0 with no gradient where no pair loses anything. Two examples that coincide pass no
      gradient.
    Raises:
      ValueError: shapes do not agree.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> print(contrastive_pairs(x, jnp.array([0, 0, 1])).round(4))  # sqrt(2) apart, and the third where the first is
    1.9142

    Reference: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping" (2006), in the form of
    pytorch-metric-learning (its defaults are margins 0 and 1). Standard.
    """

    def losing(cosines: Array, positive: Array, negative: Array) -> tuple[Array, Array]:
        distances = chords(cosines)
        inside, outside = jnp.asarray(positive_margin), jnp.asarray(negative_margin)
        return losing_sum(distances - inside, positive), losing_sum(outside - distances, negative)

    near, far = over_pairs(losing, embeddings, labels, where, axis_name)
    return losing_mean(near, axis_name) + losing_mean(far, axis_name)


def multi_similarity(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 2.0,
    beta: ArrayLike = 50.0,
    base: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Multi-similarity loss, a value per anchor (couples the batch; larger is worse).

    .. math:: \ell_i = \frac1\alpha \log\Big(1 + \sum_{j \in P_i} e^{-\alpha (s_{ij} - \lambda)}\Big)
                      + \frac1\beta \log\Big(1 + \sum_{j \in N_i} e^{\beta (s_{ij} - \lambda)}\Big)

    over cosines s. Both terms are soft maxima: the furthest of the own class and the nearest of the others weigh most.

    Args:
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      alpha: > 0, sharpness among positives.
      beta: > 0, sharpness among negatives.
      base: lambda, the cosine that parts near from far.
      where: bool [B], True where an example counts; the others are in no pair, give 0 and no gradient.
      axis_name: the mapped axis over which the batch is split; pairs are those of the whole batch.
    Returns:
      float32 or wider [B], >= 0; an anchor without pairs of a kind has 0 for it.
    Raises:
      ValueError: shapes do not agree, or a static alpha or beta <= 0.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x = jnp.array([[1.0, 0.0], [2.0, 0.0]])
    >>> print(f"{multi_similarity(x, jnp.array([0, 0]))[0]:.4f} {jnp.log1p(jnp.exp(-1.0)) / 2:.4f}")
    0.1566 0.1566

    Reference: Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning" (2019), without
    its mining of pairs, as in pytorch-metric-learning. Standard.
    """
    checks.positive(alpha, "alpha")
    checks.positive(beta, "beta")

    def soft_maximum(exponents: Array, mask: Array) -> Array:
        some = jnp.any(mask)
        total = jax.nn.logsumexp(exponents, where=mask | ~some)
        return jnp.where(some, jax.nn.softplus(total), 0.0)

    def both(cosines: Array, positive: Array, negative: Array) -> Array:
        away, sharp, sharper = cosines - jnp.asarray(base), jnp.asarray(alpha), jnp.asarray(beta)
        return soft_maximum(-sharp * away, positive) / sharp + soft_maximum(sharper * away, negative) / sharper

    return over_pairs(both, embeddings, labels, where, axis_name)


def generalized_pair_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    positive: Callable[[Array], Array],
    negative: Callable[[Array], Array],
    outer_positive: Callable[[Array], Array] = lambda total: total,
    outer_negative: Callable[[Array], Array] = lambda total: total,
    where: ArrayLike | None = None,
) -> Array:
    r"""Loss of an anchor whose pairs may be of its class in part only (per anchor; larger is worse).

    .. math:: \ell_a = \sigma_+\Big(\sum_v y_{av}\, \rho_+(s_{av})\Big)
                      + \sigma_-\Big(\sum_v (1 - y_{av})\, \rho_-(s_{av})\Big)

    With y in {0, 1} it is a usual loss: contrastive for identities outside and hinges inside, multi-similarity for
    exponentials inside and :math:`\log(1 + t) / \alpha` outside. A mixed embedding
    :math:`\lambda x_j + (1 - \lambda) x_k` has y = lambda where j is of the anchor's class and k is not.

    Args:
      scores: float [..., A, M], similarity of every anchor with M others, mixed or not.
      targets: float [..., A, M], y, in [0, 1].
      positive: rho_+, static, elementwise and finite at 0.
      negative: rho_-, static, elementwise and finite at 0.
      outer_positive: sigma_+, static, from sums [..., A] to numbers [..., A].
      outer_negative: sigma_-, static.
      where: bool [..., A, M], True where a pair counts.
    Returns:
      float32 or wider [..., A].
    Raises:
      ValueError: shapes do not agree, or scores have fewer than two axes.
      TypeError: scores or targets are not floating point, or where is not boolean.

    >>> hinges = {"positive": lambda s: jnp.maximum(0, 0.9 - s), "negative": lambda s: jnp.maximum(0, s - 0.5)}
    >>> print(generalized_pair_loss(jnp.array([[0.8, 0.8]]), jnp.array([[1.0, 0.25]]), **hinges).round(4))
    [0.35]

    Reference: Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning" (2022), recalled; the
    outermost function of the paper, the identity in the losses it treats, is left to the caller.
    """
    scores, targets = checks.floating(scores, "scores"), checks.floating(targets, "targets")
    checks.same_shape(scores, "scores", targets, "targets")
    if scores.ndim < 2:
        raise ValueError(f"scores must have shape [..., A, M], got {list(scores.shape)}")
    mask = checks.mask(where, "where", scores.shape)
    dtype = accumulation_dtype(scores, targets)
    counts = jnp.ones(scores.shape, bool) if mask is None else mask
    s, y = (jnp.where(counts, value.astype(dtype), 0.0) for value in (scores, targets))
    near = jnp.sum(jnp.where(counts, y * positive(s), 0.0), axis=-1)
    far = jnp.sum(jnp.where(counts, (1.0 - y) * negative(s), 0.0), axis=-1)
    return outer_positive(near) + outer_negative(far)


def tcm(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    positive_margin: ArrayLike = 0.9,
    negative_margin: ArrayLike = 0.5,
    positive_weight: ArrayLike = 1.0,
    negative_weight: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Threshold-consistent margin: one cosine for all classes to stay above, and one below (one number per batch).

    .. math:: w_+\, \overline{(m_+ - s_{ij})}_{\,P,\; s_{ij} \le m_+}
              + w_-\, \overline{(s_{ij} - m_-)}_{\,N,\; s_{ij} \ge m_-}

    Each mean is over the pairs that violate the margin, not over all pairs: few violations, of few classes, weigh as
    much as many. It is added to a loss that tells the classes apart.

    Args:
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      positive_margin: m_+, the cosine that pairs of one class should reach.
      negative_margin: m_-, the cosine that pairs of two classes should stay below.
      positive_weight: w_+.
      negative_weight: w_-.
      where: bool [B], True where an example counts; the others are in no pair.
      axis_name: the mapped axis over which the batch is split; pairs are those of the whole batch, and every member
        gets the same number.
    Returns:
      float32 or wider scalar; 0 with no gradient where no pair violates its margin.
    Raises:
      ValueError: shapes do not agree.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x = jnp.array([[1.0, 0.0], [0.7, 0.51**0.5]])
    >>> print(f"{tcm(x, jnp.array([0, 0])):.4f} {tcm(x, jnp.array([0, 1])):.4f}")
    0.2000 0.2000

    Reference: Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning" (2024). Checked
    against pytorch-metric-learning.
    """

    def losing(cosines: Array, positive: Array, negative: Array) -> tuple[Array, Array]:
        below, above = jnp.asarray(positive_margin) - cosines, cosines - jnp.asarray(negative_margin)
        return losing_sum(below, positive, ties=True), losing_sum(above, negative, ties=True)

    near, far = over_pairs(losing, embeddings, labels, where, axis_name)
    weights = jnp.asarray(positive_weight), jnp.asarray(negative_weight)
    return weights[0] * losing_mean(near, axis_name) + weights[1] * losing_mean(far, axis_name)


def template_margin(
    scores: ArrayLike,
    template_labels: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 0.3,
    similarity: bool = True,
    where: ArrayLike | None = None,
) -> Array:
    r"""Margin between the best template of another class and the best of the own (per example; larger is worse).

    .. math:: \ell = \max\big(0,\; \max_{m:\, t_m \ne y} s_m - \max_{m:\, t_m = y} s_m + \mu\big)

    For distances (``similarity=False``) s is minus the distance. The authors' code finds the best wrong template by
    subtracting 1 from the right ones, which is the same for scores in [0, 1] only; here they are masked.

    Args:
      scores: float [..., M], one per template: class probabilities, similarities or distances.
      template_labels: int [M], the class of every template.
      labels: int [...]; a class without a template gives NaN for that example.
      margin: mu, a float or an array that broadcasts to [...].
      similarity: static; True where a larger score is a better match, False for distances.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if scores are) [...], >= 0; 0 where every template is of the example's class.
    Raises:
      ValueError: shapes do not agree, or there is no template.
      TypeError: labels are not integers, or scores not floating point.

    >>> print(template_margin(jnp.array([0.75, 0.5, 0.0]), jnp.array([0, 1, 1]), jnp.array(0), margin=0.5))
    0.25

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025). Checked against the authors' code.
    """
    scores, labels = checks.floating(scores, "scores"), checks.integer(labels, "labels")
    templates = checks.rank(checks.integer(template_labels, "template_labels"), "template_labels", 1, layout="[M]")
    if templates.shape[0] == 0:
        raise ValueError("template_labels must name at least one template, got none")
    if scores.shape != (*labels.shape, templates.shape[0]):
        raise ValueError(f"scores must have shape {[*labels.shape, templates.shape[0]]}, got {list(scores.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    clean = jnp.where(counts[..., None], scores.astype(accumulation_dtype(scores)), 0.0)
    clean = clean if similarity else -clean
    own = templates == labels[..., None]
    known = jnp.any(own, axis=-1)
    right = jnp.max(clean, axis=-1, where=own, initial=-jnp.inf)
    wrong = jnp.max(clean, axis=-1, where=~own, initial=-jnp.inf)
    losses = jnp.maximum(0.0, wrong - right + jnp.asarray(margin, clean.dtype))
    return jnp.where(counts, jnp.where(known, losses, jnp.nan), 0.0)


def unit_rows(embeddings: Array, counts: Array) -> Array:
    """Rows of length 1 in float32 or wider; rows that do not count are 0, whatever they held."""
    rows = embeddings.astype(accumulation_dtype(embeddings))
    return normalize(jnp.where(counts[:, None], rows, 0.0))


def gathered(
    rows: Array, labels: Array, counts: Array, axis_name: str | None
) -> tuple[Array, Array, Array, Array | int]:
    """Rows, labels and mask of all members of a mapped axis, and the place of this member's first row among them."""
    if axis_name is None:
        return rows, labels, counts, 0
    everywhere = jax.lax.all_gather((rows, labels, counts), axis_name, tiled=True)
    return *everywhere, rows.shape[0] * jax.lax.axis_index(axis_name)


def chords(cosines: Array) -> Array:
    """Distances of unit vectors from their cosines; 0, with gradient 0, where they coincide."""
    squares = 2.0 - 2.0 * cosines
    return safe_sqrt(squares)


def losing_sum(losses: Array, mask: Array, *, ties: bool = False) -> Array:
    """The sum of the positive entries among those in the mask, and their number; with ties, zeros are counted too."""
    losing = mask & ((losses >= 0) if ties else (losses > 0))
    return jnp.stack([jnp.sum(jnp.where(losing, losses, 0.0)), jnp.sum(losing, dtype=losses.dtype)])


def losing_mean(sums: Array, axis_name: str | None) -> Array:
    """The mean of what ``losing_sum`` found in all rows [B, 2] of all members of a mapped axis; 0 if it was nothing."""
    total = jnp.sum(sums, axis=0)
    total = total if axis_name is None else jax.lax.psum(total, axis_name)
    return total[0] / jnp.maximum(total[1], 1.0)


def over_pairs(
    fn: Callable[[Array, Array, Array], Any],
    embeddings: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    axis_name: str | None,
) -> Any:
    """For every example, ``fn`` of its cosines [M] with all, which of these pairs are positive, and which negative."""
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[B, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(embeddings, "embeddings", labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    units = unit_rows(embeddings, counts)
    others, other_labels, exist, offset = gathered(units, labels, counts, axis_name)

    def one(unit: Array, label: Array, count: Array, place: Array) -> Any:
        same, itself = label == other_labels, place == jnp.arange(others.shape[0])
        cosines = jnp.matmul(others, unit, precision="highest")
        return fn(cosines, count & exist & same & ~itself, count & exist & ~same)

    return by_rows(one, units, labels, counts, jnp.arange(labels.shape[0]) + offset)


def by_rows(fn: Callable[..., Any], *rows: Array) -> Any:
    """``vmap(fn)`` in blocks of rows, whose insides are made again for the gradient instead of kept.

    So a function of an [M] row of a table never holds the table [B, M], which is also quicker: blocks fit the cache.
    """
    again = jax.checkpoint(fn)
    if rows[0].shape[0] <= 2 * BLOCK:
        return jax.vmap(again)(*rows)
    return jax.lax.map(lambda row: again(*row), rows, batch_size=BLOCK)
