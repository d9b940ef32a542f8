"""Losses that pull embeddings towards others of their class."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.losses.metric_learning import gathered, unit_rows
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["knn_softmax", "look", "prototypical", "supervised_contrastive"]


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


def knn_softmax(
    scores: ArrayLike,
    query_labels: ArrayLike,
    key_labels: ArrayLike,
    *,
    k: int | None = None,
    exclude: ArrayLike | None = None,
    force_positive: bool = True,
    eps: float = 1e-8,
    where: ArrayLike | None = None,
) -> Array:
    r"""Negative logarithm of the share that the own class has among the nearest keys (per query; larger is worse).

    .. math:: \ell_i = -\log \frac{\sum_{j \in N_k(i),\, y_j = y_i} e^{s_{ij}}}{\sum_{j \in N_k(i)} e^{s_{ij}}}

    Keys that are not among the k nearest get no gradient, so a class may fall into several groups. With ``k=None`` all
    keys vote: neighbourhood components analysis.

    Args:
      scores: float [B, M], larger = nearer, already divided by the temperature.
      query_labels: int [B].
      key_labels: int [M].
      k: how many keys vote, static, 1 <= k <= M; None for all.
      exclude: bool [B, M], True where a key may not vote, such as the query itself.
      force_positive: static; True adds the nearest key of the own class to the vote, so that there is always something
        to pull at; a query that has none gives 0. False gives :math:`-\log(P + \varepsilon)`, which has no gradient
        where no neighbour is of the class.
      eps: epsilon, used without force_positive only.
      where: bool [B], True where a query counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [B], >= 0 (to eps).
    Raises:
      ValueError: shapes do not agree, or k is not in [1, M].
      TypeError: scores are not floating point, labels are not integers, or a mask is not boolean.

    >>> scores, own = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([0])
    >>> print(f"{knn_softmax(scores, own, jnp.array([0, 1, 1]), k=2)[0]:.4f} {jnp.log1p(jnp.exp(-1.0)):.4f}")
    0.3133 0.3133

    Reference: Feng et al., "Rethinking Supervised Pre-training for Better Downstream Transferring" (2022), recalled;
    Goldberger et al., "Neighbourhood Components Analysis" (2004) for all keys, there with minus squared distances.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[B, M]")
    own = checks.rank(checks.integer(query_labels, "query_labels"), "query_labels", 1, layout="[B]")
    labels = checks.rank(checks.integer(key_labels, "key_labels"), "key_labels", 1, layout="[M]")
    if scores.shape != (own.shape[0], labels.shape[0]):
        raise ValueError(f"scores must have shape {[own.shape[0], labels.shape[0]]}, got {list(scores.shape)}")
    if k is not None and checks.size(k, "k") > labels.shape[0]:
        raise ValueError(f"k must be at most the number of keys, {labels.shape[0]}, got {k}")
    banned = checks.mask(exclude, "exclude", scores.shape)
    mask = checks.mask(where, "where", own.shape)
    counts = jnp.ones(own.shape, bool) if mask is None else mask
    allowed = jnp.broadcast_to(counts[:, None], scores.shape)
    allowed = allowed if banned is None else allowed & ~banned
    scores = jnp.where(allowed, scores.astype(accumulation_dtype(scores)), 0.0)
    same = allowed & (own[:, None] == labels)
    if k is not None and k < labels.shape[0]:
        ranked = jnp.where(allowed, jax.lax.stop_gradient(scores), -jnp.inf)
        _, nearest = jax.lax.top_k(ranked, k)
        if force_positive:  # one more place, for the best of the class; it votes once only
            best = jnp.argmax(jnp.where(same, ranked, -jnp.inf), axis=1)[:, None]
            again = jnp.any(nearest == best, axis=1, keepdims=True)
            nearest = jnp.concatenate([nearest, best], axis=1)
        scores, allowed, same = (jnp.take_along_axis(table, nearest, axis=1) for table in (scores, allowed, same))
        if force_positive:
            allowed &= ~jnp.concatenate([jnp.zeros((len(own), k), bool), again | ~same[:, -1:]], axis=1)
            same &= allowed
    some = jnp.any(same, axis=1)
    # An empty sum stands in for all others; its value is dropped.
    total = jax.nn.logsumexp(scores, axis=1, where=allowed | ~some[:, None])
    right = jax.nn.logsumexp(scores, axis=1, where=same | ~some[:, None])
    if force_positive:
        return jnp.where(counts & some, total - right, 0.0)
    log_eps = jnp.log(jnp.asarray(eps, scores.dtype))
    losses = jnp.where(some, -jnp.logaddexp(jnp.where(some, right - total, 0.0), log_eps), -log_eps)
    return jnp.where(counts, losses, 0.0)


def look(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    k: int | None = 20,
    temperature: ArrayLike = 0.1,
    force_positive: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Leave-one-out error of a weighted vote among the nearest others, a value per example (couples the batch).

    .. math:: \ell_i = \texttt{knn\_softmax}\big(\cos(x_i, x_j) / \tau\big), \quad j \ne i

    Only most of the k neighbours have to be of the class, not all of its members: what differs within a class is kept.
    With ``k=None`` it is neighbourhood components analysis on cosines. For keys from a queue call ``knn_softmax``.

    Args:
      embeddings: float [B, D], of any length.
      labels: int [B]; only whether two are equal matters.
      k: neighbours that vote, static, 1 <= k <= the size of the whole batch; None for all others. Where there are fewer
        others, those vote.
      temperature: tau > 0.
      force_positive: static, see ``knn_softmax``.
      where: bool [B], True where an example counts; the others are nobody's neighbours, give 0 and no gradient.
      axis_name: the mapped axis over which the batch is split; neighbours come from all its members.
    Returns:
      float32 or wider [B], >= 0 (up to the eps of ``knn_softmax`` without force_positive); with force_positive 0 for an
      example whose class has no other.
    Raises:
      ValueError: shapes do not agree, k is out of range, or a static temperature <= 0.
      TypeError: embeddings are not floating point, labels are not integers, or where is not boolean.

    >>> x, labels = jnp.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]), jnp.array([0, 0, 0])
    >>> print(look(x, labels, k=1), [f"{value:.1f}" for value in look(x, jnp.array([0, 1, 0]), k=1)])
    [0. 0. 0.] ['20.0', '0.0', '0.7']

    Reference: Feng et al., "Rethinking Supervised Pre-training for Better Downstream Transferring" (2022), recalled:
    the paper takes keys from a queue of a momentum encoder; its k and temperature are not confirmed.
    """
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[B, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(embeddings, "embeddings", labels, "labels")
    checks.positive(temperature, "temperature")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    units = unit_rows(embeddings, counts)
    keys, key_labels, exist, offset = gathered(units, labels, counts, axis_name)
    scores = jnp.matmul(units / temperature, keys.T, precision="highest")
    itself = (jnp.arange(labels.shape[0]) + offset)[:, None] == jnp.arange(keys.shape[0])
    options = {"k": k, "exclude": itself | ~exist, "force_positive": force_positive, "where": mask}
    return knn_softmax(scores, labels, key_labels, **options)  # type: ignore[arg-type]
