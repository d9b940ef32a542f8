"""Penalties on dependence: of a prediction on other variables, and of the changes of a weight on each other."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics import distance_covariance
from jaxlab.metrics.dependence import centered_sum
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["concatenated_distance_covariance", "cross_orthogonality", "joint_distance_covariance", "pego"]


def joint_distance_covariance(xs: Sequence[ArrayLike], *, c: ArrayLike = 1.0, where: ArrayLike | None = None) -> Array:
    r"""Squared joint distance covariance: 0 where all variables are mutually independent (couples the batch).

    .. math:: \mathrm{JdCov}^2 = \frac{1}{n^2} \sum_{kl} \prod_i \big(c - \tilde D^i_{kl}\big) - c^d

    with the centred distances of ``metrics.distance_covariance``. For two variables it is their distance covariance,
    whatever c. Of more it is that of all pairs, triples, ..., of which c weighs the smaller sets: a prediction among
    protected attributes is also charged for what the attributes have in common, which no prediction can change;
    subtract ``c`` times the value of the attributes alone to be rid of it.

    Args:
      xs: d >= 2 arrays float [N, P_i], a row per example.
      c: > 0.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if an input is) scalar, not below 0 for two variables; 0 for no example. The gradient is finite
      where rows coincide.
    Raises:
      ValueError: fewer than two arrays, shapes do not agree, or a static c <= 0.
      TypeError: an array is not floating point, or where is not boolean.

    >>> sign = jnp.array([[-1.0], [-1.0], [1.0], [1.0]])
    >>> other = jnp.array([[-1.0], [1.0], [-1.0], [1.0]])
    >>> print(joint_distance_covariance([sign, other]), joint_distance_covariance([sign, other, sign * other]))
    0.0 1.0

    Reference: Chakraborty and Zhang, "Distance Metrics for Measuring Joint Dependence with Application to Causal
    Inference" (2019), checked against the authors' code; a penalty in Lee et al., "Machine Learning
    with Multitype Protected Attributes: Intersectional Fairness through Regularisation" (2025).
    """
    if len(xs) < 2:
        raise ValueError(f"xs must hold at least two arrays, got {len(xs)}")
    checks.positive(c, "c")
    names = [f"xs[{place}]" for place in range(len(xs))]
    arrays = [checks.floating(x, name) for x, name in zip(xs, names, strict=True)]
    dtype = accumulation_dtype(*arrays)
    unit = jnp.asarray(c, dtype)
    return unit ** len(arrays) * centered_sum(_joint, [x.astype(dtype) / unit for x in arrays], names, where=where)


def _joint(*centered: Array) -> Array:
    """The product of 1 - D over all D, less 1 and less the sum of the D, which add up to 0 but for rounding."""
    linear = rest = jnp.zeros((), centered[0].dtype)
    for matrix in centered:
        linear, rest = linear - matrix, rest * (1.0 - matrix) - linear * matrix
    return rest


def concatenated_distance_covariance(
    predictions: ArrayLike, attributes: Sequence[ArrayLike], *, where: ArrayLike | None = None
) -> Array:
    r"""Squared distance covariance of predictions and all attributes at once (couples the batch).

    .. math:: \mathrm{CCdCov}^2 = \mathrm{dCov}^2\big(\hat Y, [S_1 \,|\, \dots \,|\, S_q]\big)

    It is 0 where the prediction is independent of the joint attributes: equal treatment by each attribute alone can
    hide unequal treatment of their intersections, to which a sum over the attributes is blind.

    Args:
      predictions: float [N, K]; for classification probabilities.
      attributes: q >= 1 arrays float [N, P_i]; one-hot for categories, standardised for numbers, because the larger
        scale counts for more.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if an input is) scalar >= 0; 0 for no example. The gradient is finite where rows coincide.
    Raises:
      ValueError: no attribute, or shapes do not agree.
      TypeError: an array is not floating point, or where is not boolean.

    >>> sign = jnp.array([[-1.0], [-1.0], [1.0], [1.0]])
    >>> other = jnp.array([[-1.0], [1.0], [-1.0], [1.0]])
    >>> print(concatenated_distance_covariance(sign * other, [sign, other]) > 0.1)
    True

    Reference: Lee et al., "Machine Learning with Multitype Protected Attributes: Intersectional Fairness through
    Regularisation" (2025). Paper text.
    """
    if len(attributes) == 0:
        raise ValueError("attributes must hold at least one array, got none")
    arrays = []
    for place, value in enumerate(attributes):
        array = checks.rank(checks.floating(value, f"attributes[{place}]"), f"attributes[{place}]", 2, layout="[N, P]")
        checks.batch_match(jnp.asarray(predictions), "predictions", array, f"attributes[{place}]")
        arrays.append(array)
    joined = jnp.concatenate(arrays, axis=1)
    checks.rank(checks.floating(predictions, "predictions"), "predictions", 2, layout="[N, K]")
    return distance_covariance(predictions, joined, where=where)


def cross_orthogonality(u: ArrayLike, v: ArrayLike, *, norm: str = "l1") -> Array:
    r"""How far the rows of one matrix are from being orthogonal to those of another (0 where they are).

    .. math:: \sum_{ij} |u_i^\top v_j| \quad\text{("l1")} \qquad\text{or}\qquad
              \sum_{ij} (u_i^\top v_j)^2 \quad\text{("squared")}

    Args:
      u: float [..., R, D].
      v: float [..., S, D].
      norm: "l1" or "squared"; the gradient of "l1" by an inner product of exactly 0 is 0.
    Returns:
      float32 or wider [...], >= 0. It is a sum over R S entries, and grows with them.
    Raises:
      ValueError: shapes do not agree, or an unknown norm.
      TypeError: u or v is not floating point.

    >>> print(cross_orthogonality(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0], [-3.0, 1.0]])))
    3.0

    Reference: Hu et al., "Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization
    for Domain Generalization" (2024). "l1" checked against the authors' code; "squared" is standard.
    """
    u, v = checks.floating(u, "u"), checks.floating(v, "v")
    checks.one_of(norm, "norm", ("l1", "squared"))
    if u.ndim < 2 or v.ndim != u.ndim or u.shape[:-2] != v.shape[:-2] or u.shape[-1] != v.shape[-1]:
        raise ValueError(f"u and v must have shapes [..., R, D] and [..., S, D], got {list(u.shape)}, {list(v.shape)}")
    dtype = accumulation_dtype(u, v)
    inner = jnp.matmul(u.astype(dtype), v.astype(dtype).swapaxes(-1, -2), precision="highest")
    return jnp.sum(_size(inner, norm), axis=(-2, -1))


def _size(inner: Array, norm: str) -> Array:
    # The absolute value, but with gradient 0 at 0, where low-rank adapters begin.
    return inner * jax.lax.stop_gradient(jnp.sign(inner)) if norm == "l1" else inner**2


def pego(
    a: ArrayLike,
    b: ArrayLike,
    weight: ArrayLike,
    *,
    preserve: ArrayLike = 1.0,
    diversify: ArrayLike = 1.0,
    norm: str = "l1",
    where: ArrayLike | None = None,
) -> Array:
    r"""Penalty that keeps low-rank changes of a kernel away from the kernel and from each other (couples the changes).

    .. math:: \lambda_p \sum_n \big\| W^\top \Delta_n \big\|_1
              + \lambda_d \sum_{n < m} \big\| \Delta_n^\top \Delta_m \big\|_1, \qquad \Delta_n = a_n b_n

    with sums of absolute values. The columns of a kernel are directions of the input that it looks at: what a change
    adds should look elsewhere. The kernel changes are never built.

    Args:
      a: float [N, I, R], into the rank.
      b: float [N, R, O], out of it.
      weight: float [I, O], the frozen kernel; it passes no gradient.
      preserve: weight of the first term, >= 0.
      diversify: weight of the second term, >= 0.
      norm: "l1" (published) or "squared", of entries.
      where: bool [N], True where a change counts.
    Returns:
      float32 or wider scalar >= 0; 0 where every b is 0. It is a sum over O^2 entries: published with a weight of
      1e-3 at O = 768.
    Raises:
      ValueError: shapes do not agree, a static weight < 0, or an unknown norm.
      TypeError: an array is not floating point, or where is not boolean.

    >>> a, b = jnp.array([[[0.0], [1.0]], [[0.0], [1.0]]]), jnp.array([[[1.0]], [[2.0]]])
    >>> print(pego(a, b, jnp.array([[1.0], [0.0]])))
    2.0

    Reference: Hu et al., "Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization
    for Domain Generalization" (2024). Checked against the authors' code, which weighs both terms the same.
    """
    a = checks.rank(checks.floating(a, "a"), "a", 3, layout="[N, I, R]")
    b = checks.rank(checks.floating(b, "b"), "b", 3, layout="[N, R, O]")
    weight = checks.rank(checks.floating(weight, "weight"), "weight", 2, layout="[I, O]")
    if b.shape[:2] != (a.shape[0], a.shape[2]) or weight.shape != (a.shape[1], b.shape[2]):
        raise ValueError(
            f"a, b, weight must have shapes [N, I, R], [N, R, O], [I, O], got {a.shape}, {b.shape}, {weight.shape}"
        )
    checks.one_of(norm, "norm", ("l1", "squared"))
    for name, value in (("preserve", preserve), ("diversify", diversify)):
        checks.at_least(value, name, 0.0)
    mask = checks.mask(where, "where", a.shape[:1])
    dtype = accumulation_dtype(a, b, weight)
    a, b, frozen = a.astype(dtype), b.astype(dtype), jax.lax.stop_gradient(weight.astype(dtype))
    if mask is not None:
        a, b = (jnp.where(mask[:, None, None], value, 0.0) for value in (a, b))
    first, second = jnp.triu_indices(a.shape[0], 1)
    keep = _chain(frozen.T, a, b)
    apart = _chain(
        b[first].swapaxes(1, 2), jnp.matmul(a[first].swapaxes(1, 2), a[second], precision="highest"), b[second]
    )
    sums = (jnp.sum(_size(product, norm)) for product in (keep, apart))
    return jnp.asarray(preserve, dtype) * next(sums) + jnp.asarray(diversify, dtype) * next(sums)


def _chain(left: Array, middle: Array, right: Array) -> Array:
    return jnp.matmul(jnp.matmul(left, middle, precision="highest"), right, precision="highest")
