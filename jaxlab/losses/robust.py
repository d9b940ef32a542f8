"""Losses with bounded or margin-limited influence of single examples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import labelled, of_label
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "asymmetric_generalized_cross_entropy",
    "asymmetric_unhinged",
    "generalized_cross_entropy",
    "jensen_shannon_label",
    "mean_absolute_error_label",
    "normalized_cross_entropy",
    "squared_hinge_ovr",
    "symmetric_cross_entropy",
]


def _of_log_prob(
    loss: Callable[[Array], Array], logits: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> Array:
    """A loss of the log-probability of the label alone."""
    rows = labelled(logits, labels, where)
    return rows.losses(loss(of_label(jax.nn.log_softmax(rows.logits), rows.labels)))


def generalized_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    q: ArrayLike = 0.7,
    truncation: ArrayLike = 0.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Between cross entropy (q to 0) and the absolute error (q = 1) of the label (per example; larger is worse).

    .. math:: \ell = \min\Big(\frac{1 - p_y^q}{q},\, \frac{1 - k^q}{q}\Big)

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      q: in (0, 1], a float or an array that broadcasts to [...].
      truncation: k in [0, 1): examples whose label is less probable cost the same and give no gradient.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], in [0, 1 / q].
    Raises:
      ValueError: shapes do not agree, K < 2, or a static q or truncation out of range.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(generalized_cross_entropy(jnp.zeros(2), jnp.array(0), q=1.0))  # 1 - p
    0.5

    Reference: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels"
    (2018). Checked against the code of Zhu et al. (``ldr_kl``), whose truncation this is.
    """
    checks.in_range(checks.positive(q, "q"), "q", 0, 1)
    checks.in_range(truncation, "truncation", 0, 1)
    if checks.is_static(truncation) and truncation == 1:
        raise ValueError("truncation must be below 1, got 1: every example would cost nothing")

    def loss(log_prob: Array) -> Array:
        most = (1.0 - jnp.asarray(truncation, log_prob.dtype) ** q) / q
        return jnp.minimum(-jnp.expm1(q * log_prob) / q, most)

    return _of_log_prob(loss, logits, labels, where)


def symmetric_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    balance: ArrayLike = 0.5,
    scale: ArrayLike = 4.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy in both directions, the reverse one with log 0 set to a number (per example; larger is worse).

    .. math:: \ell = -(1 - b) \log p_y + b\, A\, (1 - p_y)

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      balance: b in [0, 1], the part of the reverse cross entropy.
      scale: A >= 0, minus what log 0 is set to.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static balance or scale out of range.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(symmetric_cross_entropy(jnp.zeros(2), jnp.array(0), balance=1.0))  # 4 (1 - p)
    2.0

    Reference: Wang et al., "Symmetric Cross Entropy for Robust Learning with Noisy Labels" (2019). Checked against the
    code of Zhu et al. (``ldr_kl``).
    """
    checks.in_range(balance, "balance", 0, 1)
    checks.at_least(scale, "scale", 0)

    def loss(log_prob: Array) -> Array:
        b = jnp.asarray(balance, log_prob.dtype)
        return -(1.0 - b) * log_prob - b * scale * jnp.expm1(log_prob)

    return _of_log_prob(loss, logits, labels, where)


def mean_absolute_error_label(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Distance of the probabilities from the certain label (per example; larger is worse).

    .. math:: \ell = \sum_k |p_k - [k = y]| = 2 (1 - p_y)

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], in [0, 2].
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(mean_absolute_error_label(jnp.zeros(4), jnp.array(0)))
    1.5

    Reference: Ghosh et al., "Robust Loss Functions under Label Noise for Deep Neural Networks" (2017), standard. The
    code of Zhu et al. (``ldr_kl``) leaves the absolute value out, and so is 0 for every input.
    """
    return _of_log_prob(lambda log_prob: -2.0 * jnp.expm1(log_prob), logits, labels, where)


def normalized_cross_entropy(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Cross entropy of the label among those of all labels (per example; larger is worse).

    .. math:: \ell = \frac{\log p_y}{\sum_k \log p_k}

    Over all labels it sums to one, so noise of one rate in every class only scales its mean.

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], in [0, 1].
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(normalized_cross_entropy(jnp.zeros(4), jnp.array(0)))
    0.25

    Reference: Ma et al., "Normalized Loss Functions for Deep Learning with Noisy Labels" (2020). Checked against the
    code of Zhu et al. (``ldr_kl``).
    """
    rows = labelled(logits, labels, where)
    log_probs = jax.nn.log_softmax(rows.logits)
    return rows.losses(of_label(log_probs, rows.labels) / jnp.sum(log_probs, axis=-1))


def asymmetric_generalized_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    shift: ArrayLike = 1.0,
    q: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""A generalised cross entropy that prefers the most frequent label (per example; larger is worse).

    .. math:: \ell = \frac{(a + 1)^q - (a + p_y)^q}{q}

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      shift: a > 0.
      q: > 0.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static shift or q <= 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(asymmetric_generalized_cross_entropy(jnp.zeros(2), jnp.array(0)))  # (2^2 - 1.5^2) / 2
    0.875

    Reference: Zhou et al., "Asymmetric Loss Functions for Learning with Noisy Labels" (2021). Checked against the code
    of Zhu et al. (``ldr_kl``), whose defaults these are.
    """
    checks.positive(shift, "shift")
    checks.positive(q, "q")

    def loss(log_prob: Array) -> Array:
        a, power = jnp.asarray(shift, log_prob.dtype), jnp.asarray(q, log_prob.dtype)
        return ((a + 1.0) ** power - (a + jnp.exp(log_prob)) ** power) / power

    return _of_log_prob(loss, logits, labels, where)


def asymmetric_unhinged(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    shift: ArrayLike = 1.5,
    q: ArrayLike = 0.9,
    where: ArrayLike | None = None,
) -> Array:
    r"""An unhinged loss of the probability that prefers the most frequent label (per example; larger is worse).

    .. math:: \ell = \frac{(a - p_y)^q - (a - 1)^q}{q}

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      shift: a > 1.
      q: > 0.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static shift <= 1 or q <= 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(asymmetric_unhinged(jnp.zeros(2), jnp.array(0), shift=2.0, q=2.0))  # (1.5^2 - 1) / 2
    0.625

    Reference: as ``asymmetric_generalized_cross_entropy``.
    """
    if checks.is_static(shift) and shift <= 1:
        raise ValueError(f"shift must be above 1, got {shift!r}")
    checks.positive(shift, "shift")
    checks.positive(q, "q")

    def loss(log_prob: Array) -> Array:
        a, power = jnp.asarray(shift, log_prob.dtype), jnp.asarray(q, log_prob.dtype)
        return ((a - jnp.exp(log_prob)) ** power - (a - 1.0) ** power) / power

    return _of_log_prob(loss, logits, labels, where)


def jensen_shannon_label(
    logits: ArrayLike, labels: ArrayLike, *, weight: ArrayLike = 0.5, where: ArrayLike | None = None
) -> Array:
    r"""Jensen-Shannon divergence of the prediction from the certain label (per example; larger is worse).

    .. math:: \ell = \frac{w\, KL(y \| M) + (1 - w)\, KL(p \| M)}{-(1 - w) \log(1 - w)}, \qquad M = w\, y + (1 - w)\, p

    Weight to 0 gives cross entropy, to 1 half the absolute error.

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      weight: w in (0, 1), of the label.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0, bounded.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static weight outside (0, 1).
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(f"{jensen_shannon_label(jnp.array([-99.0, 0.0]), jnp.array(0)):.4f}")  # two points: log 2 / (log 2 / 2)
    2.0000

    Reference: Englesson and Azizpour, "Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels"
    (2021), for two distributions. Checked against the code of Zhu et al. (``ldr_kl``), which clips M at 1e-7.
    """
    checks.in_range(weight, "weight", 0, 1)
    if checks.is_static(weight) and weight in (0, 1):
        raise ValueError(f"weight must lie in (0, 1), got {weight!r}")
    w, other = jnp.asarray(weight), 1.0 - jnp.asarray(weight)

    def loss(log_prob: Array) -> Array:
        prob = jnp.exp(log_prob)
        log_mixed = jnp.log(w + other * prob)
        # All classes but the label are (1 - w) times as probable in the mixture.
        from_prediction = prob * (log_prob - log_mixed) + jnp.expm1(log_prob) * jnp.log(other)
        return (-w * log_mixed + other * from_prediction) / (-other * jnp.log(other))

    return _of_log_prob(loss, logits, labels, where)


def squared_hinge_ovr(
    logits: ArrayLike, labels: ArrayLike, *, class_where: ArrayLike | None = None, where: ArrayLike | None = None
) -> Array:
    r"""Squared hinge loss of one-versus-rest classifiers, mean over classes (per example; larger is worse).

    .. math:: \ell = \frac{1}{C} \sum_c \max(0,\, 1 - s_c z_c)^2, \quad s_c = +1 \text{ if } c = y \text{ else } -1

    It is the loss of linear support vector machines, one per class: :math:`\|W\|^2 / 2 + a\, C \sum_n \ell_n` is what
    scikit-learn's ``LinearSVC(C=a)`` minimises.

    Args:
      logits: float [..., C], C >= 1.
      labels: int [...], an existing class in [0, C); anything else gives NaN for that example.
      class_where: bool [C] or [..., C], True where a class exists; the others neither cost nor count in the mean.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...].
    Raises:
      ValueError: shapes do not agree, or C = 0.
      TypeError: labels are not integers, logits not floating point, or a mask is not boolean.

    >>> print(squared_hinge_ovr(jnp.array([2.0, 0.0, -0.5]), jnp.array(0)))  # (0 + 1 + 1/4) / 3
    0.41666666

    Reference: the classifier of Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental
    Learning" (2023), a linear SVM; checked against scikit-learn.
    """
    logits, labels = checks.floating(logits, "logits"), checks.integer(labels, "labels")
    if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape {[*labels.shape, 'C']} to match labels, got {list(logits.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    exists = jnp.ones(logits.shape, bool)
    if class_where is not None:
        shape = logits.shape[-1:] if jnp.ndim(class_where) == 1 else logits.shape
        exists &= jnp.asarray(checks.mask(class_where, "class_where", shape))
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    clean = jnp.where(exists & counts[..., None], logits.astype(accumulation_dtype(logits)), 0.0)
    own = jnp.arange(logits.shape[-1]) == labels[..., None]
    known = jnp.any(own & exists, axis=-1)
    hinge = jnp.maximum(0.0, 1.0 - jnp.where(own, clean, -clean))
    losses = masked_mean(hinge**2, exists, axis=-1)
    return jnp.where(counts, jnp.where(known, losses, jnp.nan), 0.0)
