"""Curvature of a loss at given parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["fisher_diagonal"]


def fisher_diagonal(
    loss_fn: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    batch: PyTree,
    *,
    per: str = "example",
    where: ArrayLike | None = None,
    block: int = 32,
) -> PyTree:
    r"""Diagonal of the empirical Fisher information: how much the loss minds a change of each parameter.

    .. math:: F_i = \frac1B \sum_b \Big(\frac{\partial \ell_b}{\partial \theta_i}\Big)^2 \quad\text{or}\quad
              \Big(\frac{\partial}{\partial \theta_i} \frac1B \sum_b \ell_b\Big)^2

    "example" is the first. "batch" is the second, in which gradients of different sign cancel; the average of it over
    batches is what some published code takes. It is the Fisher information proper where the labels in the batch are
    drawn from the model.

    Args:
      loss_fn: ``loss_fn(params, batch) -> [B]``, the loss of every example (a negative log-likelihood), each of which
        depends on its own row only; for "example" also the mean over the batch as a scalar.
      params: pytree of floats.
      batch: pytree of arrays [B, ...], B >= 1.
      per: "example" or "batch".
      where: bool [B], True where an example counts.
      block: examples whose gradients are held at a time (for "example"), static, >= 1.
    Returns:
      A pytree like params in float32 or wider, >= 0; 0 where nothing counts.
    Raises:
      ValueError: an unknown ``per``, arrays of different length or none, block < 1, where is not [B], or losses that
        are not [B].
      TypeError: a leaf of params is not floating point, or where is not boolean.

    >>> loss_fn = lambda w, x: 0.5 * (w - x) ** 2
    >>> x = jnp.array([1.0, -1.0])
    >>> print(fisher_diagonal(loss_fn, jnp.array(0.0), x), fisher_diagonal(loss_fn, jnp.array(0.0), x, per="batch"))
    1.0 0.0

    Reference: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (2017), standard; "batch" as
    in the code of Foster et al., "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening"
    (2023), recalled.
    """
    checks.one_of(per, "per", ("example", "batch"))
    block = checks.size(block, "block")
    params = jax.tree.map(lambda leaf: checks.floating(leaf, "params"), params)
    arrays = [jnp.asarray(leaf) for leaf in jax.tree.leaves(batch)]
    lengths = {array.shape[:1] for array in arrays}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(f"batch must hold arrays [B, ...] with one B >= 1, got {[list(a.shape) for a in arrays]}")
    (size,) = lengths.pop()
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    rows = jax.tree.map(lambda leaf: _clean(jnp.asarray(leaf), counts), batch)
    if per == "batch":
        return _squared(jax.grad(_mean_loss(loss_fn, rows, counts))(params))

    def one(row: PyTree) -> PyTree:
        loss = lambda params: jnp.mean(loss_fn(params, jax.tree.map(lambda leaf: leaf[None], row)))  # noqa: E731
        return _squared(jax.grad(loss)(params))

    short = -size % block if size > block else 0
    steps = max(1, (size + short) // block)

    def cut(leaf: Array) -> Array:
        # The last block is filled up with the first rows, which then do not count.
        return jnp.concatenate([leaf, leaf[:short]]).reshape(steps, -1, *leaf.shape[1:])

    def add(total: PyTree, now: tuple[PyTree, Array]) -> tuple[PyTree, None]:
        row, weight = now
        return jax.tree.map(lambda t, g: t + jnp.sum(_clean(g, weight), axis=0), total, jax.vmap(one)(row)), None

    weights = jnp.concatenate([counts, jnp.zeros(short, bool)]).reshape(steps, -1)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, accumulation_dtype(leaf)), params)
    total, _ = jax.lax.scan(add, zero, (jax.tree.map(cut, rows), weights))
    return jax.tree.map(lambda leaf: leaf / jnp.maximum(jnp.sum(counts), 1), total)


def _mean_loss(loss_fn: Callable[[PyTree, PyTree], Array], rows: PyTree, counts: Array) -> Callable[[PyTree], Array]:
    def loss(params: PyTree) -> Array:
        losses = loss_fn(params, rows)
        if jnp.shape(losses) != counts.shape:
            raise ValueError(f"loss_fn must return the losses {list(counts.shape)}, got {list(jnp.shape(losses))}")
        return jnp.sum(jnp.where(counts, losses, 0.0)) / jnp.maximum(jnp.sum(counts), 1)

    return loss


def _clean(leaf: Array, counts: Array) -> Array:
    return jnp.where(counts.reshape(counts.shape + (1,) * (leaf.ndim - 1)), leaf, jnp.zeros((), leaf.dtype))


def _squared(grads: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(leaf)) ** 2, grads)
