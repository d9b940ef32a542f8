"""Losses on a matrix of scores between two views, whose diagonal holds the pairs: hinges, boosting, correspondence."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import entropy
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "bidirectional_hinge",
    "boost_absolute",
    "boost_relative",
    "cross_modal_projection",
    "margin_schedule",
    "pseudo_classification",
    "soft_margin_hinge",
]


class _Pairs(NamedTuple):
    """Which entries of a score matrix are what; with an axis name the rows are those of one member."""

    counts: Array  # bool [B]
    exist: Array  # bool [M], the same of all members
    own: Array  # int [B], the column of the partner
    negative: Array  # bool [B, M]

    def clean(self, scores: Array, dtype: jnp.dtype) -> Array:
        """The scores, 0 wherever a pair that does not count is involved."""
        return jnp.where(self.counts[:, None] & self.exist, scores.astype(dtype), 0.0)

    def positives(self, scores: Array) -> Array:
        """The score of every row's pair [B]."""
        return jnp.take_along_axis(scores, self.own[:, None], axis=1)[:, 0]


def _pairs(scores: Array, where: ArrayLike | None, axis_name: str | None) -> _Pairs:
    checks.rank(scores, "scores", 2, layout="[B, B]")
    members = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    rows, columns = scores.shape
    if columns != rows * members:
        raise ValueError(f"scores must have shape {[rows, rows * members]}, a column per pair, got {[rows, columns]}")
    mask = checks.mask(where, "where", (rows,))
    counts = jnp.ones(rows, bool) if mask is None else mask
    own = jnp.arange(rows) + (0 if axis_name is None else rows * jax.lax.axis_index(axis_name))
    exist = _gather(counts, axis_name)
    return _Pairs(counts, exist, own, counts[:, None] & exist & (jnp.arange(columns) != own[:, None]))


def _gather(x: Array, axis_name: str | None) -> Array:
    """The values of all members, one after the other."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def _both_ways(
    pairs: _Pairs, by_row: Array, by_column: Array, axis_name: str | None, combine: Callable[..., Array]
) -> Array:
    """What the violations [B, M] of a row's pair cost, in its row and in its column; 0 without negatives."""
    rows, columns = (jnp.where(pairs.negative, jnp.maximum(x, 0.0), 0.0) for x in (by_row, by_column))
    down = combine(columns, axis=0)
    if axis_name is not None:  # of every member's rows: gathered, for a maximum over members has no gradient
        down = combine(jax.lax.all_gather(down, axis_name), axis=0)
    return combine(rows, axis=1) + down[pairs.own]


def bidirectional_hinge(
    scores: ArrayLike,
    *,
    margin: ArrayLike = 0.2,
    hard: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Every pair must beat its negatives in both directions by a margin, a value per pair (couples the batch).

    .. math:: \ell_i = \max_{j \ne i} [m + S_{ij} - S_{ii}]_+ + \max_{j \ne i} [m + S_{ji} - S_{ii}]_+

    Args:
      scores: float [B, B], row i a query of the first view, column j one of the second; the diagonal holds the pairs.
        With ``axis_name`` the rows are those of this member and the columns those of all of them, in their order.
      margin: m >= 0.
      hard: True takes the worst negative, False the sum of all, static.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split.
    Returns:
      float32 or wider [B], >= 0; 0 for a pair without negatives.
    Raises:
      ValueError: shapes do not agree, or a static margin < 0.
      TypeError: scores are not floating point, or where is not boolean.

    >>> [f"{value:.2f}" for value in bidirectional_hinge(jnp.array([[0.5, 0.4], [0.0, 0.5]]))]
    ['0.10', '0.10']

    Reference: Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives" (2018), as the base loss
    of Diao et al., "Deep Boosting Learning: A Brand-new Cooperative Approach for Image-Text Matching" (2024). Checked
    against the authors' code, which sums over the batch.
    """
    scores = checks.floating(scores, "scores")
    checks.at_least(margin, "margin", 0.0)
    pairs = _pairs(scores, where, axis_name)
    z = pairs.clean(scores, accumulation_dtype(scores))
    positive = pairs.positives(z)
    by_row = z - positive[:, None] + jnp.asarray(margin)
    by_column = z - _gather(positive, axis_name) + jnp.asarray(margin)
    return _both_ways(pairs, by_row, by_column, axis_name, jnp.max if hard else jnp.sum)


def _with_anchor(
    scores: ArrayLike, anchor: ArrayLike, margin: ArrayLike, where: ArrayLike | None, axis_name: str | None
) -> tuple[_Pairs, Array, Array]:
    scores, anchor = checks.floating(scores, "scores"), checks.floating(anchor, "anchor")
    checks.same_shape(scores, "scores", anchor, "anchor")
    checks.at_least(margin, "margin", 0.0)
    pairs = _pairs(scores, where, axis_name)
    dtype = accumulation_dtype(scores, anchor)
    return pairs, pairs.clean(scores, dtype), jax.lax.stop_gradient(pairs.clean(anchor, dtype))


def boost_absolute(
    scores: ArrayLike,
    anchor: ArrayLike,
    *,
    margin: ArrayLike = 0.2,
    gamma: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Pairs must score higher, and negatives lower, than in an anchor branch, per pair (couples the batch).

    .. math:: \ell_i = 2\,[\gamma m + A_{ii} - S_{ii}]_+ + \max_{j \ne i} [(1 - \gamma) m + S_{ij} - A_{ij}]_+
                       + \max_{j \ne i} [(1 - \gamma) m + S_{ji} - A_{ji}]_+

    Args:
      scores: float [B, B], S of the branch that learns, laid out as in ``bidirectional_hinge``.
      anchor: float [B, B], A of the anchor branch; no gradient passes.
      margin: m >= 0.
      gamma: the share of the margin that is asked of the pairs, in [0, 1]; the rest is asked of the negatives.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split.
    Returns:
      float32 or wider [B], >= 0.
    Raises:
      ValueError: shapes do not agree, a static margin < 0 or a static gamma outside [0, 1].
      TypeError: scores or anchor are not floating point, or where is not boolean.

    >>> same = jnp.array([[0.5, 0.4], [0.0, 0.5]])
    >>> [f"{value:.2f}" for value in boost_absolute(same, same)]  # 2 gamma m + 2 (1 - gamma) m
    ['0.40', '0.40']

    Reference: Diao et al., "Deep Boosting Learning: A Brand-new Cooperative Approach for Image-Text Matching" (2024).
    Checked against the authors' code, which sums over the batch.
    """
    checks.in_range(gamma, "gamma", 0.0, 1.0)
    pairs, z, a = _with_anchor(scores, anchor, margin, where, axis_name)
    rest = (1.0 - jnp.asarray(gamma)) * jnp.asarray(margin)
    lower = rest + z - a
    higher = jnp.maximum(gamma * jnp.asarray(margin) + pairs.positives(a) - pairs.positives(z), 0.0)
    return jnp.where(pairs.counts, 2.0 * higher, 0.0) + _both_ways(pairs, lower, lower, axis_name, jnp.max)


def boost_relative(
    scores: ArrayLike,
    anchor: ArrayLike,
    *,
    margin: ArrayLike = 0.2,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Every pair must stand out from its negatives more than in an anchor branch, per pair (couples the batch).

    .. math:: \ell_i = \max_{j \ne i} [m + (A_{ii} - A_{ij}) - (S_{ii} - S_{ij})]_+
                       + \max_{j \ne i} [m + (A_{ii} - A_{ji}) - (S_{ii} - S_{ji})]_+

    Args:
      scores: float [B, B], S of the branch that learns, laid out as in ``bidirectional_hinge``.
      anchor: float [B, B], A of the anchor branch; no gradient passes.
      margin: m >= 0.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split.
    Returns:
      float32 or wider [B], >= 0; 0 for a pair without negatives.
    Raises:
      ValueError: shapes do not agree, or a static margin < 0.
      TypeError: scores or anchor are not floating point, or where is not boolean.

    >>> anchor = jnp.array([[0.5, 0.4], [0.0, 0.5]])
    >>> [f"{value:.2f}" for value in boost_relative(2.0 * anchor, anchor)]  # gaps of 0.1 and 0.5 have doubled
    ['0.10', '0.10']

    Reference: Diao et al., "Deep Boosting Learning: A Brand-new Cooperative Approach for Image-Text Matching" (2024).
    Checked against the authors' code, which sums over the batch.
    """
    pairs, z, a = _with_anchor(scores, anchor, margin, where, axis_name)
    gained = z - a  # of a pair over its negatives: what the margin is asked of
    positive = pairs.positives(gained)
    by_row = gained - positive[:, None] + jnp.asarray(margin)
    by_column = gained - _gather(positive, axis_name) + jnp.asarray(margin)
    return _both_ways(pairs, by_row, by_column, axis_name, jnp.max)


def cross_modal_projection(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    scale: ArrayLike = 10.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""The softmax over a row, and over a column, must match who belongs together, per index (couples the batch).

    .. math:: \ell_i = \sum_j p_{ij} \log \frac{p_{ij}}{q_{ij}} + \sum_j p'_{ji} \log \frac{p'_{ji}}{q_{ji}},
              \quad p_{i \cdot} = \mathrm{softmax}(s\, S_{i \cdot}),\; p'_{\cdot i} = \mathrm{softmax}(s\, S_{\cdot i})

    q shares 1 among the entries of equal labels. 1e-8 is added to q and inside the logarithm.

    Args:
      scores: float [B, B], laid out as in ``bidirectional_hinge``.
      labels: int [B], who belongs together; any integers.
      scale: s > 0, multiplies the scores.
      where: bool [B], True where a pair counts; the others take no probability, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split.
    Returns:
      float32 or wider [B]; >= 0 to 1e-8.
    Raises:
      ValueError: shapes do not agree, or a static scale <= 0.
      TypeError: scores are not floating point, labels not integers, or where not boolean.

    >>> [f"{value:.4f}" for value in cross_modal_projection(jnp.zeros((2, 2)), jnp.zeros(2, int))]
    ['0.0000', '0.0000']

    Reference: Zhang and Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching" (2018), as in Diao et al.,
    "Deep Boosting Learning: A Brand-new Cooperative Approach for Image-Text Matching" (2024). Checked against the
    latter's code.
    """
    scores, labels = checks.floating(scores, "scores"), checks.integer(labels, "labels")
    checks.positive(scale, "scale")
    pairs = _pairs(scores, where, axis_name)
    if labels.shape != scores.shape[:1]:
        raise ValueError(f"labels must have shape {[scores.shape[0]]} to match scores, got {list(labels.shape)}")
    z = pairs.clean(scores, accumulation_dtype(scores)) * scale
    kept = pairs.counts[:, None] & pairs.exist
    same = (kept & (labels[:, None] == _gather(labels, axis_name))).astype(z.dtype)

    def divergence(log_probs: Array, number: Array) -> Array:
        probs = jnp.where(kept, jnp.exp(jnp.where(kept, log_probs, 0.0)), 0.0)
        return jnp.where(kept, probs * jnp.log(1e-8 + probs / (same / jnp.maximum(number, 1.0) + 1e-8)), 0.0)

    # A row or column that holds nothing gets all its entries here, and is dropped again above.
    row_mass = jax.nn.logsumexp(z, axis=1, where=kept | ~jnp.any(kept, axis=1, keepdims=True), keepdims=True)
    column_mass = jax.nn.logsumexp(jnp.where(kept, z, -1e30), axis=0)
    in_column = jnp.sum(same, axis=0)
    if axis_name is not None:
        column_mass = jax.nn.logsumexp(jax.lax.all_gather(column_mass, axis_name), axis=0)
        in_column = jax.lax.psum(in_column, axis_name)
    down = jnp.sum(divergence(z - jnp.where(pairs.exist, column_mass, 0.0), in_column), axis=0)
    down = down if axis_name is None else jax.lax.psum(down, axis_name)
    return jnp.sum(divergence(z - row_mass, jnp.sum(same, axis=1, keepdims=True)), axis=1) + down[pairs.own]


def margin_schedule(correspondence: ArrayLike, *, kind: str = "exponential") -> Array:
    r"""The share of the margin that a pair of doubtful correspondence is given (elementwise, increasing from 0 to 1).

    .. math:: s(l) = l, \quad \frac{10^l - 1}{9}, \quad \text{or} \quad \tfrac12 \sin(\pi l - \tfrac\pi2) + \tfrac12

    Args:
      correspondence: float [...], l in [0, 1], how surely the two sides of a pair belong together.
      kind: "linear", "exponential" or "sin", static.
    Returns:
      float32 or wider [...], in [0, 1] where l is.
    Raises:
      ValueError: an unknown kind.
      TypeError: correspondence is not floating point.

    >>> print(f"{margin_schedule(jnp.array(0.5)):.4f}")
    0.2403

    Reference: Huang et al., "Learning with Noisy Correspondence for Cross-modal Matching" (2021), as in Duan et al.,
    "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in Cross-Modal Retrieval"
    (2024). Checked against the latter's code.
    """
    level = checks.floating(correspondence, "correspondence")
    checks.one_of(kind, "kind", ("linear", "exponential", "sin"))
    level = level.astype(accumulation_dtype(level))
    if kind == "linear":
        return level
    if kind == "exponential":
        return jnp.expm1(level * jnp.log(10.0)) / 9.0
    return 0.5 * jnp.sin(jnp.pi * level - jnp.pi / 2) + 0.5


def soft_margin_hinge(
    scores: ArrayLike,
    correspondence: ArrayLike,
    *,
    margin: ArrayLike = 0.2,
    kind: str = "exponential",
    hard: bool = True,
    margin_axis: str = "query",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""The hinge of both directions, with a smaller margin for pairs of doubtful correspondence (couples the batch).

    .. math:: \ell_i = \max_{j \ne i} [m_i + S_{ij} - S_{ii}]_+ + \max_{j \ne i} [m_i + S_{ji} - S_{ii}]_+,
              \quad m_i = m\, s(l_i)

    A pair of correspondence 0 keeps a margin of 0, not a loss of 0: its order still counts. The mean over negatives,
    which says how well a single pair is matched, is what a mixture of two Gaussians (``analytic.gmm_em``) splits.

    Args:
      scores: float [B, B], laid out as in ``bidirectional_hinge``.
      correspondence: float [B], l in [0, 1].
      margin: m >= 0.
      kind: of ``margin_schedule``, static.
      hard: True takes the worst negative, False the mean over all entries of the row (its own among them, as 0),
        static.
      margin_axis: "query" gives both directions the margin of the pair whose loss it is; "last" gives the row term
        that of the negative column, static.
      where: bool [B], True where a pair counts; the others are nobody's negatives, give 0 and no gradient.
      axis_name: the mapped axis over which the pairs are split.
    Returns:
      float32 or wider [B], >= 0; 0 for a pair without negatives.
    Raises:
      ValueError: shapes do not agree, a static margin < 0, or an unknown kind or margin_axis.
      TypeError: scores or correspondence are not floating point, or where is not boolean.

    >>> scores = jnp.array([[0.5, 0.4], [0.0, 0.5]])
    >>> [f"{value:.2f}" for value in soft_margin_hinge(scores, jnp.array([1.0, 0.0]))]
    ['0.10', '0.00']

    Reference: Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
    Cross-Modal Retrieval" (2024). Checked against the authors' code, which does "last" (a vector of margins broadcasts
    along the last axis) and keeps violations at 1e-8 where here they are 0.
    """
    scores, level = checks.floating(scores, "scores"), checks.floating(correspondence, "correspondence")
    checks.at_least(margin, "margin", 0.0)
    checks.one_of(margin_axis, "margin_axis", ("query", "last"))
    pairs = _pairs(scores, where, axis_name)
    if level.shape != scores.shape[:1]:
        raise ValueError(f"correspondence must have shape {[scores.shape[0]]}, got {list(level.shape)}")
    margins = jnp.asarray(margin) * margin_schedule(jnp.where(pairs.counts, level, 0.0), kind=kind)
    z = pairs.clean(scores, accumulation_dtype(scores, level))
    positive = pairs.positives(z)
    of_columns = _gather(margins, axis_name)
    by_row = z - positive[:, None] + (margins[:, None] if margin_axis == "query" else of_columns)
    by_column = z + of_columns - _gather(positive, axis_name)
    losses = _both_ways(pairs, by_row, by_column, axis_name, jnp.max if hard else jnp.sum)
    return losses if hard else losses / jnp.maximum(jnp.sum(pairs.exist), 1)


def pseudo_classification(
    image_logits: ArrayLike,
    caption_logits: ArrayLike,
    *,
    entropy_weight: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""The class that one view's partner falls into is the label of this view (per example; larger is worse).

    .. math:: \ell = -\log p_{\hat y} - \lambda\, H(p), \quad \hat y = \arg\max_c v_c, \quad p = \mathrm{softmax}(z)

    Nobody says what the classes are: both views share a head, and the entropy keeps them from falling into one.

    Args:
      image_logits: float [..., C], z, which learns.
      caption_logits: float [..., C], v of the partner, which names the class; ties go to the lower index.
      entropy_weight: lambda >= 0.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not agree, or there is no class.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(pseudo_classification(jnp.zeros(2), jnp.array([0.0, 1.0]), entropy_weight=0.5).round(4))
    0.3466

    Reference: Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
    Cross-Modal Retrieval" (2024). Checked against the authors' code, in which lambda is 1 and the cross entropy of the
    other direction is computed but not added.
    """
    z, v = checks.floating(image_logits, "image_logits"), checks.floating(caption_logits, "caption_logits")
    checks.same_shape(z, "image_logits", v, "caption_logits")
    if z.ndim < 1 or z.shape[-1] == 0:
        raise ValueError(f"image_logits must have shape [..., C] with C >= 1, got {list(z.shape)}")
    mask = checks.mask(where, "where", z.shape[:-1])
    counts = jnp.ones(z.shape[:-1], bool) if mask is None else mask
    z = jnp.where(counts[..., None], z.astype(accumulation_dtype(z)), 0.0)
    named = jnp.argmax(jnp.where(counts[..., None], v, 0.0), axis=-1)
    own = jnp.take_along_axis(jax.nn.log_softmax(z, axis=-1), named[..., None], axis=-1)[..., 0]
    return jnp.where(counts, -own - entropy_weight * entropy(z), 0.0)
