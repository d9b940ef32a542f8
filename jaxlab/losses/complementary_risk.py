"""Risks of a batch of complementary labels: unbiased ones, what keeps them from going negative, and SCARCE."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["complementary_risk_vector", "complementary_scarce", "gradient_ascent_risk", "non_negative_risk"]

LOSSES = ("log", "mae", "weighted_mae", "generalized", "symmetric")


def _checked(logits: ArrayLike, comp_labels: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Clean logits, labels with -1 at the examples that do not count, and which ones do."""
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[B, K]")
    labels = checks.rank(checks.integer(comp_labels, "comp_labels"), "comp_labels", 1, layout="[B]")
    checks.batch_match(logits, "logits", labels, "comp_labels")
    if logits.shape[1] < 2:
        raise ValueError(f"logits must have shape [B, K] with K >= 2, got {list(logits.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    z = jnp.where(counts[:, None], logits.astype(accumulation_dtype(logits)), 0.0)
    return z, jnp.where(counts, labels, -1), counts


def _spoiled(labels: Array, counts: Array, num_classes: int, axis_name: str | None) -> Array:
    """Whether a label that counts is no class."""
    outside = jnp.sum(counts & ((labels < 0) | (labels >= num_classes)))
    return (outside if axis_name is None else jax.lax.psum(outside, axis_name)) > 0


def _class_sums(values: Array, labels: Array, num_classes: int, axis_name: str | None) -> tuple[Array, Array]:
    """Sums [K, ...] and numbers [K] of rows by label, over all members of the axis."""
    sums = jax.ops.segment_sum(values, labels, num_classes)
    number = jax.ops.segment_sum(jnp.ones(labels.shape, values.dtype), labels, num_classes)
    return (sums, number) if axis_name is None else jax.lax.psum((sums, number), axis_name)


def complementary_risk_vector(
    logits: ArrayLike,
    comp_labels: ArrayLike,
    transition_inverse: ArrayLike,
    prior: ArrayLike,
    *,
    loss: str = "log",
    group: str = "complementary",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Parts of the ordinary risk, estimated without bias from complementary labels alone (couples the batch).

    .. math:: R_j = \sum_k C_{jk} \;\text{("complementary")}, \quad R_k = \sum_j C_{jk} \;\text{("class")},
              \quad C_{jk} = \pi_j\, Q^{-1}_{jk}\, \frac{1}{n_j} \sum_{i : \bar y_i = j} \ell(k, z_i)

    Their sum is the estimate of the risk under true labels. It has negative coefficients, and a network soon makes it
    negative: minimise ``non_negative_risk`` or ``gradient_ascent_risk`` of the vector instead of the sum.

    Args:
      logits: float [B, K], K >= 2.
      comp_labels: int [B], in [0, K); any other gives a vector of NaN.
      transition_inverse: float [K, K], the inverse (pseudo-inverse where there is none) of Q[y, k] =
        P(complementary label k | class y).
      prior: float [K], how often each complementary label comes.
      loss: static: "log" (cross entropy), "mae" (2 - 2 p), "weighted_mae" (times the column sums of the inverse),
        "generalized" ((1 - p^0.7) / 0.7) or "symmetric" (0.1 of cross entropy plus 4 - p).
      group: static: "complementary" (libcll's GA and NN) or "class" (the benchmark's robust variants).
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the examples are split; sums and numbers are added over it.
    Returns:
      float32 or wider [K]; a complementary label that does not come adds nothing.
    Raises:
      ValueError: shapes do not agree, K < 2, or an unknown loss or group.
      TypeError: logits, transition_inverse or prior are not floating point, comp_labels not integers, or where not
        boolean.

    >>> inverse = jnp.linalg.inv(1.0 - jnp.eye(2))
    >>> print(complementary_risk_vector(jnp.zeros((3, 2)), jnp.array([0, 0, 1]), inverse, jnp.array([0.5, 0.5])))
    [0.3465736 0.3465736]

    Reference: Ishida et al., "Complementary-Label Learning for Arbitrary Losses and Models" (2019), as benchmarked by
    Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025). Checked against the
    latter's code; its "symmetric" keeps the constant 4 - p where reverse cross entropy would have 4 - 4 p.
    """
    checks.one_of(loss, "loss", LOSSES)
    checks.one_of(group, "group", ("complementary", "class"))
    z, labels, counts = _checked(logits, comp_labels, where)
    num_classes = z.shape[1]
    inverse, share = checks.floating(transition_inverse, "transition_inverse"), checks.floating(prior, "prior")
    if inverse.shape != (num_classes, num_classes):
        raise ValueError(f"transition_inverse must have shape {[num_classes] * 2}, got {list(inverse.shape)}")
    if share.shape != (num_classes,):
        raise ValueError(f"prior must have shape {[num_classes]}, got {list(share.shape)}")
    log_probs = jax.nn.log_softmax(z, axis=1)
    if loss == "log":
        cost = -log_probs
    elif loss in ("mae", "weighted_mae"):
        cost = -2.0 * jnp.expm1(log_probs) * (1.0 if loss == "mae" else jnp.sum(inverse, axis=0))
    elif loss == "generalized":
        cost = -jnp.expm1(0.7 * log_probs) / 0.7
    else:
        cost = -0.1 * log_probs + 4.0 - jnp.exp(log_probs)
    sums, number = _class_sums(cost, labels, num_classes, axis_name)
    parts = share[:, None] * inverse * sums / jnp.maximum(number, 1.0)[:, None]
    vector = jnp.sum(parts, axis=1 if group == "complementary" else 0)
    return jnp.where(_spoiled(labels, counts, num_classes, axis_name), jnp.nan, vector)


def _vector(vector: ArrayLike) -> Array:
    vector = checks.floating(vector, "vector")
    if vector.ndim < 1:
        raise ValueError("vector must have shape [..., K], got a scalar")
    return vector.astype(accumulation_dtype(vector))


def non_negative_risk(vector: ArrayLike, *, beta: ArrayLike = 0.0) -> Array:
    r"""NN: the sum of those parts of a risk that have not become negative.

    .. math:: R = \sum_{k : R_k > -\beta} R_k

    Args:
      vector: float [..., K], such as ``complementary_risk_vector``.
      beta: how far below 0 a part may go before it is dropped.
    Returns:
      float32 or wider [...]; NaN where a part is.
    Raises:
      ValueError: vector is a scalar.
      TypeError: vector is not floating point.

    >>> print(non_negative_risk(jnp.array([1.0, -0.5, 0.25])))
    1.25

    Reference: Ishida et al., "Complementary-Label Learning for Arbitrary Losses and Models" (2019). Checked against the
    code of the CLImage benchmark (2025).
    """
    parts = _vector(vector)
    return jnp.sum(jnp.where(parts <= -jnp.asarray(beta), 0.0, parts), axis=-1)


def gradient_ascent_risk(vector: ArrayLike) -> Array:
    r"""GA: the risk while all its parts are positive; else minus the negative ones, to bring them back.

    .. math:: R = \sum_k R_k \;\text{ if } \min_k R_k \ge 0, \;\text{ else } -\sum_{k : R_k < 0} R_k

    Args:
      vector: float [..., K], such as ``complementary_risk_vector``.
    Returns:
      float32 or wider [...], >= 0; NaN where a part is.
    Raises:
      ValueError: vector is a scalar.
      TypeError: vector is not floating point.

    >>> print(gradient_ascent_risk(jnp.array([1.0, -0.5, 0.25])), gradient_ascent_risk(jnp.array([1.0, 0.5])))
    0.5 1.5

    Reference: Ishida et al., "Complementary-Label Learning for Arbitrary Losses and Models" (2019). Checked against the
    code of the CLImage benchmark (2025).
    """
    parts = _vector(vector)
    below = parts < 0
    back = -jnp.sum(jnp.where(below, parts, 0.0), axis=-1)
    return jnp.where(jnp.any(below, axis=-1) & ~jnp.any(jnp.isnan(parts), axis=-1), back, jnp.sum(parts, axis=-1))


def complementary_scarce(
    logits: ArrayLike,
    comp_labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""SCARCE: a binary risk per class from examples that are not of it and from all examples (couples the batch).

    .. math:: R = \sum_k c\, \bar\ell^-_{k \mid \bar y = k} + \big| \bar\ell^+_k - c\, \bar\ell^+_{k \mid \bar y = k}
                  \big|, \quad c = 1 - 1/K, \; \ell^\pm = \log(1 + e^{\mp z})

    The means run over all examples, or over those whose complementary label is k.

    Args:
      logits: float [B, K], K >= 2, of K binary classifiers.
      comp_labels: int [B], in [0, K); any other gives NaN.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the examples are split; sums and numbers are added over it.
    Returns:
      float32 or wider scalar, >= 0; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_scarce(jnp.zeros((2, 2)), jnp.array([0, 1])).round(4))  # 2 (1/2 + 1/2) log 2
    1.3863

    Reference: Wang et al., "Learning with Complementary Labels Revisited: The Selected-Completely-at-Random Setting Is
    More Practical" (2024). Checked against the code of the CLImage benchmark (2025).
    """
    z, labels, counts = _checked(logits, comp_labels, where)
    num_classes = z.shape[1]
    costs = jnp.concatenate([jax.nn.softplus(z), jax.nn.softplus(-z)], axis=1)
    sums, number = _class_sums(costs, labels, num_classes, axis_name)
    everything = jnp.sum(jnp.where(counts[:, None], costs[:, num_classes:], 0.0), axis=0)
    total = jnp.sum(counts, dtype=z.dtype)
    if axis_name is not None:
        everything, total = jax.lax.psum((everything, total), axis_name)
    own = jnp.stack([jnp.diagonal(sums[:, :num_classes]), jnp.diagonal(sums[:, num_classes:])])
    negative, positive = own / jnp.maximum(number, 1.0)
    share = 1.0 - 1.0 / num_classes
    risk = share * negative + jnp.abs(everything / jnp.maximum(total, 1.0) - share * positive)
    return jnp.where(_spoiled(labels, counts, num_classes, axis_name), jnp.nan, jnp.sum(risk))
