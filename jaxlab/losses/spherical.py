"""The spherical family: losses of the label's logit, the sum of all logits and the sum of their squares, no more.

For logits W h all three come from h, the label's row of W, the sum of the rows and W'W: value and gradient of an
example then cost D^2, whatever the number of classes::

    weight_sum, weight_gram = weight.sum(0), weight.T @ weight  # once per change of the weight [K, D]
    statistics = spherical_statistics(hidden, weight_sum, weight_gram, weight[labels])
    losses = z_loss_from_statistics(*statistics, num_classes=len(weight))
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import labelled, of_label
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "SphericalStatistics",
    "log_spherical_softmax",
    "log_taylor_softmax",
    "spherical_statistics",
    "z_loss",
    "z_loss_from_statistics",
]


class SphericalStatistics(NamedTuple):
    """What a spherical loss knows of the logits."""

    label_logit: Array  # [...]
    logit_sum: Array  # [...]
    square_sum: Array  # [...]


def _location(b: ArrayLike | None, num_classes: int) -> ArrayLike:
    """Half of what the label's normalised logit can reach."""
    return math.sqrt(num_classes - 1) / 2 if b is None else b


def _of_z(lead: Array, variance: Array, some: Array, a: ArrayLike, b: ArrayLike) -> Array:
    """The Z-loss of how far the label's logit is from the mean; where the logits are all alike, z is 0."""
    spread = jnp.sqrt(jnp.where(some, variance, 1.0))
    z = jnp.where(some, lead / spread, 0.0)
    return jax.nn.softplus(a * (b - z)) / a


def z_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    a: ArrayLike = 1.0,
    b: ArrayLike | None = None,
    eps: float = 1e-12,
    where: ArrayLike | None = None,
) -> Array:
    r"""Z-loss: a soft hinge on the label's logit in units of the logits' spread (per example; larger is worse).

    .. math:: \ell = \frac1a \log\big(1 + e^{a (b - z_y)}\big), \qquad z_y = \frac{o_y - \mu}{\sigma}

    with mean and standard deviation over the K logits. Neither a shift of all logits nor a positive factor changes it.
    Where all logits are alike there is no gradient: a head whose weights start at 0 stays there.

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      a: sharpness > 0, a float or an array that broadcasts to [...]; to infinity gives max(0, b - z).
      b: the z from which on an example costs little; z cannot exceed sqrt(K - 1), of which None takes half.
      eps: logits of no larger variance are taken to be all alike, static, >= 0.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], > 0.
    Raises:
      ValueError: shapes do not agree, K < 2, a static a <= 0 or eps < 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(f"{z_loss(jnp.array([1.0, 0.0, 0.0]), jnp.array(0), b=0.0):.4f}")  # z is sqrt(2)
    0.2176

    Reference: de Brebisson and Vincent, "The Z-loss: a shift and scale invariant classification loss belonging to the
    Spherical Family" (2016). Formula recalled, and as public summaries of the paper have it; the default of b is ours
    (the paper tunes a and b to each data set).
    """
    checks.positive(a, "a")
    checks.at_least(eps, "eps", 0)
    rows = labelled(logits, labels, where)
    centered = rows.logits - jnp.mean(rows.logits, axis=-1, keepdims=True)
    variance = jnp.mean(centered**2, axis=-1)
    location = _location(b, rows.logits.shape[-1])
    return rows.losses(_of_z(of_label(centered, rows.labels), variance, variance > eps, a, location))


def spherical_statistics(
    hidden: ArrayLike,
    weight_sum: ArrayLike,
    weight_gram: ArrayLike,
    label_weight: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> SphericalStatistics:
    r"""What spherical losses need of the logits W h, without the logits: the cost does not depend on K (per example).

    .. math:: o_y = w_y^\top h, \qquad S_1 = \Big(\sum_k w_k\Big)^\top h, \qquad S_2 = h^\top W^\top W\, h

    For a bias, append a 1 to h and the bias to W.

    Args:
      hidden: float [..., D].
      weight_sum: float [D], the sum of the rows of W [K, D].
      weight_gram: float [D, D], W'W, symmetric.
      label_weight: float [..., D], the row of W of every example's label, ``weight[labels]``.
      where: bool [...], True where an example counts; the others give zeros and no gradient.
    Returns:
      SphericalStatistics(label_logit, logit_sum, square_sum), each float32 or wider [...].
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point, or where is not boolean.

    >>> weight = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> stats = spherical_statistics(jnp.array([1.0, 1.0]), weight.sum(0), weight.T @ weight, weight[1])  # logits 1 2 2
    >>> print(*stats)
    2.0 5.0 9.0

    Reference: Vincent et al., "Efficient Exact Gradient Update for training Deep Networks with Very Large Sparse
    Targets" (2015), recalled; without their update of W in factored form.
    """
    hidden, label_weight = checks.floating(hidden, "hidden"), checks.floating(label_weight, "label_weight")
    total, gram = checks.floating(weight_sum, "weight_sum"), checks.floating(weight_gram, "weight_gram")
    if hidden.ndim < 1:
        raise ValueError("hidden must have shape [..., D], got a scalar")
    checks.same_shape(hidden, "hidden", label_weight, "label_weight")
    dim = hidden.shape[-1]
    if total.shape != (dim,) or gram.shape != (dim, dim):
        raise ValueError(
            f"weight_sum and weight_gram must have shapes [{dim}] and [{dim}, {dim}] to match hidden, "
            f"got {list(total.shape)} and {list(gram.shape)}"
        )
    mask = checks.mask(where, "where", hidden.shape[:-1])
    dtype = accumulation_dtype(hidden, label_weight, total, gram)
    h, own = hidden.astype(dtype), label_weight.astype(dtype)
    if mask is not None:
        h, own = (jnp.where(mask[..., None], rows, 0.0) for rows in (h, own))
    # Both products of h in one: the sum of the weights rides along as one more column.
    columns = jnp.concatenate([gram.astype(dtype), total.astype(dtype)[:, None]], axis=1)
    products = jnp.matmul(h, columns, precision="highest")
    return SphericalStatistics(
        jnp.sum(h * own, axis=-1), products[..., -1], jnp.maximum(jnp.sum(h * products[..., :-1], axis=-1), 0.0)
    )


def z_loss_from_statistics(
    label_logit: ArrayLike,
    logit_sum: ArrayLike,
    square_sum: ArrayLike,
    num_classes: int,
    *,
    a: ArrayLike = 1.0,
    b: ArrayLike | None = None,
    eps: float = 1e-12,
    where: ArrayLike | None = None,
) -> Array:
    r"""``z_loss`` of logits that were never computed (per example; larger is worse).

    .. math:: \mu = \frac{S_1}{K}, \qquad \sigma^2 = \frac{S_2}{K} - \mu^2

    The difference cancels where the mean of the logits is large against their spread: subtract the mean of its rows
    from W, which changes no loss of this kind.

    Args:
      label_logit: float [...], o_y.
      logit_sum: float [...], S_1.
      square_sum: float [...], S_2.
      num_classes: K >= 2, static.
      a: as for ``z_loss``.
      b: as for ``z_loss``.
      eps: as for ``z_loss``; variances lost in the rounding of S_2 / K count as none as well.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], > 0.
    Raises:
      ValueError: shapes do not agree, num_classes < 2, a static a <= 0 or eps < 0.
      TypeError: an array is not floating point, num_classes is not a static integer, or where is not boolean.

    >>> print(f"{z_loss_from_statistics(jnp.array(1.0), jnp.array(1.0), jnp.array(1.0), 3, b=0.0):.4f}")
    0.2176

    Reference: as ``z_loss`` and ``spherical_statistics``.
    """
    names = ("label_logit", "logit_sum", "square_sum")
    values = (label_logit, logit_sum, square_sum)
    given = [checks.floating(value, name) for value, name in zip(values, names, strict=True)]
    for value, name in zip(given[1:], names[1:], strict=True):
        checks.same_shape(value, name, given[0], names[0])
    size = checks.size(num_classes, "num_classes", 2)
    checks.positive(a, "a")
    checks.at_least(eps, "eps", 0)
    mask = checks.mask(where, "where", given[0].shape)
    dtype = accumulation_dtype(*given)
    own, total, squares = (value.astype(dtype) for value in given)
    if mask is not None:
        own, total, squares = (jnp.where(mask, value, 0.0) for value in (own, total, squares))
    mean, mean_square = total / size, squares / size
    variance = mean_square - mean**2
    some = variance > jnp.maximum(eps, 4 * jnp.finfo(dtype).eps * mean_square)
    losses = _of_z(own - mean, variance, some, a, _location(b, size))
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def log_taylor_softmax(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Cross entropy of probabilities in proportion to the Taylor series of exp (per example; larger is worse).

    .. math:: \ell = -\log \frac{1 + o_y + o_y^2 / 2}{\sum_k (1 + o_k + o_k^2 / 2)}

    The series is least, 1/2, at -1: below it probabilities rise again.

    Args:
      logits: float [..., K], K >= 2, below 1e18 in size.
      labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], > 0.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(f"{log_taylor_softmax(jnp.array([2.0, 0.0]), jnp.array(0)):.4f}")  # log(6 / 5)
    0.1823

    Reference: de Brebisson and Vincent, "An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family"
    (2016). Recalled.
    """
    rows = labelled(logits, labels, where)
    terms = 0.5 + 0.5 * (1.0 + rows.logits) ** 2
    return rows.losses(jnp.log(jnp.sum(terms, axis=-1)) - jnp.log(of_label(terms, rows.labels)))


def log_spherical_softmax(
    logits: ArrayLike, labels: ArrayLike, *, eps: ArrayLike = 1e-2, where: ArrayLike | None = None
) -> Array:
    r"""Cross entropy of probabilities in proportion to squared logits (per example; larger is worse).

    .. math:: \ell = -\log \frac{o_y^2 + \varepsilon}{\sum_k (o_k^2 + \varepsilon)}

    The sign of a logit is lost: predict by its size.

    Args:
      logits: float [..., K], K >= 2, below 1e18 in size.
      labels: int [...], in [0, K); outside gives NaN for that example.
      eps: > 0, a number.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], > 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static eps <= 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(f"{log_spherical_softmax(jnp.array([3.0, 1.0]), jnp.array(0), eps=1.0):.4f}")  # log(12 / 10)
    0.1823

    Reference: as ``log_taylor_softmax``.
    """
    checks.positive(eps, "eps")
    rows = labelled(logits, labels, where)
    terms = rows.logits**2 + jnp.asarray(eps, rows.logits.dtype)
    return rows.losses(jnp.log(jnp.sum(terms, axis=-1)) - jnp.log(of_label(terms, rows.labels)))
