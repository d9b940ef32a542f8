"""Curvature that is the same in all training domains (environments)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxlab import checks
from jaxlab.losses import alignment_penalty
from jaxlab.optim.curvature import hessian_gradient_product, hessian_vector_product, hutchinson_diagonal, wide
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["hgp_alignment", "hutchinson_alignment"]

LossFn = Callable[[PyTree, PyTree], Array]


def _domains(batches: PyTree, where: ArrayLike | None) -> tuple[PyTree, Array]:
    """Batches without what hidden domains hold, and which of them count."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batches)]
    sizes = {leaf.shape[:1] for leaf in leaves}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise ValueError(f"batches must hold arrays [E, ...] with one E >= 1, got {[list(a.shape) for a in leaves]}")
    (size,) = sizes.pop()
    mask = checks.mask(where, "where", (size,))
    if mask is None:
        return batches, jnp.ones(size, bool)
    clean = lambda leaf: jnp.where(mask.reshape(-1, *(1,) * (jnp.ndim(leaf) - 1)), leaf, jnp.zeros_like(leaf))  # noqa: E731
    return jax.tree.map(clean, batches), mask


def _flat(fn: Callable[[PyTree], PyTree], batches: PyTree) -> Array:
    """A row per domain of what ``fn(batch)`` gives, [E, P]."""
    return jax.vmap(lambda batch: ravel_pytree(fn(batch))[0])(batches)


def _mean(values: Array, counts: Array, axis_name: str | None) -> Array:
    """The mean over the domains that count."""
    shown = jnp.where(counts.reshape(-1, *(1,) * (values.ndim - 1)), values, 0.0)
    sums = (jnp.sum(shown, axis=0), jnp.sum(counts))
    total, number = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    return total / jnp.maximum(number, 1)


def _penalty(
    curves: Array,
    common: Array,
    grads: Array,
    gradient: Array,
    counts: Array,
    alpha: ArrayLike,
    beta: ArrayLike,
    axis_name: str | None,
) -> Array:
    checks.at_least(alpha, "alpha", 0.0)
    checks.at_least(beta, "beta", 0.0)
    curvature, slope = (
        alignment_penalty(values, mean, where=counts) for values, mean in ((curves, common), (grads, gradient))
    )
    weights = (jnp.asarray(weight, curvature.dtype) for weight in (alpha, beta))
    return _mean(next(weights) * curvature + next(weights) * slope, counts, axis_name)


def hgp_alignment(
    loss_fn: LossFn,
    params: PyTree,
    batches: PyTree,
    *,
    alpha: ArrayLike = 1e-4,
    beta: ArrayLike = 5e-3,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Penalty on domains whose gradient, or Hessian times gradient, differs (one number; couples the domains).

    .. math:: \frac1E \sum_e \alpha\, \|H_e g_e - \mathrm{sg}(\bar H \bar g)\|^2
              + \beta\, \|g_e - \mathrm{sg}(\bar g)\|^2

    with gradient and Hessian of each domain's loss, and of the mean loss. Meant for the parameters of a linear head:
    give its inputs in ``batches``, and the gradient of the penalty goes through them into the features. Published runs
    train without it first.

    Args:
      loss_fn: ``loss_fn(params, batch) -> scalar``, the loss of one domain.
      params: pytree of floats, P numbers.
      batches: pytree of arrays [E, ...], E >= 1; ``loss_fn`` sees a row of each.
      alpha: weight of the curvature, >= 0.
      beta: weight of the gradient, >= 0.
      where: bool [E], True where a domain counts; one that does not must be finite for arrays of zeros.
      axis_name: the mapped axis over which domains are split.
    Returns:
      float32 or wider scalar; 0 for one domain or for equal ones.
    Raises:
      ValueError: arrays of different length or none, where is not [E], or a static weight < 0.
      TypeError: a leaf of params is not floating point, or where is not boolean.

    >>> loss_fn = lambda w, x: 0.5 * jnp.sum((w - x) ** 2)
    >>> print(hgp_alignment(loss_fn, jnp.zeros(1), jnp.array([[0.0], [2.0]]), alpha=1.0, beta=10.0))
    11.0

    Reference: Hemati et al., "Understanding Hessian Alignment for Domain Generalization" (2023). Checked against the
    authors' code.
    """
    (batches, counts), params = _domains(batches, where), wide(params, "params")
    grad = jax.grad(loss_fn)
    grads = _flat(lambda batch: grad(params, batch), batches)
    gradient = jax.lax.stop_gradient(_mean(grads, counts, axis_name))
    unravel = ravel_pytree(params)[1]

    def one(batch: PyTree) -> PyTree:
        return hessian_gradient_product(lambda params: loss_fn(params, batch), params)

    def at_mean(batch: PyTree) -> PyTree:
        return hessian_vector_product(lambda params: loss_fn(params, batch), params, unravel(gradient))

    common = _mean(_flat(at_mean, jax.lax.stop_gradient(batches)), counts, axis_name)
    return _penalty(_flat(one, batches), common, grads, gradient, counts, alpha, beta, axis_name)


def hutchinson_alignment(
    key: Array,
    loss_fn: LossFn,
    params: PyTree,
    batches: PyTree,
    *,
    num_probes: int = 50,
    alpha: ArrayLike = 1e-3,
    beta: ArrayLike = 5e-3,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Penalty on domains whose gradient, or Hessian's diagonal, differs (one number; couples the domains).

    .. math:: \frac1E \sum_e \alpha\, \|D_e - \mathrm{sg}(\bar D)\|^2 + \beta\, \|g_e - \mathrm{sg}(\bar g)\|^2

    D is ``hutchinson_diagonal`` of a domain's loss. All domains share their probes, so equal domains cost nothing.

    Args:
      key: PRNG key of the probes.
      loss_fn: ``loss_fn(params, batch) -> scalar``, the loss of one domain.
      params: pytree of floats, P numbers.
      batches: pytree of arrays [E, ...], E >= 1; ``loss_fn`` sees a row of each.
      num_probes: static, >= 1; published runs take 300.
      alpha: weight of the curvature, >= 0.
      beta: weight of the gradient, >= 0.
      where: bool [E], True where a domain counts; one that does not must be finite for arrays of zeros.
      axis_name: the mapped axis over which domains are split; the key must be the same in all its members.
    Returns:
      float32 or wider scalar; 0 for one domain or for equal ones.
    Raises:
      ValueError: arrays of different length or none, where is not [E], num_probes < 1, or a static weight < 0.
      TypeError: a leaf of params is not floating point, or where is not boolean.

    >>> loss_fn = lambda w, x: 0.5 * jnp.sum(x * w**2)
    >>> x = jnp.array([[1.0, 1.0], [3.0, 1.0]])
    >>> print(hutchinson_alignment(jax.random.key(0), loss_fn, jnp.zeros(2), x, alpha=1.0))
    1.0

    Reference: Hemati et al., "Understanding Hessian Alignment for Domain Generalization" (2023). Checked against the
    authors' code, which draws other probes for every domain and for the mean.
    """
    (batches, counts), params = _domains(batches, where), wide(params, "params")
    grad = jax.grad(loss_fn)

    def diagonal(batch: PyTree) -> PyTree:
        return hutchinson_diagonal(key, lambda params: loss_fn(params, batch), params, num_probes=num_probes)

    grads, curves = _flat(lambda batch: grad(params, batch), batches), _flat(diagonal, batches)
    gradient, common = (_mean(values, counts, axis_name) for values in (grads, curves))
    return _penalty(curves, common, grads, gradient, counts, alpha, beta, axis_name)
