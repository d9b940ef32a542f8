"""Small changes of the input that make a loss large."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["distilled_features", "projected_gradient_attack"]


def _per_example(value: ArrayLike, name: str, x: Array) -> Array:
    """A number, or one number per example shaped so that it broadcasts against x."""
    array = jnp.asarray(value, x.dtype)
    if array.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"{name} must be a number or have shape {[x.shape[0]]}, one per example, got {list(array.shape)}"
        )
    return array if array.ndim == 0 else array.reshape(array.shape + (1,) * (x.ndim - 1))


def _unit(grad: Array, norm: str) -> Array:
    """Every example's gradient divided by its L1 norm ("linf") or L2 norm ("l2"); 0 stays 0 and NaN stays NaN."""
    if norm == "linf":
        total = jnp.sum(jnp.abs(grad), axis=tuple(range(1, grad.ndim)), keepdims=True)
        return grad / jnp.where(total == 0, 1.0, total)
    unit = normalize(grad.reshape(grad.shape[0], -1), eps=0.0).reshape(grad.shape)
    return jnp.where(jnp.isnan(grad), jnp.nan, unit)


def _onto_ball(delta: Array, radius: Array, norm: str) -> Array:
    if norm == "linf":
        return jnp.clip(delta, -radius, radius)
    length = jnp.sqrt(jnp.sum(delta**2, axis=tuple(range(1, delta.ndim)), keepdims=True))
    return delta * jnp.where(length > radius, radius / jnp.where(length > 0, length, 1.0), 1.0)


def _random_start(key: Array, x: Array, radius: Array, norm: str) -> Array:
    """A uniform draw from the ball around 0, one per example."""
    if norm == "linf":
        return radius * jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
    key_direction, key_length = jax.random.split(key)
    direction = _unit(jax.random.normal(key_direction, x.shape, x.dtype), norm)
    share = jax.random.uniform(key_length, (x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
    return radius * share ** (1 / max(x[0].size, 1)) * direction


def _check(loss_fn: Callable[[Array], Array], x: Array, num_iters: int) -> None:
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError(f"x must have shape [B, ...] with B >= 1, got {list(x.shape)}")
    if isinstance(num_iters, bool) or not isinstance(num_iters, int):
        raise TypeError(f"num_iters must be a static integer, got {num_iters!r}")
    checks.at_least(num_iters, "num_iters", 0)
    out = jax.eval_shape(loss_fn, x)
    if (
        not isinstance(out, jax.ShapeDtypeStruct)
        or out.shape != x.shape[:1]
        or not jnp.issubdtype(out.dtype, jnp.floating)
    ):
        raise ValueError(f"loss_fn must return one loss per example, floating point {[x.shape[0]]}, got {out}")


def _limits(bounds: tuple[ArrayLike, ArrayLike] | None, dtype: DTypeLike) -> tuple[Array, Array]:
    if bounds is None:
        return jnp.asarray(-jnp.inf, dtype), jnp.asarray(jnp.inf, dtype)
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ValueError(f"bounds must be a pair (low, high), got {bounds!r}")
    low, high = bounds
    if checks.is_static(low) and checks.is_static(high) and not low < high:
        raise ValueError(f"bounds must be (low, high) with low < high, got {bounds!r}")
    return jnp.asarray(low, dtype), jnp.asarray(high, dtype)


def projected_gradient_attack(
    loss_fn: Callable[[Array], Array],
    x: ArrayLike,
    *,
    eps: ArrayLike,
    step: ArrayLike,
    num_iters: int,
    norm: str = "linf",
    key: Array | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    momentum: ArrayLike = 0.0,
) -> Array:
    r"""Projected gradient ASCENT on the input: a nearby input with a larger loss (negate the loss to go down).

    .. math:: v \leftarrow \mu v + g / \|g\|,
              x' \leftarrow \Pi_{\|x' - x\| \le \varepsilon}\big( \mathrm{clip}(x' + \alpha\, s) \big),
              \qquad g = \nabla_{x'} \ell(x')

    "linf" steps by s = sign(v), with v summing gradients of unit L1 norm, and clips every entry; "l2" steps by s = v,
    with v summing gradients of unit L2 norm, and projects every example on a ball. One iteration with step = eps and
    no key is the fast gradient (sign) method. The number of evaluations of the gradient is ``num_iters``.

    Args:
      loss_fn: from x [B, ...] to one loss per example [B]; example b's loss depends on x[b] alone.
      x: float [B, ...], the inputs, inside bounds.
      eps: radius >= 0, a float or an array [B].
      step: alpha >= 0, a float or an array [B].
      num_iters: static, >= 0.
      norm: "linf" or "l2", over all entries of an example.
      key: random start, uniform in the ball; None starts at x.
      bounds: (low, high) that inputs keep to, numbers or arrays that broadcast with x; None for no bounds.
      momentum: mu >= 0, the weight of the earlier directions.
    Returns:
      The attacked inputs, dtype and shape of x, within eps of x and within bounds up to the rounding of that dtype.
      The perturbation is a constant for differentiation: the gradient with respect to x is that of the identity where
      bounds do not bind. An example whose gradient is 0 stays where it is; one whose gradient is NaN becomes NaN.
    Raises:
      ValueError: a static eps, step or momentum < 0, shapes do not agree, norm is unknown, or loss_fn does not return
        [B].
      TypeError: x is not floating point, or num_iters is not an integer.

    >>> loss_fn = lambda x: x @ jnp.array([1.0, -2.0])
    >>> print(projected_gradient_attack(loss_fn, jnp.zeros((1, 2)), eps=0.5, step=0.25, num_iters=3))
    [[ 0.5 -0.5]]

    Reference: projected gradient is standard; momentum and its L1 norm as in Yang et al., "DVERGE: Diversifying
    Vulnerabilities for Enhanced Robust Generation of Ensembles" (2020), formula checked against the authors' code; the
    L2 form (unit gradient, momentum, clip, then project) as in "Single Image Backdoor Inversion via Robust Smoothed
    Classifiers" (2023), formula checked against the authors' code.
    """
    x = checks.floating(x, "x")
    checks.one_of(norm, "norm", ("linf", "l2"))
    for name, value in (("eps", eps), ("step", step), ("momentum", momentum)):
        checks.at_least(value, name, 0.0)
    _check(loss_fn, x, num_iters)
    dtype = accumulation_dtype(x)
    center = jax.lax.stop_gradient(x).astype(dtype)
    radius, pace = _per_example(eps, "eps", center), _per_example(step, "step", center)
    low, high = _limits(bounds, dtype)

    def inside(delta: Array) -> Array:
        return _onto_ball(jnp.clip(center + delta, low, high) - center, radius, norm)

    def total_loss(z: Array) -> Array:
        return jnp.sum(loss_fn(z.astype(x.dtype)).astype(dtype))

    def advance(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        delta, velocity = carry
        grad = jax.lax.stop_gradient(jax.grad(total_loss)(center + delta))
        velocity = jnp.asarray(momentum, dtype) * velocity + _unit(grad, norm)
        direction = jnp.sign(velocity) if norm == "linf" else velocity
        return (inside(delta + pace * direction), velocity), None

    zeros = jnp.zeros(x.shape, dtype)
    start = zeros if key is None else inside(_random_start(key, center, radius, norm))
    (delta, _), _ = jax.lax.scan(advance, (start, zeros), length=num_iters)
    return jnp.clip(x.astype(dtype) + jax.lax.stop_gradient(delta), low, high).astype(x.dtype)


def distilled_features(
    feature_fn: Callable[[Array], Array],
    source: ArrayLike,
    target: ArrayLike,
    *,
    eps: ArrayLike = 0.07,
    step: ArrayLike = 0.007,
    num_iters: int = 10,
    momentum: ArrayLike = 1.0,
    bounds: tuple[ArrayLike, ArrayLike] | None = (0.0, 1.0),
) -> Array:
    r"""Inputs that look like ``source`` and are ``target`` to the features of a network: what it is fooled by.

    .. math:: z = \arg\min_{\|z - x_s\|_\infty \le \varepsilon} \| f(z) - f(x) \|^2

    By sign steps with momentum from the source (``projected_gradient_attack``). Another network that keeps the label
    of the source on z does not share the weakness: ``losses.dverge`` trains for it.

    Args:
      feature_fn: from inputs [B, ...] to features [B, ...] of a layer, before its activation; a row's features depend
        on that row alone.
      source: float [B, ...], x_s, inside bounds.
      target: float, the shape of source, x.
      eps: radius >= 0, a float or an array [B].
      step: size of a step >= 0, a float or an array [B].
      num_iters: static, >= 0.
      momentum: >= 0, the weight of the earlier directions.
      bounds: (low, high) that inputs keep to; None for no bounds.
    Returns:
      dtype and shape of source, within eps of it and within bounds; source itself where both have the same features.
      A constant for differentiation, but for the gradient of the identity with respect to source.
    Raises:
      ValueError: shapes do not agree, feature_fn does not return [B, ...], or a static number is negative.
      TypeError: source or target are not floating point, or num_iters is not an integer.

    >>> z = distilled_features(lambda x: x[:, :1], jnp.full((1, 2), 0.5), jnp.ones((1, 2)), eps=0.1, step=0.05)
    >>> print(z)
    [[0.6 0.5]]

    Reference: Yang et al., "DVERGE: Diversifying Vulnerabilities for Enhanced Robust Generation of Ensembles" (2020).
    Checked against the authors' code.
    """
    source, target = checks.floating(source, "source"), checks.floating(target, "target")
    checks.same_shape(source, "source", target, "target")
    if source.ndim == 0 or source.shape[0] == 0:
        raise ValueError(f"source must have shape [B, ...] with B >= 1, got {list(source.shape)}")
    shape = jax.eval_shape(feature_fn, source)
    if not isinstance(shape, jax.ShapeDtypeStruct) or shape.shape[:1] != source.shape[:1]:
        raise ValueError(f"feature_fn must return features [{source.shape[0]}, ...], got {shape}")
    wanted = jax.lax.stop_gradient(feature_fn(target))
    dtype = accumulation_dtype(source, wanted)

    def nearness(z: Array) -> Array:
        gap = feature_fn(z).astype(dtype) - wanted.astype(dtype)
        return -jnp.mean(gap.reshape(gap.shape[0], -1) ** 2, axis=-1)

    return projected_gradient_attack(
        nearness, source, eps=eps, step=step, num_iters=num_iters, bounds=bounds, momentum=momentum
    )
