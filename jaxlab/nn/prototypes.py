"""Classifiers that reason over prototypes: how strongly each is seen, and what that says for and against a class."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["cbc_probabilities", "component_reasoning", "median_bandwidth", "rbf_detections"]


def _distances(x: Array, prototypes: Array) -> Array:
    """Euclidean distances [..., K], by differences: what certifies a radius needs those that are small to be right."""
    if x.ndim < 1 or x.shape[-1] != prototypes.shape[1]:
        raise ValueError(f"x must have shape [..., {prototypes.shape[1]}] as prototypes do, got {list(x.shape)}")
    dtype = accumulation_dtype(x, prototypes)
    squares = jnp.sum((x[..., None, :].astype(dtype) - prototypes.astype(dtype)) ** 2, axis=-1)
    return safe_sqrt(squares)  # gradient 0 at distance 0


def rbf_detections(x: ArrayLike, prototypes: ArrayLike, *, bandwidth: ArrayLike, power: int = 1) -> Array:
    r"""Probabilities that prototypes are detected in inputs.

    .. math:: d_k = \exp\big(-(\|x - w_k\| / h_k)^p\big)

    The Laplace form (power 1) is the one that ``metrics.cbc_certified_radius`` certifies. With a bandwidth far below
    the distances every detection is 0 and no class differs from another: start at ``median_bandwidth``.

    Args:
      x: float [..., D].
      prototypes: float [K, D].
      bandwidth: h > 0, a length: a float or an array that broadcasts to [..., K]. The paper's sigma is h to the power.
      power: 1 or 2, static.
    Returns:
      float32 (wider if an input is) [..., K] in [0, 1]. The gradient is 0 where an input equals a prototype.
    Raises:
      ValueError: widths differ, power is neither 1 nor 2, or a static bandwidth <= 0.
      TypeError: x or prototypes are not floating point.

    >>> seen = rbf_detections(jnp.array([3.0, 4.0]), jnp.array([[3.0, 4.0], [0.0, 0.0]]), bandwidth=5.0)
    >>> print([f"{value:.3f}" for value in seen])
    ['1.000', '0.368']

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025), shallow detections; recalled.
    """
    x = checks.floating(x, "x")
    prototypes = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[K, D]")
    checks.one_of(power, "power", (1, 2))
    checks.positive(bandwidth, "bandwidth")
    relative = _distances(x, prototypes)
    relative = relative / jnp.asarray(bandwidth, relative.dtype)
    return jnp.exp(-(relative**power))


def median_bandwidth(x: ArrayLike, prototypes: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""The median distance between inputs and prototypes, a bandwidth at which detections differ.

    .. math:: h = \operatorname{median}_{n, k} \|x_n - w_k\|

    Args:
      x: float [N, D].
      prototypes: float [K, D], K >= 1.
      where: bool [N], True where a row counts.
    Returns:
      float32 (wider if an input is) scalar, the lower of two middle distances; 1 where it would be 0 or nothing counts.
    Raises:
      ValueError: shapes do not agree, or there is no prototype.
      TypeError: x or prototypes are not floating point.

    >>> print(median_bandwidth(jnp.array([[0.0], [3.0]]), jnp.array([[1.0], [8.0]])))
    2.0

    Reference: standard; the median heuristic of kernel methods.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    prototypes = checks.rank(checks.floating(prototypes, "prototypes"), "prototypes", 2, layout="[K, D]")
    if prototypes.shape[0] == 0:
        raise ValueError(f"prototypes must have shape [K, D] with K >= 1, got {list(prototypes.shape)}")
    mask = checks.mask(where, "where", x.shape[:1])
    counts = jnp.ones(x.shape[0], bool) if mask is None else mask
    distances = _distances(jnp.where(counts[:, None], x, 0.0), prototypes)
    ordered = jnp.sort(jnp.where(counts[:, None], distances, jnp.inf), axis=None)
    size = jnp.sum(counts) * prototypes.shape[0]
    middle = jnp.concatenate([ordered, jnp.zeros(1, ordered.dtype)])[jnp.maximum(size - 1, 0) // 2]
    return jnp.where((size > 0) & (middle > 0), middle, 1.0)


def component_reasoning(logits: ArrayLike, *, negative: bool = True) -> tuple[Array, Array]:
    r"""How much of a class's reasoning is that a prototype is there, and how much that it is not.

    .. math:: (r^+_{\cdot c},\, r^-_{\cdot c}) = \operatorname{softmax}(\theta_{\cdot c}), \qquad
              \sum_k r^+_{kc} + r^-_{kc} = 1

    Without negative reasoning (r^- = 0) the class probabilities are those of a radial basis function network with
    convex weights. The authors start theta at independent normal numbers of mean 0.6 and deviation 0.2.

    Args:
      logits: theta, float [2 K, C], the K rows of positive reasoning first; [K, C] where negative is False.
      negative: static; False has no negative reasoning.
    Returns:
      (positive [K, C], negative [K, C]), float32 or wider.
    Raises:
      ValueError: logits are not [2 K, C], or not [K, C] where negative is False; or K is 0.
      TypeError: logits are not floating point.

    >>> positive, negative = component_reasoning(jnp.zeros((4, 1)))  # one class, two prototypes
    >>> print(positive.T, negative.T)
    [[0.25 0.25]] [[0.25 0.25]]

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025). Checked against the authors' code.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[2 K, C] or [K, C]")
    if logits.shape[0] == 0 or (negative and logits.shape[0] % 2):
        rows = "an even number of rows, one per prototype for and one against" if negative else "at least one row"
        raise ValueError(f"logits must have {rows}, got {list(logits.shape)}")
    reasoning = jax.nn.softmax(logits.astype(accumulation_dtype(logits)), axis=0)
    if not negative:
        return reasoning, jnp.zeros_like(reasoning)
    positive, against = jnp.split(reasoning, 2)
    return positive, against


def cbc_probabilities(
    detections: ArrayLike, positive: ArrayLike, negative: ArrayLike, *, threshold: ArrayLike = 0.0
) -> Array:
    r"""Class probabilities of classification by components.

    .. math:: p_c = \sum_k r^+_{kc}\, d_k + r^-_{kc}\, (1 - d_k)

    They lie in [0, 1] each and do not sum to 1.

    Args:
      detections: float [..., K] in [0, 1], such as ``rbf_detections``.
      positive: float [K, C], from ``component_reasoning``.
      negative: float [K, C].
      threshold: detections below it count as 0. The authors' code uses 0.1 when it predicts; a certified radius is for
        0.
    Returns:
      float32 (wider if an input is) [..., C].
    Raises:
      ValueError: shapes do not agree.
      TypeError: an input is not floating point.

    >>> reasoning = jnp.array([[0.5], [0.25]]), jnp.array([[0.0], [0.25]])
    >>> print(cbc_probabilities(jnp.array([0.5, 0.25]), *reasoning))
    [0.5]

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025). Checked against the authors' code.
    """
    seen = checks.floating(detections, "detections")
    positive = checks.rank(checks.floating(positive, "positive"), "positive", 2, layout="[K, C]")
    negative = checks.floating(negative, "negative")
    checks.same_shape(positive, "positive", negative, "negative")
    if seen.ndim < 1 or seen.shape[-1] != positive.shape[0]:
        raise ValueError(f"detections must have shape [..., {positive.shape[0]}], got {list(seen.shape)}")
    dtype = accumulation_dtype(seen, positive, negative)
    seen, positive, negative = seen.astype(dtype), positive.astype(dtype), negative.astype(dtype)
    seen = jnp.where(seen < jnp.asarray(threshold, dtype), 0.0, seen)
    with jax.default_matmul_precision("highest"):
        return seen @ (positive - negative) + jnp.sum(negative, axis=0)
