"""Losses for classes of unequal size: logits are adjusted by what is known of the classes before the softmax.

``logit_adjusted_cross_entropy`` is all of them; only the adjustment differs. With the class prior pi it is the balanced
softmax for ``log(pi)``, the inverse softmax for ``log(pi) - tau * log(reverse_prior(pi))``, the power-adjusted form for
``power * log(counts)``, and with minus a margin at the label a margin loss.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.divergence import kl_divergence
from jaxlab.losses.labelled import labelled, of_label
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "class_prior",
    "confident_consistency",
    "logit_adjusted_cross_entropy",
    "mdcs_diversity",
    "reverse_prior",
    "sade",
]

_EPS = 1e-9  # added to a share or a count before its logarithm


def logit_adjusted_cross_entropy(
    logits: ArrayLike, labels: ArrayLike, adjustment: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Cross entropy of logits to which something is added first (per example; larger is worse).

    .. math:: \ell = -\log \frac{e^{z_y + a_y}}{\sum_k e^{z_k + a_k}}

    With the log of the class shares of the training rows the plain logits z become those of balanced classes: they are
    what one predicts with where every class is as likely as any other.

    Args:
      logits: float [..., K], z.
      labels: int [...], in [0, K); outside gives NaN for that example.
      adjustment: float, a, broadcastable to [..., K], such as [K]; the same number for every class changes nothing.
        -inf takes a class out, and makes the loss of an example of that class infinite.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, or adjustment does not broadcast.
      TypeError: logits or adjustment are not floating point, labels not integers, or where is not boolean.

    >>> share = jnp.array([0.9, 0.1])
    >>> print(logit_adjusted_cross_entropy(jnp.zeros(2), jnp.array(1), jnp.log(share)).round(4))
    2.3026

    Reference: Menon et al., "Long-tail learning via logit adjustment" (2021). Standard.
    """
    rows = labelled(logits, labels, where, fewest=1)
    adjustment = checks.floating(adjustment, "adjustment")
    checks.broadcasts_to(adjustment, "adjustment", rows.logits.shape)
    dtype = accumulation_dtype(rows.logits, adjustment)
    adjusted = rows.logits.astype(dtype) + adjustment.astype(dtype)
    if where is not None:  # an adjustment of a hidden row may be anything
        adjusted = jnp.where(rows.counts[..., None], adjusted, 0.0)
    return rows.losses(-of_label(jax.nn.log_softmax(adjusted), rows.labels))


def class_prior(counts: ArrayLike) -> Array:
    r"""The share of every class, from how many examples it has.

    .. math:: \pi_k = n_k / \sum_j n_j

    Args:
      counts: int or float [..., K], n >= 0.
    Returns:
      float32 or wider [..., K], sums to 1; all 0 where there is no example.
    Raises:
      ValueError: counts are a scalar or have no class.
      TypeError: counts are not numbers.

    >>> print(class_prior(jnp.array([30, 10])))
    [0.75 0.25]

    Reference: standard.
    """
    counts = _numbers(counts, "counts")
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return counts / jnp.where(total > 0, total, 1.0)


def reverse_prior(prior: ArrayLike) -> Array:
    r"""The prior with its order turned round: the largest class gets the share of the smallest, and so on.

    .. math:: \bar\pi_k = \pi_{(K - 1 - r_k)}, \quad r_k \text{ the ascending rank of } \pi_k

    Args:
      prior: float [..., K]. Of equal shares the lower class ranks first.
    Returns:
      float32 or wider [..., K], the same shares in another order; applied twice it is the identity where no two shares
      are equal.
    Raises:
      ValueError: prior is a scalar or has no class.
      TypeError: prior is not floating point.

    >>> print(reverse_prior(jnp.array([0.2, 0.7, 0.1])))
    [0.2 0.1 0.7]

    Reference: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition"
    (2022). Checked against the authors' code.
    """
    prior = _numbers(checks.floating(prior, "prior"), "prior")
    rank = jnp.argsort(jnp.argsort(prior, axis=-1, stable=True), axis=-1)
    mirrored = prior.shape[-1] - 1 - rank
    return jnp.take_along_axis(jnp.sort(prior, axis=-1), mirrored, axis=-1)


def sade(
    expert_logits: ArrayLike,
    labels: ArrayLike,
    prior: ArrayLike,
    *,
    tau: ArrayLike = 2.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Three experts for three test priors, the sum of their losses (per example; larger is worse).

    .. math:: \ell = \mathrm{CE}(v_1) + \mathrm{CE}(v_2 + \log \pi) + \mathrm{CE}(v_3 + \log \pi - \tau \log \bar\pi)

    The first expert learns the training prior, the second a uniform one, the third (for tau > 1) one that favours the
    rare classes; :math:`\bar\pi` is ``reverse_prior``. ``weaksup.expert_agreement`` weighs them at test time.

    Args:
      expert_logits: float [3, ..., K], v.
      labels: int [...], in [0, K); outside gives NaN for that example.
      prior: float [K], pi, shares of the training examples; 1e-9 is added before the logarithm.
      tau: >= 0; 0 makes the third loss the second one.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0.
    Raises:
      ValueError: shapes do not agree, there are not three experts, or a static tau < 0.
      TypeError: expert_logits or prior are not floating point, labels not integers, or where is not boolean.

    >>> print(sade(jnp.zeros((3, 1, 2)), jnp.array([0]), jnp.array([0.5, 0.5])).round(4))
    [2.0794]

    Reference: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition"
    (2022). Checked against the authors' code.
    """
    logits, labels = _experts(expert_logits, labels, 3)
    prior = checks.floating(prior, "prior")
    if prior.shape != logits.shape[-1:]:
        raise ValueError(f"prior must have shape [{logits.shape[-1]}], got {list(prior.shape)}")
    checks.at_least(tau, "tau", 0.0)
    wide = prior.astype(accumulation_dtype(prior))
    log_prior, log_reverse = jnp.log(wide + _EPS), jnp.log(reverse_prior(wide) + _EPS)
    adjustments = jnp.stack([jnp.zeros_like(log_prior), log_prior, log_prior - tau * log_reverse])
    return _over_experts(logits, labels, adjustments, where)


def mdcs_diversity(
    expert_logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    powers: Sequence[float] = (-0.5, 1.0, 2.5),
    where: ArrayLike | None = None,
) -> Array:
    r"""Experts whose softmax weighs classes by powers of their size, the sum of their losses (per example).

    .. math:: \ell = \sum_e \mathrm{CE}\big(v_e + \log n^{\lambda_e}\big)

    A negative power makes an expert for the frequent classes, 1 one for balanced classes (the balanced softmax), more
    than 1 one for the rare. Predict with the mean of the plain logits v.

    Args:
      expert_logits: float [E, ..., K], v.
      labels: int [...], in [0, K); outside gives NaN for that example.
      counts: int or float [K], n >= 0, training examples per class; 1e-9 is added to the power before the logarithm,
        and a class without examples counts as power 0 to the number 0 for every power.
      powers: E static numbers, lambda.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0.
    Raises:
      ValueError: shapes do not agree, or there are not as many experts as powers.
      TypeError: expert_logits are not floating point, labels not integers, or where is not boolean.

    >>> print(mdcs_diversity(jnp.zeros((3, 1, 2)), jnp.array([0]), jnp.array([5, 5])).round(4))
    [2.0794]

    Reference: Zhao et al., "MDCS: More Diverse Experts with Consistency Self-distillation for Long-tailed Recognition"
    (2023). Checked against the authors' code, in which a negative power of 0 is infinite.
    """
    if not len(powers):
        raise ValueError("powers must hold a number for every expert, got none")
    logits, labels = _experts(expert_logits, labels, len(powers))
    sizes = _numbers(counts, "counts")
    if sizes.shape != logits.shape[-1:]:
        raise ValueError(f"counts must have shape [{logits.shape[-1]}], got {list(sizes.shape)}")
    some = sizes > 0
    exponents = jnp.asarray(powers, sizes.dtype)[:, None]
    raised = jnp.where(some, jnp.where(some, sizes, 1.0) ** exponents, 0.0)
    return _over_experts(logits, labels, jnp.log(raised + _EPS), where)


def confident_consistency(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""Divergence from what a network says of another view, where it is right about that view (per example).

    .. math:: \ell = KL\big(\mathrm{softmax}(t / \tau) \,\big\|\, \mathrm{softmax}(z / \tau)\big)
                     \quad \text{where } \arg\max_k t_k = y

    The student sees the view that is harder, the teacher the easier one, both with adjusted logits. Take the mean by
    ``numerics.masked_mean(loss, kept)``: over the examples that count, 0 where there is none.

    Args:
      student_logits: float [..., K], z.
      teacher_logits: float [..., K], t; they pass no gradient.
      labels: int [...], in [0, K); outside gives NaN for that example, which then counts as kept.
      temperature: tau > 0, divides both.
      where: bool [...], True where an example may count.
    Returns:
      (loss, kept): float32 or wider [...], 0 and without gradient where not kept; bool [...].
    Raises:
      ValueError: shapes do not agree, or a static temperature <= 0.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> teacher = jnp.log(jnp.array([[0.75, 0.25], [0.25, 0.75]]))
    >>> loss, kept = confident_consistency(jnp.zeros((2, 2)), teacher, jnp.array([0, 0]))
    >>> print(loss.round(4), kept)
    [0.1308 0.    ] [ True False]

    Reference: Zhao et al., "MDCS: More Diverse Experts with Consistency Self-distillation for Long-tailed Recognition"
    (2023). Checked against the authors' code.
    """
    rows = labelled(student_logits, labels, where, names=("student_logits", "labels"), fewest=1)
    teacher = checks.floating(teacher_logits, "teacher_logits")
    checks.same_shape(rows.logits, "student_logits", teacher, "teacher_logits")
    kept = ((jnp.argmax(teacher, axis=-1) == rows.labels) | ~rows.known) & rows.counts
    student, teacher = (jnp.where(kept[..., None], z, jnp.zeros_like(z)) for z in (rows.logits, teacher))
    loss = kl_divergence(student, jax.lax.stop_gradient(teacher), temperature=temperature)
    return rows._replace(counts=kept).losses(loss), kept


def _numbers(values: ArrayLike, name: str) -> Array:
    """Shares or counts [..., K] in the dtype of sums."""
    array = jnp.asarray(values)
    if array.dtype == jnp.bool_ or not jnp.issubdtype(array.dtype, jnp.number):
        raise TypeError(f"{name} must hold numbers, got {array.dtype}")
    if array.ndim < 1 or array.shape[-1] < 1:
        raise ValueError(f"{name} must have shape [..., K] with K >= 1, got {list(array.shape)}")
    return array.astype(accumulation_dtype(array))


def _experts(expert_logits: ArrayLike, labels: ArrayLike, number: int) -> tuple[Array, Array]:
    logits, labels = checks.floating(expert_logits, "expert_logits"), checks.integer(labels, "labels")
    if logits.ndim != labels.ndim + 2 or logits.shape[0] != number or logits.shape[1:-1] != labels.shape:
        wanted = f"[{number}, ..., K] around labels {list(labels.shape)}"
        raise ValueError(f"expert_logits must have shape {wanted}, got {list(logits.shape)}")
    return logits, labels


def _over_experts(logits: Array, labels: Array, adjustments: Array, where: ArrayLike | None) -> Array:
    """The sum over experts of their adjusted cross entropies; adjustments [E, K]."""
    each = jax.vmap(lambda z, a: logit_adjusted_cross_entropy(z, labels, a, where=where))(logits, adjustments)
    return jnp.sum(each, axis=0)
