"""Classes that nobody has named: pseudo-labels between views, a running class prior, heads for what is new."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "ClassPrior",
    "class_prior_init",
    "class_prior_update",
    "init_novel_heads",
    "local_entropy_regularization",
    "swapped_prediction",
]


class ClassPrior(NamedTuple):
    """Running mean of what a network predicts: ``probs`` [K], sums to 1."""

    probs: Array


def class_prior_init(num_classes: int) -> ClassPrior:
    """The uniform class prior.

    Args:
      num_classes: K >= 1, static.
    Returns:
      ClassPrior, float32.
    Raises:
      ValueError: num_classes < 1.
      TypeError: num_classes is not a static integer.

    >>> print(class_prior_init(4).probs)
    [0.25 0.25 0.25 0.25]

    Reference: standard.
    """
    return ClassPrior(jnp.full(checks.size(num_classes, "num_classes"), 1.0 / num_classes, jnp.float32))


def class_prior_update(
    state: ClassPrior,
    probs: ArrayLike,
    *,
    momentum: ArrayLike = 0.999,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> ClassPrior:
    r"""The class prior after another batch of predictions.

    .. math:: \hat q \leftarrow m\, \hat q + (1 - m)\, \frac1N \sum_n p_n

    Args:
      state: from ``class_prior_init`` or an earlier update.
      probs: float [..., K], predicted distributions, no wider than the state; they pass no gradient.
      momentum: m in [0, 1], the weight of the old prior.
      where: bool [...], True where a row counts; a batch without any changes nothing.
      axis_name: the mapped axis over which rows are split.
    Returns:
      ClassPrior.
    Raises:
      ValueError: shapes do not agree, or a static momentum outside [0, 1].
      TypeError: probs are not floating point or wider than the state, or where is not boolean.

    >>> state = class_prior_update(class_prior_init(2), jnp.array([[1.0, 0.0]]), momentum=0.5)
    >>> print(state.probs)
    [0.75 0.25]

    Reference: Cao et al., "Solving the Catastrophic Forgetting Problem in Generalized Category Discovery" (2024).
    Checked against the authors' code.
    """
    probs = checks.floating(probs, "probs")
    num_classes = state.probs.shape[0]
    if probs.ndim < 2 or probs.shape[-1] != num_classes:
        raise ValueError(f"probs must have shape [..., {num_classes}] as the state does, got {list(probs.shape)}")
    checks.not_wider(probs, "probs", state.probs.dtype)
    checks.in_range(momentum, "momentum", 0.0, 1.0)
    mask = checks.mask(where, "where", probs.shape[:-1])
    counts = jnp.ones(probs.shape[:-1], bool) if mask is None else mask
    rows = jnp.where(counts[..., None], jax.lax.stop_gradient(probs).astype(state.probs.dtype), 0.0)
    total, number = jnp.sum(rows.reshape(-1, num_classes), axis=0), jnp.sum(counts, dtype=rows.dtype)
    if axis_name is not None:
        total, number = jax.lax.psum((total, number), axis_name)
    old = state.probs
    mean = jnp.where(number > 0, total / jnp.maximum(number, 1.0), old)
    return ClassPrior(old + (1.0 - jnp.asarray(momentum, old.dtype)) * (mean - old))


def local_entropy_regularization(
    logits: ArrayLike,
    prior: ClassPrior,
    known: ArrayLike,
    *,
    threshold: ArrayLike = 0.7,
    confidence_temperature: ArrayLike = 0.1,
    temperature: ArrayLike = 0.05,
    tau: ArrayLike = 0.4,
    where: ArrayLike | None = None,
) -> Array:
    r"""Sharpens unlabelled rows that look like a known class, against a running class prior (per example).

    .. math:: \ell_n = [n \in M] \sum_c -q_{nc} \log \mathrm{softmax}(z_n / T + \tau \log \hat q)_c,
              \quad q_n = \mathrm{softmax}(z_n / T)

    M holds the rows whose largest probability at ``confidence_temperature`` is that of a known class, and at least the
    threshold. With a uniform prior this is the entropy of q. The prior acts as a margin: a class that is predicted
    rarely must score higher to be as likely. The target q passes gradients too.

    Args:
      logits: float [N, K], cosines with the class vectors at these temperatures.
      prior: ``ClassPrior`` [K]; it passes no gradient, and no class counts as rarer than 1e-8.
      known: bool [K], True for the classes that have labels.
      threshold: in [0, 1]; above 1 no row is in M.
      confidence_temperature: > 0, of the probabilities that are held against the threshold.
      temperature: T > 0.
      tau: weight of the log prior; 0 leaves the entropy alone.
      where: bool [N], True where a row is unlabelled; the others give 0 and no gradient.
    Returns:
      float32 or wider [N]; divide the sum by N, not by the size of M, for the paper's mean (it weighs that by 2).
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: logits are not floating point, or a mask is not boolean.

    >>> prior, known = class_prior_init(3), jnp.array([True, True, False])
    >>> logits = jnp.array([[0.9, 0.8, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 0.9]])
    >>> print(local_entropy_regularization(logits, prior, known).round(4))
    [0.3653 0.     0.    ]

    Reference: Cao et al., "Solving the Catastrophic Forgetting Problem in Generalized Category Discovery" (2024).
    Checked against the authors' code.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[N, K]")
    if prior.probs.shape != logits.shape[1:]:
        raise ValueError(f"prior must have shape [{logits.shape[1]}], got {list(prior.probs.shape)}")
    is_known = checks.mask(jnp.asarray(known), "known", logits.shape[1:])
    assert is_known is not None
    for value, name in ((confidence_temperature, "confidence_temperature"), (temperature, "temperature")):
        checks.positive(value, name)
    mask = checks.mask(where, "where", logits.shape[:1])
    counts = jnp.ones(logits.shape[:1], bool) if mask is None else mask
    z = jnp.where(counts[:, None], logits.astype(accumulation_dtype(logits)), 0.0)
    confidence = jnp.max(jax.nn.softmax(z / confidence_temperature), axis=-1)
    chosen = counts & is_known[jnp.argmax(z, axis=-1)] & (confidence >= threshold)
    # Rows outside M are taken out before the logarithms, so that no gradient of theirs survives.
    z = jnp.where(chosen[:, None], z, 0.0) / temperature
    log_prior = jnp.log(jnp.maximum(jax.lax.stop_gradient(prior.probs), 1e-8))
    losses = -jnp.sum(jax.nn.softmax(z) * jax.nn.log_softmax(z + tau * log_prior), axis=-1)
    return jnp.where(chosen, losses, 0.0)


def swapped_prediction(
    logits: ArrayLike, targets: ArrayLike, *, temperature: ArrayLike = 0.1, where: ArrayLike | None = None
) -> Array:
    r"""Every view of an example predicts the targets of its other views (per example; larger is worse).

    .. math:: \ell_n = \frac{1}{V (V - 1)} \sum_{v \ne w} \sum_c -q^v_{nc} \log \mathrm{softmax}(z^w_n / \tau)_c

    With targets from ``numerics.sinkhorn`` it is the swapped assignment of SwAV and UNO; with
    ``jax.nn.softmax(logits / 0.04)`` the self-distillation between views of SimGCD and Happy.

    Args:
      logits: float [V, N, C] of V >= 2 views.
      targets: float [V, N, C], a distribution per row; they pass no gradient.
      temperature: tau > 0, divides the logits.
      where: bool [N], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [N].
    Raises:
      ValueError: shapes do not agree, fewer than two views, or a static temperature <= 0.
      TypeError: logits or targets are not floating point, or where is not boolean.

    >>> one_hot = jax.nn.one_hot(jnp.array([[0], [1]]), 2)
    >>> print(swapped_prediction(one_hot, one_hot, temperature=1.0).round(4))
    [1.3133]

    Reference: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments" (2020), as Gu
    et al., "Class-relation Knowledge Distillation for Novel Class Discovery" (2023) and Ma et al., "Happy: A Debiased
    Learning Framework for Continual Generalized Category Discovery" (2024) use it. Checked against the code of both.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 3, layout="[V, N, C]")
    targets = checks.floating(targets, "targets")
    checks.same_shape(logits, "logits", targets, "targets")
    checks.positive(temperature, "temperature")
    views = logits.shape[0]
    if views < 2:
        raise ValueError(f"logits must hold at least two views [V, N, C], got {list(logits.shape)}")
    mask = checks.mask(where, "where", logits.shape[1:2])
    counts = jnp.ones(logits.shape[1:2], bool) if mask is None else mask
    dtype = accumulation_dtype(logits, targets)
    z, q = (jnp.where(counts[:, None], x.astype(dtype), 0.0) for x in (logits, jax.lax.stop_gradient(targets)))
    log_probs = jax.nn.log_softmax(z / temperature, axis=-1)
    others = jnp.sum(q, axis=0) - q  # the targets of all views but this one
    losses = -jnp.sum(others * log_probs, axis=(0, 2)) / (views * (views - 1))
    return jnp.where(counts, losses, 0.0)


def init_novel_heads(centroids: ArrayLike, old_head: ArrayLike, *, num_new: int) -> Array:
    r"""Class vectors for novel classes: the cluster centres that no known class claims.

    .. math:: m_j = \max_c \cos(\mu_j, w_c), \quad \text{the } K_n \text{ centres with the smallest } m_j

    Cluster all unlabelled rows, of known and of novel classes, into as many clusters as there are classes.

    Args:
      centroids: float [M, D], centres of the clusters, M >= num_new.
      old_head: float [K, D], a vector per known class.
      num_new: K_n, static, >= 1.
    Returns:
      float32 or wider [num_new, D], the most novel centre first, as long as the mean vector of ``old_head``. Ties go to
      the lower index.
    Raises:
      ValueError: widths differ, or num_new is not in [1, M].
      TypeError: centroids or old_head are not floating point.

    >>> centroids = jnp.array([[1.0, 0.1], [0.0, 3.0]])
    >>> print(init_novel_heads(centroids, jnp.array([[2.0, 0.0]]), num_new=1))
    [[0. 2.]]

    Reference: Ma et al., "Happy: A Debiased Learning Framework for Continual Generalized Category Discovery" (2024).
    Checked against the authors' code.
    """
    centroids = checks.rank(checks.floating(centroids, "centroids"), "centroids", 2, layout="[M, D]")
    head = checks.rank(checks.floating(old_head, "old_head"), "old_head", 2, layout="[K, D]")
    if centroids.shape[1] != head.shape[1]:
        raise ValueError(f"centroids and old_head must have one width, got {centroids.shape} and {head.shape}")
    if checks.size(num_new, "num_new") > centroids.shape[0]:
        raise ValueError(f"num_new must be at most {centroids.shape[0]}, the number of centroids, got {num_new}")
    dtype = accumulation_dtype(centroids, head)
    units, vectors = normalize(centroids.astype(dtype)), head.astype(dtype)
    claimed = jnp.max(jnp.matmul(units, normalize(vectors).T, precision="highest"), axis=1)
    squares = jnp.sum(vectors**2, axis=1)
    length = jnp.mean(safe_sqrt(squares))
    return length * units[jnp.argsort(claimed, stable=True)[:num_new]]
