"""Penalties that keep parameters, or what a network makes of its input, near where they were."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, PyTree

__all__ = ["ewc_penalty"]


def ewc_penalty(params: PyTree, anchor: PyTree, fisher: PyTree) -> Array:
    r"""Elastic weight consolidation: squared distance from old parameters, each weighted by its importance.

    .. math:: \sum_i F_i\, (\theta_i - \theta^*_i)^2

    There is no factor 1/2: the Hessian is 2 F.

    Args:
      params: pytree of floats, theta.
      anchor: pytree of the same structure and shapes, the parameters to stay near; no gradient.
      fisher: pytree of the same structure and shapes (or leaves that broadcast), >= 0, for instance of
        ``optim.fisher_diagonal``; no gradient.
    Returns:
      float32 or wider scalar; 0 at the anchor.
    Raises:
      ValueError: structures or shapes differ.
      TypeError: a leaf is not floating point.

    >>> params, anchor, fisher = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.zeros(2)}, {"w": jnp.array([3.0, 0.5])}
    >>> print(ewc_penalty(params, anchor, fisher))
    5.0

    Reference: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (2017), with 1/2; without it
    as in Jeon et al., "Improving Diversity in Zero-Shot GAN Adaptation with Semantic Variations" (2023), paper text.
    """
    for tree, name in ((anchor, "anchor"), (fisher, "fisher")):
        if str(jax.tree.structure(tree)) != str(jax.tree.structure(params)):
            raise ValueError(f"{name} must have the structure of params, got {jax.tree.structure(tree)}")
    total = jnp.zeros(())
    leaves = zip(jax.tree.leaves_with_path(params), jax.tree.leaves(anchor), jax.tree.leaves(fisher), strict=True)
    for (path, value), old, weight in leaves:
        where = jax.tree_util.keystr(path)
        value, old, weight = (
            checks.floating(leaf, f"{name}{where}")
            for leaf, name in ((value, "params"), (old, "anchor"), (weight, "fisher"))
        )
        checks.same_shape(value, f"params{where}", old, f"anchor{where}")
        if jnp.broadcast_shapes(weight.shape, value.shape) != value.shape:
            raise ValueError(f"fisher{where} must broadcast to {list(value.shape)}, got {list(weight.shape)}")
        dtype = accumulation_dtype(value, old, weight)
        weight, old = (jax.lax.stop_gradient(leaf.astype(dtype)) for leaf in (weight, old))
        total = total + jnp.sum(weight * (value.astype(dtype) - old) ** 2)
    return total
