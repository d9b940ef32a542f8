"""Losses where only the mean response of every bag of examples is known."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["bag_loss", "instance_loss", "interpolated_bag_loss", "private_bag_means"]

# loss_fn(predictions, targets) -> losses of the same shape
LossFn = Callable[[Array, Array], Array]


def _bags(predictions: ArrayLike, bag_targets: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array, Array, Array]:
    """Clean predictions [M, K], targets [M] (0 for an empty bag), who is there, and which bags hold anybody."""
    f = checks.rank(checks.floating(predictions, "predictions"), "predictions", 2, layout="[M, K]")
    targets = checks.floating(bag_targets, "bag_targets")
    if f.shape[1] < 1 or targets.shape != f.shape[:1]:
        raise ValueError(
            f"bag_targets must have shape [M] for predictions [M, K], K >= 1, got {targets.shape, f.shape}"
        )
    mask = checks.mask(where, "where", f.shape)
    here = jnp.ones(f.shape, bool) if mask is None else mask
    some = jnp.any(here, axis=1)
    dtype = accumulation_dtype(f, targets)
    return jnp.where(here, f.astype(dtype), 0.0), jnp.where(some, targets.astype(dtype), 0.0), here, some


def bag_loss(
    predictions: ArrayLike,
    bag_targets: ArrayLike,
    *,
    loss_fn: LossFn = optax.losses.squared_error,
    where: ArrayLike | None = None,
) -> Array:
    r"""Loss of a bag's mean prediction at the bag's mean response (one value per bag; larger is worse).

    .. math:: \ell_a = \ell\Big(\frac1k \sum_i f(x_{ai}),\, \bar y_a\Big)

    Args:
      predictions: float [M, K], of the K members of M bags.
      bag_targets: float [M], mean responses.
      loss_fn: ``loss_fn(predictions, targets)``, entry by entry, static.
      where: bool [M, K], True where a member is there, for bags of several sizes.
    Returns:
      float32 or wider [M]; 0 and no gradient where a bag is empty.
    Raises:
      ValueError: shapes do not agree, or K = 0.
      TypeError: predictions or bag_targets are not floating point, or where is not boolean.

    >>> print(bag_loss(jnp.array([[1.0, 3.0]]), jnp.array([1.0])))  # (2 - 1)^2
    [1.]

    Reference: Javanmard et al., "Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions"
    (2024). Recalled, in agreement with the abstract.
    """
    f, targets, here, some = _bags(predictions, bag_targets, where)
    return jnp.where(some, loss_fn(masked_mean(f, here, axis=1), targets), 0.0)


def instance_loss(
    predictions: ArrayLike,
    bag_targets: ArrayLike,
    *,
    loss_fn: LossFn = optax.losses.squared_error,
    where: ArrayLike | None = None,
) -> Array:
    r"""Mean loss of a bag's predictions, each at the bag's mean response (one value per bag; larger is worse).

    .. math:: \ell_a = \frac1k \sum_i \ell\big(f(x_{ai}),\, \bar y_a\big)

    For the squared error it is ``bag_loss`` plus the variance of the predictions within the bag; for any convex loss
    it is no smaller.

    Args:
      predictions: float [M, K], of the K members of M bags.
      bag_targets: float [M], mean responses.
      loss_fn: ``loss_fn(predictions, targets)``, entry by entry, static.
      where: bool [M, K], True where a member is there, for bags of several sizes.
    Returns:
      float32 or wider [M]; 0 and no gradient where a bag is empty.
    Raises:
      ValueError: shapes do not agree, or K = 0.
      TypeError: predictions or bag_targets are not floating point, or where is not boolean.

    >>> print(instance_loss(jnp.array([[1.0, 3.0]]), jnp.array([1.0])))  # (0^2 + 2^2) / 2
    [2.]

    Reference: as ``bag_loss``.
    """
    f, targets, here, some = _bags(predictions, bag_targets, where)
    losses = loss_fn(f, jnp.broadcast_to(targets[:, None], f.shape))
    return jnp.where(some, masked_mean(losses, here, axis=1), 0.0)


def interpolated_bag_loss(
    predictions: ArrayLike,
    bag_targets: ArrayLike,
    *,
    rho: ArrayLike = 0.5,
    loss_fn: LossFn = optax.losses.squared_error,
    where: ArrayLike | None = None,
) -> Array:
    r"""Between the loss of bags and that of instances (one value per bag; larger is worse).

    .. math:: \ell_a = (1 - \rho)\, \ell^{bag}_a + \rho\, \ell^{ins}_a

    For the squared error rho weighs the variance of the predictions within bags, a regulariser. The useful weights lie
    far below 1/2.

    Args:
      predictions: float [M, K], of the K members of M bags.
      bag_targets: float [M], mean responses.
      rho: in [0, 1], a float or an array that broadcasts to [M].
      loss_fn: ``loss_fn(predictions, targets)``, entry by entry, static.
      where: bool [M, K], True where a member is there, for bags of several sizes.
    Returns:
      float32 or wider [M]; 0 and no gradient where a bag is empty.
    Raises:
      ValueError: shapes do not agree, K = 0, or a static rho outside [0, 1].
      TypeError: predictions or bag_targets are not floating point, or where is not boolean.

    >>> print(interpolated_bag_loss(jnp.array([[1.0, 3.0]]), jnp.array([1.0]), rho=0.25))
    [1.25]

    Reference: as ``bag_loss``.
    """
    checks.in_range(rho, "rho", 0, 1)
    of_bags = bag_loss(predictions, bag_targets, loss_fn=loss_fn, where=where)
    of_instances = instance_loss(predictions, bag_targets, loss_fn=loss_fn, where=where)
    share = jnp.asarray(rho, of_bags.dtype)
    return (1.0 - share) * of_bags + share * of_instances


def private_bag_means(
    key: Array, y: ArrayLike, *, clip: ArrayLike, epsilon: ArrayLike, where: ArrayLike | None = None
) -> Array:
    r"""Mean responses of bags with noise that hides every single response (differential privacy of the responses).

    .. math:: \bar y_a = \frac1k \sum_i \max\big(-\Lambda, \min(\Lambda, y_{ai})\big)
              + \mathrm{Laplace}\Big(\frac{2 \Lambda}{k\, \epsilon}\Big)

    One response can move the mean by 2 Lambda / k. Large bags need little noise and tell little.

    Args:
      key: PRNG key.
      y: float [M, K], the responses of the members of M bags.
      clip: Lambda > 0, a number; it must not be read off the responses.
      epsilon: > 0, a number; smaller is more private.
      where: bool [M, K], True where a member is there, for bags of several sizes.
    Returns:
      float32 or wider [M]; 0 where a bag is empty.
    Raises:
      ValueError: y is not [M, K] with K >= 1, or a static clip or epsilon <= 0.
      TypeError: y is not floating point, or where is not boolean.

    >>> means = private_bag_means(jax.random.key(0), jnp.array([[1.0, 9.0]]), clip=3.0, epsilon=1e6)
    >>> print(means.round(2))
    [2.]

    Reference: as ``bag_loss``; the mechanism recalled.
    """
    y = checks.rank(checks.floating(y, "y"), "y", 2, layout="[M, K]")
    if y.shape[1] < 1:
        raise ValueError(f"y must have shape [M, K] with K >= 1, got {list(y.shape)}")
    checks.positive(clip, "clip")
    checks.positive(epsilon, "epsilon")
    mask = checks.mask(where, "where", y.shape)
    here = jnp.ones(y.shape, bool) if mask is None else mask
    wide = jnp.where(here, y.astype(accumulation_dtype(y)), 0.0)
    members = jnp.sum(here, axis=1)
    means = masked_mean(jnp.clip(wide, -jnp.asarray(clip, wide.dtype), clip), here, axis=1)
    noise = jax.random.laplace(key, means.shape, means.dtype) * (2.0 * clip / (jnp.maximum(members, 1) * epsilon))
    return jnp.where(members > 0, means + noise, 0.0)
