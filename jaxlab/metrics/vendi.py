"""Effective numbers of different members of a sample, by their similarities."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxlab import checks, numerics
from jaxlab.metrics.diversity import entropy_order, renyi_entropy, square
from jaxlab.numerics.eigenvalues import eigvalsh
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.numerics.spectra import largest_eigenvector
from jaxlab.typing import Array, ArrayLike

__all__ = ["internal_diversity", "vendi_score", "vendi_score_from_embeddings"]


def vendi_score(
    kernel: ArrayLike,
    *,
    q: float = 1.0,
    weights: ArrayLike | None = None,
    normalize: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    r"""Effective number of different members of a sample, by the similarities of all pairs (larger is more diverse).

    .. math:: \mathrm{VS}_q = \exp H_q(\lambda), \quad
              \lambda = \text{eigenvalues of } \sqrt{p_i p_j}\, K_{ij}

    It is 1 where all are the same, N where no two are alike, and m for m equally frequent kinds without likeness. Small
    orders q notice rare kinds, large ones the frequent. Order 2 is :math:`1 / \sum_{ij} p_i p_j K_{ij}^2`, without
    eigenvalues; order infinity is one over the largest eigenvalue, found by products alone (to a few units of rounding,
    1e-6 in float32, where the eigenvalues below it are not a continuum).

    Eigenvalues of at most 16 units of rounding of the largest count as 0. The first gradient is
    :math:`V \mathrm{diag}(h'(\lambda)) V^\top` and right where eigenvalues repeat (for order infinity one of several
    there); a second is not.

    Args:
      kernel: float [N, N], symmetric and positive semidefinite with K_ii = 1.
      q: the order, >= 0 or infinity, static.
      weights: float [N], p >= 0, scaled to sum 1; None weighs all the same.
      normalize: divide by the roots of K_ii and K_jj first, static.
      where: bool [N], True for the members that count; the others have weight 0.
    Returns:
      float32 (wider if kernel is) scalar in [1, N]; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree, or q < 0. Outside ``jit`` also: kernel is not symmetric, K_ii is not 1 (with
        normalize: not above 0), a weight is negative, or an eigenvalue is further below 0 than rounding explains (not
        noticed by orders 2 and infinity).
      TypeError: kernel or weights are not floating point, or where is not boolean.

    >>> two_kinds = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> print(f"{vendi_score(two_kinds):.2f} {vendi_score(two_kinds, q=2):.2f}")
    1.89 1.80

    Reference: Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning" (2022), and for
    other orders Pasarkar and Dieng, "Cousins Of The Vendi Score" (2023). Checked against the authors' code, whose
    ``score_X`` ignores q, and which keeps the eigenvalues that are rounding.
    """
    order, wide = entropy_order(q), square(kernel, "kernel")
    shares = _shares(weights, where, wide)
    given = jnp.asarray(kernel).dtype
    alike = weights is None and where is None  # two passes over the matrix less
    wide = wide if alike else jnp.where((shares[:, None] > 0) & (shares > 0), wide, 0.0)
    diagonal = jnp.diagonal(wide)
    if _broken(jnp.max(jnp.abs(wide - wide.T), initial=0.0) <= _slack(given) * jnp.max(jnp.abs(wide), initial=0.0)):
        raise ValueError("kernel must be symmetric")
    if normalize:
        if _broken(jnp.all((diagonal > 0) | (shares == 0))):
            raise ValueError("kernel must have a diagonal above 0 to be normalized")
        positive = diagonal > 0
        scale = jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, diagonal, 1.0) * _kept(shares, positive)), 0.0)
        wide = scale[:, None] * wide * scale
    elif _broken(jnp.all((jnp.abs(diagonal - 1.0) <= _slack(given)) | (shares == 0))):
        raise ValueError("kernel must have a diagonal of 1: pass normalize=True to divide by its roots")
    if alike:
        return _score(wide / max(wide.shape[0], 1), order, given)
    root = safe_sqrt(shares)
    return _score(root[:, None] * wide * root, order, given)


def vendi_score_from_embeddings(
    x: ArrayLike,
    *,
    q: float = 1.0,
    weights: ArrayLike | None = None,
    normalize: bool = True,
    where: ArrayLike | None = None,
) -> Array:
    r"""Vendi score by cosine similarity, from the smaller of the N x N and the D x D matrix (larger is more diverse).

    .. math:: \lambda(\sqrt{p_i p_j}\, \langle x_i, x_j \rangle) = \lambda\Big(\sum_i p_i\, x_i x_i^\top\Big)
              \text{ without zeros}

    Args:
      x: float [N, D], a row per member.
      q: the order, >= 0 or infinity, static; see ``vendi_score``.
      weights: float [N], p >= 0, scaled to sum 1; None weighs all the same.
      normalize: divide the rows by their lengths, static; False for rows of unit length.
      where: bool [N], True for the members that count; the others have weight 0.
    Returns:
      float32 (wider if x is) scalar in [1, min(N, D)]; 0 where nothing counts. With normalize a traced zero row is
      no member.
    Raises:
      ValueError: shapes do not agree, or q < 0. Outside ``jit`` also: a row is zero (without normalize: not of length
        1), or a weight is negative.
      TypeError: x or weights are not floating point, or where is not boolean.

    >>> x = jnp.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> print(vendi_score_from_embeddings(x).round(4))
    2.0

    Reference: as ``vendi_score``; the authors' code for the smaller matrix ignores the weights.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    order, wide = entropy_order(q), x.astype(accumulation_dtype(x))
    shares = _shares(weights, where, wide)
    counts, alike = shares > 0, weights is None and where is None
    wide = wide if alike else jnp.where(counts[:, None], wide, 0.0)
    if normalize:
        wide = numerics.normalize(wide)
    lengths = jnp.sum(wide**2, axis=1)
    kept = _kept(shares, lengths > 0) if normalize else jnp.ones((), wide.dtype)
    if _broken(jnp.all((jnp.abs(lengths - 1.0) <= _slack(x.dtype)) | ~counts)):
        what = "not be zero" if normalize else "have length 1: pass normalize=True to divide them by it"
        raise ValueError(f"the rows of x must {what}")
    rows = wide if alike else safe_sqrt(shares)[:, None] * wide  # a pass over the rows less
    rows = rows.T if rows.shape[0] < rows.shape[1] else rows
    gram = jnp.matmul(rows.T, rows, precision="highest") / kept
    return _score(gram / max(x.shape[0], 1) if alike else gram, order, x.dtype)


def internal_diversity(
    kernel: ArrayLike, *, q: float = 1.0, weights: ArrayLike | None = None, where: ArrayLike | None = None
) -> Array:
    r"""One minus the mean similarity of all pairs, a member with itself included (larger is more diverse).

    .. math:: 1 - \sum_{ij} p_i p_j K_{ij}^q

    Args:
      kernel: float [N, N], similarities with K_ii = 1; not negative where q is not whole.
      q: power, > 0, static.
      weights: float [N], >= 0, scaled to sum 1; None weighs all the same.
      where: bool [N], True for the members that count; the others have weight 0.
    Returns:
      float32 (wider if kernel is) scalar, at most 1; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree, or q <= 0.
      TypeError: kernel or weights are not floating point, or where is not boolean.

    >>> print(internal_diversity(jnp.eye(4)))
    0.75

    Reference: as Friedman and Dieng, "The Vendi Score: A Diversity Evaluation Metric for Machine Learning" (2022)
    compare with. Checked against the authors' code.
    """
    order = checks.positive(entropy_order(q), "q")
    wide = square(kernel, "kernel")
    shares = _shares(weights, where, wide)
    pairs = (shares[:, None] > 0) & (shares > 0)
    powers = jnp.where(pairs, wide, 1.0) ** (int(order) if order == int(order) else order)
    similar = jnp.sum(jnp.where(pairs, shares[:, None] * shares * powers, 0.0))
    return jnp.where(jnp.any(shares > 0), 1.0 - similar, 0.0)


def _broken(flag: Array) -> bool:
    """Whether a condition on values is known not to hold; of traced values nothing is known."""
    return not isinstance(flag, jax.core.Tracer) and not flag


def _slack(dtype: jnp.dtype) -> float:
    """What rounding of inputs of that dtype may explain."""
    return math.sqrt(float(jnp.finfo(dtype).eps))


def _shares(weights: ArrayLike | None, where: ArrayLike | None, rows: Array) -> Array:
    """Weights with sum 1, one per row; all 0 where nothing counts."""
    mask = checks.mask(where, "where", rows.shape[:1])
    shares = jnp.ones(rows.shape[0], rows.dtype) if weights is None else checks.floating(weights, "weights")
    if shares.shape != rows.shape[:1]:
        raise ValueError(f"weights must have shape [{rows.shape[0]}], got {list(shares.shape)}")
    shares = shares.astype(rows.dtype)
    shares = shares if mask is None else jnp.where(mask, shares, 0.0)
    if weights is not None and _broken(jnp.all(shares >= 0)):
        raise ValueError("weights must not be negative")
    total = jnp.sum(shares)
    return shares / jnp.where(total > 0, total, 1.0)


def _kept(shares: Array, exists: Array) -> Array:
    """The part of the weights that is left without rows of zeros: exactly 1 if there are none."""
    kept = 1.0 - jnp.sum(jnp.where(exists, 0.0, shares))
    return jnp.where(kept > 0, kept, 1.0)


def _score(gram: Array, q: float, given: jnp.dtype) -> Array:
    """exp of the entropy of the eigenvalues of a matrix with trace 1; 0 for zeros. ``given``: the input's dtype."""
    if q == 2:
        inverse = jnp.sum(gram**2)
    elif math.isinf(q):
        fixed = jax.lax.stop_gradient(gram)
        vector = largest_eigenvector(
            lambda v: jnp.matmul(fixed, v, precision="highest"), gram.shape[0], jnp.dtype(gram.dtype)
        )
        # The eigenvector moves without effect on its eigenvalue, to first order.
        vector = jax.lax.stop_gradient(vector)
        inverse = jnp.sum(vector * jnp.matmul(gram, vector, precision="highest"))
    else:
        entropy, lowest, largest = _spectral_entropy(gram, q)
        if _broken(lowest >= -_slack(given) * largest):
            raise ValueError(
                f"kernel must be positive semidefinite: its eigenvalues, weighted, reach from {lowest} to {largest}"
            )
        return jnp.where(largest > 0, jnp.exp(entropy), 0.0)
    some = inverse > 0
    return jnp.where(some, 1.0 / jnp.where(some, inverse, 1.0), 0.0)


def _entropy_of(values: Array, q: float) -> Array:
    noise = 16 * float(jnp.finfo(values.dtype).eps) * jax.lax.stop_gradient(values[-1])
    return renyi_entropy(jnp.where(values > noise, values, 0.0), q=q)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spectral_entropy(gram: Array, q: float) -> tuple[Array, Array, Array]:
    """The entropy of the eigenvalues, the lowest and the largest of them; only the first has a derivative."""
    values = eigvalsh(gram)
    return _entropy_of(values, q), values[0], values[-1]


@_spectral_entropy.defjvp
def _spectral_entropy_jvp(q: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple, tuple]:
    (gram,), (change,) = primals, tangents
    values, vectors = jnp.linalg.eigh(gram)
    entropy, slopes = jax.value_and_grad(_entropy_of)(values, q)
    # A function of all eigenvalues alike: the basis within a repeated one does not matter.
    slope = jnp.matmul(vectors * slopes, vectors.T, precision="highest")
    ends = values[0], values[-1]
    return (entropy, *ends), (jnp.sum(slope * change), *map(jnp.zeros_like, ends))
