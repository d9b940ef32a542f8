"""Losses on pairs that the batch does not hold: embeddings mixed on purpose, and parts of images that match."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.losses.metric_learning import chords, contrastive_pairs, losing_mean, losing_sum, pair_masks, unit_rows
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["MixedPairs", "local_triplet", "metric_mixup_pairs", "metrix_contrastive"]


class MixedPairs(NamedTuple):
    """Mixed embeddings, each beside its anchor.

    Attributes:
      anchor: int [M], row of the anchor.
      mixed: float32 or wider [M, D], not normalised again.
      lam: float32 scalar in [0, 1], how much of the anchor's class is in them.
      where: bool [M], False where the anchor lacks what the mix is made of.
    """

    anchor: Array
    mixed: Array
    lam: Array
    where: Array


def metric_mixup_pairs(
    key: Array,
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: ArrayLike = 2.0,
    kind: str = "positive_negative",
    negatives: str = "hardest",
    where: ArrayLike | None = None,
) -> MixedPairs:
    r"""For every anchor, a mix of something of its class and something of another (couples the batch).

    .. math:: v_a = \lambda\, p + (1 - \lambda)\, n, \quad \lambda \sim \mathrm{Beta}(\alpha, \alpha),
              \quad p \in P(a) \text{ or } p = x_a, \quad n \in N(a)

    Unit embeddings are mixed, by one weight for the whole batch; seen from its anchor, v_a is of the same class to the
    extent lambda.

    Args:
      key: typed PRNG key.
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      alpha: > 0.
      kind: static; "positive_negative" mixes a positive drawn at random with a negative, "anchor_negative" the anchor
        itself.
      negatives: static; "hardest" takes the negative with the largest cosine, "random" draws one.
      where: bool [B], True where an example counts; the others are in no mix.
    Returns:
      MixedPairs with M = B: row i belongs to anchor i; where its ``where`` is False, mixed is 0.
    Raises:
      ValueError: shapes do not agree, an unknown kind or choice of negatives, or a static alpha <= 0.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x, labels = jnp.eye(2), jnp.array([0, 1])
    >>> pairs = metric_mixup_pairs(jax.random.key(0), x, labels, kind="anchor_negative")
    >>> print(bool(jnp.allclose(pairs.mixed[0], jnp.array([pairs.lam, 1 - pairs.lam]))), pairs.where)
    True [ True  True]

    Reference: Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning" (2022). Checked against
    the authors' code, which mixes before it normalises and draws the kind anew at every step.
    """
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[B, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(embeddings, "embeddings", labels, "labels")
    checks.one_of(kind, "kind", ("positive_negative", "anchor_negative"))
    checks.one_of(negatives, "negatives", ("hardest", "random"))
    checks.positive(alpha, "alpha")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    positive, negative = pair_masks(labels, where=mask)
    units = unit_rows(embeddings, counts)
    if labels.shape[0] == 0:
        return MixedPairs(labels.astype(jnp.int32), units, jnp.float32(1.0), counts)
    weight_key, positive_key, negative_key = jax.random.split(key, 3)
    alpha = jnp.asarray(alpha, jnp.float32)
    lam = jax.random.beta(weight_key, alpha, alpha)
    if negatives == "hardest":
        cosines = jnp.matmul(units, units.T, precision="highest")
        other = jnp.argmax(jnp.where(negative, jax.lax.stop_gradient(cosines), -jnp.inf), axis=1)
    else:
        other = _one_of(negative_key, negative)
    usable = jnp.any(negative, axis=1)
    own = jnp.arange(labels.shape[0])
    if kind == "positive_negative":
        own, usable = _one_of(positive_key, positive), usable & jnp.any(positive, axis=1)
    share = lam.astype(units.dtype)
    mixed = jnp.where(usable[:, None], share * units[own] + (1.0 - share) * units[other], 0.0)
    return MixedPairs(jnp.arange(labels.shape[0]), mixed, lam, usable)


def metrix_contrastive(
    embeddings: ArrayLike,
    labels: ArrayLike,
    pairs: MixedPairs,
    *,
    positive_margin: ArrayLike = 0.0,
    negative_margin: ArrayLike = 0.5,
    weight: ArrayLike = 0.4,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Contrastive loss of a batch and of its mixed pairs (one number per batch; larger is worse).

    .. math:: \ell + w \Big(\overline{\lambda \max(0,\, d_a - m_+)} + \overline{(1 - \lambda) \max(0,\, m_- - d_a)}\Big)

    where l is ``contrastive_pairs`` and d_a the distance of anchor a from its mix, both of unit length. Each mean is
    over what is not zero.

    Args:
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      pairs: of ``metric_mixup_pairs`` on the same embeddings.
      positive_margin: m_+.
      negative_margin: m_-.
      weight: w >= 0.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the batch is split; each member mixes its own part (with its own key or the
        same), and every member gets the same number.
    Returns:
      float32 or wider scalar, >= 0.
    Raises:
      ValueError: shapes do not agree.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x, labels = jnp.eye(2), jnp.array([0, 1])
    >>> pairs = MixedPairs(jnp.arange(2), x, jnp.float32(1.0), jnp.array([True, True]))
    >>> far = metrix_contrastive(x, labels, pairs._replace(mixed=x[::-1]))
    >>> print(metrix_contrastive(x, labels, pairs), f"{far:.4f}")
    0.0 0.5657

    Reference: Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning" (2022). Checked against
    the authors' code (weight 0.4, in one branch 0.3).
    """
    checks.at_least(weight, "weight", 0.0)
    options = {"positive_margin": positive_margin, "negative_margin": negative_margin}
    clean = contrastive_pairs(embeddings, labels, where=where, axis_name=axis_name, **options)
    embeddings = jnp.asarray(embeddings)
    if pairs.mixed.ndim != 2 or pairs.mixed.shape[1] != embeddings.shape[1]:
        raise ValueError(f"pairs must hold mixes of shape [M, {embeddings.shape[1]}], got {list(pairs.mixed.shape)}")
    mask = checks.mask(where, "where", embeddings.shape[:1])
    counts = jnp.ones(embeddings.shape[:1], bool) if mask is None else mask
    used = pairs.where & counts[pairs.anchor]
    anchors = unit_rows(embeddings, counts)[pairs.anchor]
    distances = chords(jnp.sum(anchors * unit_rows(pairs.mixed, used), axis=1))
    lam = jnp.asarray(pairs.lam, distances.dtype)
    near = losing_sum(lam * (distances - positive_margin), used)
    far = losing_sum((1.0 - lam) * (negative_margin - distances), used)
    return clean + weight * (losing_mean(near[None], axis_name) + losing_mean(far[None], axis_name))


def local_triplet(
    queries: ArrayLike,
    keys: ArrayLike,
    negatives: ArrayLike,
    index: ArrayLike,
    where: ArrayLike | None = None,
    *,
    margin: ArrayLike = 0.1,
) -> Array:
    r"""Triplet loss of matched parts of two images against the nearest parts of others (one number per query image).

    .. math:: \sum_{m \in \text{matches}} \sum_{n} \max\big(0,\; \|q_m - k_m\|^2 - \min_c \|q_m - n_c\|^2 + \mu\big)

    on descriptors of unit length. Which part of a negative image is nearest passes no gradient.

    Args:
      queries: float [N, C], local descriptors of the query image, of any length.
      keys: float [M, C], of an image of the same thing.
      negatives: float [I, L, C], of I images of other things.
      index: int [M] in [0, N), the query part that matches each key part, as ``retrieval.reciprocal_matches`` gives it.
      where: bool [M], True where the match counts; None for all.
      margin: mu.
    Returns:
      float32 or wider scalar, >= 0, a sum and no mean; ``vmap`` for many query images.
    Raises:
      ValueError: shapes do not agree, or the negative images have no parts.
      TypeError: descriptors are not floating point, index does not hold integers, or where is not boolean.

    >>> q, matched = jnp.eye(2), jnp.array([True, False])
    >>> print(f"{local_triplet(q, q, jnp.ones((1, 1, 2)), jnp.array([0, 1]), matched, margin=1.0):.4f}")
    0.4142

    Reference: Zhu et al., "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image
    Retrieval" (2023). Checked against the authors' code, whose configured margin and weight (0.05) do not reach the
    loss: it runs with margin 0.1 and weight 1.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[N, C]")
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 2, layout="[M, C]")
    negatives = checks.rank(checks.floating(negatives, "negatives"), "negatives", 3, layout="[I, L, C]")
    index = checks.rank(checks.integer(index, "index"), "index", 1, layout="[M]")
    checks.batch_match(keys, "keys", index, "index")
    mask = checks.mask(where, "where", index.shape)
    matched = jnp.ones(index.shape, bool) if mask is None else mask
    if not queries.shape[-1] == keys.shape[-1] == negatives.shape[-1]:
        raise ValueError(
            "queries, keys and negatives must have rows of one width, got "
            f"{queries.shape[-1]}, {keys.shape[-1]} and {negatives.shape[-1]}"
        )
    if negatives.shape[1] == 0:
        raise ValueError(f"negatives must have at least one part an image, got shape {list(negatives.shape)}")
    dtype = accumulation_dtype(queries, keys, negatives)
    anchors = normalize(jnp.where(matched[:, None], queries.astype(dtype)[index], 0.0))
    own = normalize(jnp.where(matched[:, None], keys.astype(dtype), 0.0))
    others = normalize(negatives.astype(dtype))
    nearest = jnp.argmin(pairwise_sq_dists(*jax.lax.stop_gradient((anchors[None], others))), axis=-1)  # [I, M]
    chosen = jnp.take_along_axis(others, nearest[:, :, None], axis=1)
    gaps = jnp.sum((anchors - own) ** 2, axis=-1) - jnp.sum((anchors - chosen) ** 2, axis=-1) + margin
    return jnp.sum(jnp.where(matched, jnp.maximum(gaps, 0.0), 0.0))


def _one_of(key: Array, mask: Array) -> Array:
    """A True column of every row, drawn uniformly; it does not depend on columns appended as False."""
    number = jnp.sum(mask, axis=1)
    wanted = (jax.random.uniform(key, number.shape) * number).astype(number.dtype)
    return jnp.argmax(jnp.cumsum(mask, axis=1) > jnp.minimum(wanted, number - 1)[:, None], axis=1)
