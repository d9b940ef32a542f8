"""Representations in which an old index stays searchable after the model that made it is replaced."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import prototype_logits
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["CompatibleFeatures", "basis_transform", "bct_influence", "orthogonal_align", "simplex_vertices"]


class CompatibleFeatures(NamedTuple):
    """Features of a new model: ``compatible`` are read by an old index, ``full`` by an index of the new model."""

    compatible: Array
    full: Array


def simplex_vertices(num_classes: int, *, dtype: DTypeLike = jnp.float32) -> Array:
    r"""Unit vectors with the largest possible angle between any two: the vertices of a regular simplex.

    .. math:: \|w_c\| = 1, \quad \langle w_c, w_{c'} \rangle = -\frac{1}{K - 1} \;(c \ne c'), \quad \sum_c w_c = 0

    As a classifier that is never trained (``analytic.prototype_logits(metric="dot")``) they keep the place of every
    class fixed, also that of classes still to come: allocate more than are known.

    Args:
      num_classes: K >= 2, static.
      dtype: of the result.
    Returns:
      dtype [K, K - 1].
    Raises:
      TypeError: num_classes is not a static integer.
      ValueError: num_classes < 2.

    >>> print(simplex_vertices(3).round(3))
    [[ 0.966 -0.259]
     [-0.259  0.966]
     [-0.707 -0.707]]

    Reference: Biondi et al., "Stationary Representations: Optimally Approximating Compatibility and Implications for
    Improved Model Replacements" (2024); checked against the authors' code.
    """
    width = checks.size(num_classes, "num_classes", low=2) - 1
    # The centred and scaled corners of the usual construction, in closed form: nothing cancels for large K.
    root = (width + 1) ** 0.5
    first = (root * jnp.eye(width, dtype=dtype) - (root - 1) / width) / width**0.5
    return jnp.concatenate([first, jnp.full((1, width), -(width**-0.5), dtype)]).astype(dtype)


def basis_transform(
    features: ArrayLike,
    old_features: ArrayLike,
    p: ArrayLike,
    b: ArrayLike,
    *,
    extra: int = 32,
    scale: ArrayLike = 2.0,
) -> CompatibleFeatures:
    r"""BT^2: new and old knowledge side by side, turned so that an old index reads the first coordinates.

    .. math:: v = \big[\, \overline{o_{1:a}} \,;\, P (s\, \bar u) \,\big], \quad
              \phi = \big[\, B\, v_{1:d_{old}} \,;\, v_{d_{old}+1:} \,\big]

    where a bar is normalisation to unit length. For orthogonal P and B nothing of the new model is lost: the inner
    product of two :math:`\phi` is that of their :math:`\overline{o_{1:a}}` plus s^2 times that of their
    :math:`\bar u`. Pad old features with zeros to compare them with :math:`\phi`.

    Args:
      features: float [..., D], u, the part that learns what an independent new model knows.
      old_features: float [..., D_old], o, the part that learns what the old model knows; same leading axes.
      p: float [D, D], orthogonal, such as ``nn.cayley`` gives it.
      b: float [D_old, D_old], orthogonal.
      extra: a, static, the coordinates of o that are kept: 1 <= a <= D_old <= D + a.
      scale: s, how much the new part dominates.
    Returns:
      CompatibleFeatures(compatible [..., D_old], the first coordinates of full; full [..., D + a], of squared length
      1 + s^2), in float32 or wider.
    Raises:
      ValueError: shapes do not agree, or extra does not fit the widths.
      TypeError: an array is not floating point, or extra is not a static integer.

    >>> eye = jnp.eye(2)
    >>> print(basis_transform(jnp.array([3.0, 4.0]), jnp.array([7.0, 1.0]), eye, eye[::-1], extra=1))
    CompatibleFeatures(compatible=Array([1.2, 1. ], dtype=float32), full=Array([1.2, 1. , 1.6], dtype=float32))

    Reference: Zhou et al., "BT^2: Backward-compatible Training with Basis Transformation" (2023). Checked against the
    authors' code.
    """
    u, o = checks.floating(features, "features"), checks.floating(old_features, "old_features")
    if u.ndim < 1 or o.ndim < 1 or u.shape[:-1] != o.shape[:-1]:
        raise ValueError(
            f"features and old_features must agree in all axes but the last, got {list(u.shape)} and {list(o.shape)}"
        )
    width, old_width = u.shape[-1], o.shape[-1]
    p, b = _square(p, "p", width), _square(b, "b", old_width)
    if checks.size(extra, "extra") > old_width or old_width > width + extra:
        raise ValueError(
            f"extra must be at most the width of old_features ({old_width}) and at least that minus the width of "
            f"features ({width}), got {extra}"
        )
    dtype = accumulation_dtype(u, o, p, b)
    turned = _rotate(jnp.asarray(scale, dtype) * normalize(u.astype(dtype)), p)
    v = jnp.concatenate([normalize(o[..., :extra].astype(dtype)), turned], axis=-1)
    compatible = _rotate(v[..., :old_width], b)
    return CompatibleFeatures(compatible, jnp.concatenate([compatible, v[..., old_width:]], axis=-1))


def orthogonal_align(
    features: ArrayLike, q: ArrayLike, *, old_dim: int, bias: ArrayLike | None = None
) -> CompatibleFeatures:
    r"""OCA: an orthogonal layer between the coordinates that an old index reads and the classifier.

    .. math:: \text{compatible} = h_{1:d_{old}}, \quad \text{full} = Q h + c

    The layer keeps every distance, so that the classifier may turn the space without moving the compatible part, which
    is taken before it. Cosines of the full features are kept only where the bias is 0.

    Args:
      features: float [..., D], h; the published network normalises them first.
      q: float [D, D], orthogonal, such as ``nn.cayley`` gives it.
      old_dim: d_old, static, 1 <= d_old <= D, the width of the old features.
      bias: float [D], c; None is 0.
    Returns:
      CompatibleFeatures(compatible [..., d_old], full [..., D]) in float32 or wider. Normalise the slice before it is
      compared by inner products: it is shorter than h.
    Raises:
      ValueError: shapes do not agree, or old_dim is not in [1, D].
      TypeError: an array is not floating point, or old_dim is not a static integer.

    >>> swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    >>> print(orthogonal_align(jnp.array([0.6, 0.8]), swap, old_dim=1))
    CompatibleFeatures(compatible=Array([0.6], dtype=float32), full=Array([0.8, 0.6], dtype=float32))

    Reference: Ricci et al., "Backward-Compatible Aligned Representations via an Orthogonal Transformation Layer"
    (2024). Checked against the authors' code, which has the bias.
    """
    h = checks.floating(features, "features")
    if h.ndim < 1:
        raise ValueError("features must have shape [..., D], got a scalar")
    q = _square(q, "q", h.shape[-1])
    if checks.size(old_dim, "old_dim") > h.shape[-1]:
        raise ValueError(f"old_dim must be at most the width of features ({h.shape[-1]}), got {old_dim}")
    h = h.astype(accumulation_dtype(h, q))
    full = _rotate(h, q)
    if bias is not None:
        c = checks.floating(bias, "bias")
        if c.shape != h.shape[-1:]:
            raise ValueError(f"bias must have shape {[h.shape[-1]]}, got {list(c.shape)}")
        full = full + c
    return CompatibleFeatures(h[..., :old_dim], full)


def _square(matrix: ArrayLike, name: str, width: int) -> Array:
    array = checks.floating(matrix, name)
    if array.shape != (width, width):
        raise ValueError(f"{name} must have shape {[width, width]} to match the features, got {list(array.shape)}")
    return array


def _rotate(x: Array, matrix: Array) -> Array:
    """The matrix times every vector in the last axis of x."""
    return jnp.matmul(x, matrix.T.astype(x.dtype), precision="highest")


def bct_influence(
    features: ArrayLike,
    prototypes: ArrayLike,
    labels: ArrayLike,
    *,
    smoothing: ArrayLike = 0.0,
    class_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Influence loss of backward-compatible training: the old model's classifier on new features (per example).

    .. math:: \ell = -\sum_c t_c \log \frac{e^{\langle f, p_c \rangle}}{\sum_k e^{\langle f, p_k \rangle}},
              \quad t_c = (1 - \alpha) [c = y] + \alpha / C

    The prototypes are the mean old feature of every class (``analytic.class_means``), also of classes that the old
    model never learned. With unit features the inner products are at most the prototypes' lengths, below 1, and there
    is no temperature: the loss is nearly flat, which is why it is weighted by 10.

    Args:
      features: float [..., D], those coordinates of the new features that the old index reads, of unit length.
      prototypes: float [C, D]; they pass no gradient.
      labels: int [...], in [0, C); outside, or of a class that does not exist, gives NaN for that example.
      smoothing: alpha in [0, 1), label smoothing over the existing classes.
      class_where: bool [C], True where the class exists.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0; larger is worse.
    Raises:
      ValueError: shapes do not agree, or a static smoothing outside [0, 1].
      TypeError: an array is not floating point, labels are not integers, or masks not boolean.

    >>> print(f"{bct_influence(jnp.array([1.0, 0.0]), jnp.eye(2), jnp.array(0)):.3f}")
    0.313

    Reference: Zhou et al., "BT^2: Backward-compatible Training with Basis Transformation" (2023), as the baseline BCT
    of Shen et al. (2020). Checked against the authors' code.
    """
    features, labels = checks.floating(features, "features"), checks.integer(labels, "labels")
    if features.ndim < 1 or features.shape[:-1] != labels.shape:
        raise ValueError(f"features must have shape {[*labels.shape, 'D']} to match labels, got {list(features.shape)}")
    checks.in_range(smoothing, "smoothing", 0.0, 1.0)
    mask = checks.mask(where, "where", labels.shape)
    rows = features if mask is None else jnp.where(mask[..., None], features, 0.0)
    fixed = jax.lax.stop_gradient(checks.floating(prototypes, "prototypes"))
    logits = prototype_logits(rows, fixed, metric="dot", where=class_where)
    classes = fixed.shape[0]
    exists = jnp.ones(classes, bool) if class_where is None else jnp.asarray(class_where)
    log_probs = jnp.where(exists, logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True), 0.0)
    inside = (labels >= 0) & (labels < classes)
    safe = jnp.where(inside, labels, 0)
    own = jnp.take_along_axis(log_probs, safe[..., None], axis=-1)[..., 0]
    share = jnp.asarray(smoothing, log_probs.dtype)
    mean = jnp.sum(log_probs, axis=-1) / jnp.maximum(jnp.sum(exists), 1)
    losses = jnp.where(inside & exists[safe], -(1.0 - share) * own - share * mean, jnp.nan)
    return losses if mask is None else jnp.where(mask, losses, 0.0)
