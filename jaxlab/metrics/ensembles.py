"""How the members of an ensemble differ, and what that is worth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "EnsembleDecomposition",
    "ensemble_decomposition",
    "pairwise_disagreement",
    "transfer_rate",
    "vulnerability_diversity",
]


class EnsembleDecomposition(NamedTuple):
    """Loss of the mean prediction = mean loss of the members - diversity; scalars."""

    ensemble: Array
    members: Array
    diversity: Array


def ensemble_decomposition(
    logits: ArrayLike, labels: ArrayLike, *, score: str = "nll", where: ArrayLike | None = None
) -> EnsembleDecomposition:
    r"""What an ensemble loses, what its members lose, and the difference that their diversity makes (losses).

    .. math:: -\log \bar p_y = \frac1M \sum_m -\log p^m_y - D, \qquad
              \|\bar p - e_y\|^2 = \frac1M \sum_m \|p^m - e_y\|^2 - \sum_k \mathrm{Var}_m\, p^m_k

    Args:
      logits: float [M, N, K], M networks; the ensemble is the mean of their distributions.
      labels: int [N] in [0, K); outside gives NaN: leave such examples out by ``where``.
      score: "nll" (nats) or "brier", static.
      where: bool [N], True where an example counts.
    Returns:
      EnsembleDecomposition of float32 or wider scalars, means over examples; ensemble = members - diversity to
      rounding, all 0 if nothing counts.
    Raises:
      ValueError: shapes do not agree, or an unknown score.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> found = ensemble_decomposition(jnp.log(jnp.array([[[0.9, 0.1]], [[0.1, 0.9]]])), jnp.array([0]), score="brier")
    >>> print(*(value.round(4) for value in found))
    0.5 0.82 0.32

    Reference: Abe et al., "Pathologies of Predictive Diversity in Deep Ensembles" (2023); both identities are standard.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 3, layout="[M, N, K]")
    labels = checks.integer(labels, "labels")
    if labels.shape != logits.shape[1:2]:
        raise ValueError(f"labels must have shape [{logits.shape[1]}] to match logits, got {list(labels.shape)}")
    checks.one_of(score, "score", ("nll", "brier"))
    mask = checks.mask(where, "where", labels.shape)
    logs = member_log_probs(logits, mask)
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logs.dtype)
    known = jnp.sum(one_hot, axis=-1) > 0
    if score == "nll":
        own = jnp.where(known, jnp.sum(jnp.where(one_hot > 0, logs, 0.0), axis=-1), jnp.nan)
        parts = (-log_mean_exp(own), -jnp.mean(own, axis=0), log_mean_exp(own) - jnp.mean(own, axis=0))
    else:
        probs, truth = jnp.exp(logs), jnp.where(known[:, None], one_hot, jnp.nan)
        of_mean = jnp.sum((jnp.mean(probs, axis=0) - truth) ** 2, axis=-1)
        parts = (of_mean, jnp.mean(jnp.sum((probs - truth) ** 2, axis=-1), axis=0), variance_over_members(probs))
    return EnsembleDecomposition(*(masked_mean(part, mask) for part in parts))


def member_log_probs(logits: Array, mask: Array | None) -> Array:
    """Log-probabilities [M, ..., K], uniform where masked."""
    wide = logits.astype(accumulation_dtype(logits))
    return jax.nn.log_softmax(wide if mask is None else jnp.where(mask[..., None], wide, 0.0))


def log_mean_exp(logs: Array) -> Array:
    """log of the mean over members (axis 0), for log-probabilities of any size."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(jnp.asarray(logs.shape[0], logs.dtype))


def variance_over_members(probs: Array) -> Array:
    """Variance over axis 0, summed over the last: [...]."""
    return jnp.sum(jnp.mean((probs - jnp.mean(probs, axis=0)) ** 2, axis=0), axis=-1)


def pairwise_disagreement(
    probs: ArrayLike, *, kind: str = "kl", where: ArrayLike | None = None, reduce: bool = True
) -> Array:
    r"""How far the predictions of every two members lie apart, averaged over examples (larger is more diverse).

    .. math:: d_{gh} = \frac1N \sum_n \tfrac12 \big[ \mathrm{KL}(p^g_n \| p^h_n) + \mathrm{KL}(p^h_n \| p^g_n) \big],
              \quad \tfrac1K \|p^g_n - p^h_n\|_1 \quad \text{or} \quad [\arg\max p^g_n \ne \arg\max p^h_n]

    Args:
      probs: float [M, N, K], the distributions of M members; rows sum to 1.
      kind: "kl" (nats), "l1" (mean over classes, in [0, 2 / K]) or "argmax" (a rate), static.
      where: bool [N], True where an example counts.
      reduce: static; False gives one value per example, by whose mean over members one picks examples to ask about.
    Returns:
      float32 (wider if probs are) [M, M], symmetric with a diagonal of 0; 0 if nothing counts. For "kl" a class that
      one member rules out and the other does not makes the value infinite. "argmax" has no gradient. Without
      ``reduce`` [M, M, N], 0 for an example that does not count.
    Raises:
      ValueError: probs are not [M, N, K], an unknown kind, or where is not [N].
      TypeError: probs are not floating point, or where is not boolean.

    >>> probs = jnp.array([[[0.9, 0.1]], [[0.2, 0.8]]])
    >>> print(pairwise_disagreement(probs, kind="l1"))
    [[0.  0.7]
     [0.7 0. ]]

    Reference: "l1" as in Lee, Yao and Finn, "Diversify and Disambiguate: Learning From Underspecified Data" (2023),
    checked against the authors' code; the others are standard.
    """
    probs = checks.rank(checks.floating(probs, "probs"), "probs", 3, layout="[M, N, K]")
    checks.one_of(kind, "kind", ("kl", "l1", "argmax"))
    mask = checks.mask(where, "where", probs.shape[1:2])
    wide = probs.astype(accumulation_dtype(probs))
    if mask is not None:
        wide = jnp.where(mask[:, None], wide, 1.0 / probs.shape[-1])
    if kind == "kl":
        # sum_k p_g (log p_g - log p_h) for all pairs, without an array [M, M, N, K].
        some = wide > 0
        logs = jnp.where(some, jnp.log(jnp.where(some, wide, 1.0)), 0.0)
        own = jnp.sum(wide * logs, axis=-1)
        cross = jnp.einsum("gnk,hnk->ghn", wide, logs, precision="highest")
        ruled_out = jnp.einsum("gnk,hnk->ghn", wide, (~some).astype(wide.dtype), precision="highest") > 0
        one_way = jnp.where(ruled_out, jnp.inf, own[:, None] - cross)
        apart = jnp.maximum(0.5 * (one_way + jnp.swapaxes(one_way, 0, 1)), 0.0)
    elif kind == "l1":
        apart = jax.lax.map(lambda one: jnp.mean(jnp.abs(wide - one), axis=-1), wide)
    else:
        choice = jnp.argmax(wide, axis=-1)
        apart = (choice[:, None] != choice[None, :]).astype(wide.dtype)
    others = ~jnp.eye(probs.shape[0], dtype=bool)
    counts = jnp.ones(probs.shape[1], bool) if mask is None else mask
    if not reduce:
        return jnp.where(others[..., None] & counts, apart, 0.0)
    return jnp.where(others, masked_mean(apart, counts, axis=-1), 0.0)


def vulnerability_diversity(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How little two networks see in each other's weak features (larger is more diverse).

    .. math:: d_{ij} = \frac{1}{2N} \sum_n \big[ \mathrm{CE}(f_i(z_{jn}), y_n) + \mathrm{CE}(f_j(z_{in}), y_n) \big]

    To network j the input :math:`z_{jn}` is example n, however it looks (``optim.distilled_features``): the loss is low
    where network i is taken in too. The diagonal is what a network loses on its own features.

    Args:
      logits: float [M, M, N, K]; entry [i, j] is what network i says of the inputs distilled from network j.
      labels: int [N] in [0, K), of the examples that were IMITATED; outside gives NaN: leave such examples out.
      where: bool [N], True where an example counts.
    Returns:
      float32 or wider [M, M] in nats, symmetric; 0 if nothing counts.
    Raises:
      ValueError: shapes do not agree, or where is not [N].
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> logits = jnp.zeros((2, 2, 1, 2)).at[0, 0, 0, 0].set(9.0).at[1, 1, 0, 0].set(9.0)
    >>> print(vulnerability_diversity(logits, jnp.array([0])).round(4))
    [[1.000e-04 6.931e-01]
     [6.931e-01 1.000e-04]]

    Reference: Yang et al., "DVERGE: Diversifying Vulnerabilities for Enhanced Robust Generation of Ensembles" (2020).
    Checked against the authors' code, which prints both directions apart.
    """
    logits, labels, mask = _crossed(logits, labels, where)
    logs = member_log_probs(logits, mask)
    inside = (labels >= 0) & (labels < logits.shape[-1])
    index = jnp.broadcast_to(jnp.where(inside, labels, 0)[:, None], (*logits.shape[:3], 1))
    own = jnp.where(inside, jnp.take_along_axis(logs, index, axis=-1)[..., 0], jnp.nan)
    loss = masked_mean(-own, mask, axis=-1)
    return 0.5 * (loss + loss.T)


def transfer_rate(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How often an attack on one network makes another one wrong (larger is less robust).

    .. math:: r_{ij} = \frac1N \sum_n \big[ \arg\max_k f_i(x^{(j)}_n)_k \ne y_n \big]

    Args:
      logits: float [M, S, N, K]; entry [i, j] is what network i says of the inputs made to attack network j. M and S
        may differ: the ensemble may be one more of those who are asked.
      labels: int [N], of the examples that are attacked; one outside [0, K) is left out.
      where: bool [N], True where an example counts: those that all networks get right without an attack.
    Returns:
      float32 or wider [M, S] in [0, 1], no gradient; 0 if nothing counts.
    Raises:
      ValueError: shapes do not agree, or where is not [N].
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> logits = jnp.array([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    >>> print(transfer_rate(logits, jnp.array([0])))
    [[1. 0.]]

    Reference: Yang et al., "DVERGE: Diversifying Vulnerabilities for Enhanced Robust Generation of Ensembles" (2020).
    Checked against the authors' code, which counts an example as fooled if any of several random starts fools it.
    """
    logits, labels, mask = _crossed(logits, labels, where, square=False)
    wrong = jnp.argmax(logits, axis=-1) != labels
    known = (labels >= 0) & (labels < logits.shape[-1])
    counts = known if mask is None else known & mask
    return masked_mean(wrong.astype(accumulation_dtype(logits)), counts, axis=-1)


def _crossed(
    logits: ArrayLike, labels: ArrayLike, where: ArrayLike | None, *, square: bool = True
) -> tuple[Array, Array, Array | None]:
    """Logits of every network on every network's inputs, labels [N] and mask [N]."""
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 4, layout="[M, S, N, K]")
    labels = checks.integer(labels, "labels")
    if square and logits.shape[0] != logits.shape[1]:
        raise ValueError(f"logits must have shape [M, M, N, K], got {list(logits.shape)}")
    if labels.shape != logits.shape[2:3]:
        raise ValueError(f"labels must have shape [{logits.shape[2]}] to match logits, got {list(labels.shape)}")
    return logits, labels, checks.mask(where, "where", labels.shape)
