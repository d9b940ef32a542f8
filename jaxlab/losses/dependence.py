"""Penalties on the dependence of a prediction on other variables, for the whole batch."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics import distance_covariance
from jaxlab.metrics.dependence import centered_sum
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["concatenated_distance_covariance", "joint_distance_covariance"]


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
