"""Training a model that will be searched for inputs it rates highly: how sharply its rating depends on parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.optim.curvature import hessian_vector_product
from jaxlab.optim.sharpness import ascent_step
from jaxlab.typing import Array, ArrayLike, DTypeLike, PyTree

__all__ = ["IgniteState", "NormGradient", "ignite_gradient", "ignite_init", "norm_gradient"]


class NormGradient(NamedTuple):
    """The length of a gradient, and the gradient of that length."""

    norm: Array
    gradient: PyTree


class IgniteState(NamedTuple):
    """The Lagrange multiplier of the bound on the gradient norm."""

    multiplier: Array


def norm_gradient(fn: Callable[[PyTree], Array], params: PyTree, *, step: ArrayLike | None = 0.05) -> NormGradient:
    r"""Gradient of the length of a function's gradient.

    .. math:: \nabla \|n\| = H(\theta)\, u \approx \frac{\nabla f(\theta + r u) - n}{r},
              \qquad n = \nabla f(\theta), \; u = n / \|n\|

    Args:
      fn: from params to a scalar; the data (and dropout keys, the same for both evaluations) are inside it.
      params: pytree of floats.
      step: r > 0 of the finite difference, which costs two gradients; None for the exact product with the Hessian.
    Returns:
      NormGradient: a scalar, and a pytree like params in float32 or wider; both 0 where the gradient is 0.
    Raises:
      ValueError: a static step <= 0.
      TypeError: a leaf of params is not floating point.

    >>> half_square = lambda x: 0.5 * jnp.sum(x**2)  # its gradient is x, the Hessian 1
    >>> norm, gradient = norm_gradient(half_square, jnp.array([3.0, 4.0]), step=None)
    >>> print(norm, gradient)
    5.0 [0.6 0.8]

    Reference: Dao et al., "Incorporating Surrogate Gradient Norm to Improve Offline Optimization Techniques" (2024).
    The finite difference is checked against the authors' code, which divides by the norm unguarded; the exact form is
    standard.
    """
    params = jax.tree.map(
        lambda leaf: checks.floating(leaf, "params").astype(accumulation_dtype(jnp.asarray(leaf))), params
    )
    gradient = jax.grad(fn)(params)
    squares = optax.tree.norm(gradient, squared=True)
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), squares)  # NaN stays
    if step is None:
        unit = ascent_step(jax.tree.map(jnp.zeros_like, params), gradient, rho=1.0)
        return NormGradient(norm, hessian_vector_product(fn, params, unit))
    checks.positive(step, "step")
    further = jax.grad(fn)(ascent_step(params, gradient, rho=step))
    return NormGradient(
        norm, jax.tree.map(lambda new, old: (new - old) / jnp.asarray(step, old.dtype), further, gradient)
    )


def ignite_init(*, multiplier: ArrayLike = 1e-3, dtype: DTypeLike = jnp.float32) -> IgniteState:
    r"""The state of ``ignite_gradient`` before training.

    Args:
      multiplier: lambda >= 0, the first weight of the gradient norm.
      dtype: of the state.
    Returns:
      IgniteState with a scalar.
    Raises:
      ValueError: a static multiplier < 0.

    >>> print(ignite_init().multiplier)
    0.001

    Reference: Dao et al., "Incorporating Surrogate Gradient Norm to Improve Offline Optimization Techniques" (2024).
    Checked against the authors' code.
    """
    return IgniteState(jnp.asarray(checks.at_least(multiplier, "multiplier", 0.0), dtype))


def ignite_gradient(
    state: IgniteState,
    fit_grads: PyTree,
    surrogate_mean_fn: Callable[[PyTree], Array],
    params: PyTree,
    *,
    rho: ArrayLike = 0.05,
    step: ArrayLike = 0.05,
    threshold: ArrayLike = 0.1,
    multiplier_rate: ArrayLike = 1e-3,
) -> tuple[PyTree, IgniteState]:
    r"""IGNITE: fits a surrogate under a bound on how sharply its mean prediction depends on its parameters.

    .. math:: g = \nabla L + \lambda \rho\, \nabla \|\nabla G\|, \qquad
              \lambda \leftarrow \max\big(0, \lambda + \eta\, (\rho \|\nabla G\| - \varepsilon)\big)

    G is the mean prediction over the batch; rho times the norm of its gradient is, to first order, how far G can move
    when the parameters move by rho. A surrogate for which that is small keeps its promises where it is searched.
    ``multiplier_rate=0`` with ``ignite_init(multiplier=0.01)`` and ``rho = step = 0.2`` is the variant IGNITE-2.

    Args:
      state: IgniteState.
      fit_grads: pytree like params, gradient of the loss that fits the surrogate.
      surrogate_mean_fn: G, from params to a scalar.
      params: pytree of floats.
      rho: the radius, >= 0.
      step: r > 0 of the finite difference, see ``norm_gradient``.
      threshold: epsilon, the bound on rho times the norm.
      multiplier_rate: eta >= 0, how fast the multiplier follows; 0 keeps it.
    Returns:
      (gradient, state): a pytree like fit_grads, each leaf in its dtype, made with the multiplier as it came, and the
      next state.
    Raises:
      ValueError: a static step <= 0, rho < 0 or multiplier_rate < 0; fit_grads have another structure than params.
      TypeError: a leaf of params is not floating point.

    >>> zeros, bent = jnp.zeros(2), lambda x: jnp.sum(x**2)
    >>> grads, state = ignite_gradient(ignite_init(multiplier=1.0), zeros, bent, jnp.array([3.0, 4.0]), rho=1.0)
    >>> print(grads.round(3), state.multiplier.round(4))
    [1.2 1.6] 1.0099

    Reference: Dao et al., "Incorporating Surrogate Gradient Norm to Improve Offline Optimization Techniques" (2024).
    Checked against the authors' code, which lets the multiplier become negative.
    """
    checks.at_least(rho, "rho", 0.0)
    checks.at_least(multiplier_rate, "multiplier_rate", 0.0)
    norm, sharpness = norm_gradient(surrogate_mean_fn, params, step=step)
    multiplier = state.multiplier
    radius = jnp.asarray(rho, multiplier.dtype)
    grads = jax.tree.map(
        lambda fit, sharp: (fit + (multiplier * radius).astype(sharp.dtype) * sharp).astype(fit.dtype),
        fit_grads,
        sharpness,
    )
    moved = multiplier + jnp.asarray(multiplier_rate, multiplier.dtype) * (
        radius * norm.astype(multiplier.dtype) - jnp.asarray(threshold, multiplier.dtype)
    )
    return grads, IgniteState(jnp.maximum(moved, 0.0))
