"""Losses on labels that say which class an example is NOT of (complementary labels)."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import Labelled, labelled, of_label
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "complementary_discriminative",
    "complementary_exponential",
    "complementary_forward",
    "complementary_multiple",
    "complementary_order_preserving",
    "complementary_pairwise",
    "negative_learning",
]


def _labelled(logits: ArrayLike, comp_labels: ArrayLike, where: ArrayLike | None) -> Labelled:
    return labelled(logits, comp_labels, where, names=("logits", "comp_labels"))


def negative_learning(logits: ArrayLike, mask: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Classes known to be wrong must get no probability (per example; larger is worse).

    .. math:: \ell = -\sum_{k \in \bar Y} \log (1 - p_k), \quad p = \mathrm{softmax}(z)

    1 - p of the most likely class is summed from the others, so that the loss and its gradient stay right where p
    rounds to 1. With one complementary label it is SCL-NL. Divide the logits for a temperature.

    Args:
      logits: float [..., K], K >= 2.
      mask: bool [..., K], True at the classes that are wrong; or int [...], the one class that is, in [0, K), anything
        else giving NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0; 0 where no class is known to be wrong.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, mask neither boolean nor integers, or where not boolean.

    >>> print(negative_learning(jnp.zeros(4), jnp.array(2)).round(4))  # log 4/3
    0.2877

    Reference: SCL-NL of Chou et al., "Unbiased Risk Estimators Can Mislead: A Case Study of Learning with Complementary
    Labels" (2020), as benchmarked by Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning"
    (2025). Checked against the benchmark's code, which adds 1e-6 inside the logarithm: its loss ends at 13.8.
    """
    wrong = jnp.asarray(mask)
    single = jnp.issubdtype(wrong.dtype, jnp.integer)
    if single:
        rows = labelled(logits, wrong, where, names=("logits", "mask"))
    else:
        rows, wrong = _with_mask(logits, wrong, "mask", where)
    log_probs = jax.nn.log_softmax(rows.logits, axis=-1)
    top = jnp.arange(log_probs.shape[-1]) == jnp.argmax(log_probs, axis=-1, keepdims=True)
    of_rest = jax.nn.logsumexp(log_probs, axis=-1, where=~top, keepdims=True)
    remaining = jnp.where(top, of_rest, jnp.log1p(-jnp.where(top, 0.0, jnp.exp(log_probs))))
    if single:
        return rows.losses(-of_label(remaining, rows.labels))
    return rows.losses(-jnp.sum(jnp.where(wrong, remaining, 0.0), axis=-1))


def _with_mask(logits: ArrayLike, mask: Array, name: str, where: ArrayLike | None) -> tuple[Labelled, Array]:
    """Examples of which a mask [..., K] tells the classes: they have no label, and all are known."""
    logits = checks.floating(logits, "logits")
    if logits.ndim < 1 or logits.shape[-1] < 2:
        raise ValueError(f"logits must have shape [..., K] with K >= 2, got {list(logits.shape)}")
    wrong = checks.mask(mask, name, logits.shape)
    kept = checks.mask(where, "where", logits.shape[:-1])
    assert wrong is not None
    counts = jnp.ones(logits.shape[:-1], bool) if kept is None else kept
    clean = jnp.where(counts[..., None], logits.astype(accumulation_dtype(logits)), 0.0)
    return Labelled(clean, jnp.zeros(counts.shape, jnp.int32), jnp.ones(counts.shape, bool), counts), wrong


def complementary_exponential(logits: ArrayLike, comp_labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""SCL-EXP: the exponential of the probability of the class that it is not (per example; larger is worse).

    .. math:: \ell = e^{p_{\bar y}}, \quad p = \mathrm{softmax}(z)

    Args:
      logits: float [..., K], K >= 2.
      comp_labels: int [...], the class that each example is not of, in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], in [1, e].
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, comp_labels not integers, or where not boolean.

    >>> print(f"{complementary_exponential(jnp.zeros(4), jnp.array(2)):.4f}")
    1.2840

    Reference: Chou et al., "Unbiased Risk Estimators Can Mislead: A Case Study of Learning with Complementary Labels"
    (2020). Checked against the code of the CLImage benchmark (2025).
    """
    rows = _labelled(logits, comp_labels, where)
    return rows.losses(jnp.exp(of_label(jax.nn.softmax(rows.logits, axis=-1), rows.labels)))


def complementary_forward(
    logits: ArrayLike,
    comp_labels: ArrayLike,
    transition: ArrayLike,
    *,
    eps: float = 1e-6,
    where: ArrayLike | None = None,
) -> Array:
    r"""Cross entropy of the complementary label under the predicted classes sent through their transition matrix.

    .. math:: \ell = -\log\Big( \sum_y p_y\, Q_{y \bar y} + \epsilon \Big), \quad p = \mathrm{softmax}(z)

    A value per example; larger is worse. Under a uniform transition it is ``negative_learning`` plus log(K - 1). A
    trainable matrix, as in CPE-T, is a softmax of parameters over its rows; the gradient reaches it.

    Args:
      logits: float [..., K], K >= 2.
      comp_labels: int [...], in [0, K); outside gives NaN for that example.
      transition: float [K, K], Q[y, k] = P(complementary label k | class y), >= 0.
      eps: > 0, keeps a label that the matrix calls impossible at a loss of -log eps, static.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: shapes do not agree, K < 2, or eps <= 0.
      TypeError: logits or transition are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_forward(jnp.zeros(2), jnp.array(0), 1.0 - jnp.eye(2)).round(4))
    0.6931

    Reference: Yu et al., "Learning with Biased Complementary Labels" (2018), the FWD, SCL-FWD and CPE-F rows of Wang et
    al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025). Checked against the latter's code.
    """
    rows = _labelled(logits, comp_labels, where)
    table = _square(transition, "transition", rows.logits.shape[-1])
    checks.positive(eps, "eps")
    weights = table.T.astype(rows.logits.dtype)[rows.labels]  # of every class, for the label that came
    possible = weights > 0
    some = jnp.any(possible, axis=-1, keepdims=True)
    terms = jax.nn.log_softmax(rows.logits, axis=-1) + jnp.log(jnp.where(possible, weights, 1.0))
    total = jax.nn.logsumexp(terms, axis=-1, where=possible | ~some)
    floor = jnp.log(jnp.asarray(eps, rows.logits.dtype))
    return rows.losses(-jnp.where(some[..., 0], jnp.logaddexp(total, floor), floor))


def _square(matrix: ArrayLike, name: str, num_classes: int) -> Array:
    table = checks.floating(matrix, name)
    if table.shape != (num_classes, num_classes):
        raise ValueError(f"{name} must have shape {[num_classes, num_classes]}, got {list(table.shape)}")
    return table


def complementary_discriminative(logits: ArrayLike, comp_labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""DM: the softmax of 1 - p must choose the complementary label (per example; larger is worse).

    .. math:: \ell = -\Big(1 + \frac{1 - p_{\bar y}}{K - 1}\Big) \log s_{\bar y}, \quad s = \mathrm{softmax}(1 - p)

    Args:
      logits: float [..., K], K >= 2.
      comp_labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], > 0.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_discriminative(jnp.zeros(2), jnp.array(0)).round(4))  # 1.5 log 2
    1.0397

    Reference: Gao and Zhang, "Discriminative Complementary-Label Learning with Weighted Loss" (2021). Checked against
    the code of the CLImage benchmark (2025), which adds 1e-6 to s.
    """
    rows = _labelled(logits, comp_labels, where)
    probs = jax.nn.softmax(rows.logits, axis=-1)
    weight = 1.0 + (1.0 - of_label(probs, rows.labels)) / (rows.logits.shape[-1] - 1)
    return rows.losses(-weight * of_label(jax.nn.log_softmax(-probs, axis=-1), rows.labels))


def complementary_order_preserving(
    logits: ArrayLike, comp_labels: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""OP: the class must come last in the order of the logits, with a weight that grows with its rank (per example).

    .. math:: \ell = -\big(p_{\bar y} v_{\bar y} + 10^{-6}\big) \log q_{\bar y}, \quad q = \mathrm{softmax}(-z),
              \quad v = \mathrm{softmax}(1 / q)

    Larger is worse. 1 / q grows as e to the logits, so that v soon chooses the most likely class alone: training from
    large logits is stiff.

    Args:
      logits: float [..., K], K >= 2.
      comp_labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], >= 0.
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_order_preserving(jnp.zeros(2), jnp.array(0)).round(4))  # log(2) / 4
    0.1733

    Reference: Liu et al., "Consistent Complementary-Label Learning via Order-Preserving Losses" (2023). Checked against
    the code of the CLImage benchmark (2025), which adds 1e-18 to q where here 1 / q ends at 1e18.
    """
    rows = _labelled(logits, comp_labels, where)
    log_q = jax.nn.log_softmax(-rows.logits, axis=-1)
    chosen = jax.nn.softmax(jnp.exp(jnp.minimum(-log_q, 18.0 * jnp.log(10.0))), axis=-1)
    weight = of_label(jax.nn.softmax(rows.logits, axis=-1) * chosen, rows.labels) + 1e-6
    return rows.losses(-weight * of_label(log_q, rows.labels))


def complementary_pairwise(logits: ArrayLike, comp_labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""PC: every other class must score above the complementary one (per example; larger is worse).

    .. math:: \ell = \sum_{k \ne \bar y} \sigma\big(z_{\bar y} - z_k\big)

    Args:
      logits: float [..., K], K >= 2.
      comp_labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], in [0, K - 1].
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: logits are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_pairwise(jnp.array([0.0, 0.0, 9.0]), jnp.array(0)).round(4))
    0.5001

    Reference: Ishida et al., "Learning from Complementary Labels" (2017). Checked against the code of the CLImage
    benchmark (2025), which sums over all classes and takes 1/2 away.
    """
    rows = _labelled(logits, comp_labels, where)
    own = rows.labels[..., None]
    above = jax.nn.sigmoid(jnp.take_along_axis(rows.logits, own, axis=-1) - rows.logits)
    losses = jnp.sum(jnp.where(jnp.arange(rows.logits.shape[-1]) == own, 0.0, above), axis=-1)
    return rows.losses(losses)


def complementary_multiple(
    logits: ArrayLike, comp_mask: ArrayLike, *, kind: str = "log", where: ArrayLike | None = None
) -> Array:
    r"""MCL: the classes that are left must hold the probability, for any number of complementary labels (per example).

    .. math:: \ell = \frac{2K - 2}{|\bar Y|} \phi(u), \quad u = \sum_{k \notin \bar Y} p_k, \quad
              \phi(u) = -\log u, \; e^{-u} \text{ or } 1 - u

    Larger is worse.

    Args:
      logits: float [..., K], K >= 2.
      comp_mask: bool [..., K], True at the classes that the example is not of.
      kind: "log", "exp" or "mae", static.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...]; 0 where no class is excluded, NaN where all are.
    Raises:
      ValueError: shapes do not agree, K < 2, or an unknown kind.
      TypeError: logits are not floating point, or a mask is not boolean.

    >>> print(complementary_multiple(jnp.zeros(2), jnp.array([True, False])).round(4))  # 2 log 2
    1.3863

    Reference: Feng et al., "Learning with Multiple Complementary Labels" (2020). Checked against the code of the
    CLImage benchmark (2025), which sums over the batch.
    """
    checks.one_of(kind, "kind", ("log", "exp", "mae"))
    rows, wrong = _with_mask(logits, jnp.asarray(comp_mask), "comp_mask", where)
    num_classes = wrong.shape[-1]
    number = jnp.sum(wrong, axis=-1)
    left = ~wrong | jnp.all(wrong, axis=-1, keepdims=True)
    log_left = jax.nn.logsumexp(jax.nn.log_softmax(rows.logits, axis=-1), axis=-1, where=left)
    if kind == "log":
        cost = -log_left
    else:
        cost = jnp.exp(-jnp.exp(log_left)) if kind == "exp" else -jnp.expm1(log_left)
    losses = jnp.where(number > 0, (2 * num_classes - 2) / jnp.maximum(number, 1) * cost, 0.0)
    return rows._replace(known=number < num_classes).losses(losses)
