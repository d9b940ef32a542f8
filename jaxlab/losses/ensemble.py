"""Losses of several heads or networks at once: that they fit the labels, and differ elsewhere."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics.dependence import jensen_shannon_divergence
from jaxlab.metrics.ensembles import log_mean_exp, member_log_probs, variance_over_members
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "dbat_disagreement",
    "divdis_objective",
    "diversity_regularized_ensemble",
    "dverge",
    "head_mutual_information",
    "jensen_gap",
]


def head_mutual_information(probs: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None) -> Array:
    r"""Mutual information of what two heads predict, mean over pairs of heads (one number per batch; 0 is independent).

    .. math:: I_{gh} = \sum_{k, l} P_{kl} \log \frac{P_{kl}}{\bar p^g_k\, \bar p^h_l},
              \quad P = \frac1B \sum_b p^g_b\, {p^h_b}^\top

    Args:
      probs: float [H, B, K], the distributions of H >= 2 heads; rows sum to 1. Small batches bias it upward.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which examples are split; the means run over all its members.
    Returns:
      float32 or wider scalar in [0, log K] to rounding; 0 for constant heads, or where nothing counts.
    Raises:
      ValueError: probs are not [H, B, K], fewer than two heads, or where is not [B].
      TypeError: probs are not floating point, or where is not boolean.

    >>> sure = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(head_mutual_information(jnp.stack([sure, sure])).round(4))
    0.6931

    Reference: Lee, Yao and Finn, "Diversify and Disambiguate: Learning From Underspecified Data" (2023), studied in
    "Unraveling the Key Components of OOD Generalization via Diversification" (2024). Checked against the authors' code,
    which leaves pairs of exactly 0 out of the mean and gives NaN where a probability is 0.
    """
    probs = checks.rank(checks.floating(probs, "probs"), "probs", 3, layout="[H, B, K]")
    checks.at_least(probs.shape[0], "the number of heads H in probs", 2)
    mask = checks.mask(where, "where", probs.shape[1:2])
    wide = probs.astype(accumulation_dtype(probs))
    counts = jnp.ones(probs.shape[1], bool) if mask is None else mask
    wide = jnp.where(counts[:, None], wide, 0.0)
    sums = (jnp.einsum("gbk,hbl->ghkl", wide, wide, precision="highest"), jnp.sum(wide, axis=1))
    number = jnp.sum(counts, dtype=wide.dtype)
    if axis_name is not None:
        sums, number = jax.lax.psum((sums, number), axis_name)
    joint, mean = jax.tree.map(lambda total: total / jnp.maximum(number, 1), sums)
    some = (joint > 0) & (mean[:, None, :, None] > 0) & (mean[None, :, None, :] > 0)
    logs = jnp.log(jnp.where(mean > 0, mean, 1.0))
    ratio = jnp.log(jnp.where(some, joint, 1.0)) - logs[:, None, :, None] - logs[None, :, None, :]
    information = jnp.sum(jnp.where(some, joint * ratio, 0.0), axis=(2, 3))
    pairs = probs.shape[0] * (probs.shape[0] - 1) / 2
    return jnp.sum(jnp.triu(information, 1)) / pairs


def dbat_disagreement(
    logits_new: ArrayLike, logits_old: ArrayLike, *, eps: ArrayLike = 1e-7, where: ArrayLike | None = None
) -> Array:
    r"""D-BAT: how likely a new network agrees with those before it, per example (low where they disagree).

    .. math:: \ell = -\frac1M \sum_m \log\big(p^m_c (1 - q_c) + q_c (1 - p^m_c) + \varepsilon\big),
              \quad c = \arg\max_k p^m_k

    p are the distributions of the old networks, q that of the new one. For examples without labels on which networks
    may differ.

    Args:
      logits_new: float [B, K].
      logits_old: float [M, B, K], M >= 1; they pass no gradient.
      eps: > 0, bounds the loss by -log eps.
      where: bool [B], True where an example counts.
    Returns:
      float32 or wider [B]; log 2 where the new network is undecided about c, 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree, M < 1, or a static eps <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> old = jnp.array([[[9.0, -9.0], [9.0, -9.0]]])
    >>> print(*(f"{value:.2f}" for value in dbat_disagreement(jnp.array([[9.0, -9.0], [0.0, 0.0]]), old)))
    15.85 0.69

    Reference: Pagliardini et al., "Agree to Disagree: Diversity through Disagreement for Better Transferability"
    (2022). Checked against the authors' code (its first form; the second takes c from the new network).
    """
    new = checks.rank(checks.floating(logits_new, "logits_new"), "logits_new", 2, layout="[B, K]")
    old = checks.rank(checks.floating(logits_old, "logits_old"), "logits_old", 3, layout="[M, B, K]")
    if old.shape[1:] != new.shape or old.shape[0] < 1:
        raise ValueError(f"logits_old must have shape [M, {new.shape[0]}, {new.shape[1]}], got {list(old.shape)}")
    checks.positive(eps, "eps")
    mask = checks.mask(where, "where", new.shape[:1])
    dtype = accumulation_dtype(new, old)
    new, old = new.astype(dtype), jax.lax.stop_gradient(old.astype(dtype))
    if mask is not None:
        new, old = (jnp.where(mask[:, None], z, 0.0) for z in (new, old))
    is_c = jnp.arange(new.shape[1]) == jnp.argmax(old, axis=-1)[..., None]
    p, q = jax.nn.softmax(old), jnp.broadcast_to(jax.nn.softmax(new), old.shape)
    # [that it is c, that it is not]: summed, since 1 - p has lost the digits where p is nearly 1.
    (p, not_p), (q, not_q) = ((jnp.sum(z, -1, where=is_c), jnp.sum(z, -1, where=~is_c)) for z in (p, q))
    differ = p * not_q + q * not_p
    loss = -jnp.mean(jnp.log(differ + eps), axis=0)
    return loss if mask is None else jnp.where(mask, loss, 0.0)


def divdis_objective(
    logits: ArrayLike,
    labels: ArrayLike,
    unlabelled_logits: ArrayLike,
    *,
    diversity_weight: ArrayLike = 10.0,
    prior_weight: ArrayLike = 10.0,
    prior: ArrayLike | None = None,
    where: ArrayLike | None = None,
    unlabelled_where: ArrayLike | None = None,
) -> Array:
    r"""DivDis: heads that all fit the labels and are independent where there are none (one number per batch).

    .. math:: \frac1H \sum_h \mathrm{CE}_h + \lambda_1 \overline{I_{gh}}
              + \frac{\lambda_2}{H} \sum_h \mathrm{KL}\big(\pi \,\|\, \bar q^h\big)

    :math:`\bar q^h` is the mean prediction of head h on the unlabelled examples: without the last term a head may
    become independent by being constant.

    Args:
      logits: float [H, B, K], H >= 2 heads on labelled examples.
      labels: int [B] in [0, K); outside gives NaN.
      unlabelled_logits: float [H, U, K].
      diversity_weight: lambda_1 >= 0.
      prior_weight: lambda_2 >= 0.
      prior: float [K], pi, the class shares expected on the unlabelled examples; None takes those of ``labels``.
      where: bool [B], True where a labelled example counts.
      unlabelled_where: bool [U], the same for the others.
    Returns:
      float32 or wider scalar; a part without any example is 0.
    Raises:
      ValueError: shapes do not agree, H < 2, or a static weight < 0.
      TypeError: logits or prior are not floating point, labels not integers, or a mask not boolean.

    >>> sure = jnp.array([[[9.0, -9.0], [-9.0, 9.0]]]).repeat(2, axis=0)
    >>> print(divdis_objective(sure, jnp.array([0, 1]), sure, diversity_weight=1.0).round(4))
    0.6931

    Reference: as ``head_mutual_information``. Checked against the authors' code (its forward KL, whose default prior
    is the mean prediction on labelled examples).
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 3, layout="[H, B, K]")
    others = checks.rank(checks.floating(unlabelled_logits, "unlabelled_logits"), "unlabelled_logits", 3)
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    if labels.shape[0] != logits.shape[1] or others.shape[::2] != logits.shape[::2]:
        shapes = f"{list(logits.shape)}, {list(labels.shape)} and {list(others.shape)}"
        raise ValueError(f"logits, labels and unlabelled_logits must be [H, B, K], [B] and [H, U, K], got {shapes}")
    checks.at_least(diversity_weight, "diversity_weight", 0.0)
    checks.at_least(prior_weight, "prior_weight", 0.0)
    mask = checks.mask(where, "where", labels.shape)
    other_mask = checks.mask(unlabelled_where, "unlabelled_where", others.shape[1:2])
    dtype, num_classes = accumulation_dtype(logits, others), logits.shape[-1]
    own = _own_log_probs(member_log_probs(logits, mask), labels, mask)
    log_q = member_log_probs(others.astype(dtype), other_mask)
    if prior is None:
        share = masked_mean(
            jax.nn.one_hot(labels, num_classes, dtype=dtype), None if mask is None else mask[:, None], axis=0
        )
    else:
        share = checks.floating(prior, "prior").astype(dtype)
        if share.shape != (num_classes,):
            raise ValueError(f"prior must have shape [{num_classes}], got {list(share.shape)}")
    counts = jnp.ones(others.shape[1], bool) if other_mask is None else other_mask
    some = jnp.any(counts)
    log_mean = jax.nn.logmeanexp(log_q, axis=1, where=(counts | ~some)[None, :, None])
    positive = share > 0
    divergence = jnp.where(positive, share * (jnp.log(jnp.where(positive, share, 1.0)) - log_mean), 0.0)
    off = jnp.where(some, jnp.mean(jnp.sum(divergence, axis=-1)), 0.0)
    information = head_mutual_information(jnp.exp(log_q), where=other_mask)
    fit = -jnp.mean(masked_mean(own, mask, axis=1))
    return fit + diversity_weight * information + prior_weight * off


def jensen_gap(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How much better the mean of M distributions is than they are on average, per example (larger is more diverse).

    .. math:: D = \frac1M \sum_m -\log p^m_y \;+\; \log \frac1M \sum_m p^m_y \;\ge\; 0

    Args:
      logits: float [M, ..., K], M networks.
      labels: int [...] in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts.
    Returns:
      float32 or wider [...], >= 0 to rounding, 0 where all networks agree on the label's probability.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> print(jensen_gap(jnp.log(jnp.array([[[0.9, 0.1]], [[0.1, 0.9]]])), jnp.array([0])).round(4))
    [0.5108]

    Reference: Abe et al., "Pathologies of Predictive Diversity in Deep Ensembles" (2023). Recalled; the identity is
    exact.
    """
    logs, labels, mask = _checked(logits, labels, where)
    own = _own_log_probs(logs, labels, mask)
    return log_mean_exp(own) - jnp.mean(own, axis=0)


def diversity_regularized_ensemble(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: ArrayLike,
    diversity: str = "jensen",
    limit: ArrayLike = 10.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Joint loss of an ensemble that rewards (or, for gamma < 0, punishes) diversity, per example.

    .. math:: \ell = \frac1M \sum_m -\log p^m_y \;-\; \gamma D

    D is the ``jensen_gap`` ("jensen": gamma 1 trains the mean of the distributions as one network), the variance over
    members summed over classes ("variance"), the generalised Jensen-Shannon divergence ("js"), or the mean symmetric
    KL divergence of two members ("kl"). gamma 0 trains the members independently.

    Args:
      logits: float [M, ..., K], M >= 2 networks.
      labels: int [...] in [0, K); outside gives NaN for that example.
      gamma: weight of the diversity, usually in [-1, 1]; a float or a scalar array.
      diversity: "jensen", "variance", "js" or "kl", static.
      limit: > 0, where "kl", which has no bound, stops to count. The other kinds do not read it.
      where: bool [...], True where an example counts.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not agree, M < 2, an unknown diversity, or a static limit <= 0.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> logits = jnp.log(jnp.array([[[0.9, 0.1]], [[0.1, 0.9]]]))
    >>> print(diversity_regularized_ensemble(logits, jnp.array([0]), gamma=1.0).round(4))
    [0.6931]

    Reference: Abe et al., "Pathologies of Predictive Diversity in Deep Ensembles" (2023). Recalled; the limit of "kl"
    is inferred.
    """
    logs, labels, mask = _checked(logits, labels, where)
    checks.at_least(logs.shape[0], "the number of networks M in logits", 2)
    checks.one_of(diversity, "diversity", ("jensen", "variance", "js", "kl"))
    checks.positive(limit, "limit")
    own = _own_log_probs(logs, labels, mask)
    losses = -jnp.mean(own, axis=0)
    if diversity == "jensen":
        spread = log_mean_exp(own) + losses
    elif diversity == "variance":
        spread = variance_over_members(jnp.exp(logs))
    elif diversity == "js":
        spread = jensen_shannon_divergence(logs)
    else:
        # The mean over ordered pairs g != h of sum_k p_g (log p_g - log p_h), from sums over members.
        number, probs = logs.shape[0], jnp.exp(logs)
        total = number * jnp.sum(probs * logs, axis=0) - jnp.sum(probs, axis=0) * jnp.sum(logs, axis=0)
        spread = jnp.minimum(jnp.sum(total, axis=-1) / (number * (number - 1)), limit)
    if mask is not None:
        spread = jnp.where(mask, spread, 0.0)
    return losses - gamma * spread


def dverge(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""DVERGE: what every network loses on inputs that carry another one's weak features, per network and example.

    .. math:: \ell_{ib} = \sum_{j \ne i} -\log p^i_{y_b}(z_{jb})

    :math:`z_{jb}` looks like example b and is, to network j, another example (``optim.distilled_features``); its label
    is that of the example it looks like.

    Args:
      logits: float [M, M, ..., K], M >= 2; entry [i, j] is what network i says of the inputs distilled from network j.
        The diagonal plays no part and may hold anything.
      labels: int [...] in [0, K), of the examples that the inputs look like; outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [M, ...], >= 0.
    Raises:
      ValueError: shapes do not agree, or M < 2.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> print(dverge(jnp.zeros((3, 3, 1, 2)), jnp.array([0]))[:, 0].round(4))
    [1.3863 1.3863 1.3863]

    Reference: Yang et al., "DVERGE: Diversifying Vulnerabilities for Enhanced Robust Generation of Ensembles" (2020).
    Checked against the authors' code, which takes the mean over examples.
    """
    logits, labels = checks.floating(logits, "logits"), checks.integer(labels, "labels")
    if logits.ndim < 3 or logits.shape[0] != logits.shape[1] or logits.shape[2:-1] != labels.shape:
        shape = list(logits.shape)
        raise ValueError(f"logits must have shape [M, M, ..., K] around labels {list(labels.shape)}, got {shape}")
    number = logits.shape[0]
    checks.at_least(number, "the number of networks M in logits", 2)
    mask = checks.mask(where, "where", labels.shape)
    others = ~jnp.eye(number, dtype=bool).reshape(number, number, *(1,) * labels.ndim)
    logs = member_log_probs(jnp.where(others[..., None], logits, 0.0), mask)
    own = _own_log_probs(logs.reshape(number**2, *logs.shape[2:]), labels, mask).reshape(logs.shape[:-1])
    return -jnp.sum(jnp.where(others, own, 0.0), axis=1)


def _checked(logits: ArrayLike, labels: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array, Array | None]:
    """Log-probabilities of all members, labels and mask."""
    logits, labels = checks.floating(logits, "logits"), checks.integer(labels, "labels")
    if logits.ndim < 2 or logits.shape[1:-1] != labels.shape:
        raise ValueError(
            f"logits must have shape [M, ..., K] around labels {list(labels.shape)}, got {list(logits.shape)}"
        )
    mask = checks.mask(where, "where", labels.shape)
    return member_log_probs(logits, mask), labels, mask


def _own_log_probs(logs: Array, labels: Array, mask: Array | None) -> Array:
    """Log-probability of the label, [M, ...]: 0 where masked, NaN for a label that is no class."""
    inside = (labels >= 0) & (labels < logs.shape[-1])
    index = jnp.broadcast_to(jnp.where(inside, labels, 0), logs.shape[:-1])
    own = jnp.where(inside, jnp.take_along_axis(logs, index[..., None], axis=-1)[..., 0], jnp.nan)
    return own if mask is None else jnp.where(mask, own, 0.0)
