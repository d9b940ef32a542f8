"""Losses of recommenders: from clicks, where what was not chosen is only unknown, and for click probabilities."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["bayesian_personalized_ranking", "collaborative_metric_hinge", "tri_bce"]


def bayesian_personalized_ranking(pos: ArrayLike, neg: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Loss of ranking a chosen item below one that was not (one value per pair; larger is worse).

    .. math:: \ell = \log\big(1 + e^{s_n - s_p}\big)

    Args:
      pos: float [...], scores of chosen items.
      neg: float [...], scores of items that were not; same shape.
      where: bool [...], True where a pair counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0.
    Raises:
      ValueError: shapes differ.
      TypeError: scores are not floating point, or where is not boolean.

    >>> print(bayesian_personalized_ranking(jnp.array([0.0, 2.0]), jnp.array([0.0, 0.0])).round(4))
    [0.6931 0.1269]

    Reference: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback" (2009), as Zhang et al.,
    "Personalized Denoising Implicit Feedback for Robust Recommender System" (2025) use it; checked against the authors'
    code.
    """
    pos, neg = checks.floating(pos, "pos"), checks.floating(neg, "neg")
    checks.same_shape(pos, "pos", neg, "neg")
    mask = checks.mask(where, "where", pos.shape)
    dtype = accumulation_dtype(pos, neg)
    gap = neg.astype(dtype) - pos.astype(dtype)
    if mask is None:
        return jax.nn.softplus(gap)
    return jnp.where(mask, jax.nn.softplus(jnp.where(mask, gap, 0.0)), 0.0)


def collaborative_metric_hinge(
    user: ArrayLike,
    positive: ArrayLike,
    negatives: ArrayLike,
    *,
    margin: ArrayLike = 0.5,
    num_items: ArrayLike | None = None,
    where: ArrayLike | None = None,
    negative_where: ArrayLike | None = None,
) -> Array:
    r"""Hinge by which a chosen item has to lie nearer to its user than others, per user (larger is worse).

    .. math:: \ell = w \sum_n \big[m + \|u - v_p\|^2 - \|u - v_n\|^2\big]_+,
              \; w = \log\Big(1 + \Big\lfloor J\, \frac{|\{n : m + \|u - v_p\|^2 > \|u - v_n\|^2\}|}{M} \Big\rfloor\Big)

    The weight w grows with the rank of the chosen item among all J, estimated from how many of the M sampled ones
    intrude. Keep all vectors in the unit ball. Squared distances have a gradient at 0, distances do not.

    Args:
      user: float [B, D].
      positive: float [B, D], an item that the user chose.
      negatives: float [B, M, D], items that the user did not choose.
      margin: m >= 0.
      num_items: J >= 1, of all items; None leaves the weight out (with M = 1 that is a triplet loss).
      where: bool [B], True where a user counts; the others give 0 and no gradient.
      negative_where: bool [B, M], True for the negatives that are there.
    Returns:
      float32 or wider [B], >= 0; 0 once every negative is further away by the margin, or where there is none.
    Raises:
      ValueError: shapes do not agree, or a static margin < 0 or num_items < 1.
      TypeError: vectors are not floating point, or a mask is not boolean.

    >>> user, items = jnp.zeros((1, 2)), jnp.array([[[0.6, 0.0], [0.0, 1.0]]])
    >>> print(collaborative_metric_hinge(user, user + 0.1, items).round(4))
    [0.16]

    Reference: Hsieh et al., "Collaborative Metric Learning" (2017), recalled: there the hardest of the sampled
    negatives stands for the sum. As Campo et al., "Collaborative Metric Learning Recommendation System: Application to
    Theatrical Movie Releases" (2018) apply it to items known by their text; that part is inferred.
    """
    user = checks.rank(checks.floating(user, "user"), "user", 2, layout="[B, D]")
    positive = checks.floating(positive, "positive")
    negatives = checks.rank(checks.floating(negatives, "negatives"), "negatives", 3, layout="[B, M, D]")
    checks.same_shape(user, "user", positive, "positive")
    if (negatives.shape[0], negatives.shape[2]) != user.shape:
        raise ValueError(f"negatives must be [B, M, D] for user {list(user.shape)}, got {list(negatives.shape)}")
    checks.at_least(margin, "margin", 0.0)
    mask, there = checks.mask(where, "where", user.shape[:1]), negatives.shape[:2]
    known = checks.mask(negative_where, "negative_where", there)
    counts = jnp.ones(there, bool) if known is None else known
    if mask is not None:
        counts = counts & mask[:, None]
        user, positive = jnp.where(mask[:, None], user, 0.0), jnp.where(mask[:, None], positive, 0.0)
    dtype = accumulation_dtype(user, positive, negatives)
    u, v = user.astype(dtype), jnp.where(counts[..., None], negatives.astype(dtype), 0.0)
    near = jnp.sum(jnp.square(u - positive.astype(dtype)), axis=-1)
    far = jnp.sum(jnp.square(u[:, None] - v), axis=-1)
    hinge = jnp.where(counts, jnp.maximum(margin + near[:, None] - far, 0.0), 0.0)
    loss = jnp.sum(hinge, axis=1)
    if num_items is None:
        return loss
    checks.at_least(num_items, "num_items", 1)
    share = jnp.sum(hinge > 0, axis=1) / jnp.maximum(jnp.sum(counts, axis=1), 1).astype(dtype)
    # The share is rounded: half a step of it must not cost a rank.
    return loss * jnp.log1p(jnp.floor(jnp.asarray(num_items, dtype) * share + 1e-4))


def tri_bce(
    fused_logits: ArrayLike,
    deep_logits: ArrayLike,
    shallow_logits: ArrayLike,
    targets: ArrayLike,
    *,
    detach_weights: bool = False,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of a fused click model, and of its two parts as far as they are worse (one number per batch).

    .. math:: \ell = L + w_d L_d + w_s L_s, \quad w_d = \max(0, L_d - L), \quad w_s = \max(0, L_s - L)

    with L, L_d and L_s the mean binary cross entropies of the three logits. Where the fused logit is the mean of the
    two, L is at most (L_d + L_s) / 2: the worse of them has a weight unless both are equal.

    Args:
      fused_logits: float [B].
      deep_logits: float [B].
      shallow_logits: float [B].
      targets: int, bool or float [B], in [0, 1].
      detach_weights: True takes no gradient through w_d and w_s; the published code does take it.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which examples are split; the means run over all its members.
    Returns:
      float32 or wider scalar, at least L; 0 without a gradient where nothing counts.
    Raises:
      ValueError: shapes differ, or are not [B].
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(f"{tri_bce(jnp.zeros(1), jnp.zeros(1), jnp.array([-2.0]), jnp.array([1])):.4f}")
    3.7427

    Reference: Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction" (2024),
    checked against the authors' code.
    """
    fused = checks.rank(checks.floating(fused_logits, "fused_logits"), "fused_logits", 1, layout="[B]")
    deep, shallow = checks.floating(deep_logits, "deep_logits"), checks.floating(shallow_logits, "shallow_logits")
    labels = jnp.asarray(targets)
    for name, array in (("deep_logits", deep), ("shallow_logits", shallow), ("targets", labels)):
        checks.same_shape(fused, "fused_logits", array, name)
    mask = checks.mask(where, "where", fused.shape)
    counts = jnp.ones(fused.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(fused, deep, shallow)
    logits = jnp.where(counts, jnp.stack([fused.astype(dtype), deep.astype(dtype), shallow.astype(dtype)]), 0.0)
    t = jnp.where(counts, labels.astype(dtype), 0.0)
    entropies = optax.losses.sigmoid_binary_cross_entropy(logits, jnp.broadcast_to(t, logits.shape))
    sums = (jnp.sum(jnp.where(counts, entropies, 0.0), axis=1), jnp.sum(counts, dtype=dtype))
    total, number = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    means = total / jnp.maximum(number, 1)
    weights = jnp.maximum(means[1:] - means[0], 0.0)
    weights = jax.lax.stop_gradient(weights) if detach_weights else weights
    return means[0] + jnp.sum(weights * means[1:])
