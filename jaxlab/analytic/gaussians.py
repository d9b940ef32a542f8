"""Features of classes whose rows are gone, or too few: drawn from a Gaussian per class."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["ClassSamples", "borrow_gaussian", "sample_class_gaussians"]


class ClassSamples(NamedTuple):
    """Rows sorted by class; where ``where`` is False a row is no sample, its features are 0 and its label is -1."""

    features: Array  # [T, D]
    labels: Array  # int32 [T]
    where: Array  # bool [T]


def sample_class_gaussians(
    key: Array, means: ArrayLike, covariances: ArrayLike, *, counts: ArrayLike, total: int
) -> ClassSamples:
    r"""Random features of classes, so many of each.

    .. math:: f = \mu_c + \Sigma_c^{1/2} \varepsilon, \quad \varepsilon \sim N(0, I)

    Args:
      key: typed PRNG key.
      means: float [C, D].
      covariances: float [C, D, D], symmetric and positive semidefinite (a singular one is fine, negative eigenvalues
        count as 0); or variances [C, D] of every feature, [C] of every class, or one for all.
      counts: int [C] >= 0, samples of each class. It may be traced: what changes is which rows are samples.
      total: T >= 1, the number of rows, static. Where counts sum to more, the last classes get fewer; to less, the rows
        behind are no samples.
    Returns:
      ClassSamples(features float32 or wider [T, D], labels [T], where [T]).
    Raises:
      ValueError: shapes do not agree, or total < 1.
      TypeError: means or covariances are not floating point, or counts are not integers.

    >>> samples = sample_class_gaussians(
    ...     jax.random.key(0), jnp.array([[1.0], [5.0]]), jnp.zeros(()), counts=jnp.array([1, 2]), total=4
    ... )
    >>> print(samples.features[:, 0], samples.labels)
    [1. 5. 5. 0.] [ 0  1  1 -1]

    Reference: standard.
    """
    means = checks.rank(checks.floating(means, "means"), "means", 2, layout="[C, D]")
    spread = checks.floating(covariances, "covariances")
    num_classes, dim = means.shape
    allowed = ((), (num_classes,), (num_classes, dim), (num_classes, dim, dim))
    if spread.shape not in allowed:
        layouts = ", ".join(str(list(shape)) for shape in allowed)
        raise ValueError(f"covariances must have one of the shapes {layouts}, got {list(spread.shape)}")
    counts = checks.integer(counts, "counts")
    if counts.shape != (num_classes,):
        raise ValueError(f"counts must have shape [{num_classes}], got {list(counts.shape)}")
    checks.size(total, "total")
    dtype = accumulation_dtype(means, spread)
    means, spread = means.astype(dtype), spread.astype(dtype)
    # The first row of class c is that of number counts[0] + ... + counts[c - 1].
    ends = jnp.cumsum(jnp.maximum(counts, 0))
    labels = jnp.searchsorted(ends, jnp.arange(total), side="right")
    exists = labels < num_classes
    own = jnp.minimum(labels, num_classes - 1)
    noise = jax.random.normal(key, (total, dim), dtype)
    if spread.ndim == 3:
        values, vectors = jnp.linalg.eigh(spread)
        roots = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[:, None, :]
        # A block of rows at a time: a root per row would be T times D^2 numbers.
        turn = lambda pair: jnp.matmul(roots[pair[0]], pair[1], precision="highest")  # noqa: E731
        moved = jax.lax.map(turn, (own, noise), batch_size=min(64, total))
    else:
        deviations = safe_sqrt(spread)
        shaped = deviations.reshape(deviations.shape + (1,) * (2 - deviations.ndim))
        moved = jnp.broadcast_to(shaped, means.shape)[own] * noise
    features = jnp.where(exists[:, None], means[own] + moved, 0.0)
    return ClassSamples(features, jnp.where(exists, labels, -1).astype(jnp.int32), exists)


def borrow_gaussian(
    means: ArrayLike,
    covariances: ArrayLike,
    counts: ArrayLike,
    *,
    tail: ArrayLike,
    num_neighbors: int = 3,
    alpha: ArrayLike = 0.0,
    mix: ArrayLike = 0.5,
) -> tuple[Array, Array]:
    r"""Gaussians of rare classes, with the spread (and a part of the mean) of frequent classes that are like them.

    .. math:: \tilde\Sigma_k = \sum_c w_c \Sigma_c + \alpha 11^\top, \qquad
              \tilde\mu_k = (1 - m)\, \mu_k + m \sum_c w_c \mu_c,
              \qquad w_c \propto \frac{n_c}{\|\mu_k - \mu_c\|^2}

    over the nearest frequent classes c by their means. Frequent classes keep their own.

    Args:
      means: float [C, D].
      covariances: float [C, D, D].
      counts: int or float [C], n >= 0, rows of each class. A class without rows lends nothing, and, having no mean to
        be near with, borrows nothing.
      tail: bool [C], True for the rare classes; the others lend.
      num_neighbors: q >= 0, static, lenders of a rare class; 0 returns the inputs, and only as many as exist are used.
      alpha: added to every entry of a borrowed covariance.
      mix: m in [0, 1], how far the mean moves; 0 keeps it.
    Returns:
      (means [C, D], covariances [C, D, D]), float32 or wider; semidefinite where the inputs are and alpha >= 0.
    Raises:
      ValueError: shapes do not agree, num_neighbors < 0, or a static mix outside [0, 1].
      TypeError: means or covariances are not floating point, or tail is not boolean.

    >>> means, covariances = jnp.array([[0.0], [1.0], [9.0]]), jnp.array([[[0.0]], [[2.0]], [[7.0]]])
    >>> borrowed = borrow_gaussian(means, covariances, jnp.array([2, 50, 50]), tail=jnp.array([True, False, False]),
    ...                            num_neighbors=1)
    >>> print(borrowed[0][:, 0], borrowed[1][:, 0, 0])
    [0.5 1.  9. ] [2. 2. 7.]

    Reference: Zhang et al., "When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration Method" (2023).
    Recalled; the form of the weights is inferred.
    """
    means = checks.rank(checks.floating(means, "means"), "means", 2, layout="[C, D]")
    spread = checks.floating(covariances, "covariances")
    num_classes, dim = means.shape
    if spread.shape != (num_classes, dim, dim):
        raise ValueError(f"covariances must have shape {[num_classes, dim, dim]}, got {list(spread.shape)}")
    sizes = jnp.asarray(counts)
    if sizes.shape != (num_classes,):
        raise ValueError(f"counts must have shape [{num_classes}], got {list(sizes.shape)}")
    rare = checks.mask(tail, "tail", (num_classes,))
    if rare is None:
        raise TypeError("tail must be boolean [C], got None")
    checks.size(num_neighbors, "num_neighbors", 0)
    checks.in_range(mix, "mix", 0.0, 1.0)
    dtype = accumulation_dtype(means, spread)
    means, spread = means.astype(dtype), spread.astype(dtype)
    lenders = ~rare & (sizes > 0)
    distances = jnp.where(lenders, pairwise_sq_dists(means), jnp.inf)
    _, index = jax.lax.top_k(-distances, min(num_neighbors, num_classes))
    chosen = jnp.zeros((num_classes,) * 2, bool).at[jnp.arange(num_classes)[:, None], index].set(True) & lenders
    # A lender at the same place outweighs all others without dividing by zero.
    closeness = 1.0 / jnp.maximum(distances, jnp.finfo(dtype).tiny ** 0.25)
    weights = jnp.where(chosen, sizes.astype(dtype) * closeness, 0.0)
    total = jnp.sum(weights, axis=1, keepdims=True)
    borrows = (rare & (sizes > 0))[:, None] & (total > 0)
    weights = jnp.where(borrows, weights / jnp.where(total > 0, total, 1.0), 0.0)
    with jax.default_matmul_precision("highest"):
        near, shape = weights @ means, jnp.einsum("kc,cde->kde", weights, spread)
    moved = means + jnp.asarray(mix, dtype) * (near - means)
    return jnp.where(borrows, moved, means), jnp.where(borrows[..., None], shape + jnp.asarray(alpha, dtype), spread)
