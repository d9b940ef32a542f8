"""What a fixed representation holds, read off by a classifier in closed form."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic.gram import ridge_solve
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["linear_probe"]


def linear_probe(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    features: ArrayLike,
    *,
    ridge: ArrayLike,
    num_classes: int,
    where: ArrayLike | None = None,
) -> Array:
    r"""Logits of a linear probe: ridge regression on one-hot labels, with an intercept that is not penalised.

    .. math:: z(x) = \bar y + (x - \bar x)\, (X^\top X + \rho I)^{-1} X^\top Y

    with X and Y centred. The probe's accuracy is ``metrics.accuracy`` of these logits.

    Args:
      train_features: float [N, D].
      train_labels: int [N]; a row with a label outside [0, C) does not count.
      features: float [..., D], the rows to classify.
      ridge: rho > 0 (absolute, not divided by the number of rows); a float or a scalar array.
      num_classes: C, static.
      where: bool [N], True where a training row counts.
    Returns:
      float32 or wider [..., C]; -inf for a class without training rows, as in ``Head``.
    Raises:
      ValueError: shapes do not agree, num_classes < 1, or a static ridge <= 0.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> logits = linear_probe(jnp.array([[0.0], [1.0]]), jnp.array([0, 1]), jnp.array([[0.2], [0.9]]), ridge=0.5,
    ...                       num_classes=3)
    >>> print(logits)
    [[0.65 0.35 -inf]
     [0.3  0.7  -inf]]

    Reference: standard; equal to scikit-learn's Ridge(alpha=ridge) on one-hot labels.
    """
    x = checks.rank(checks.floating(train_features, "train_features"), "train_features", 2, layout="[N, D]")
    labels, rows = checks.integer(train_labels, "train_labels"), checks.floating(features, "features")
    if labels.shape != x.shape[:1]:
        raise ValueError(f"train_labels must have shape [{x.shape[0]}], got {list(labels.shape)}")
    if rows.ndim < 1 or rows.shape[-1] != x.shape[1]:
        raise ValueError(f"features must have shape [..., {x.shape[1]}] as train_features do, got {list(rows.shape)}")
    checks.size(num_classes, "num_classes")
    checks.positive(ridge, "ridge")
    mask = checks.mask(where, "where", labels.shape)
    counts = (labels >= 0) & (labels < num_classes) & (True if mask is None else mask)
    dtype = accumulation_dtype(x, rows)
    targets = jnp.where(counts[:, None], jax.nn.one_hot(labels, num_classes, dtype=dtype), 0.0)
    mean, share = (masked_mean(value, counts[:, None], axis=0) for value in (x.astype(dtype), targets))
    centred = jnp.where(counts[:, None], x.astype(dtype) - mean, 0.0)
    with jax.default_matmul_precision("highest"):
        # Centred rows sum to 0, so the targets need no centring.
        weight = ridge_solve(centred.T @ centred, centred.T @ targets, ridge=ridge)
        logits = (rows.astype(dtype) - mean) @ weight + share
    return jnp.where(share > 0, logits, -jnp.inf)
