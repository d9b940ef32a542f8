"""Losses that pull embeddings towards others of their class."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["prototypical"]


def prototypical(support: ArrayLike, query: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Loss of a prototypical network: cross entropy over distances to class means (per query; larger is worse).

    .. math:: \ell = -\log \frac{e^{-\|q - c_y\|^2}}{\sum_k e^{-\|q - c_k\|^2}}, \quad c_k = \frac{1}{S} \sum_s x_{ks}

    The squares of q cancel, so the gradient with respect to q is :math:`2 (\sum_k p_k c_k - c_y)`.

    Args:
      support: float [K, S, D], S embeddings of each of the K classes.
      query: float [Q, D], embeddings to classify.
      labels: int [Q], in [0, K); outside gives NaN for that query.
      where: bool [Q], True where a query counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is) [Q], >= 0.
    Raises:
      ValueError: shapes do not agree, or K or S is 0.
      TypeError: labels are not integers, or embeddings not floating point.

    >>> support = jnp.array([[[0.0, 0.0]], [[1.0, 0.0]]])
    >>> print(prototypical(support, jnp.array([[0.5, 7.0]]), jnp.array([0])))
    [0.6931472]

    Reference: the episode loss of prototypical networks, as Hendryx et al., "Federated Reconnaissance: Efficient,
    Distributed, Class-Incremental Learning" (2021) train their encoder; recalled.
    """
    support = checks.rank(checks.floating(support, "support"), "support", 3, layout="[K, S, D]")
    query = checks.rank(checks.floating(query, "query"), "query", 2, layout="[Q, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[Q]")
    classes, shots, width = support.shape
    if classes == 0 or shots == 0:
        raise ValueError(f"support must have shape [K, S, D] with K >= 1 and S >= 1, got {list(support.shape)}")
    if query.shape[1] != width:
        raise ValueError(f"query must have rows of width {width} as support does, got {list(query.shape)}")
    checks.batch_match(query, "query", labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(support, query)
    prototypes = jnp.mean(support.astype(dtype), axis=1)
    distances = pairwise_sq_dists(jnp.where(counts[:, None], query.astype(dtype), 0.0), prototypes)
    known = (labels >= 0) & (labels < classes)
    own = jnp.take_along_axis(distances, jnp.where(known, labels, 0)[:, None], axis=1)
    losses = jax.nn.logsumexp(own - distances, axis=1)
    return jnp.where(counts, jnp.where(known, losses, jnp.nan), 0.0)
