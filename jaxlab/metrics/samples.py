"""How far two samples are apart: distances of their moments, and who lies among whom."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PrecisionRecall", "Recognizability", "frechet_distance", "precision_recall_knn", "recognizability"]


def _samples(x: ArrayLike, name_x: str, y: ArrayLike, name_y: str, fewest: int) -> tuple[Array, Array]:
    """Both samples [N, D] and [M, D], N and M at least ``fewest``, in float32 or wider."""
    pair = [checks.rank(checks.floating(v, n), n, 2, layout="[N, D]") for v, n in ((x, name_x), (y, name_y))]
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(
            f"{name_x} and {name_y} must have the same width D, got {pair[0].shape[1]} and {pair[1].shape[1]}"
        )
    for array, name in zip(pair, (name_x, name_y), strict=True):
        if array.shape[0] < fewest or array.shape[1] == 0:
            raise ValueError(f"{name} must hold at least {fewest} rows of at least one number, got {array.shape}")
    dtype = accumulation_dtype(*pair)
    return pair[0].astype(dtype), pair[1].astype(dtype)


def _mean_and_root(x: Array) -> tuple[Array, Array]:
    """The mean, and a factor R [min(N, D), D] of the covariance R^T R."""
    mean = jnp.mean(x, axis=0)
    return mean, jnp.linalg.qr((x - mean) / jnp.sqrt(x.shape[0] - 1.0), mode="r")


def frechet_distance(x: ArrayLike, y: ArrayLike) -> Array:
    r"""Squared Frechet (Wasserstein-2) distance of two samples taken as Gaussians (smaller is more alike).

    .. math:: \|\mu_x - \mu_y\|^2 + \operatorname{tr}\big(C_x + C_y - 2\,(C_x^{1/2} C_y\, C_x^{1/2})^{1/2}\big)

    With triangular factors :math:`C = R^\top R` of the centred rows the last trace is the sum of the singular values of
    :math:`R_x R_y^\top`: no matrix square root, and no covariance whose small eigenvalues would drown in rounding.

    Args:
      x: float [N, D], N >= 2, a row per example: data, or features of a network ("FID" for those of Inception).
      y: float [M, D], M >= 2.
    Returns:
      float32 (wider if an input is) scalar >= 0, 0 for equal samples to about 1e-6 of the total variance. Covariances
      have divisor N - 1. It is symmetric, and it is meant for comparing, not for descending: its gradient does not
      exist where a covariance is singular. Small samples lie apart by chance: compare equal numbers of rows.
    Raises:
      ValueError: a sample is not [N, D] with N >= 2, or the widths differ.
      TypeError: a sample is not floating point.

    >>> x = jnp.array([[0.0], [2.0]])
    >>> print(f"{frechet_distance(x, 2.0 * x + 1.0):.4f}")
    6.0000

    Reference: Dowson & Landau, "The Frechet Distance between Multivariate Normal Distributions" (1982); Heusel et al.,
    "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (2017); standard.
    """
    x, y = _samples(x, "x", y, "y", 2)
    (mean_x, root_x), (mean_y, root_y) = _mean_and_root(x), _mean_and_root(y)
    cross = jnp.linalg.svd(jnp.matmul(root_x, root_y.T, precision="highest"), compute_uv=False)
    spread = jnp.sum(root_x**2) + jnp.sum(root_y**2) - 2.0 * jnp.sum(cross)
    return jnp.sum((mean_x - mean_y) ** 2) + jnp.maximum(spread, 0.0)


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]; larger is better."""

    precision: Array  # of the fake rows that lie among the real ones
    recall: Array  # of the real rows that lie among the fake ones


def precision_recall_knn(real: ArrayLike, fake: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    r"""Improved precision and recall of a generator: fidelity and coverage apart (larger is better).

    .. math:: \text{precision} = \frac1M \sum_j \big[\exists i: \|f_j - r_i\| \le \rho_k(r_i)\big], \qquad
              \text{recall} = \frac1N \sum_i \big[\exists j: \|r_i - f_j\| \le \rho_k(f_j)\big]

    :math:`\rho_k` is the distance to the k-th nearest other row of the same sample: the union of the balls stands for
    its manifold.

    Args:
      real: float [N, D], N > k, features of the data.
      fake: float [M, D], M > k, features of what was generated. Memory is the three matrices of distances.
      k: which neighbour, static, >= 1.
    Returns:
      PrecisionRecall of float32 scalars. Equal samples have both 1. A row that holds NaN lies among nothing.
    Raises:
      ValueError: k < 1, a sample with k rows or fewer, or widths that differ.
      TypeError: a sample is not floating point, or k not an integer.

    >>> real, fake = jnp.array([[0.0], [1.0], [2.0], [3.0]]), jnp.array([[0.9], [1.0], [1.1], [1.2]])
    >>> print(*precision_recall_knn(real, fake, k=1))
    1.0 0.25

    Reference: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019),
    standard.
    """
    k = checks.size(k, "k")
    real, fake = _samples(real, "real", fake, "fake", k + 1)
    across = pairwise_sq_dists(real, fake)
    precision = jnp.any(across <= _ball(real, k)[:, None], axis=0)
    recall = jnp.any(across <= _ball(fake, k), axis=1)
    return PrecisionRecall(jnp.mean(precision, dtype=jnp.float32), jnp.mean(recall, dtype=jnp.float32))


class Recognizability(NamedTuple):
    """Shares in [0, 1]; larger is better."""

    accuracy: Array
    f1: Array  # [K], NaN for a class that was neither intended nor recognised
    macro_f1: Array


def recognizability(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Recognizability:
    r"""Whether a classifier of real images sees in generated ones what they were meant to be.

    .. math:: F_k = \frac{2\, TP_k}{2\, TP_k + FP_k + FN_k}

    Args:
      logits: float [N, K], of a classifier that has seen real images only; a row with a NaN is recognised as nothing.
      labels: int [N], the classes the images were generated for; rows outside [0, K) are left out.
      where: bool [N], True for the images that count.
    Returns:
      Recognizability of float32: accuracy, F1 by class, and its mean over the classes that occur (0 if none does).
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> logits = jnp.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> result = recognizability(logits, jnp.array([0, 1, 1]))
    >>> print(f"{result.accuracy:.3f} {result.macro_f1:.3f}")
    0.667 0.667

    Reference: Fan et al., "Scaling Laws of Synthetic Images for Model Training ... for Now" (2023), recalled.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[N, K]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(logits, "logits", labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    num_classes = logits.shape[1]
    counts = (labels >= 0) & (labels < num_classes)
    counts = counts if mask is None else counts & mask
    clear = ~jnp.any(jnp.isnan(logits), axis=1)
    seen = jax.nn.one_hot(jnp.argmax(logits, axis=1), num_classes) * (counts & clear)[:, None]
    meant = jax.nn.one_hot(labels, num_classes) * counts[:, None]
    hits = jnp.sum(seen * meant, axis=0)
    total = jnp.sum(seen, axis=0) + jnp.sum(meant, axis=0)
    occurs = total > 0
    f1 = 2.0 * hits / jnp.where(occurs, total, 1.0)
    macro = jnp.sum(f1 * occurs) / jnp.maximum(jnp.sum(occurs), 1)
    return Recognizability(jnp.sum(hits) / jnp.maximum(jnp.sum(counts), 1), jnp.where(occurs, f1, jnp.nan), macro)


def _ball(x: Array, k: int) -> Array:
    """The squared distance [N] of every row to its k-th nearest other row."""
    inside = jnp.where(jnp.eye(x.shape[0], dtype=bool), jnp.inf, pairwise_sq_dists(x))
    return -jax.lax.top_k(-inside, k)[0][:, -1]
