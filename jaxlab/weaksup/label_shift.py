"""Classes found without labels, from domains in which they are not equally frequent."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "LatentClasses",
    "domain_adjusted_posterior",
    "domain_cluster_matrix",
    "label_posterior_from_domains",
    "normalize_nmf",
]


class LatentClasses(NamedTuple):
    """What the factors of the domain-cluster matrix mean; the columns of both sum to 1.

    cluster_given_class: [M, K], p(cluster | class).
    class_given_domain: [K, R], p(class | domain).
    """

    cluster_given_class: Array
    class_given_domain: Array


def _share(matrix: Array, axis: int) -> Array:
    """Divided by its sums along an axis; a sum of 0 leaves zeros."""
    total = jnp.sum(matrix, axis=axis, keepdims=True)
    return matrix / jnp.where(total > 0, total, 1.0)


def _marginals(class_given_domain: ArrayLike) -> Array:
    """p(class | domain) [K, R], checked, in float32 or wider."""
    matrix = checks.floating(class_given_domain, "class_given_domain")
    matrix = checks.rank(matrix, "class_given_domain", 2, layout="[K, R]")
    return matrix.astype(accumulation_dtype(matrix))


def domain_cluster_matrix(
    clusters: ArrayLike, domains: ArrayLike, *, num_clusters: int, num_domains: int, where: ArrayLike | None = None
) -> Array:
    r"""How the rows of every domain are spread over clusters.

    .. math:: Q_{md} = p(\text{cluster } m \mid \text{domain } d)

    Where classes are what shifts between domains, Q is the product of p(cluster | class) and p(class | domain).

    Args:
      clusters: int [N]; rows outside [0, num_clusters) are left out.
      domains: int [N]; rows outside [0, num_domains) are left out.
      num_clusters: M, static.
      num_domains: R, static.
      where: bool [N], True where a row counts.
    Returns:
      float32 [M, R]; columns sum to 1, that of a domain without rows to 0.
    Raises:
      ValueError: shapes do not agree, or a size is below 1.
      TypeError: clusters or domains are not integers, or where is not boolean.

    >>> clusters, domains = jnp.array([0, 0, 1, 1, 1]), jnp.array([0, 0, 0, 0, 1])
    >>> print(domain_cluster_matrix(clusters, domains, num_clusters=2, num_domains=2))
    [[0.5 0. ]
     [0.5 1. ]]

    Reference: Mani et al., "Unsupervised Learning under Latent Label Shift" (2022). Checked against the authors' code.
    """
    clusters = checks.rank(checks.integer(clusters, "clusters"), "clusters", 1, layout="[N]")
    domains = checks.rank(checks.integer(domains, "domains"), "domains", 1, layout="[N]")
    checks.same_shape(clusters, "clusters", domains, "domains")
    checks.size(num_clusters, "num_clusters")
    checks.size(num_domains, "num_domains")
    mask = checks.mask(where, "where", clusters.shape)
    inside = (clusters >= 0) & (clusters < num_clusters) & (domains >= 0) & (domains < num_domains)
    inside = inside if mask is None else inside & mask
    cell = jnp.where(inside, clusters * num_domains + domains, num_clusters * num_domains)
    table = jnp.zeros(num_clusters * num_domains, jnp.float32).at[cell].add(1.0, mode="drop")
    return _share(table.reshape(num_clusters, num_domains), axis=0)


def normalize_nmf(left: ArrayLike, right: ArrayLike) -> LatentClasses:
    r"""The scale that makes probabilities of the factors of a domain-cluster matrix.

    .. math:: C = L S^{-1}, \quad W = S R\, T^{-1}, \quad S = \operatorname{diag}(1^\top L),\
              T = \operatorname{diag}(1^\top S R)

    A product says nothing about the scale between its factors, so S moves it from the one to the other and leaves
    L R as it is. T is 1 where the columns of L R sum to 1.

    Args:
      left: float [M, K] >= 0.
      right: float [K, R] >= 0.
    Returns:
      LatentClasses in float32 or wider; a component that is zero stays zero in both.
    Raises:
      ValueError: shapes do not agree.
      TypeError: left or right is not floating point.

    >>> found = normalize_nmf(jnp.array([[2.0, 0.0], [0.0, 4.0]]), jnp.array([[0.4, 0.1], [0.05, 0.2]]))
    >>> print(found.class_given_domain)
    [[0.8 0.2]
     [0.2 0.8]]

    Reference: Mani et al., "Unsupervised Learning under Latent Label Shift" (2022). Checked against the authors' code.
    """
    left = checks.rank(checks.floating(left, "left"), "left", 2, layout="[M, K]")
    right = checks.rank(checks.floating(right, "right"), "right", 2, layout="[K, R]")
    if left.shape[1] != right.shape[0]:
        raise ValueError(f"right must have {left.shape[1]} rows, the columns of left, got {list(right.shape)}")
    dtype = accumulation_dtype(left, right)
    left, right = left.astype(dtype), right.astype(dtype)
    scale = jnp.sum(left, axis=0)
    return LatentClasses(_share(left, axis=0), _share(right * scale[:, None], axis=0))


def label_posterior_from_domains(domain_probs: ArrayLike, class_given_domain: ArrayLike) -> Array:
    r"""Class probabilities of a row from its domain probabilities.

    .. math:: p(y \mid x) = P^+ g(x), \quad P_{dy} = \frac{W_{yd}}{\sum_{d'} W_{yd'}}

    Since the domain depends on x through the class alone, g(x) = P p(y | x), for domains of equal weight. With as many
    domains as classes and P the identity, p(y | x) is g(x).

    Args:
      domain_probs: g, float [N, R], p(domain | x) of a classifier that has not seen the row (out of fold): of rows it
        was trained on it is too sure.
      class_given_domain: W, float [K, R], p(class | domain), of rank K.
    Returns:
      float32 or wider [N, K]. Where g and W are estimates, some entries may lie outside [0, 1].
    Raises:
      ValueError: shapes do not agree, or there are fewer domains than classes (then no W has rank K).
      TypeError: an argument is not floating point.

    >>> marginals = jnp.array([[0.8, 0.2], [0.2, 0.8]])
    >>> posterior = label_posterior_from_domains(jnp.array([[0.8, 0.2], [0.5, 0.5]]), marginals)
    >>> print(jnp.abs(posterior).round(4))
    [[1.  0. ]
     [0.5 0.5]]

    Reference: Mani et al., "Unsupervised Learning under Latent Label Shift" (2022). Checked against the authors' code.
    """
    probs = checks.rank(checks.floating(domain_probs, "domain_probs"), "domain_probs", 2, layout="[N, R]")
    marginals = _marginals(class_given_domain)
    num_classes, num_domains = marginals.shape
    if probs.shape[1] != num_domains:
        raise ValueError(f"domain_probs must have shape [N, {num_domains}] to match W, got {list(probs.shape)}")
    if num_domains < num_classes:
        raise ValueError(f"class_given_domain must have at least {num_classes} columns (domains), got {num_domains}")
    domain_given_class = _share(marginals, axis=1).T
    inverse = jnp.linalg.pinv(domain_given_class)
    return jnp.matmul(probs.astype(marginals.dtype), inverse.T, precision="highest")


def domain_adjusted_posterior(label_probs: ArrayLike, class_given_domain: ArrayLike, domains: ArrayLike) -> Array:
    r"""Class probabilities of a row whose domain is known.

    .. math:: p(y \mid x, d) \propto \max(p(y \mid x), 0)\; P_{dy}, \quad P_{dy} = \frac{W_{yd}}{\sum_{d'} W_{yd'}}

    Args:
      label_probs: float [N, K], of ``label_posterior_from_domains``; entries below 0 count as 0.
      class_given_domain: W, float [K, R], p(class | domain).
      domains: int [N], in [0, R); outside gives NaN for that row.
    Returns:
      float32 or wider [N, K], rows sum to 1; a row for which no class is left is uniform.
    Raises:
      ValueError: shapes do not agree.
      TypeError: domains are not integers, or an argument that must be is not floating point.

    >>> marginals = jnp.array([[0.8, 0.2], [0.2, 0.8]])
    >>> print(domain_adjusted_posterior(jnp.array([[0.5, 0.5]]), marginals, jnp.array([1])))
    [[0.2 0.8]]

    Reference: Mani et al., "Unsupervised Learning under Latent Label Shift" (2022). Checked against the authors' code,
    which does not clip: there a negative entry spoils the sum that its row is divided by.
    """
    probs = checks.rank(checks.floating(label_probs, "label_probs"), "label_probs", 2, layout="[N, K]")
    marginals = _marginals(class_given_domain)
    domains = checks.rank(checks.integer(domains, "domains"), "domains", 1, layout="[N]")
    checks.batch_match(probs, "label_probs", domains, "domains")
    num_classes, num_domains = marginals.shape
    if probs.shape[1] != num_classes:
        raise ValueError(f"label_probs must have shape [N, {num_classes}] to match W, got {list(probs.shape)}")
    known = (domains >= 0) & (domains < num_domains)
    domain_given_class = _share(marginals, axis=1).T
    product = jnp.maximum(probs.astype(marginals.dtype), 0.0) * domain_given_class[jnp.where(known, domains, 0)]
    total = jnp.sum(product, axis=1, keepdims=True)
    adjusted = jnp.where(total > 0, product / jnp.where(total > 0, total, 1.0), 1.0 / num_classes)
    return jnp.where(known[:, None], adjusted, jnp.nan)
