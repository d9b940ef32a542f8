"""Losses that pull embeddings towards others of their class."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["prototypical", "supervised_contrastive"]


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


def supervised_contrastive(
    queries: ArrayLike,
    keys: ArrayLike,
    positives: ArrayLike,
    *,
    negatives: ArrayLike | None = None,
    temperature: ArrayLike = 0.07,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy of finding each positive key among the negative ones, a value per query (couples the batch).

    .. math:: \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{q_i k_p / \tau}}
                        {e^{q_i k_p / \tau} + \sum_{n \in N_i \setminus \{p\}} e^{q_i k_n / \tau}}

    Of the positives only the one that is looked for stands below. The supervised contrastive loss of Khosla et al. puts
    all of them there: name every key but the query's own as a negative too. Inner products are taken as they are.

    Args:
      queries: float [B, D].
      keys: float [M, D].
      positives: bool [B, M], the keys that belong to each query; none gives that query 0.
      negatives: bool [B, M], the keys it is told from; None takes those that are not positive. A key that is neither
        plays no part.
      temperature: tau > 0.
      axis_name: the mapped axis over which the keys are split too: all of them are gathered, in the order of its
        members, and M counts them all.
    Returns:
      float32 or wider [B], >= 0; 0 without positives or without negatives.
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: queries or keys are not floating point, or a mask is not boolean.

    >>> labels = jnp.array([0, 0, 1])
    >>> z, same = jnp.eye(3)[labels], labels[:, None] == labels
    >>> [f"{value:.4f}" for value in supervised_contrastive(z, z, same, temperature=1.0)]
    ['0.3133', '0.3133', '0.5514']

    Reference: Khosla et al., "Supervised Contrastive Learning" (2020), its outer form; the choice of what stands below
    is the library's. Standard.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[B, D]")
    own = checks.rank(checks.floating(keys, "keys"), "keys", 2, layout="[M, D]")
    checks.positive(temperature, "temperature")
    gathered: Array = own if axis_name is None else jax.lax.all_gather(own, axis_name, tiled=True)
    if queries.shape[1] != gathered.shape[1]:
        raise ValueError(f"keys must have rows of width {queries.shape[1]} as queries do, got {list(gathered.shape)}")
    shape = (queries.shape[0], gathered.shape[0])
    wanted = checks.mask(jnp.asarray(positives), "positives", shape)
    assert wanted is not None
    given = checks.mask(negatives, "negatives", shape)
    strangers = ~wanted if given is None else given
    dtype = accumulation_dtype(queries, gathered)
    # Rows that no mask names may hold anything.
    used = wanted | strangers
    asks = jnp.any(wanted, axis=1) & jnp.any(strangers, axis=1)
    queries = jnp.where(asks[:, None], queries.astype(dtype), 0.0)
    answers = jnp.where(jnp.any(used & asks[:, None], axis=0)[:, None], gathered.astype(dtype), 0.0)
    scores = jnp.matmul(queries, answers.T, precision="highest") / temperature
    told = strangers | ~jnp.any(strangers, axis=1, keepdims=True)
    below = jax.nn.logsumexp(scores, axis=1, where=told, keepdims=True)
    losses = jnp.where(strangers, below, jnp.logaddexp(scores, below)) - scores
    number = jnp.maximum(jnp.sum(wanted, axis=1), 1)
    return jnp.where(asks, jnp.sum(jnp.where(wanted, losses, 0.0), axis=1) / number, 0.0)
