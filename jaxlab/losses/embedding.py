"""Losses on directions in a space that two kinds of things share, such as images and texts."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["clip_directional", "directional_moment", "higher_order_compatibility", "off_diagonal_covariance"]

DENSE_WIDTH = 1024
"""Up to this width the second moments are compared as they are: [D, D] in memory, but no cancellation."""


def clip_directional(directions: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""One minus the cosine between a change of embedding and the wanted one (per example; larger is worse).

    .. math:: \ell_n = 1 - \frac{\langle \Delta I_n, \Delta T \rangle}{\|\Delta I_n\|\,\|\Delta T\|}

    Every example is asked to move in the same direction; ``directional_moment`` leaves them freer. For features of
    tokens ``feature_alignment`` is its mean over the tokens of an example.
    A generator that starts as a copy of its source has changed nothing, and gets no gradient: add a little (the authors
    of StyleGAN-NADA 1e-6) to its images, or start it elsewhere.

    Args:
      directions: float [..., D], embedding of the adapted image minus that of its source.
      targets: float [D] or [..., D], embedding of the target text minus that of the source text; no gradient.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...] in [0, 2]. A direction of zero has cosine 0, and no gradient.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or where is not boolean.

    >>> print(clip_directional(jnp.array([[2.0, 0.0], [-1.0, 0.0]]), jnp.array([1.0, 0.0])))
    [0. 2.]

    Reference: Gal et al., "StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators" (2022), as the baseline of
    Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic Variations" (2023), paper text.
    """
    directions, targets = checks.floating(directions, "directions"), checks.floating(targets, "targets")
    if directions.ndim == 0 or targets.shape not in (directions.shape, directions.shape[-1:]):
        raise ValueError(
            "targets must have the shape of directions [..., D] or its last axis, got "
            f"{list(targets.shape)} for {list(directions.shape)}"
        )
    mask = checks.mask(where, "where", directions.shape[:-1])
    dtype = accumulation_dtype(directions, targets)
    moved, wanted = directions.astype(dtype), jax.lax.stop_gradient(targets.astype(dtype))
    if mask is not None:
        moved = jnp.where(mask[..., None], moved, 0.0)
        wanted = jnp.where(mask[..., None], wanted, 0.0)
    losses = 1.0 - jnp.sum(normalize(moved, eps=0.0) * normalize(wanted, eps=0.0), axis=-1)
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def directional_moment(
    directions: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike = 1e3,
    normalize_counts: bool = False,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Distance of the first two moments of a set of changes from those of the wanted set (one number per batch).

    .. math:: \big(1 - \cos(\overline{\Delta I}, \overline{\Delta T})\big)
              + w\, \big\| \Delta I^\top \Delta I - \Delta T^\top \Delta T \big\|_F

    The second moments are about zero. They are sums over the rows as printed: with unit rows their traces are the
    numbers of rows, so that unequal numbers can never agree; ``normalize_counts`` divides each by its own.

    Args:
      directions: float [N, D], changes of image embeddings, usually of unit length.
      targets: float [M, D], changes of text embeddings, such as those of ``zeroshot.semantic_variations``; no gradient.
      weight: w >= 0.
      normalize_counts: True takes means instead of sums.
      where: bool [N], True where a direction counts.
      axis_name: the mapped axis over which directions are split; all its members hold the same targets.
    Returns:
      float32 or wider scalar, >= 0. The second term is 0 with gradient 0 where the moments agree to rounding. For
      D > 1024 on one device it comes from inner products of rows, which lose half of the digits: it stays above about
      3e-4 times the larger moment.
    Raises:
      ValueError: arrays are not [N, D] and [M, D], or where is not [N].
      TypeError: an array is not floating point, or where is not boolean.

    >>> targets = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> longer = directional_moment(2.0 * targets, targets, weight=1.0)
    >>> print(directional_moment(targets[::-1], targets).round(3), longer.round(3))
    0.0 4.243

    Reference: Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic Variations" (2023), paper
    text.
    """
    directions = checks.rank(checks.floating(directions, "directions"), "directions", 2, layout="[N, D]")
    targets = checks.rank(checks.floating(targets, "targets"), "targets", 2, layout="[M, D]")
    if directions.shape[1] != targets.shape[1]:
        raise ValueError(f"directions and targets must have the same width, got {directions.shape} and {targets.shape}")
    mask = checks.mask(where, "where", directions.shape[:1])
    counts = jnp.ones(directions.shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(directions, targets)
    moved = jnp.where(counts[:, None], directions.astype(dtype), 0.0)
    wanted = jax.lax.stop_gradient(targets.astype(dtype))

    def everywhere(value: Array) -> Array:
        return value if axis_name is None else jax.lax.psum(value, axis_name)

    total, number = everywhere(jnp.sum(moved, axis=0)), everywhere(jnp.sum(counts, dtype=dtype))
    cosine = jnp.sum(normalize(total, eps=0.0) * normalize(jnp.sum(wanted, axis=0), eps=0.0))
    shares = (1.0 / jnp.maximum(number, 1.0), 1.0 / max(targets.shape[0], 1)) if normalize_counts else (1.0, 1.0)
    if axis_name is not None or directions.shape[1] <= DENSE_WIDTH:
        gap = shares[0] * everywhere(_inner(moved.T, moved.T)) - shares[1] * _inner(wanted.T, wanted.T)
        squared = jnp.sum(gap**2)
        # What rounding alone leaves of equal moments has no direction worth following.
        floor = (4.0 * jnp.finfo(dtype).eps * shares[1] * jnp.sum(wanted**2)) ** 2
    else:
        own, other, across = _inner(moved, moved), _inner(wanted, wanted), _inner(moved, wanted)
        parts = [shares[i] * shares[j] * jnp.sum(g**2) for i, j, g in ((0, 0, own), (1, 1, other), (0, 1, across))]
        squared, floor = parts[0] + parts[1] - 2.0 * parts[2], jnp.zeros((), dtype)
    apart = squared > floor
    return 1.0 - cosine + weight * jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def higher_order_compatibility(
    features: ArrayLike,
    old_features: ArrayLike,
    labels: ArrayLike,
    *,
    scale: ArrayLike = 10.0,
    mask: str = "zero",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Contrast of a new model's features with the old ones of the same examples (couples the batch; larger is worse).

    .. math:: \ell_i = -S_{ii} + \log \sum_j e^{\tilde S_{ij}},
              \quad S_{ij} = \mu \cos\big(f^{old}_i, f^{new}_j\big)

    With mask "drop" the sum runs over the examples of other classes, as the paper says. With "zero" it runs over all j
    and :math:`\tilde S_{ij} = [y_i \ne y_j]\, S_{ij}`, as the published code computes it: every example of the same
    class, i itself included, then adds :math:`e^0`, which holds no gradient but weakens that of the others. The
    published objective is .1 cross entropy + .9 of this, from the second model on.

    Args:
      features: float [B, D], of the model that is trained; their length does not matter.
      old_features: float [B, D], of the frozen previous model; they pass no gradient.
      labels: int [B]; only whether two are equal matters.
      scale: mu, multiplies the cosines.
      mask: "zero" or "drop", static.
      where: bool [B], True where an example counts; the others are no negatives, give 0 and get no gradient.
      axis_name: the mapped axis over which the batch is split; negatives come from all its members.
    Returns:
      float32 or wider [B]. With "drop", an example without any of another class has -S_ii alone.
    Raises:
      ValueError: shapes do not agree, or mask is unknown.
      TypeError: features are not floating point, labels are not integers, or where is not boolean.

    >>> same, turned = jnp.eye(2), jnp.eye(2)[::-1]
    >>> labels = jnp.arange(2)
    >>> print([float(higher_order_compatibility(new, same, labels, mask="drop")[0]) for new in (same, turned)])
    [-10.0, 10.0]

    Reference: Biondi et al., "Stationary Representations: Optimally Approximating Compatibility and Implications for
    Improved Model Replacements" (2024). Checked against the authors' code.
    """
    new = checks.rank(checks.floating(features, "features"), "features", 2, layout="[B, D]")
    old = checks.rank(checks.floating(old_features, "old_features"), "old_features", 2, layout="[B, D]")
    checks.same_shape(new, "features", old, "old_features")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(new, "features", labels, "labels")
    checks.one_of(mask, "mask", ("zero", "drop"))
    rows = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if rows is None else rows
    dtype = accumulation_dtype(new, old)
    new, old = (normalize(jnp.where(counts[:, None], value.astype(dtype), 0.0), eps=0.0) for value in (new, old))
    old = jax.lax.stop_gradient(old)
    everywhere = (new, labels, counts)
    if axis_name is not None:
        everywhere = jax.lax.all_gather(everywhere, axis_name, tiled=True)
    others, other_labels, other_counts = everywhere
    factor = jnp.asarray(scale, dtype)
    differ = labels[:, None] != other_labels
    similarity = jnp.where(differ, factor * _inner(old, others), 0.0)
    summed = jnp.broadcast_to(other_counts, differ.shape) & (differ | (mask == "zero"))
    some = jnp.any(summed, axis=1)
    terms = jnp.where(summed | ~some[:, None], similarity, -jnp.inf)
    contrast = jnp.where(some, jax.nn.logsumexp(terms, axis=1), 0.0)
    return jnp.where(counts, contrast - factor * jnp.sum(old * new, axis=1), 0.0)


def _inner(x: Array, y: Array) -> Array:
    """Inner products of all rows: [N, D], [M, D] -> [N, M]."""
    return jnp.matmul(x, y.T, precision="highest")


def off_diagonal_covariance(z: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None) -> Array:
    r"""Squared covariances of different coordinates (one number per batch; 0 where none are correlated).

    .. math:: \frac1D \sum_{i \ne j} C_{ij}^2, \quad C = \frac{1}{N - 1} \sum_n (z_n - \bar z)(z_n - \bar z)^\top

    Args:
      z: float [N, D], embeddings.
      where: bool [N], True where a row counts.
      axis_name: the mapped axis over which rows are split; the covariance is that of all its members' rows.
    Returns:
      float32 or wider scalar, >= 0; 0 for fewer than two rows.
    Raises:
      ValueError: z is not [N, D], or where is not [N].
      TypeError: z is not floating point, or where is not boolean.

    >>> print(off_diagonal_covariance(jnp.array([[1.0, 1.0], [-1.0, -1.0]])))
    4.0

    Reference: Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
    Learning" (2022), standard; Hsieh et al., "Collaborative Metric Learning" (2017) divide by N, and their sum over
    coordinates by N too.
    """
    z = checks.rank(checks.floating(z, "z"), "z", 2, layout="[N, D]")
    mask = checks.mask(where, "where", z.shape[:1])
    counts = jnp.ones(z.shape[0], bool) if mask is None else mask
    wide = jnp.where(counts[:, None], z.astype(accumulation_dtype(z)), 0.0)
    sums = (jnp.sum(wide, axis=0), jnp.sum(counts, dtype=wide.dtype))
    total, number = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    centered = jnp.where(counts[:, None], wide - total / jnp.maximum(number, 1), 0.0)
    products = _inner(centered.T, centered.T)
    products = products if axis_name is None else jax.lax.psum(products, axis_name)
    covariance = products / jnp.maximum(number - 1, 1)
    off = jnp.where(jnp.eye(z.shape[1], dtype=bool), 0.0, covariance)
    return jnp.sum(jnp.square(off)) / max(z.shape[1], 1)
